//! Templates and what Loki makes of them: Go 1.26 with Sprig 3.3 gave these answers.

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::label::Labels;
use weir_model::pattern::PatternBudget;

use super::Template;
use crate::pipeline::labels::LineLabels;

const JSON: &str = r#"{"a":{"b":[1,2.5,"x",null,true]},"s":"t"}"#;

fn labels() -> LineLabels {
    let mut labels = LineLabels::default();
    let pairs = [("foo", "BLIp"), ("n", "5"), ("f", "2.5"), ("sp", "  a b "), ("j", JSON), ("u", "ünïcode"), ("z", "010")];
    labels.set_stream(&Labels::from_pairs(pairs));
    labels
}

fn run(source: &str) -> Result<String, String> {
    Template::parse(source, &mut PatternBudget::default())?.render("the line", 1_656_353_124_120_000_000, &labels())
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(run(source).unwrap_or_else(|error| panic!("{source}: {error}")), expected, "{source}");
}

/// What one action prints.
#[track_caller]
fn each(cases: &[(&str, &str)]) {
    for (action, expected) in cases {
        check(&format!("{{{{ {action} }}}}"), expected);
    }
}

/// What one action fails with, after the place.
#[track_caller]
fn fail(cases: &[(&str, &str)]) {
    for (action, expected) in cases {
        let error = run(&format!("{{{{ {action} }}}}")).unwrap_err();
        assert_eq!(error, format!("template: line 1, col 4: error calling {expected}"), "{action}");
    }
}

#[test]
fn the_language_of_go() {
    check("{{ if eq .foo \"x\" }}a{{ else if hasPrefix \"BL\" .foo }}b{{ else }}c{{ end }}", "b");
    check(
        "{{ range $k, $v := . }}{{ if ne $k \"j\" }}{{ $k }}={{ $v }} {{ end }}{{ end }}",
        "f=2.5 foo=BLIp n=5 sp=  a b  u=ünïcode z=010 ",
    );
    check(
        "{{ with .nope }}{{ . }}{{ else }}none{{ end }}|{{ .nope }}|{{ $x := .n | int }}{{ if gt $x 4 }}big{{ end }}",
        "none||big",
    );
    check("a {{- /* c */ -}} b {{ printf \"%-6s|%03d\" .foo (int .n) }}", "ab BLIp  |005");
    check(
        "{{ (fromJson .j).a.b }} {{ index (fromJson .j) \"a\" \"b\" 2 }} {{ (fromJson .j).nope }}",
        "[1 2.5 x <nil> true] x <no value>",
    );
    check("{{ range (fromJson .j).a.b }}<{{ . }}>{{ end }}", "<1><2.5><x><<no value>><true>");
    check("{{ __line__ | upper }} {{ __timestamp__ }}", "THE LINE 2022-06-27 18:05:24.12 +0000 UTC");
    let refused = |source: &str, expected: &str| assert_eq!(run(source).unwrap_err(), format!("invalid template: {expected}"));
    refused("x\n{{ quote .a }}", "line 2, col 4: function \"quote\" not defined");
    refused("{{ if .a }}", "line 1, col 1: {{if}} lacks its {{end}}");
    refused("{{ ToLower }}", "line 1, col 4: wrong number of args for ToLower: want 1 got 0");
    refused("{{ count \"(\" .a }}", "line 1, col 4: bad regular expression \"(\": unclosed group");
    refused("{{ template \"x\" }}", "line 1, col 1: template \"x\" not defined");
    assert_eq!(run("{{ .foo.bar }}").unwrap_err(), "template: line 1, col 4: can't evaluate field bar in type string");
}

