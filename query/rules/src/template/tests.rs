//! A table of templates and what they render to, and of those that are refused.

use weir_model::fuzz::{Fuzz, MemoryLimit, on_a_small_stack};
use weir_model::label::Labels;

use super::{Scope, Template};

fn expand(source: &str, value: f64) -> String {
    let labels = Labels::from_pairs([("instance", "node-1.example.com:9100"), ("job", "node")]);
    let query = |query: &str| match query {
        "up" => Ok(vec![(Labels::from_pairs([("job", "b")]), 2.0), (Labels::from_pairs([("job", "a")]), 1.0)]),
        _ => Err("1:1: parse error: no expression found in input".to_owned()),
    };
    let external_labels = [("cluster".to_owned(), "c1".to_owned())].into();
    let scope = Scope { labels: &labels, value, external_url: "http://weir", external_labels: &external_labels, query: &query };
    Template::compile(source).unwrap_or_else(|error| panic!("{source}: {error}")).expand(&scope)
}

#[track_caller]
fn check(source: &str, value: f64, expected: &str) {
    assert_eq!(expand(source, value), expected, "{source}");
}

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/template");
/// Twice what a query's patterns may take.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };

#[test]
fn rule_files_of_the_field_expand() {
    check("{{ $labels.instance }} of {{ .Labels.job }}: {{ $value }}", 0.25, "node-1.example.com:9100 of node: 0.25");
    check("{{ $externalLabels.cluster }} {{ .ExternalLabels.cluster }} {{ $externalURL }}", 1.0, "c1 c1 http://weir");
    check("{{ printf \"%.2f\" $value }}%", 12.3456, "12.35%");
    check("{{ $value | humanizePercentage }}", 0.12345, "12.35%");
    check("{{ humanize $value }}", 1_234_567.0, "1.235M");
    check("{{ humanize1024 $value }}B", 3_221_225_472.0, "3GiB");
    check("{{ humanizeDuration $value }}", 93_784.0, "1d 2h 3m 4s");
    check("{{ humanizeDuration .Value }}", 0.0321, "32.1ms");
    check("{{ $value | humanizeTimestamp }}", 1_435_065_584.0, "2015-06-23 13:19:44 +0000 UTC");
    check("{{ $labels.missing }}|{{ index $labels \"job\" }}", 1.0, "|node");
    check("{{ if gt $value 0.5 }}high{{ else if eq $value 0.5 }}half{{ else }}low{{ end }}", 0.5, "half");
    check("{{ with $labels.job }}[{{ . }}]{{ end }}{{ with $labels.nope }}x{{ else }}-{{ end }}", 1.0, "[node]-");
    check("{{ range query \"up\" | sortByLabel \"job\" }}{{ .Labels.job }}={{ .Value }} {{ end }}", 1.0, "a=1 b=2 ");
    check("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", 1.0, "2");
    check("a {{- /* gone */ -}} b{{ $x := 3 }}{{ $x }}", 1.0, "ab3");
    check(
        "{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }} {{ stripDomain $labels.instance }}",
        1.0,
        "node-1.example.com node-1:9100",
    );
    check("{{ $value }} {{ printf \"%5.1f|%-4s|%d|%s\" 2.25 \"ab\" 7 1 }}", 1e-7, "1e-07   2.2|ab  |7|%!s(int=1)");
    check("{{ $value }} {{ .Value }}", 1_234_567.0, "1.234567e+06 1.234567e+06");
    check("{{ printf \"%s %s %v\" .Labels.job $labels.instance .Value }}", 2.0, "node node-1.example.com:9100 2");
    check("{{ range query \"up\" }}{{ . }}{{ label \"job\" . }}{{ break }}{{ end }}", 1.0, "{map[job:b] 2}b");
    check("{{ (args 1 \"a\").arg1 }} {{ args 1 \"a\" }} {{ title \"it's a-b\" }}", 1.0, "a map[arg0:1 arg1:a] It'S A-B");
    check(
        "{{ match \"^no\" $labels.job }} {{ $labels.job | toUpper }} {{ print $value 1 }} {{ len . }}",
        1.0,
        "<error expanding template: len of type rule data>",
    );
    check("{{ match \"^no\" $labels.job }} {{ $labels.job | toUpper }} {{ print $value 1 }}", 1.0, "true NODE 1 1");
    check("{{ tableLink \"a b+c\" }}", 1.0, "/graph?g0.expr=a+b%2Bc&g0.tab=1");
    check("{{ query \"\" }}", 1.0, "<error expanding template: 1:1: parse error: no expression found in input>");
}

