//! Long chains and deep nesting: an error that says where, or a value; never the end of the stack, which would abort the
//! whole process. Everything is parsed, printed, copied, evaluated and dropped on a stack of 1 MiB, half of what threads
//! of tokio and of Rust have. The debug build, whose frames are the largest, is the harder one.

use weir_model::fuzz::{deepest, on_a_small_stack};
use weir_model::select::NoBudget;
use weir_model::time::SECOND;

use crate::eval::Steps;
use crate::eval::metric::{MetricOptions, metric};
use crate::memory::MemoryLogs;

/// The issue at hand had so many: 60 KB of text.
const TERMS: usize = 30_000;
/// Within every language's limit of names, literals and signs.
const TERMS_WITHIN: usize = 8_000;

fn logql_value(query: &str) -> f64 {
    let mut store = MemoryLogs::default();
    for at in 1..=3 {
        store.push(&[("a", "b")], at * SECOND, br#"{"n": 1, "m": {"k": "v"}}"#);
    }
    let shown: String = query.chars().take(60).collect();
    let expr = crate::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let steps = Steps::instant(10 * SECOND);
    let options = MetricOptions { scope: weir_model::scope::Scope::of("t"), steps, detected_level: false, series_max: 1_000 };
    match metric(&store, query, &expr, &options, &NoBudget).unwrap_or_else(|error| panic!("{shown}: {error}")).value {
        crate::eval::Value::Scalar(value) => value,
        crate::eval::Value::Vector(series) => series.iter().flat_map(|series| &series.points).flatten().sum(),
    }
}

fn logql_whole(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let expr = crate::parse(query).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = expr.clone().to_string();
    assert_eq!(crate::parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}")).to_string(), text);
}

#[track_caller]
fn logql_refused(query: &str) {
    let shown: String = query.chars().take(60).collect();
    let error = crate::parse(query).map(|_| ()).expect_err(&shown);
    let limits = ["may have", "nested deeper than", "input size too long"].iter().any(|limit| error.message.contains(limit));
    assert!(limits && error.line > 0 && error.column > 0, "{shown}: {error}");
}

#[test]
fn logql_beyond_the_limits_is_refused_with_a_place() {
    on_a_small_stack(|| {
        let error = crate::parse(&format!("1{}", "+1".repeat(TERMS))).unwrap_err();
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
        let accepts = |query: &str| crate::parse(query).is_ok();
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
                let mut labels = crate::pipeline::labels::LineLabels::default();
                crate::pipeline::json::parse(&line, &mut labels);
                crate::pipeline::json::unpack(&line, &mut labels);
                let path = vec![crate::pipeline::json::PathStep::Key("b".into())];
                crate::pipeline::json::extract(&line, &[("b".into(), path)], &mut labels);
                let levels = times * open.matches(['{', '[']).count();
                assert_eq!(labels.error().is_some(), levels > 64, "{open} {times}");
            }
        }
        let compile = |template: &str| {
            let patterns = &mut weir_model::pattern::PatternBudget::default();
            crate::pipeline::template::Template::parse(template, patterns).map(|_| ())
        };
        assert!(compile(&format!("{{{{{}.a{}}}}}", "(ToLower ".repeat(32), ")".repeat(32))).is_ok());
        assert!(compile(&format!("{{{{{}", "(ToLower ".repeat(TERMS))).unwrap_err().contains("unclosed action"));
        assert!(compile(&format!("{{{{{}}}}}", "(ToLower ".repeat(TERMS))).unwrap_err().contains("nested deeper"));
    });
}
