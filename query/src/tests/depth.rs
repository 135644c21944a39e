//! Long chains and deep nesting: an error that says where, or a value; never the end of the stack, which would abort the
//! whole process. Everything is parsed, printed, copied, evaluated and dropped on a stack of 1 MiB, half of what threads
//! of tokio and of Rust have. The debug build, whose frames are the largest, is the harder one.

use weir_model::select::NoBudget;
use weir_model::time::SECOND;

use crate::logql;
use crate::logql::eval::Steps;
use crate::logql::eval::metric::{MetricOptions, metric};
use crate::logql::memory::MemoryLogs;
use crate::promql::testing::MemoryReader;
use crate::promql::{self, Engine, Output, Request};

const STACK_BYTES: usize = 1 << 20;
/// The issue at hand had so many: 60 KB of text.
const TERMS: usize = 30_000;
/// Within every language's limit of names, literals and signs.
const TERMS_WITHIN: usize = 8_000;

/// Runs on a small stack. What ends it aborts the test binary.
pub(crate) fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `open` as often as the language takes it, then `middle`, then `close` as often.
fn deepest(accepts: impl Fn(&str) -> bool, open: &str, middle: &str, close: &str) -> String {
    let nested = |times: usize| format!("{}{middle}{}", open.repeat(times), close.repeat(times));
    let times = (1..500).take_while(|times| accepts(&nested(*times))).last();
    nested(times.unwrap_or_else(|| panic!("{open}{middle}{close} is not accepted")))
}