#[test]
fn texts() {
    each(&[
        ("Replace \"aaa\" \"a\" \"b\" 2", "bba"),
        ("Replace \"abc\" \"\" \"-\" -1", "-a-b-c-"),
        ("Replace \"abc\" \"\" \"-\" 2", "-a-bc"),
        ("Trim \"xxaxx\" \"x\"", "a"),
        ("TrimLeft \"xxaxx\" \"x\"", "axx"),
        ("TrimRight \"xxaxx\" \"x\"", "xxa"),
        ("TrimPrefix \"xxaxx\" \"x\"", "xaxx"),
        ("TrimSuffix \"xxaxx\" \"xx\"", "xxa"),
        ("TrimSpace .sp", "a b"),
        ("trimAll \"x\" \"xxaxx\"", "a"),
        ("trimPrefix \"x\" \"xxaxx\"", "xaxx"),
        ("trimSuffix \"xx\" \"xxaxx\"", "xxa"),
        ("trim .sp", "a b"),
        (".foo | replace \"I\" \"ii\"", "BLiip"),
        ("repeat 3 \"ab\"", "ababab"),
        ("repeat 2.0 \"a\"", "aa"),
        ("indent 2 \"a\\nb\"", "  a\n  b"),
        ("nindent 2 \"a\"", "\n  a"),
        ("title \"hello wORLD it's a-b x_y 9a\"", "Hello WORLD It'S A-B X_y 9a"),
        ("contains \"a\" \"abc\"", "true"),
        ("hasPrefix \"b\" \"abc\"", "false"),
        ("hasSuffix \"c\" \"abc\"", "true"),
        ("upper \"ünï ß\"", "ÜNÏ ß"),
        ("lower \"ÀB\"", "àb"),
        ("ToUpper .foo", "BLIP"),
        ("ToLower .foo", "blip"),
        ("trunc 2 .foo", "BL"),
        ("trunc -2 .foo", "Ip"),
        ("trunc 10 .foo", "BLIp"),
        ("trunc -10 .foo", "BLIp"),
        ("trunc 0 .foo", ""),
        ("trunc 2 .u", "ün"),
        ("substr 1 3 .foo", "LI"),
        ("substr -1 2 .foo", "BL"),
        ("substr 1 -1 .foo", "LIp"),
        ("substr 1 10 .foo", "LIp"),
        ("alignLeft 5 \"abc\"", "abc  "),
        ("alignLeft 2 \"abc\"", "ab"),
        ("alignRight 5 \"abc\"", "  abc"),
        ("alignRight 2 \"abc\"", "bc"),
        ("alignLeft -1 \"abc\"", "abc"),
        ("alignRight 3 .u", "ode"),
        ("default \"-\" .foo", "BLIp"),
        (".nope | default \"-\"", "-"),
        ("default \"-\"", "-"),
        ("default \"-\" 0", "-"),
        ("default \"-\" (fromJson \"[]\")", "-"),
        ("default 5 .nope", "5"),
        ("count \"a.\" \"abacad\"", "3"),
        ("regexReplaceAll \"a(.)\" \"abacad\" \"<$1>\"", "<b><c><d>"),
        ("regexReplaceAllLiteral \"a(.)\" \"abacad\" \"<$1>\"", "<$1><$1><$1>"),
        ("regexReplaceAll \"x*\" \"abc\" \"-\"", "-a-b-c-"),
        ("regexReplaceAll \"a(?P<n>.)\" \"abac\" \"${n}$\"", "b$c$"),
        ("regexReplaceAll .foo \"a BLIp\" \"x\"", "a x"),
        ("b64enc \"hi there?\"", "aGkgdGhlcmU/"),
        ("b64dec \"aGkgdGhl\\ncmU/\"", "hi there?"),
        ("b64dec \"a_b=\"", "illegal base64 data at input byte 1"),
        ("b64dec \"a\"", "illegal base64 data at input byte 0"),
        ("b64dec \"/w==\"", "\\xff"),
        ("urlencode \"a b&c/ü~*'\"", "a+b%26c%2F%C3%BC~%2A%27"),
        ("urldecode \"a+b%26c%2F%C3%BC\"", "a b&c/ü"),
        ("fromJson \"12345678\"", "1.2345678e+07"),
        ("fromJson \"{\"", "<no value>"),
        ("bytes \"1.5KB\"", "1500"),
        ("bytes \"2 MiB\"", "2.097152e+06"),
        ("bytes \"2,048\"", "2048"),
        ("duration \"1h30m\"", "5400"),
        ("duration_seconds \"250ms\"", "0.25"),
        ("duration \"-1.5s\"", "-1.5"),
    ]);
    fail(&[
        ("ToLower 5", "ToLower: wrong type for value; expected string; got int"),
        ("trunc \"2\" .foo", "trunc: wrong type for value; expected int; got string"),
        ("substr 3 1 .foo", "substr: slice bounds out of range [3:1]"),
        ("substr 9 10 .foo", "substr: slice bounds out of range [9:4]"),
        ("substr -1 10 .foo", "substr: slice bounds out of range [:10] with length 4"),
        ("repeat -1 \"a\"", "repeat: strings: negative Repeat count"),
        ("indent -1 \"a\"", "indent: strings: negative Repeat count"),
        ("urldecode \"a%zzz\"", "urldecode: invalid URL escape \"%zz\""),
        ("urldecode \"a%2\"", "urldecode: invalid URL escape \"%2\""),
        ("bytes \"5 apples\"", "bytes: unhandled size name: apples"),
        ("duration \"1d\"", "duration: time: unknown unit \"d\" in duration \"1d\""),
        ("duration \"5\"", "duration: time: missing unit in duration \"5\""),
    ]);
}

