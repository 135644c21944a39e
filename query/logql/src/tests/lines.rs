//! Log queries and the pipeline.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::id::TraceId;
use weir_model::label::Labels;
use weir_model::select::{Budget, NoBudget, ReadError};
use weir_model::time::TimeRange;

use crate::eval::Steps;
use crate::eval::lines::{LogOptions, lines};
use crate::eval::metric::{MetricOptions, metric};
use crate::eval::volume::volume;
use crate::memory::MemoryLogs;
use crate::pipeline::readable;
use crate::{Expr, LogExpr, parse};

fn log(query: &str) -> LogExpr {
    match parse(query).unwrap_or_else(|error| panic!("{query}: {error}")) {
        Expr::Log(log) => log,
        _ => panic!("{query} is no log query"),
    }
}

fn options() -> LogOptions {
    let range = TimeRange { start: 0, end: 1000 };
    LogOptions { scope: weir_model::scope::Scope::of("t"), range, limit: 100, newest_first: false, detected_level: false }
}

fn ask(store: &MemoryLogs, query: &str, options: &LogOptions) -> Vec<String> {
    let answer = lines(store, query, &log(query), options, &NoBudget).unwrap_or_else(|error| panic!("{query}: {error}"));
    answer.value.iter().map(|entry| readable(entry.text()).into_owned()).collect()
}

fn shop() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    store.push(&[("app", "shop"), ("pod", "a")], 10, b"GET /cart 200");
    store.push(&[("app", "shop"), ("pod", "b")], 20, b"GET /pay 500");
    store.push(&[("app", "shop"), ("pod", "a")], 30, b"POST /pay 200");
    store.push(&[("app", "mail"), ("pod", "m")], 40, b"sent \xff ok");
    store
}

