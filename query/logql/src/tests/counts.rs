//! Queries that are answered by counts say what lines say, and labels that nobody asks for change nothing.

use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert_eq, prop_oneof, proptest};
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, CountBy, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, NoBudget, OwnedLine, ReadError, TakeCount,
};
use weir_model::time::{SECOND, TimeRange};

use crate::eval::lines::LogOptions;
use crate::eval::metric::{MetricOptions, metric};
use crate::eval::volume::volume;
use crate::eval::{Answer, Steps, Value};
use crate::memory::MemoryLogs;
use crate::{Expr, QueryError, parse};

fn ask(reader: &dyn LogReader, query: &str, steps: Steps, detected_level: bool) -> Result<Answer<Value>, QueryError> {
    let options = MetricOptions { scope: Scope::of("t"), steps, detected_level, series_max: 1000 };
    metric(reader, query, &parse(query).unwrap(), &options, &NoBudget)
}

/// Gives no lines, only counts.
struct CountsOnly(MemoryLogs);

impl LogReader for CountsOnly {
    fn visit(&self, _: &LogSelect, _: &dyn Budget, _: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        Err(ReadError::Store("lines are asked for".into()))
    }
    fn counts(&self, select: &LogSelect, by: &CountBy, budget: &dyn Budget, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        self.0.counts(select, by, budget, take)
    }
    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        self.0.streams(select, budget)
    }
    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        self.0.line(scope, id, context, budget)
    }
    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        self.0.tail(select)
    }
}

fn few() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    for (i, (pod, severity)) in [("a", 17), ("a", 9), ("b", 17), ("b", 22), ("b", 0)].into_iter().enumerate() {
        let line = store.push(&[("app", "x"), ("pod", pod)], i as i64 * SECOND, b"some x");
        (line.severity, line.attributes) = (severity, Labels::from_pairs([("user", i.to_string())]));
        line.trace_id.0[0] = i as u8;
    }
    store
}

