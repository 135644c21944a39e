//! Metric queries. Lines lie at whole seconds; queries are asked at 10 s, or every 5 s from 5 s to 15 s.

use weir_model::select::NoBudget;
use weir_model::time::SECOND;

use crate::eval::metric::{MetricOptions, metric};
use crate::eval::{Steps, Value};
use crate::memory::MemoryLogs;
use crate::{QueryError, parse};

fn store() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    let lines = [
        ("a", 5, "took=100ms size=1KB n=1"),
        ("a", 7, "took=300ms size=2KB n=4"),
        ("b", 8, "took=1s size=10B n=NaN"),
        ("a", 10, "took=x size=3KB n=2"),
        ("b", 15, "took=2s n=-3"),
    ];
    for (pod, at, text) in lines {
        store.push(&[("app", "x"), ("pod", pod)], at * SECOND, text.as_bytes());
    }
    store
}

fn options(steps: Steps) -> MetricOptions {
    MetricOptions { scope: weir_model::scope::Scope::of("t"), steps, detected_level: false, series_max: 1000 }
}

fn ask(query: &str, steps: Steps) -> Result<String, QueryError> {
    let expr = parse(query)?;
    let answer = metric(&store(), query, &expr, &options(steps), &NoBudget)?;
    let point = |point: &Option<f64>| point.map_or("_".to_owned(), |value| value.to_string());
    Ok(match answer.value {
        Value::Scalar(number) => number.to_string(),
        Value::Vector(series) => {
            let one = |series: &crate::eval::Series| {
                format!("{} {}", series.labels, series.points.iter().map(point).collect::<Vec<_>>().join(" "))
            };
            series.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    })
}

fn check(query: &str, expected: &str) {
    let answer = ask(query, Steps::instant(10 * SECOND)).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(answer, expected, "{query}");
}

fn check_range(query: &str, expected: &str) {
    let steps = Steps { start: 5 * SECOND, step: 5 * SECOND, count: 3 };
    assert_eq!(ask(query, steps).unwrap(), expected, "{query}");
}

#[test]
fn counts_over_windows_that_exclude_their_start_and_include_their_end() {
    check(r#"count_over_time({app="x"}[5s])"#, r#"{app="x", pod="a"} 2; {app="x", pod="b"} 1"#);
    check(r#"count_over_time({app="x"}[6s])"#, r#"{app="x", pod="a"} 3; {app="x", pod="b"} 1"#);
    check_range(r#"count_over_time({app="x"}[5s])"#, r#"{app="x", pod="a"} 1 2 _; {app="x", pod="b"} _ 1 1"#);
    check_range(r#"count_over_time({app="x"}[20s])"#, r#"{app="x", pod="a"} 1 3 3; {app="x", pod="b"} _ 1 2"#);
    check_range(r#"count_over_time({app="x"}[1s])"#, r#"{app="x", pod="a"} 1 1 _; {app="x", pod="b"} _ _ 1"#);
    check_range(r#"count_over_time({app="x", pod="a"}[5s] offset 5s)"#, r#"{app="x", pod="a"} _ 1 2"#);
    check(r#"rate({app="x", pod="a"}[10s])"#, r#"{app="x", pod="a"} 0.3"#);
    check(r#"bytes_over_time({app="x", pod="b"}[5s])"#, r#"{app="x", pod="b"} 22"#);
    check(r#"bytes_rate({app="x", pod="b"}[10s])"#, r#"{app="x", pod="b"} 2.2"#);
    check(r#"count_over_time({app="x"} |= "1"[10s])"#, r#"{app="x", pod="a"} 1; {app="x", pod="b"} 1"#);
    check(r#"count_over_time({app="none"}[10s])"#, "");
    check(r#"absent_over_time({app="none", pod=~"a|b"}[10s])"#, r#"{app="none"} 1"#);
    check(r#"absent_over_time({app="x"}[10s])"#, "");
}

#[test]
fn vector_aggregations() {
    let by_n = r#"count_over_time({app="x"} | logfmt | keep pod, n [10s])"#;
    check(&format!("sum({by_n})"), "{} 4");
    check(&format!("sum by (pod) ({by_n})"), r#"{pod="a"} 3; {pod="b"} 1"#);
    check(&format!("sum without (n) ({by_n})"), r#"{pod="a"} 3; {pod="b"} 1"#);
    check(&format!("count by (pod) ({by_n})"), r#"{pod="a"} 3; {pod="b"} 1"#);
    check(r#"avg(count_over_time({app="x"}[10s]))"#, "{} 2");
    check(r#"max(count_over_time({app="x"}[10s]))"#, "{} 3");
    check(r#"min(count_over_time({app="x"}[10s]))"#, "{} 1");
    check(r#"stddev(count_over_time({app="x"}[10s]))"#, "{} 1");
    check(r#"topk(1, count_over_time({app="x"}[10s]))"#, r#"{app="x", pod="a"} 3"#);
    check(r#"bottomk(1, count_over_time({app="x"}[10s]))"#, r#"{app="x", pod="b"} 1"#);
    check(r#"sort(count_over_time({app="x"}[10s]))"#, r#"{app="x", pod="b"} 1; {app="x", pod="a"} 3"#);
    check(r#"sum(max_over_time({app="x"} | logfmt | keep pod, n | unwrap n [10s]))"#, "{} NaN");
    check(r#"max(max_over_time({app="x"} | logfmt | keep pod, n | unwrap n [10s]))"#, "{} 4");
}

#[test]
fn unwrapped_values() {
    let of = |what: &str| {
        format!(
            r#"{what}({}{{app="x", pod="a"}} | logfmt | keep n | unwrap n [10s])"#,
            if what == "quantile_over_time" { "0.5, " } else { "" }
        )
    };
    check(&of("sum_over_time"), "{} 7");
    check(&of("avg_over_time"), &format!("{{}} {}", 7.0 / 3.0));
    check(&of("min_over_time"), "{} 1");
    check(&of("max_over_time"), "{} 4");
    check(&of("first_over_time"), "{} 1");
    check(&of("last_over_time"), "{} 2");
    check(&of("quantile_over_time"), "{} 2");
    check(&of("rate"), "{} 0.7");
    check(&of("stdvar_over_time"), &format!("{{}} {}", 14.0 / 9.0));
    check(
        r#"sum_over_time({app="x", pod="b"} | logfmt | unwrap duration(took) | __error__="" [10s]) "#,
        r#"{app="x", n="NaN", pod="b", size="10B"} 1"#,
    );
    check(r#"max_over_time({app="x", pod="a"} | logfmt | unwrap bytes(size) [10s]) by (pod)"#, r#"{pod="a"} 3000"#);
    check(r#"sum_over_time({app="x"} | logfmt | unwrap gone [10s])"#, "");
    check(r#"quantile_over_time(2, {app="x", pod="a"} | logfmt | unwrap n [10s]) by (pod)"#, r#"{pod="a"} inf"#);
}

#[test]
fn an_error_fails_the_query_unless_a_later_filter_drops_the_line() {
    let unwrap = r#"sum_over_time({app="x", pod="a"} | logfmt | unwrap duration(took)"#;
    let error = ask(&format!("{unwrap}[10s])"), Steps::instant(10 * SECOND)).unwrap_err();
    assert!(error.to_string().starts_with("pipeline error: 'SampleExtractionErr' for series: '{"), "{error}");
    assert!(ask(&format!("{unwrap}| __error_details__=\"\" [10s])"), Steps::instant(10 * SECOND)).is_err());
    let only_pod = r#"sum by (pod) (sum_over_time({app="x", pod="a"} | logfmt | unwrap duration(took) | __error__="" [10s]))"#;
    check(only_pod, r#"{pod="a"} 0.4"#);
    check(r#"count_over_time({app="x", pod="b"} | json | __error__="" [10s])"#, "");
    check(r#"sum(count_over_time({app="x"} | json | drop __error__, __error_details__ [10s]))"#, "{} 4");
    assert!(ask(r#"count_over_time({app="x"} | __error__="" | json [10s])"#, Steps::instant(10 * SECOND)).is_err());
    check(r#"sum(count_over_time({app="x"} | line_format "{{ nope }}" [10s]))"#, "{} 4");
    assert!(ask(r#"bytes_over_time({app="x"} | line_format "{{ nope }}" [10s])"#, Steps::instant(10 * SECOND)).is_err());
}

#[test]
fn arithmetic_and_matching() {
    let count = r#"count_over_time({app="x"}[10s])"#;
    check("vector(1)+vector(1)", "{} 2");
    check("1 / 0", "NaN");
    check("7 % 0", "NaN");
    check("2 > 1", "1");
    check(&format!("{count} * 2"), r#"{app="x", pod="a"} 6; {app="x", pod="b"} 2"#);
    check(&format!("{count} > 2"), r#"{app="x", pod="a"} 3"#);
    check(&format!("{count} > bool 2"), r#"{app="x", pod="a"} 1; {app="x", pod="b"} 0"#);
    check(&format!("2 < {count}"), r#"{app="x", pod="a"} 3"#);
    check(&format!("{count} / {count}"), r#"{app="x", pod="a"} 1; {app="x", pod="b"} 1"#);
    check(
        &format!("{count} / on (app) group_left sum by (app) ({count})"),
        r#"{app="x", pod="a"} 0.75; {app="x", pod="b"} 0.25"#,
    );
    check(&format!("{count} and {count} > 2"), r#"{app="x", pod="a"} 3"#);
    check(&format!("{count} unless {count} > 2"), r#"{app="x", pod="b"} 1"#);
    check(&format!("{count} > 2 or {count}"), r#"{app="x", pod="a"} 3; {app="x", pod="b"} 1"#);
    check(&format!("sum({count}) == ignoring (x) vector(4)"), "{} 4");
    check(
        &format!(r#"label_replace({count}, "p", "<$1>", "pod", "(.*)")"#),
        r#"{app="x", p="<a>", pod="a"} 3; {app="x", p="<b>", pod="b"} 1"#,
    );
    let many = ask(&format!("{count} / on (app) {count}"), Steps::instant(10 * SECOND)).unwrap_err();
    assert!(matches!(many, QueryError::Bad(_)), "{many}");
    check_range("vector(3) - 1", "{} 2 2 2");
}

#[test]
fn too_many_series_are_refused() {
    let query = r#"count_over_time({app="x"} | logfmt [10s])"#;
    let options = MetricOptions { series_max: 2, ..options(Steps::instant(10 * SECOND)) };
    let error = metric(&store(), query, &parse(query).unwrap(), &options, &NoBudget).unwrap_err();
    let expected = "maximum of series (2) reached for a single query: narrow the selector or the labels that series keep, or raise query.series_max";
    assert_eq!(error.to_string(), expected);
    let summed = format!("sum by (pod) ({query})");
    assert!(metric(&store(), &summed, &parse(&summed).unwrap(), &options, &NoBudget).is_ok(), "summed as they come");
    // Variants share the limit.
    let of = |variants: &str| format!(r#"variants({variants}) of ({{app="x"}}[10s])"#);
    let one = r#"count_over_time({app="x"}[10s])"#;
    let (fits, many) = (of(one), of(&format!("{one}, sum({one})")));
    assert!(metric(&store(), &fits, &parse(&fits).unwrap(), &options, &NoBudget).is_ok(), "two series");
    let error = metric(&store(), &many, &parse(&many).unwrap(), &options, &NoBudget).unwrap_err();
    assert_eq!(error.to_string(), expected);
}
