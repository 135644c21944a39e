//! Mutations of `tests/fuzz/corpus` through every language: an answer or an error that says where, within the time, the stack
//! and the memory that one query may take. How to run one again, or for longer: `weir_model::fuzz`.

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::log::LogRecord;
use weir_model::select::NoBudget;
use weir_model::time::SECOND;

use crate::eval::Steps;
use crate::eval::metric::{MetricOptions, metric};
use crate::memory::MemoryLogs;
use crate::pipeline::labels::LineLabels;
use crate::pipeline::{Lines, Pipeline};
use crate::search::{Search, to_logql};

/// What parsing and evaluating over a handful of series may hold at once: twice what a query's patterns may take.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };

/// A target over `tests/fuzz/corpus/<name>`.
fn target(name: &'static str) -> Fuzz {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/");
    Fuzz::new(name).corpus(format!("{corpus}{name}")).text().memory(MEMORY)
}

fn text(input: &[u8]) -> &str {
    std::str::from_utf8(input).expect("invariant: inputs are text")
}

const LOGQL: [&str; 37] = [
    "(",
    ")",
    "{a=\"b\"}",
    "{",
    "}",
    "[5m]",
    "|= \"x\"",
    " or \"y\"",
    "|~ `a.*`",
    "| json",
    "| logfmt",
    "| n > 5",
    " or ",
    " and ",
    ",",
    "+",
    "^",
    "*",
    "1",
    "vector(1)",
    "sum(",
    "rate(",
    "count_over_time(",
    "| unwrap n",
    "| pattern \"<a> <_>\"",
    "| line_format \"{{.a}}\"",
    "| line_format `{{ range 9 }}{{ if .a }}{{ printf \"%9s\" .a }}{{ end }}{{ end }}`",
    "\"",
    "`",
    "| regexp `(?P<a>\\w{9})`",
    "(a{99}){99}",
    "ip(\"10.0.0.0/8\")",
    "|> \"<_> x\"",
    "variants(",
    ") of (",
    "| n = ip(\"::1\")",
    "\\Q[[:alpha:]{",
];

#[test]
fn logql() {
    target("logql").words(&LOGQL).run(|input| {
        let query = text(input);
        let expr = match crate::parse_open(query) {
            Ok(expr) => expr,
            Err(error) => return assert!(error.line > 0 && error.column > 0 && error.message.len() < 1_000, "{error}"),
        };
        let _ = expr.clone().to_string();
        let mut store = MemoryLogs::default();
        store.push(&[("a", "b")], SECOND, br#"{"n": 1, "m": {"k": "v"}}"#);
        store.push(&[("a", "b")], 2 * SECOND, b"n=1 took=5ms \xff");
        if let crate::Expr::Log(log) = &expr {
            let Ok(pipeline) = Pipeline::compile(query, log, Lines::Needed) else { return };
            for line in &store.lines {
                run(&pipeline, &line.body);
            }
            return;
        }
        let steps = Steps { start: 0, step: SECOND, count: 3 };
        let options = MetricOptions { scope: weir_model::scope::Scope::of("t"), steps, detected_level: true, series_max: 100 };
        let _ = metric(&store, query, &expr, &options, &NoBudget);
    });
}

const SEARCH: [&str; 22] = [
    "OR ",
    "AND ",
    "NOT ",
    "-",
    "(",
    ")",
    "\"",
    "\\",
    " ",
    "a",
    "level:",
    "level=err",
    "b=",
    "c:*",
    "d!=5",
    "::",
    "//",
    "json:",
    "ü",
    "`",
    "{",
    "\n",
];

/// What people type is refused with its place, or becomes a query that can be run.
#[test]
fn log_search() {
    target("log_search").words(&SEARCH).run(|input| {
        let typed = text(input);
        let query = match to_logql(&Search { text: typed, ..Search::default() }) {
            Ok(query) if query == typed => return,
            Ok(query) => query,
            Err(error) => return assert!(error.line > 0 && error.column > 0 && error.message.len() < 1_000, "{error}"),
        };
        let Ok(crate::Expr::Log(log)) = crate::parse_open(&query) else { panic!("{typed:?} became {query}") };
        run(&Pipeline::compile(&query, &log, Lines::Needed).unwrap(), br#"{"n": 1, "m": {"k": "v"}}"#);
    });
}

fn run(pipeline: &Pipeline, body: &[u8]) {
    let attributes = weir_model::label::Labels::EMPTY;
    let (trace_id, span_id) = Default::default();
    let record =
        LogRecord { timestamp: 0, sequence: 0, body, severity: 0, flags: 0, trace_id, span_id, attributes: (&attributes).into() };
    let mut labels = LineLabels::default();
    labels.begin_line(&record, true);
    let _ = pipeline.run(body, 0, &mut labels);
    let _ = (labels.all(), labels.categories());
}

/// Lines are what strangers send as well: through every parser of a pipeline.
#[test]
fn log_lines() {
    let stages = [
        "| json",
        "| json_or_logfmt | __line__=~\".*a.*\" or m=\"k\"",
        "| json a=\"m.k\", b=\"l[1]\"",
        "| logfmt",
        "| logfmt --strict --keep-empty",
        "| unpack",
        "| decolorize",
        "| pattern \"<a> <b> [<c>] <_>\"",
        "| regexp `(?P<a>\\w+)=(?P<b>.*)`",
        "|> \"<_>a<_>\" | json | line_format \"{{.a}} {{.m_k | replace \\\"v\\\" \\\"long\\\"}}\"",
        "| json | n > 5 or took > 5ms or size > 20MB",
    ];
    let compiled = stages.map(|stages| {
        let query = format!("{{a=\"b\"}} {stages}");
        let crate::Expr::Log(log) = crate::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}")) else {
            panic!("{query} is no log query")
        };
        Pipeline::compile(&query, &log, Lines::Needed).unwrap_or_else(|error| panic!("{query}: {error}"))
    });
    let words = ["{", "}", "[", "]", "\"", ":", ",", "\\u00e9", "{\"a\":", "a=b ", "\u{1b}[31m", "1", "null", "{\"key\":{"];
    target("log_line").words(&words).run(move |input| {
        for pipeline in &compiled {
            run(pipeline, input);
        }
    });
}
