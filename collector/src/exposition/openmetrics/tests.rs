//! Cases of our own, and the format's own test set where it is at hand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

type Samples<'a> = &'a [(&'a str, f64, Option<i64>)];

fn check(body: &str, expected: Result<Samples<'_>, &str>) {
    match (parse(body), expected) {
        (Ok(seen), Ok(expected)) => {
            let seen: Vec<_> = seen.samples.iter().map(|s| (s.labels.to_string(), s.value.to_bits(), s.timestamp)).collect();
            let expected: Vec<_> =
                expected.iter().map(|(labels, value, at)| ((*labels).to_owned(), value.to_bits(), *at)).collect();
            assert_eq!(seen, expected, "{body}");
        }
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{body}: {error}"),
        (seen, _) => panic!("{body}: {seen:?}"),
    }
}

#[test]
fn samples() {
    check("a 1\n# EOF\n", Ok(&[(r#"{__name__="a"}"#, 1.0, None)]));
    check("a{} -1.5e3 1.000000001\n# EOF", Ok(&[(r#"{__name__="a"}"#, -1500.0, Some(1_000_000_001))]));
    check("a \u{fffd}1\n# EOF\n", Err("not a number"));
    check("a 1 -0.5\n# EOF\n", Ok(&[(r#"{__name__="a"}"#, 1.0, Some(-500_000_000))]));
    check("a 1 1.5e3\n# EOF\n", Ok(&[(r#"{__name__="a"}"#, 1.0, Some(1_500_000_000_000))]));
    check("a 1 1700000000.123456789\n# EOF\n", Ok(&[(r#"{__name__="a"}"#, 1.0, Some(1_700_000_000_123_456_789))]));
    check("a 1 99999999999\n# EOF\n", Ok(&[(r#"{__name__="a"}"#, 1.0, Some(i64::MAX))]));
    check(
        "a{b=\"x\\\"\\\\\\n\\z\",c=\"ü # }\"} +Inf\n# EOF\n",
        Ok(&[("{__name__=\"a\", b=\"x\\\"\\\\\\n\\\\z\", c=\"ü # }\"}", f64::INFINITY, None)]),
    );
}

#[test]
fn names_in_quotes() {
    let body = "# TYPE \"my.métric\" counter\n# UNIT \"my.métric\" \n# HELP \"my.métric\" x y\n\
                {\"my.métric_total\",\"le.x\"=\"1\",b=\"c\"} 1 # {\"t.id\"=\"x\"} 2\n# EOF\n";
    check(body, Ok(&[(r#"{__name__="my.métric_total", b="c", le.x="1"}"#, 1.0, None)]));
    let seen = parse(body).unwrap();
    assert_eq!((seen.families[0].name.as_str(), seen.families[0].help.as_str()), ("my.métric", "x y"));
    assert_eq!(seen.exemplars[0].labels.get("t.id"), "x");
    check("{b=\"c\",\"a b\"} 1\n# EOF\n", Ok(&[(r#"{__name__="a b", b="c"}"#, 1.0, None)]));
    check("a{\"b\"} 1\n# EOF\n", Err("line 1, column 3: \"b\" is a second metric name"));
    check("{\"a\",\"b\"} 1\n# EOF\n", Err("line 1, column 6: a second metric name after \"a\""));
    check("{b=\"c\"} 1\n# EOF\n", Err("line 1, column 1: a sample needs a metric name"));
    check("{\"\"} 1\n# EOF\n", Err("line 1, column 2: a name in quotes is empty"));
    check("{\"a} 1\n# EOF\n", Err("line 1, column 2: a label's value, or a name in quotes, does not end"));
    check("a_total 1 # {\"b\"} 1\n# EOF\n", Err("line 1, column 14: expected =\""));
    check("# TYPE \"a.b\"counter x\n# EOF\n", Err("line 1, column 8: not a metric name"));
}

#[test]
fn broken_lines_say_where() {
    check("", Err("line 1, column 1: an empty line"));
    check("a 1\n", Err("line 2, column 1: an empty line"));
    check("a 1", Err("line 1, column 1: the body does not end with # EOF"));
    check("a 1\n# EOF\n\n", Err("line 4, column 1: text after # EOF"));
    check("a 1\n# EOF\nb 1", Err("line 3, column 1: text after # EOF"));
    check("a 1\nbc{d=\"ü\"e=\"f\"} 1\n# EOF\n", Err("line 2, column 9: expected , or }"));
    check("a{b=\"c} 1\n# EOF\n", Err("line 1, column 5: a label's value, or a name in quotes, does not end"));
    check("a  1\n# EOF\n", Err("line 1, column 3: not a number"));
    check("a 1 2 \n# EOF\n", Err("line 1, column 6: unexpected"));
    check("a 1\r\n# EOF\n", Err("line 1, column 3: not a number"));
    check("a +NaN\n# EOF\n", Err("not a number"));
    check("a 1 Inf\n# EOF\n", Err("line 1, column 5: not a time"));
    check("#a\n# EOF\n", Err("line 1, column 1: a line with #"));
    check("# TYPE a untyped\n# EOF\n", Err("line 1, column 10: not a metric type"));
    check("# TYPE a\n# EOF\n", Err("line 1, column 9: # TYPE needs"));
    check("# HELP a\tb c d\n# EOF\n", Err("line 1, column 8: not a metric name"));
    check("# HELP a.b c\n# EOF\n", Err("line 1, column 8: not a metric name"));
}

#[test]
fn broken_rules_are_told_and_read_nevertheless() {
    let told = |body: &str, part: &str| {
        let body = format!("{body}\n# EOF\n");
        check(&body, Err(part));
        let (exposition, broken) = read(&body).unwrap();
        assert!(broken.is_some());
        assert_eq!(exposition.samples.len(), body.lines().filter(|line| !line.starts_with('#')).count(), "{body}");
    };
    told("a{b=\"c\",} 1", "line 1, column 8: a comma before }");
    told("a 1\nb 1\na 2", "line 4, column 1: a belongs to a family that came before");
    told("# TYPE a counter\na_total -1", "line 2, column 9: the value of a_total must not be negative");
    told("# TYPE a counter\na 1", "a belongs to a family that came before");
    told("# TYPE a gauge\na{b=\"1\"} 1\na{b=\"2\"} 1\na{b=\"1\"} 1", "line 4, column 1: samples of a{b=\"1\"} are not together");
    told("# TYPE a gauge\na 1 2\na 1 1", "backwards");
    told("# TYPE a gauge\na 1 2\na 1", "some have none");
    told("# TYPE a gauge\na 1 # {} 1", "line 2, column 4: only a counter's total");
    told("# TYPE a histogram\na_bucket{le=\"1\"} 1", "no +Inf");
    told("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1", "line 3, column 21: a bucket counts less");
    told("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1", "count unlike");
    told("# TYPE a histogram\na_bucket{le=\"+Inf\"} 0.5", "whole number");
    told("# TYPE a summary\na{quantile=\"2\"} 1", "between 0 and 1");
    told("# TYPE a stateset\na 1", "label named a");
    told("# TYPE a info\na_info 2", "must be 1");
    told("# UNIT a seconds\na 1", "does not end with its unit");
    told("a 1\n# HELP a late", "metadata of a after its samples");
    told("# HELP a b\n# HELP a b", "twice");
}

#[test]
fn metadata_and_exemplars_are_kept() {
    let body = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds b\\nc\\\"\nb 1\n# TYPE c counter\n\
                c_total 3 # {trace_id=\"d\"} 0.5 1.5\n# EOF\n";
    let seen = parse(body).unwrap();
    assert_eq!(seen.families.len(), 2);
    assert_eq!((seen.families[0].help.as_str(), seen.families[0].unit.as_str()), ("b\nc\"", "seconds"));
    let labels = Labels::from_pairs([("trace_id", "d")]);
    assert_eq!(seen.exemplars, [Exemplar { sample: 1, labels, value: 0.5, timestamp: Some(1_500_000_000) }]);
}

/// weir's own `/metrics` keeps the rules that it reads by.
#[test]
fn our_own_metrics_are_openmetrics() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = crate::metrics::CollectorMetrics::default();
    metrics.register(&mut registry);
    metrics.lost("files", "a \"quoted\" reason", 3);
    metrics.pinned_bytes.set(-1);
    let mut body = String::new();
    prometheus_client::encoding::text::encode(&mut body, &registry).unwrap();
    let seen = parse(&body).unwrap();
    let lost = seen.samples.iter().find(|sample| sample.labels.get("reason") == "a \"quoted\" reason").unwrap();
    assert_eq!((lost.labels.get("__name__"), lost.value), ("weir_collector_lost_bytes_total", 3.0));
}

proptest::proptest! {
    #[test]
    fn nothing_panics(body in "(# (TYPE|HELP|UNIT) |[aü_\\\\{}\"=,#. 1\n-]|le=\"|# EOF|histogram|_bucket){0,40}") {
        let _ = read(&body);
    }
}

/// Where the test set lies: `WEIR_SHARED`, or `shared` beside the workspace.
fn shared() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("WEIR_SHARED").map_or_else(beside, PathBuf::from).join("conformance/openmetrics")
}

/// Absent, it is told and nothing is tried: the cases above always are.
#[test]
fn the_formats_own_cases() {
    let Ok(cases) = std::fs::read_dir(shared()) else {
        assert!(std::env::var_os("WEIR_SHARED").is_none(), "WEIR_SHARED names a folder without {}", shared().display());
        println!("NOT RUN: {} is not here", shared().display());
        return;
    };
    let listed = include_str!("../openmetrics_failing.txt").lines().filter(|line| !line.starts_with('#'));
    let listed: BTreeSet<String> = listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    let (mut count, mut failing) = (0, BTreeSet::new());
    for case in cases {
        let case = case.unwrap().path();
        let Ok(told) = std::fs::read(case.join("test.json")) else { continue };
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        let body = std::fs::read(case.join("metrics")).unwrap();
        let seen = String::from_utf8(body).map_err(|error| error.to_string());
        let seen = seen.and_then(|body| parse(&body).map_err(|error| error.to_string()));
        if seen.is_ok() != told["shouldParse"].as_bool().unwrap() {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            println!("{name}: {:?}", seen.err());
            failing.insert(name);
        }
        count += 1;
    }
    assert!(count > 200, "only {count} cases");
    assert_eq!(failing, listed, "the list of failing cases is not what fails");
}