#[test]
fn numbers() {
    each(&[
        ("add .n 1 2", "8"),
        ("add", "0"),
        ("sub .n 1", "4"),
        ("mul .n 2 3", "30"),
        ("div -7 2", "-3"),
        ("mod -7 3", "-1"),
        ("add .foo 1", "1"),
        ("add \"2.0\" 1", "3"),
        ("add \"2.5\" 1", "3"),
        ("add .z 1", "9"),
        ("add \"0x10\" 1", "17"),
        ("add 2.9 true nil", "3"),
        ("add 9223372036854775807 1", "-9223372036854775808"),
        ("\"2.5\" | float64 | int | add 10", "12"),
        ("addf 0.1 0.2", "0.3"),
        ("subf 1 0.9", "0.1"),
        ("mulf 0.1 3", "0.3"),
        ("divf 1 3", "0.3333333333333333"),
        ("divf 20.2 5.25", "3.8476190476190477"),
        ("divf 2 3 4", "0.1666666666666667"),
        ("divf 1e-10 3", "3.33333e-11"),
        ("divf -2 3", "-0.6666666666666667"),
        ("divf 1e20 3", "3.333333333333333e+19"),
        ("addf 1e300 1", "1e+300"),
        ("mulf 1.23456789012345 9.87654321098765", "12.193263113702107"),
        ("addf .foo 1", "1"),
        ("max 1 5 3", "5"),
        ("min .n 7", "5"),
        ("maxf 1.5 2", "2"),
        ("minf .f 1 \"3\"", "1"),
        ("ceil 1.2", "2"),
        ("floor -1.2", "-2"),
        ("round 123.5555 3", "123.556"),
        ("round 123.5555 3 .6", "123.555"),
        ("round -1.5 0", "-2"),
        ("round \"2.25\" 1", "2.3"),
        ("int \"3.7\"", "3"),
        ("int 3.7", "3"),
        ("float64 \"1.50\"", "1.5"),
        ("float64 \" 1\"", "0"),
    ]);
    fail(&[
        ("div 1 0", "div: integer divide by zero"),
        ("mod 1 .foo", "mod: integer divide by zero"),
        ("divf 1 0", "divf: decimal division by 0"),
        ("addf \"NaN\" 1", "addf: cannot create a decimal from NaN"),
    ]);
}