#[test]
fn what_is_wrong_is_said_at_load() {
    let wrong =
        |source: &str, expected: &str| assert_eq!(Template::compile(source).map(|_| ()), Err(expected.to_owned()), "{source}");
    wrong("a\n{{ nope $value }}", "line 2: function \"nope\" not defined");
    wrong("{{ $nope }}", "line 1: undefined variable \"$nope\"");
    wrong("\n\n{{ toUpper }}", "line 3: wrong number of args for toUpper: want 1 got 0");
    wrong("{{ match \"(\" $labels.job }}", "line 1: bad regular expression \"(\": unclosed group");
    wrong("{{ $value ", "line 1: unclosed action");
    wrong("{{ if $value }}x", "line 1: {{if}} lacks its {{end}}");
    wrong("{{ end }}", "line 1: unexpected {{end}}");
    wrong("{{ template \"x\" }}", "line 1: template \"x\" not defined");
    wrong("{{ | }}", "line 1: missing value for command");
    wrong(&"{{ if 1 }}\n".repeat(100), "line 64: nested deeper than 64");
}

/// On half the stack that threads have: what does not fit aborts the tests.
#[test]
fn deep_and_long_templates_are_refused_by_line_or_expand() {
    on_a_small_stack(|| {
        for (part, line) in [
            ("{{ if 1 }}\n", 64),
            ("{{ range query \"up\" }}\n", 64),
            ("{{ if 1 }}\n{{ else }}\n", 127),
            ("{{ with 1 }}{{ else }}\n", 64),
        ] {
            let error = Template::compile(&part.repeat(30_000)).map(|_| ()).unwrap_err();
            assert_eq!(error, format!("line {line}: nested deeper than 64"), "{part}");
        }
        let chain = |times: usize| format!("{{{{ if eq 1 2 }}}}{}{{{{ end }}}}", "\n{{ else if eq 1 2 }}".repeat(times));
        assert_eq!(Template::compile(&chain(30_000)).map(|_| ()).unwrap_err(), "line 64: nested deeper than 64");
        assert_eq!(expand(&chain(60), 1.0), "");
        let brackets = |times: usize| format!("{{{{ {}1{} }}}}", "(".repeat(times), ")".repeat(times));
        assert_eq!(Template::compile(&brackets(30_000)).map(|_| ()).unwrap_err(), "line 1: nested deeper than 64");
        check(&brackets(64), 1.0, "1");
        check(&format!("{}x{}", "{{ if 1 }}".repeat(63), "{{ end }}".repeat(63)), 1.0, "x");
        check(&format!("{{{{ $value{} }}}}", " | print".repeat(30_000)), 5.0, "5");
        check(&"{{ $value }}".repeat(30_000), 5.0, &"5".repeat(30_000));
    });
}

#[test]
fn values_that_double_end_with_an_error() {
    let doubled = |action: &str| expand(&format!("{{{{ $x := \"ab\" }}}}{}", action.repeat(60)), 1.0);
    let expected = "<error expanding template: arguments of print with more than 16777216 bytes>";
    assert_eq!(doubled("{{ $x = print $x $x }}"), expected);
    assert_eq!(doubled("{{ $x = args $x $x }}"), "<error expanding template: args takes no list>");
    let loops = format!("{}{}", "{{ range query \"up\" }}".repeat(40), "{{ end }}".repeat(40));
    check(&loops, 1.0, "<error expanding template: more than 1000000 actions>");
}

#[test]
fn fuzzed_templates_expand_or_are_refused() {
    let words = [
        "{{",
        "}}",
        "{{ if 1 }}",
        "{{ else }}",
        "{{ else if 1 }}",
        "{{ end }}",
        "{{ range query \"up\" }}",
        "{{ $x = print $x $x }}",
        "$value",
        ".",
        "|",
        "(",
        ")",
        "\"",
        "`",
        "printf \"%500d\" ",
        "args ",
        "-",
        "1",
        ":=",
    ];
    Fuzz::new("template").corpus(CORPUS).text().memory(MEMORY).words(&words).run(|input| {
        let source = std::str::from_utf8(input).expect("invariant: inputs are text");
        let labels = Labels::from_pairs([("instance", "node-1.example.com:9100")]);
        let query = |_: &str| Ok(vec![(Labels::from_pairs([("job", "b")]), 2.0), (Labels::from_pairs([("job", "a")]), 1.0)]);
        let external_labels = Default::default();
        let scope =
            Scope { labels: &labels, value: 1.5, external_url: "http://weir", external_labels: &external_labels, query: &query };
        match Template::compile(source) {
            Ok(template) => assert!(template.expand(&scope).len() < 1 << 20),
            Err(error) => assert!(error.len() < 1_000, "{error}"),
        }
    });
}