#[test]
fn selectors_and_line_filters() {
    let store = shop();
    let check = |query: &str, expected: &[&str]| assert_eq!(ask(&store, query, &options()), expected, "{query}");
    check(r#"{app="shop"}"#, &["GET /cart 200", "GET /pay 500", "POST /pay 200"]);
    check(r#"{app=~"s.*", pod!="a"}"#, &["GET /pay 500"]);
    check(r#"{app="shop"} |= "/pay""#, &["GET /pay 500", "POST /pay 200"]);
    check(r#"{app="shop"} |= "cart" or "500""#, &["GET /cart 200", "GET /pay 500"]);
    check(r#"{app="shop"} != "cart" or "500""#, &["POST /pay 200"]);
    check(r#"{app="shop"} |~ "GET|PUT""#, &["GET /cart 200", "GET /pay 500"]);
    check(r#"{app="shop"} !~ "2.0" or "x""#, &["GET /pay 500"]);
    check(r#"{app="shop"} |> "<_> /pay <_>""#, &["GET /pay 500", "POST /pay 200"]);
    check(r#"{app="shop"} |> "/pay""#, &[]);
    check(r#"{app="shop"} !> "GET <_>""#, &["POST /pay 200"]);
    check(r#"{app="mail"}"#, &[r"sent \xff ok"]);
    check(r#"{app="none"}"#, &[]);
}

#[test]
fn the_newest_or_oldest_within_start_inclusive_and_end_exclusive() {
    let store = shop();
    let check = |start, end, limit, newest_first, expected: &[&str]| {
        let options = LogOptions { range: TimeRange { start, end }, limit, newest_first, ..options() };
        assert_eq!(ask(&store, r#"{app="shop"}"#, &options), expected, "{start} {end} {limit} {newest_first}");
    };
    check(10, 30, 100, false, &["GET /cart 200", "GET /pay 500"]);
    check(0, 1000, 2, true, &["POST /pay 200", "GET /pay 500"]);
    check(0, 1000, 1, false, &["GET /cart 200"]);
    check(20, 20, 100, true, &[]);
    // The same time twice: the line's id decides, in both directions.
    let mut twins = MemoryLogs::default();
    for i in 0..4 {
        twins.push(&[("a", "b")], 5, format!("{i}").as_bytes());
    }
    let newest = LogOptions { limit: 3, newest_first: true, ..options() };
    assert_eq!(ask(&twins, r#"{a="b"}"#, &newest), ["3", "2", "1"]);
    assert_eq!(ask(&twins, r#"{a="b"}"#, &LogOptions { newest_first: false, ..newest }), ["0", "1", "2"]);
}

/// The labels (without the stream's own `a="b"`) and text of the only line after the pipeline; "-" when it was dropped.
fn check(body: &str, pipeline: &str, labels: &str, text: &str) {
    let mut store = MemoryLogs::default();
    let line = store.push(&[("a", "b")], 5, body.as_bytes());
    line.attributes = Labels::from_pairs([("meta", "m")]);
    let query = format!(r#"{{a="b"}} {pipeline}"#);
    let answer = lines(&store, &query, &log(&query), &options(), &NoBudget).unwrap();
    let shown = answer.value.first().map_or(("-".to_owned(), "-".to_owned()), |entry| {
        let labels =
            entry.labels.iter().filter(|(name, value)| (*name, *value) != ("a", "b") && (*name, *value) != ("meta", "m"));
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        (labels.join(" "), readable(entry.text()).into_owned())
    });
    assert_eq!(shown, (labels.to_owned(), text.to_owned()), "{body} {pipeline}");
}

#[test]
fn json() {
    let nested = r#"{"x":{"y":1.0,"z":"s"},"n":null,"l":[1,2],"t":true,"x_y":"late","k-d.e":"v"}"#;
    check(nested, "| json", "k_d_e=v t=true x_y=1.0 x_z=s", nested);
    check(nested, r#"| json one="l[1]", two="x.z", gone="q.r", obj="x""#, r#"gone= obj={"y":1.0,"z":"s"} one=2 two=s"#, nested);
    check(r#"{"a":"own","meta":"p"}"#, "| json", "a_extracted=own meta_extracted=p", r#"{"a":"own","meta":"p"}"#);
    check(r#"{"k":"1","k":"2"}"#, "| json", "k=1", r#"{"k":"1","k":"2"}"#);
    check(
        "{\"big\":12345678901234567890}",
        "| json | big=\"12345678901234567890\"",
        "big=12345678901234567890",
        "{\"big\":12345678901234567890}",
    );
    check(
        "no json",
        "| json",
        "__error__=JSONParserErr __error_details__=Value looks like object, but can't find closing '}' symbol",
        "no json",
    );
    check("no json", r#"| json | __error__="""#, "-", "-");
    check("no json", "| json | drop __error__, __error_details__", "", "no json");
    check(r#"{"u":"\u00fc\n"}"#, "| json", "u=ü\n", r#"{"u":"\u00fc\n"}"#);
    check(r#"{"_entry":"the line","pod":"p","n":1}"#, "| unpack", "pod=p", "the line");
}

#[test]
fn json_or_logfmt_is_what_the_line_is() {
    let nested = r#"{"x":{"y":1.0},"msg":"level=error b=c"}"#;
    check(nested, "| json_or_logfmt", "msg=level=error b=c x_y=1.0", nested);
    check(r#"{"k":"v","cut":"#, "| json_or_logfmt", "k=v", r#"{"k":"v","cut":"#);
    check(r#"took k=v q="a b" e="#, "| json_or_logfmt", "k=v q=a b", r#"took k=v q="a b" e="#);
    check("no field", "| json_or_logfmt", "", "no field");
    check("k=v", r#"| json_or_logfmt | k="v" or k="w""#, "k=v", "k=v");
}

#[test]
fn a_condition_may_be_on_the_line() {
    check("Disk full", r#"| __line__=~"(?i).*disk.*" and meta="m""#, "", "Disk full");
    check("Disk full", r#"| __line__="Disk full""#, "", "Disk full");
    check("Disk full", r#"| __line__!~".*full""#, "-", "-");
    check("k=v", r#"| logfmt | line_format "now {{.k}}" | __line__="now v""#, "k=v", "now v");
}

#[test]
fn logfmt_regexp_pattern() {
    check(r#"k=v q="a \"b\"" e= flag 9x=1 k=w"#, "| logfmt", r#"_9x=1 k=v q=a "b""#, r#"k=v q="a \"b\"" e= flag 9x=1 k=w"#);
    check("k=v e= flag", "| logfmt --keep-empty", "e= flag= k=v", "k=v e= flag");
    check("k=v x=\"open", "| logfmt", "k=v", "k=v x=\"open");
    check(
        "k=v x=\"open",
        "| logfmt --strict",
        "__error__=LogfmtParserErr __error_details__=logfmt syntax error at pos 12 : unterminated quoted value k=v",
        "k=v x=\"open",
    );
    check("k=v l=w", r#"| logfmt n="l""#, "n=w", "k=v l=w");
    check("GET /pay 500", r#"| regexp "(?P<verb>\\w+) (?P<path>\\S+)""#, "path=/pay verb=GET", "GET /pay 500");
    check("1.2.3.4 - - [now] x", r#"| pattern "<ip> - - [<at>] <_>""#, "at=now ip=1.2.3.4", "1.2.3.4 - - [now] x");
    check("1.2.3.4 and no more", r#"| pattern "<ip> and <rest>!""#, "ip=1.2.3.4 rest=no more", "1.2.3.4 and no more");
}

#[test]
fn label_filters() {
    let line = "n=5 d=250ms s=2,048 e=x";
    let passes = |filter: &str, expected: bool| {
        let text = if expected { line } else { "-" };
        let mut store = MemoryLogs::default();
        store.push(&[("a", "b")], 5, line.as_bytes());
        let got = ask(&store, &format!(r#"{{a="b"}} | logfmt | {filter}"#), &options());
        assert_eq!(got.first().map_or("-", String::as_str), text, "{filter}");
    };
    for (filter, expected) in [
        ("n=5", true),
        ("n!=5", false),
        ("n>4 and d<1s", true),
        ("n>4, d>1s", false),
        ("n>9 or e=\"x\"", true),
        ("n>9 or e=\"x\" and n<5", false),
        ("(n>9 or e=\"x\") n<6", true),
        ("d=250ms", true),
        ("s>2KB", true),
        ("s>2KiB", false),
        ("gone!=5", false),
        ("gone!=\"5\"", true),
        ("gone=\"\"", true),
        ("e=~\"x|y\"", true),
        ("n=\"5\"", true),
    ] {
        passes(filter, expected);
    }
    check(
        "e=x",
        r#"| logfmt | e>5"#,
        r#"__error__=LabelFilterErr __error_details__=strconv.ParseFloat: parsing "x": invalid syntax e=x"#,
        "e=x",
    );
    check(
        "d=1d",
        r#"| logfmt | d>5s"#,
        r#"__error__=LabelFilterErr __error_details__=time: unknown unit "d" in duration "1d" d=1d"#,
        "d=1d",
    );
}

#[test]
fn formats_drop_and_keep() {
    check("k=v", r#"| logfmt | line_format "<{{.k}}> {{ .k | ToUpper }} {{__line__}}""#, "k=v", "<v> V k=v");
    check(
        "k=v",
        r#"| logfmt | line_format "{{ .gone | default \"none\" }} {{ trunc 1 (lower .k) }}" |= "none""#,
        "k=v",
        "none v",
    );
    check("k=v", r#"| logfmt | label_format l=k, m="{{.l}}{{.a}}""#, "l=v m=vb", "k=v");
    check("k=v l=w", "| logfmt | drop k, l=\"no\"", "l=w", "k=v l=w");
    check("k=v l=w", "| logfmt | keep a, meta, l", "l=w", "k=v l=w");
    check("\x1b[31mred\x1b[0m", r#"| decolorize |= "red""#, "", "red");
    check(
        "k=v",
        r#"| logfmt | line_format "{{ if .k }}x{{ end }}{{ range $i, $c := fromJson `[1,2]` }}{{ $i }}{{ end }}""#,
        "k=v",
        "x01",
    );
    let failed =
        "__error__=TemplateFormatErr __error_details__=template: line 1, col 3: error calling div: integer divide by zero k=v";
    check("k=v", r#"| logfmt | line_format "{{div 1 .k}}""#, failed, "k=v");
    check("k=v", r#"| logfmt | label_format n="{{div 1 .k}}""#, failed, "k=v");
    let query = r#"{a="b"} | line_format "{{ quote .k }}""#;
    let error = lines(&MemoryLogs::default(), query, &log(query), &options(), &NoBudget).unwrap_err();
    let expected = "parse error at line 1, col 9: invalid template: line 1, col 4: function \"quote\" not defined";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn metadata_and_trace_ids_are_labels_without_a_parser() {
    let mut store = MemoryLogs::default();
    let line = store.push(&[("a", "b")], 5, b"x");
    (line.trace_id, line.attributes) = (TraceId([1; 16]), Labels::from_pairs([("a", "clash"), ("user", "u")]));
    let query = r#"{a="b"} | user="u" | trace_id=~"01.*""#;
    let found = lines(&store, query, &log(query), &options(), &NoBudget).unwrap().value;
    let categories = &found[0].categories;
    assert_eq!(categories.stream.to_string(), r#"{a="b"}"#);
    assert_eq!(
        categories.metadata.to_string(),
        r#"{a_extracted="clash", trace_id="01010101010101010101010101010101", user="u"}"#
    );
    assert_eq!(categories.parsed.to_string(), "{}");
    let levels = LogOptions { detected_level: true, ..options() };
    let found = lines(&store, r#"{a="b"}"#, &log(r#"{a="b"}"#), &levels, &NoBudget).unwrap().value;
    assert_eq!(found[0].labels.get("detected_level"), Some("unknown"));
}

#[test]
fn what_parsers_make_of_one_line_is_limited() {
    let run = |line: String| {
        let Expr::Log(log) = crate::parse(r#"{a="b"} | json"#).unwrap() else { panic!("no log query") };
        let pipeline = crate::pipeline::Pipeline::compile("", &log, crate::pipeline::Lines::Needed).unwrap();
        let mut labels = crate::pipeline::labels::LineLabels::default();
        let (_, peak) = weir_model::fuzz::peak_of(None, || {
            assert!(pipeline.run(line.as_bytes(), 0, &mut labels).is_some());
        });
        (labels.error().map(str::to_owned), labels.all().iter().count(), peak)
    };
    let wide = |count: usize| format!("{{{}}}", (0..count).map(|i| format!("\"k{i}\":{i}")).collect::<Vec<_>>().join(","));
    assert_eq!(run(wide(4_096)).0, None);
    let (error, labels, _) = run(wide(5_000));
    assert_eq!((error.as_deref(), labels), (Some("LabelLimitErr"), 4_096 + 2));
    // A name repeats the keys around it: 60 KB of them before each of 10,000 leaves would be 600 MB.
    let long = format!("{{\"{}\":", "k".repeat(1_000)).repeat(60);
    let leaves = (0..10_000).map(|i| format!("\"l{i}\":{i}")).collect::<Vec<_>>().join(",");
    let (error, _, peak) = run(format!("{long}{{{leaves}}}{}", "}".repeat(60)));
    assert_eq!(error.as_deref(), Some("JSONParserErr"));
    assert!(peak < 16 << 20, "{peak}");
}

/// How often it is asked whether the time is over, which it is from one of these on.
struct Checks {
    count: AtomicU64,
    over_at: u64,
}

impl Budget for Checks {
    fn check(&self) -> Result<(), ReadError> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before < self.over_at { Ok(()) } else { Err(ReadError::Cancelled("it is over")) }
    }
    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }
}

#[test]
fn the_time_is_looked_at_between_lines_with_templates() {
    let store = shop();
    // Of the query as lines, as their volume and as a metric.
    let asked = |stage: &str, over_at: u64| {
        let query = format!("{{app=\"shop\"}} | {stage}");
        let log = log(&query);
        let ask = |ask: &dyn Fn(&Checks) -> Option<String>| {
            let checks = Checks { count: AtomicU64::new(0), over_at };
            (ask(&checks), checks.count.into_inner())
        };
        let counted = format!("count_over_time({query} [1s])");
        let steps = Steps::instant(500);
        let metric_options = MetricOptions { scope: options().scope, steps, detected_level: false, series_max: 10 };
        [
            ask(&|checks| lines(&store, &query, &log, &options(), checks).err().map(|error| error.to_string())),
            ask(&|checks| volume(&store, &query, &log, 10, &options(), checks).err().map(|error| error.to_string())),
            ask(&|checks| {
                let expr = parse(&counted).unwrap_or_else(|error| panic!("{counted}: {error}"));
                metric(&store, &counted, &expr, &metric_options, checks).err().map(|error| error.to_string())
            }),
        ]
    };
    let (plain, templates) = (asked("label_format a=app", u64::MAX), asked("label_format a=\"{{.app}}\"", u64::MAX));
    // Lines of an answer are looked at once more, when they get their labels.
    for ((plain, templates), times) in plain.iter().zip(&templates).zip([6, 3, 3]) {
        assert_eq!((&templates.0, templates.1), (&None, plain.1 + times));
    }
    for (failure, checks) in asked("label_format a=\"{{.app}}\"", 1) {
        assert_eq!((failure.as_deref(), checks), (Some("the query was cancelled: it is over"), 2));
    }
    assert_eq!(asked("line_format \"{{.app}}\"", 1)[0].1, 2);
}