#[test]
fn times() {
    each(&[
        ("date \"2006-01-02T15:04:05.00Z07:00\" __timestamp__", "2022-06-27T18:05:24.12Z"),
        ("__timestamp__ | date \"Mon Jan _2 15:04:05 MST 2006\"", "Mon Jun 27 18:05:24 UTC 2022"),
        (
            "__timestamp__ | date \"Monday, 02-Jan-06 15:04:05.999999 -0700 PM pm 3:4:5 002 __2\"",
            "Monday, 27-Jun-22 18:05:24.12 +0000 PM pm 6:5:24 178 178",
        ),
        (
            "date \"15:04:05,000 Z0700 Z07 -07 -07:00:00 Z07:00:00 January 1 05.000000000 2006 _2006\" __timestamp__",
            "18:05:24,120 Z Z +00 +00:00:00 Z June 6 24.120000000 2022 _2022",
        ),
        ("date \"2006\" 0", "1970"),
        ("unixEpoch __timestamp__", "1656353124"),
        ("unixEpochMillis __timestamp__", "1656353124120"),
        ("unixEpochNanos __timestamp__", "1656353124120000000"),
        ("unixToTime \"1656353124\"", "2022-06-27 18:05:24 +0000 UTC"),
        ("unixToTime \"19373\"", "2023-01-16 00:00:00 +0000 UTC"),
        ("unixToTime \"1656353124123\"", "2022-06-27 18:05:24.123 +0000 UTC"),
        ("unixToTime \"1656353124123456\"", "2022-06-27 18:05:24.123456 +0000 UTC"),
        ("unixToTime \"1656353124123456789\"", "2022-06-27 18:05:24.123456789 +0000 UTC"),
        ("toDate \"2006-01-02\" \"2021-11-02\"", "2021-11-02 00:00:00 +0000 UTC"),
        ("toDate \"2006-01-02\" \"nope\"", "0001-01-01 00:00:00 +0000 UTC"),
        ("toDate \"2006-01-02\" \"2021-02-30\"", "0001-01-01 00:00:00 +0000 UTC"),
        ("toDate \"2006-01-02T15:04:05Z07:00\" \"2021-11-02T01:02:03+02:00\"", "2021-11-02 01:02:03 +0200 +0200"),
        ("toDateInZone \"2006-01-02 15:04\" \"America/New_York\" \"2021-11-02 10:00\"", "2021-11-02 10:00:00 -0400 EDT"),
        ("toDateInZone \"2006-01-02 15:04\" \"Nowhere/X\" \"2021-11-02 10:00\"", "2021-11-02 10:00:00 +0000 UTC"),
        ("toDate \"Jan _2 15:04:05 2006\" \"Nov  2 10:00:00.5 2021\"", "2021-11-02 10:00:00.5 +0000 UTC"),
        ("toDate \"02/Jan/2006:15:04:05 -0700\" \"10/Oct/2000:13:55:36 -0700\"", "2000-10-10 13:55:36 -0700 -0700"),
        ("toDate \"2006-01-02 3:04PM\" \"2021-11-02 3:04PM\"", "2021-11-02 15:04:00 +0000 UTC"),
        ("toDate \"Mon, 02 Jan 2006 15:04:05 MST\" \"Tue, 02 Nov 2021 10:00:00 UTC\"", "2021-11-02 10:00:00 +0000 UTC"),
        ("toDate \"2006-01-02 15:04:05\" \"2021-11-02 10:00:00.123\"", "2021-11-02 10:00:00.123 +0000 UTC"),
        ("toDate \"06-1-2\" \"99-3-4\"", "1999-03-04 00:00:00 +0000 UTC"),
        ("toDate \"2006 002\" \"2024 060\"", "2024-02-29 00:00:00 +0000 UTC"),
        ("sub (unixEpoch (toDate \"2006-01-02\" \"2021-11-02\")) (unixEpoch (toDate \"2006-01-02\" \"2021-11-01\"))", "86400"),
        ("gt (now | unixEpoch | int) 1700000000", "true"),
    ]);
    fail(&[
        ("unixToTime \"123\"", "unixToTime: unable to parse time '123': 3 digits are no known unit"),
        ("unixToTime \"abc\"", "unixToTime: unable to parse time 'abc': no whole number"),
        ("date (repeat 1025 \"x\") __timestamp__", "date: a layout of more than 1024 bytes"),
        ("unixEpoch \"x\"", "unixEpoch: wrong type for value; expected time.Time; got string"),
        ("date \"2006\" .foo", "date: wrong type for value; expected time.Time; got string"),
    ]);
}

#[test]
fn what_a_template_makes_is_limited() {
    let too_long = |action: &str| {
        let error = run(&format!("{{{{ $x := repeat 500000 \"ab\" }}}}{action}")).unwrap_err();
        // Matching is limited in time as well, which may be over first where the machine is busy.
        let took_too_long = action.contains("{ regex") && error.ends_with("the pattern takes too long on this text");
        assert!(error.ends_with("the result is too long") || took_too_long, "{error}");
    };
    for action in [
        "{{ repeat 3 $x }}",
        "{{ replace \"a\" \"abcd\" $x }}",
        "{{ indent 100 (replace \"a\" \"\\n\" $x) }}",
        "{{ alignLeft 2000000 $x }}",
        "{{ regexReplaceAll \"a\" $x (repeat 1000 \"$0\") }}",
        "{{ regexReplaceAll \".*\" $x \"$0$0\" }}",
        "{{ regexReplaceAllLiteral \"a\" $x (repeat 1000 \"abcd\") }}",
        "{{ urlencode $x }}",
        "{{ b64enc $x }}",
    ] {
        too_long(action);
    }
    let error = run("{{ repeat 300000 \"a\" }}").unwrap_err();
    assert_eq!(error, "template: line 1, col 1: longer than 262144 bytes");
    let error = run("{{ range 1000000000 }}{{ end }}").unwrap_err();
    assert_eq!(error, "template: line 1, col 1: more than 100000 actions");
    let error = run("{{ range 2000 }}{{ $x := count $.foo \"BLIp\" }}{{ end }}").unwrap_err();
    assert!(error.ends_with("more than 100000 actions"), "{error}");
}

