//! Long chains and deep nesting: an error that says where, or a value; never the end of the stack, which would abort the
//! whole process. Everything is parsed, printed, copied, evaluated and dropped on a stack of 1 MiB, half of what threads
//! of tokio and of Rust have. The debug build, whose frames are the largest, is the harder one.

use weir_model::fuzz::{deepest, on_a_small_stack};
use weir_model::select::NoBudget;

use crate::testing::MemoryReader;
use crate::{Engine, Output, Request};

/// The issue at hand had so many: 60 KB of text.
const TERMS: usize = 30_000;
/// Within every language's limit of names, literals and signs.
const TERMS_WITHIN: usize = 8_000;

/// The value at 60 s, where `x` is 2.
fn promql_value(query: &str) -> Output {
    let mut reader = MemoryReader::default();
    for at_ms in [0, 30_000, 60_000] {
        reader.push(&weir_model::label::Labels::from_pairs([("__name__", "x")]), at_ms, 2.0);
    }
    let engine = Engine { reader: &reader, budget: &NoBudget };
    let (scope, query) = (weir_model::scope::Scope::of("t"), query.to_owned());
    let request = Request { scope, query, start_ms: 60_000, end_ms: 60_000, step_ms: 0, lookback_ms: 300_000 };
    let shown: String = request.query.chars().take(60).collect();
    engine.query(&request).unwrap_or_else(|error| panic!("{shown}: {error}")).output
}

fn promql_number(query: &str) -> f64 {
    match promql_value(query) {
        Output::Scalar(value) => value,
        Output::Vector(samples) if samples.len() == 1 => samples[0].value,
        other => panic!("{other:?}"),
    }
}

/// Parses, prints in one line and in many, reads again, copies and drops.
fn promql_whole(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let expr = crate::parse::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = expr.clone().to_string();
    // With their indents, lines of a chain may be too long for a query.
    for again in [&text, &crate::pretty(&expr)].into_iter().filter(|text| text.len() <= crate::parse::QUERY_BYTES_MAX) {
        assert_eq!(crate::parse::parse(again).unwrap_or_else(|error| panic!("{shown}: {error}")).to_string(), text);
    }
}

#[track_caller]
fn promql_refused(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let error = crate::parse::parse(query).map(|_| ()).expect_err(&shown);
    let limits = ["may have", "nested deeper than"].iter().any(|limit| error.message.contains(limit));
    assert!(limits && error.line > 0 && error.column > 0, "{shown}: {error}");
}

#[test]
fn promql_chains_beyond_the_limit_are_refused_with_a_place() {
    on_a_small_stack(|| {
        for (name, ..) in crate::ast::BinaryOp::ALL {
            promql_refused(&format!("x{}", format!(" {name} x").repeat(TERMS)));
            promql_refused(&format!("x{}", format!(" {name} x").repeat(TERMS / 2)));
        }
        let error = crate::parse::parse(&format!("1{}", "*1".repeat(TERMS))).unwrap_err();
        assert_eq!(error.to_string(), "1:16385: parse error: a query may have 16384 names, literals and signs, this is one more");
        promql_refused(&format!("x[1m{}]", "+1".repeat(TERMS)));
        promql_refused(&format!("x offset {}1m", "-".repeat(TERMS)));
        promql_refused(&format!("x offset ({}1m{})", "(".repeat(TERMS), ")".repeat(TERMS)));
        promql_refused(&format!("x @ {}1", "-".repeat(TERMS)));
        promql_refused(&format!("x{{{}}}", "a=\"\",".repeat(TERMS / 2)));
        promql_refused(&format!("sum by ({}a) (x)", "a,".repeat(TERMS)));
        promql_refused(&format!("label_join(x{})", ",\"\"".repeat(TERMS)));
    });
}

#[test]
fn promql_nesting_beyond_the_limit_is_refused_with_a_place() {
    on_a_small_stack(|| {
        for (open, close) in [
            ("(", ")"),
            ("-", ""),
            ("-(", ")"),
            ("abs(", ")"),
            ("x+(", ")"),
            ("x^", ""),
            ("x^-", ""),
            ("sum(", ")"),
            ("a(", ")[1m:]"),
            ("max_over_time(", "[1m:])"),
            ("topk(1,", ")"),
            ("x[1m^", "]"),
            ("x[-+", "]"),
            ("x[(", ")]"),
            ("x[min_of(1,", ")]"),
        ] {
            let query = format!("{}x{}", open.repeat(TERMS.min((120 << 10) / (open.len() + close.len()))), "");
            let error = crate::parse::parse(&query).map(|_| ()).expect_err(open);
            assert!(error.line > 0 && error.column > 0, "{open}: {error}");
        }
        promql_refused(&"(".repeat(TERMS));
        promql_refused(&format!("{}x", "-".repeat(TERMS)));
        promql_refused(&format!("{}x", "x^".repeat(8_000)));
        promql_refused(&format!("{}x", "abs(".repeat(8_000)));
        promql_refused(&format!("{}x", "max_over_time(".repeat(8_000)));
        promql_refused(&format!("x[{}1m]", "1m^".repeat(8_000)));
        promql_refused(&format!("x[{}1m]", "-".repeat(TERMS / 2)));
        promql_refused(&format!("x[{}1m]", "min_of(1,".repeat(4_000)));
    });
}

