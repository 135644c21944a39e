//! Mutations of `tests/fuzz/corpus` through every language: an answer or an error that says where, within the time, the stack
//! and the memory that one query may take. How to run one again, or for longer: `weir_model::fuzz`.

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::select::MemoryBudget;

use crate::testing::MemoryReader;
use crate::{Engine, Request};

/// What parsing and evaluating over a handful of series may hold at once: twice what a query's patterns may take.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };

/// A target over `tests/fuzz/corpus/<name>`.
fn target(name: &'static str) -> Fuzz {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/");
    Fuzz::new(name).corpus(format!("{corpus}{name}")).text().memory(MEMORY)
}

const PROMQL: [&str; 32] = [
    "(",
    ")",
    "[5m]",
    "[5m:1m]",
    "{",
    "}",
    "a=\"b\"",
    ",",
    "=~\"",
    "+",
    "-",
    "*",
    "^",
    " or ",
    " and ",
    " unless ",
    " == bool ",
    "1",
    "x",
    "rate(",
    "sum by (a) (",
    "label_replace(",
    " offset 1m",
    " @ 5",
    "\"",
    "`",
    "#",
    "\\",
    " on (a) group_left ",
    "step()",
    "\\w{9}",
    "(a{99}){99}",
];

fn text(input: &[u8]) -> &str {
    std::str::from_utf8(input).expect("invariant: inputs are text")
}

#[test]
fn promql() {
    let scripts = [
        include_str!("../../../../tests/scripts/promql/language.test"),
        include_str!("../../../../tests/scripts/promql/rate.test"),
    ];
    let evaluated = |line: &&str| line.trim_start().starts_with("eval ");
    let queries =
        scripts.iter().flat_map(|script| script.lines()).filter(evaluated).filter_map(|line| line.splitn(5, ' ').last());
    let mut reader = MemoryReader::default();
    for name in ["x", "a", "b"] {
        for at_ms in [0, 30_000, 60_000] {
            let labels = weir_model::label::Labels::from_pairs([("__name__", name), ("c", "d")]);
            reader.push(&labels, at_ms, at_ms as f64);
        }
    }
    let fuzz = queries.fold(target("promql").words(&PROMQL), |fuzz, query| fuzz.seed(query));
    fuzz.run(move |input| {
        let query = text(input);
        let expr = match crate::parse::parse(query) {
            Ok(expr) => expr,
            Err(error) => return assert!(error.line > 0 && error.column > 0 && error.message.len() < 1_000, "{error}"),
        };
        let _ = expr.clone().to_string();
        let budget = MemoryBudget::new(1 << 20);
        let engine = Engine { reader: &reader, budget: &budget };
        let (scope, query) = (weir_model::scope::Scope::of("t"), query.to_owned());
        let request = Request { scope, query, start_ms: 0, end_ms: 60_000, step_ms: 30_000, lookback_ms: 60_000 };
        let _ = engine.evaluate(&request, &expr);
    });
}