#[test]
fn what_is_answered_by_counts() {
    let reader = CountsOnly(few());
    let steps = Steps { start: 4 * SECOND, step: 2 * SECOND, count: 2 };
    let of = |query: &str| match ask(&reader, query, steps, true).map_err(|error| error.to_string()) {
        Ok(answer) => {
            let Value::Vector(series) = answer.value else { panic!("{query}") };
            let text = |point: &Option<f64>| point.map_or("_".to_owned(), |value| value.to_string());
            let points = |points: &[Option<f64>]| points.iter().map(text).collect::<Vec<_>>().join(" ");
            series.iter().map(|one| format!("{} {}", one.labels, points(&one.points))).collect::<Vec<_>>().join("; ")
        }
        Err(error) => error,
    };
    let check = |query: &str, expected: &str| assert_eq!(of(query), expected, "{query}");
    check(r#"sum(count_over_time({app="x"}[10s]))"#, "{} 5 5");
    check(r#"sum by (pod) (count_over_time({app="x"}[3s]))"#, r#"{pod="b"} 3 1"#);
    check(
        r#"sum by (detected_level) (rate({app="x"} |= "x" [4s]))"#,
        "{detected_level=\"critical\"} 0.25 0.25; {detected_level=\"error\"} 0.25 _; {detected_level=\"info\"} 0.25 _; {detected_level=\"unknown\"} 0.25 0.25",
    );
    check(r#"sum by (level) (bytes_over_time({app="x"} | detected_level=~"error|critical" [10s]))"#, "{} 18 18");
    check(r#"sum by (user) (count_over_time({app="x"} | pod="b" | user!="3" [10s]))"#, r#"{user="2"} 1 1; {user="4"} 1 1"#);
    check(r#"absent_over_time({app="x"} | detected_level="warn" [4s])"#, r#"{app="x"} 1 1"#);
    check(r#"sum(count_over_time({app="x"} | pod="b" or detected_level="info" [4s] offset 1s))"#, "{} 3 3");
    check(
        r#"count_over_time({app="x"} | pod="a" [10s])"#,
        "{app=\"x\", detected_level=\"error\", pod=\"a\", user=\"0\"} 1 1; \
         {app=\"x\", detected_level=\"info\", pod=\"a\", trace_id=\"01000000000000000000000000000000\", user=\"1\"} 1 1",
    );
    check(
        r#"sum without (user, trace_id, pod) (count_over_time({app="x"} | detected_level="error" [10s]))"#,
        r#"{app="x", detected_level="error"} 2 2"#,
    );
    let lines = "the store cannot be read: lines are asked for";
    for needs in [
        r#"sum by (trace_id) (count_over_time({app="x"}[10s]))"#,
        r#"sum by (pod_extracted) (count_over_time({app="x"}[10s]))"#,
        r#"sum(count_over_time({app="x"} | json [10s]))"#,
        r#"sum(count_over_time({app="x"} | user > 2 [10s]))"#,
        r#"sum(count_over_time({app="x"} | __line__=~"x" [10s]))"#,
        r#"sum(count_over_time({app="x"} |> "<_>x" [10s]))"#,
        r#"sum(bytes_over_time({app="x"} | line_format "x" [10s]))"#,
        // Lines between windows are left closed.
        r#"sum(count_over_time({app="x"} |= "x" [1s]))"#,
    ] {
        check(needs, lines);
    }
    check(r#"sum(count_over_time({app="x"}[1s]))"#, "{} 1 _");
}

#[test]
fn volumes_are_counted() {
    let count = |pipeline: &str| {
        let query = format!("{{app=\"x\"}} {pipeline}");
        let Ok(Expr::Log(log)) = parse(&query) else { panic!("{query}") };
        let options = LogOptions {
            scope: Scope::of("t"),
            range: TimeRange { start: 0, end: 4 * SECOND },
            limit: 0,
            newest_first: false,
            detected_level: true,
        };
        volume(&CountsOnly(few()), &query, &log, 10 * SECOND, &options, &NoBudget)
            .map(|counts| counts.value.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(count(r#"| detected_level="critical""#).unwrap(), [((0, "fatal"), (1, 6))]);
    assert_eq!(count(r#"| pod="a""#).unwrap(), [((0, "error"), (1, 6)), ((0, "info"), (1, 6))]);
    assert!(count("| json").is_err());
}

fn any_store() -> impl Strategy<Value = MemoryLogs> {
    let time = prop_oneof![2 => -30 * SECOND..60 * SECOND, 1 => (-3..6_i64).prop_map(|tens| tens * 10 * SECOND)];
    let user = prop_oneof![2 => Just(""), 1 => Just("u"), 1 => Just("v")];
    let body = prop_oneof![Just("x=1 user=w"), Just("y=2 x=7"), Just("x"), Just("x=z level=l")];
    let line = (time, 0..3_usize, user, prop_oneof![Just(0_u8), Just(9), Just(17), Just(21), Just(22)], body);
    prop::collection::vec(line, 0..30).prop_map(|lines| {
        let mut store = MemoryLogs::default();
        for (at, stream, user, severity, body) in lines {
            let streams: [&[(&str, &str)]; 3] = [
                &[("app", "x"), ("pod", "a")],
                &[("app", "x"), ("pod", "b"), ("user", "own")],
                &[("app", "x"), ("detected_level", "mine")],
            ];
            let line = store.push(streams[stream], at, body.as_bytes());
            (line.severity, line.attributes) = (severity, Labels::from_pairs([("user", user), ("detected_level", user)]));
            line.trace_id.0[0] = severity % 3;
        }
        store
    })
}

const FORMS: [&str; 14] = [
    "sum without (zzz) (count_over_time({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum without (pod, user, zzz) (bytes_over_time({app=\"x\"} | detected_level!=\"info\" STAGES [RANGE] OFFSET))",
    "sum by (pod) (count_over_time({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum by (detected_level) (bytes_over_time({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum by (user, level) (rate({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum(bytes_rate({app=\"x\"} |= \"x\" | detected_level=\"error\" STAGES [RANGE] OFFSET))",
    "sum by (user, pod) (count_over_time({app=\"x\"} | detected_level!=\"info\" or user=\"own\" STAGES [RANGE] OFFSET))",
    "absent_over_time({app=\"x\"} | user=\"u\" STAGES [RANGE] OFFSET)",
    "sum by (user_extracted) (count_over_time({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum by (detected_level, detected_level_extracted) (count_over_time({app=\"x\"} STAGES [RANGE] OFFSET))",
    "sum by (user, user_extracted, x) (count_over_time({app=\"x\"} | logfmt STAGES [RANGE] OFFSET))",
    "sum by (trace_id) (count_over_time({app=\"x\"} | logfmt | user_extracted!=\"w\" STAGES [RANGE] OFFSET))",
    "avg_over_time({app=\"x\"} | logfmt STAGES | unwrap x | __error__=\"\" [RANGE] OFFSET) by (pod)",
    "sum by (a, b) (count_over_time({app=\"x\"} | regexp \"x=(?P<a>.)\" | pattern \"<b>=<_>\" STAGES [RANGE] OFFSET))",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A stage that does nothing has lines be read one by one, and one with a template has all of their labels made.
    #[test]
    fn counts_and_lines_say_the_same(
        store in any_store(),
        form in 0..FORMS.len(),
        start in prop_oneof![Just(0), Just(10 * SECOND), -20 * SECOND..40 * SECOND],
        step in prop_oneof![Just(10 * SECOND), Just(5 * SECOND), SECOND..20 * SECOND],
        count in 1_usize..6,
        range in prop_oneof![Just("10s"), Just("20s"), Just("3s"), Just("7s500ms")],
        offset in prop_oneof![Just(""), Just("offset 10s"), Just("offset 1s"), Just("offset -3s")],
        level in proptest::prelude::any::<bool>(),
    ) {
        let steps = Steps { start, step, count };
        let of = |stages: &str| {
            let query = FORMS[form].replace("STAGES", stages).replace("RANGE", range).replace("OFFSET", offset);
            let answer = ask(&store, &query, steps, level);
            answer.map(|answer| (answer.value, answer.stats.lines_passed)).map_err(|error| error.to_string())
        };
        let plain = of("");
        prop_assert_eq!(&plain, &of("| label_format zzz=zzz"));
        let all = of("| label_format zzz=\"x\"");
        prop_assert_eq!(plain.map(|plain| plain.0).map_err(drop), all.map(|all| all.0).map_err(drop));
    }
}