#[test]
fn promql_chains_within_the_limit_have_their_value() {
    on_a_small_stack(|| {
        let chain = |operator: &str, operand: &str| format!("{operand}{}", format!("{operator}{operand}").repeat(TERMS_WITHIN));
        assert_eq!(promql_number(&chain("*", "1")), 1.0);
        assert_eq!(promql_number(&chain("+", "1")), 8_001.0);
        assert_eq!(promql_number(&chain("+", "x")), 16_002.0);
        assert_eq!(promql_number(&chain("-", "x")), 2.0 - 16_000.0);
        assert_eq!(promql_number(&chain(" or ", "x")), 2.0);
        assert_eq!(promql_number(&chain(" and ", "x")), 2.0);
        assert_eq!(promql_number(&chain(" == ", "x")), 2.0);
        assert_eq!(promql_number(&format!("100{} - 2 * 3 ^ 2 / 6 + 1", "-1".repeat(TERMS_WITHIN - 100))), 100.0 - 7_900.0 - 2.0);
        assert_eq!(promql_number(&format!("count_over_time(x[1s{}])", "+10ms".repeat(7_900))), 3.0);
        for (operator, operand) in [("*", "1"), (" or ", "x"), (" > ", "x"), (" / on () group_left () ", "x")] {
            promql_whole(&format!("{operand}{}", format!("{operator}{operand}").repeat(1_500)));
        }
        promql_whole(&format!("x[1s{}]", "+1s".repeat(7_900)));
        // Many selectors, as large dashboards join them.
        let named: Vec<String> = (0..1_000).map(|i| format!("rate(x{{job=\"{i}\"}}[5m])")).collect();
        promql_whole(&named.join(" or "));
        assert_eq!(promql_value(&named.join(" or ")), Output::Vector(Vec::new()));
    });
}

#[test]
fn the_deepest_promql_that_is_taken_has_its_value() {
    on_a_small_stack(|| {
        let accepts = |query: &str| crate::parse::parse(query).is_ok();
        for (open, middle, close, expected) in [
            ("(", "x", ")", 2.0),
            ("-(-", "x", ")", 2.0),
            ("- -", "x", "", 2.0),
            ("abs(", "x", ")", 2.0),
            ("1*(", "x", ")", 2.0),
            ("1^", "x", "", 1.0),
            ("sum(", "x", ")", 2.0),
            ("sum(abs(-(0 -", "x", ")))", 2.0),
            ("topk(1, ", "x", ")", 2.0),
            ("quantile(0.5, ", "x", ")", 2.0),
            ("max_over_time(", "x", "[1m:1m])", 2.0),
            ("max_over_time((0 + sum(", "x", "))[1m:1m])", 2.0),
            ("label_replace(", "x", ", \"a\", \"b\", \"c\", \"d\")", 2.0),
            ("histogram_quantile(0.5, ", "x", ") or x", 2.0),
            ("sort(", "x", ")", 2.0),
            ("scalar(vector(", "2", "))", 2.0),
            ("clamp_max(", "x", ", 3)", 2.0),
            ("absent(absent(", "x", "))", 1.0),
            ("count_over_time(x[0 + (", "1m", ")])", 2.0),
        ] {
            let query = if open.starts_with("count_over") {
                let inner = deepest(|inner| accepts(&format!("count_over_time(x[{inner}])")), "0 + (", middle, ")");
                format!("count_over_time(x[{inner}])")
            } else {
                deepest(accepts, open, middle, close)
            };
            promql_whole(&query);
            match promql_value(&query) {
                Output::Scalar(value) => assert_eq!(value, expected, "{open}"),
                Output::Vector(samples) => assert!(samples.iter().all(|sample| sample.value == expected), "{open}: {samples:?}"),
                other => panic!("{open}: {other:?}"),
            }
        }
    });
}