/// The value at 60 s, where `x` is 2.
fn promql_value(query: &str) -> Output {
    let mut reader = MemoryReader::default();
    for at_ms in [0, 30_000, 60_000] {
        reader.push(&weir_model::label::Labels::from_pairs([("__name__", "x")]), at_ms, 2.0);
    }
    let engine = Engine { reader: &reader, budget: &NoBudget };
    let (tenant, query) = ("default".into(), query.to_owned());
    let request = Request { tenant, query, start_ms: 60_000, end_ms: 60_000, step_ms: 0, lookback_ms: 300_000 };
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

/// Parses, prints, reads again, copies and drops.
fn promql_whole(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let expr = promql::parse::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = expr.clone().to_string();
    assert_eq!(promql::parse::parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}")).to_string(), text);
}

#[track_caller]
fn promql_refused(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let error = promql::parse::parse(query).map(|_| ()).expect_err(&shown);
    let limits = ["may have", "nested deeper than"].iter().any(|limit| error.message.contains(limit));
    assert!(limits && error.line > 0 && error.column > 0, "{shown}: {error}");
}

#[test]
fn promql_chains_beyond_the_limit_are_refused_with_a_place() {
    on_a_small_stack(|| {
        for (name, ..) in promql::ast::BinaryOp::ALL {
            promql_refused(&format!("x{}", format!(" {name} x").repeat(TERMS)));
            promql_refused(&format!("x{}", format!(" {name} x").repeat(TERMS / 2)));
        }
        let error = promql::parse::parse(&format!("1{}", "*1".repeat(TERMS))).unwrap_err();
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
            let error = promql::parse::parse(&query).map(|_| ()).expect_err(open);
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
        let accepts = |query: &str| promql::parse::parse(query).is_ok();
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

fn logql_value(query: &str) -> f64 {
    let mut store = MemoryLogs::default();
    for at in 1..=3 {
        store.push(&[("a", "b")], at * SECOND, br#"{"n": 1, "m": {"k": "v"}}"#);
    }
    let shown: String = query.chars().take(60).collect();
    let expr = logql::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let steps = Steps::instant(10 * SECOND);
    let options = MetricOptions { tenant: "default".into(), steps, detected_level: false, series_max: 1_000 };
    match metric(&store, query, &expr, &options, &NoBudget).unwrap_or_else(|error| panic!("{shown}: {error}")).value {
        logql::eval::Value::Scalar(value) => value,
        logql::eval::Value::Vector(series) => series.iter().flat_map(|series| &series.points).flatten().sum(),
    }
}

fn logql_whole(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let expr = logql::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = expr.clone().to_string();
    assert_eq!(logql::parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}")).to_string(), text);
}

#[track_caller]
fn logql_refused(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let error = logql::parse(query).map(|_| ()).expect_err(&shown);
    let limits = ["may have", "nested deeper than", "at most"].iter().any(|limit| error.message.contains(limit));
    assert!(limits && error.line > 0 && error.column > 0, "{shown}: {error}");
}

#[test]
fn logql_beyond_the_limits_is_refused_with_a_place() {
    on_a_small_stack(|| {
        let error = logql::parse(&format!("1{}", "+1".repeat(TERMS))).unwrap_err();
        let message = "a query may have 16384 names, literals and signs, this is one more";
        assert_eq!(error.to_string(), format!("parse error at line 1, col 16385: {message}"));
        for operator in ["+", "-", "*", "/", "%", "^", " or ", " and ", " unless ", "==", "!=", "> bool "] {
            logql_refused(&format!("vector(1){}", format!("{operator}vector(1)").repeat(TERMS)));
            logql_refused(&format!("vector(1){}", format!("{operator}vector(1)").repeat(3_500)));
        }
        for part in ["|=``", "|=\"\"or\"\"", "|json", "|a=1", "|drop a", "|line_format``"] {
            logql_refused(&format!("{{a=\"b\"}}{}", part.repeat(TERMS)));
        }
        for (start, part) in [("|=``", " or``"), ("|~`.`", " or`.`"), ("|a>1", " or a>1"), ("|a>1", " and a>1"), ("|a>1", ",a>1")]
        {
            logql_refused(&format!("{{a=\"b\"}}{start}{}", part.repeat(TERMS)));
            logql_refused(&format!("{{a=\"b\"}}{start}{}", part.repeat(10_000)));
        }
        logql_refused(&"(".repeat(TERMS / 2));
        logql_refused(&format!("rate({}", "(".repeat(TERMS / 2)));
        logql_refused(&format!("{{a=\"b\"}}|{}", "(".repeat(TERMS / 2)));
        logql_refused(&"sum(".repeat(8_000));
        logql_refused(&format!("{}1", "1^".repeat(8_000)));
        logql_refused(&"label_replace(".repeat(8_000));
    });
}

#[test]
fn logql_within_the_limits_has_its_value() {
    on_a_small_stack(|| {
        assert_eq!(logql_value(&format!("1{}", "+1".repeat(TERMS_WITHIN))), 8_001.0);
        assert_eq!(logql_value(&format!("vector(1){}", "+vector(1)".repeat(3_000))), 3_001.0);
        assert_eq!(logql_value(&format!("vector(1){}", " or vector(1)".repeat(3_000))), 1.0);
        assert_eq!(logql_value(&format!("vector(8){} - 2 * 3 ^ 2", "-1".repeat(TERMS_WITHIN - 10))), 8.0 - 7_990.0 - 18.0);
        let counted = |stages: &str| logql_value(&format!("count_over_time({{a=\"b\"}} {stages} [1m])"));
        assert_eq!(counted(&format!("|= \"x\"{}", " or \"n\"".repeat(TERMS_WITHIN))), 3.0);
        assert_eq!(counted(&"|= \"n\"".repeat(TERMS_WITHIN)), 3.0);
        assert_eq!(counted(&format!("| json | n > 1{}", " or n == 1".repeat(4_000))), 3.0);
        assert_eq!(counted(&format!("| json | n > 0{}", " and n == 1".repeat(4_000))), 3.0);
        logql_whole(&format!("{{a=\"b\"}} | n > 1{}", " or n = 1 and m = 2".repeat(1_500)));
        logql_whole(&format!("vector(1){}", "+vector(1)".repeat(3_000)));
        let accepts = |query: &str| logql::parse(query).is_ok();
        let log = "count_over_time({a=\"b\"}[1m])";
        for (open, close) in [("(", ")"), ("sum(", ")"), ("1*(", ")"), ("topk(1,", ")")] {
            let query = deepest(accepts, open, log, close);
            logql_whole(&query);
            assert_eq!(logql_value(&query), 3.0, "{open}");
        }
        let replace = deepest(accepts, "label_replace(", log, ", \"c\", \"d\", \"e\", \"f\")");
        assert_eq!(logql_value(&replace), 3.0);
        let power = deepest(accepts, "vector(1)^", "vector(2)", "");
        assert_eq!(logql_value(&power), 1.0);
        let in_filter = |inner: &str| format!("count_over_time({{a=\"b\"}} | json | {inner} [1m])");
        let filter = deepest(|inner| accepts(&in_filter(inner)), "n > 5 or (n = 1 and (", "n = 1", "))");
        assert_eq!(logql_value(&in_filter(&filter)), 3.0);
    });
}

#[test]
fn the_bodies_of_lines_nest_within_a_limit() {
    on_a_small_stack(|| {
        for (open, close) in [("{\"a\":", "}"), ("[", "]"), ("{\"a\":[", "]}")] {
            for times in [1, 30, 64, 65, TERMS] {
                let line = format!("{{\"b\":{}1{}}}", open.repeat(times), close.repeat(times));
                let mut labels = logql::pipeline::labels::LineLabels::default();
                logql::pipeline::json::parse(&line, &mut labels);
                logql::pipeline::json::unpack(&line, &mut labels);
                let path = vec![logql::pipeline::json::PathStep::Key("b".into())];
                logql::pipeline::json::extract(&line, &[("b".into(), path)], &mut labels);
                let levels = times * open.matches(['{', '[']).count();
                assert_eq!(labels.error().is_some(), levels > 64, "{open} {times}");
            }
        }
        let compile = |template: &str| logql::pipeline::template::Template::parse(template).map(|_| ());
        assert!(compile(&format!("{{{{{}.a{}}}}}", "(ToLower ".repeat(32), ")".repeat(32))).is_ok());
        assert!(compile(&format!("{{{{{}", "(ToLower ".repeat(TERMS))).unwrap_err().contains("without its }}"));
        assert!(compile(&format!("{{{{{}}}}}", "(ToLower ".repeat(TERMS))).unwrap_err().contains("nest deeper"));
    });
}