/// 340,000 empty lists in a MiB of JSON hold 20 MiB.
#[test]
fn what_functions_make_counts_and_what_blocks_hold() {
    let json = "{{ $x := repeat 340000 \"[],\" | printf \"[%s0]\" }}";
    for block in ["with", "range"] {
        let nested = format!("{{{{ {block} fromJson $x }}}}").repeat(60);
        let error = run(&format!("{json}{nested}{}", "{{ end }}".repeat(60))).unwrap_err();
        assert!(error.ends_with("variables and blocks with more than 1048576 bytes"), "{error}");
    }
    let error = run(&format!("{json}{{{{ range 9 }}}}{{{{ if fromJson $x }}}}{{{{ end }}}}{{{{ end }}}}")).unwrap_err();
    assert!(error.ends_with("more than 100000 actions"), "{error}");
}

/// For each of its matches, the pattern looks at the whole rest of the text.
#[test]
fn patterns_and_sets_take_no_quadratic_time() {
    let large = "{{ $x := repeat 500000 \"A\" }}";
    for action in [
        "count `.*[^A-Z]|[A-Z]` $x",
        "regexReplaceAll `.*[^A-Z]|([A-Z])` $x \"$1\"",
        "regexReplaceAllLiteral `.*[^A-Z]|[A-Z]` $x \"b\"",
    ] {
        let error = run(&format!("{large}{{{{ $y := {action} }}}}")).unwrap_err();
        assert!(error.ends_with("the pattern takes too long on this text"), "{error}");
    }
    // No call takes long here, but all of them would take minutes.
    let small = "{{ $x := repeat 2000 \"A\" }}{{ range 10000 }}{{ $y := count `.*[^A-Z]|[A-Z]` $x }}{{ end }}";
    let error = run(small).unwrap_err();
    assert!(["more than 100000 actions", "too long on this text"].iter().any(|end| error.ends_with(end)), "{error}");
    check("{{ $set := print (repeat 400000 \"a\") \"b\" }}{{ len (trimAll $set (repeat 400000 \"b\")) }}", "0");
}

#[test]
fn fuzzed_templates_render_or_are_refused() {
    let words = [
        "{{",
        "}}",
        "{{ if .n }}",
        "{{ else }}",
        "{{ end }}",
        "{{ range . }}",
        "{{ range 9 }}",
        ".foo",
        "|",
        "(",
        ")",
        "\"",
        "`",
        "5",
        "-1",
        "toDate \"2006-01-02 15:04:05.000 MST\" ",
        "date \"Jan _2 002 .000 Z07:00\" __timestamp__",
        "fromJson .j",
        "regexReplaceAll \"a\" ",
        "repeat 9 ",
        "trunc ",
        "substr 1 2 ",
        "divf ",
        "round ",
        "urldecode ",
        "b64dec ",
        "alignRight 9 ",
        "count ",
    ];
    let memory = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/line_template");
    Fuzz::new("line_template").corpus(corpus).text().memory(memory).words(&words).run(|input| {
        match run(std::str::from_utf8(input).expect("invariant: inputs are text")) {
            Ok(text) => assert!(text.len() <= 256 << 10),
            Err(error) => assert!(error.len() < 1_000, "{error}"),
        }
    });
}

/// Times as texts of strangers, read and written by layouts of all kinds.
#[test]
fn fuzzed_times_are_read_or_not() {
    let layouts = [
        "2006-01-02T15:04:05.999Z07:00",
        "Mon Jan _2 15:04:05 MST 2006",
        "02/Jan/2006:15:04:05 -0700",
        "__2 002 3:4:5PM -07:00:00 .000",
    ];
    let fuzz =
        Fuzz::new("line_time").seed("2021-11-02T01:02:03+02:00").seed("Tue Nov  2 10:00:00 UTC 2021").seed(" 45 045 3:4:5AM");
    fuzz.text().words(&["Z", "+02:00", ".5", "Nov", "0", " "]).run(move |input| {
        let text = std::str::from_utf8(input).expect("invariant: inputs are text");
        for layout in layouts {
            let time = super::date::read(layout, "Europe/Berlin", text).unwrap_or_else(|error| panic!("{layout}: {error}"));
            assert_eq!(super::date::format(text, &time).is_ok(), text.len() <= 1_024, "{layout}");
        }
    });
}
