//! What parses, how it is written again, and what broken queries are answered.

use crate::parse;

#[test]
fn queries_are_written_again_and_mean_the_same() {
    let check = |query: &str, expected: &str| {
        let written = parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).to_string();
        assert_eq!(written, expected, "{query}");
        assert_eq!(parse(&written).unwrap().to_string(), written, "{query}");
    };
    check(r#"{app="x", pod=~"a.*"}"#, r#"{app="x", pod=~"a.*"}"#);
    check("{app=`x`} |= `a` or \"b\" != \"c\"", r#"{app="x"} |= "a" or "b" != "c""#);
    check(
        r#"{app="x"} | json | logfmt --strict --keep-empty a, b="c""#,
        r#"{app="x"} | json | logfmt --strict --keep-empty a, b="c""#,
    );
    check(r#"{app="x"} | a="b" or c>5, d<=20MB e!="f""#, r#"{app="x"} | (a="b" or (c > 5 and d <= 20000000B and e!="f"))"#);
    check(r#"{app="x"} | json != "y" | a="b" != "c""#, r#"{app="x"} | json != "y" | a="b" != "c""#);
    check(r#"sum(rate({app="x"}[5m])) by (pod)"#, r#"sum by (pod) (rate({app="x"}[5m]))"#);
    check(r#"count_over_time({app="x"}[1h] |= "a")"#, r#"count_over_time({app="x"} |= "a"[1h])"#);
    check(r#"rate({app="x"}[5m] offset 1h)"#, r#"rate({app="x"}[5m] offset 1h)"#);
    check(
        r#"quantile_over_time(0.9, {app="x"} | json | unwrap duration(took) | __error__="" [1m]) by (pod)"#,
        r#"quantile_over_time(0.9, {app="x"} | json | unwrap duration(took) | __error__=""[1m]) by (pod)"#,
    );
    check(r#"rate(({app="x"} |= "a")[1m])"#, r#"rate({app="x"} |= "a"[1m])"#);
    check(
        r#"SUM(rate(({app="x"})[1m] offset 5m | unwrap N | N > 0x1p4)) BY (Pod)"#,
        r#"sum by (Pod) (rate({app="x"} | unwrap N | N > 16[1m] offset 5m))"#,
    );
    check(
        r#"{app="x"} |= ip("::1") or "b" != ip("10.0.0.0/8") | a!=ip("1.1.1.1-1.1.1.9")"#,
        r#"{app="x"} |= ip("::1") or "b" != ip("10.0.0.0/8") | a!=ip("1.1.1.1-1.1.1.9")"#,
    );
    check(
        r#"variants(count_over_time({app="x"}[5m]), sum by (a) (rate({app="x"} | json [5m]))) of ({app="x"}[5m])"#,
        r#"variants(count_over_time({app="x"}[5m]), sum by (a) (rate({app="x"} | json[5m]))) of ({app="x"}[5m])"#,
    );
    check(r#"approx_topk(3, rate({app="x"}[5m]))"#, r#"approx_topk(3, rate({app="x"}[5m]))"#);
    check(r#"{app="x"} | a > 5K and b < 1.5Ki or c == -1e-3"#, r#"{app="x"} | ((a > 5000B and b < 1536B) or c == -0.001)"#);
    check("vector(1)+vector(1)", "vector(1) + vector(1)");
    check("vector(1)-vector(2)*vector(3)-4", "vector(1) - (vector(2) * vector(3)) - 4");
    check("(vector(1)-vector(2))*(vector(3)-4)", "(vector(1) - vector(2)) * (vector(3) - 4)");
    check("-2^2", "4");
    check("1 + 2 * 3 ^ 2 ^ 0", "7");
    check("vector(1) > bool 2 # a comment", "vector(1) > bool 2");
    check("vector(1) + on (a) group_left (b) vector(2)", "vector(1) + on (a) group_left (b) vector(2)");
    check(r#"topk(2, sum by (a) (rate({b="c"}[1m])))"#, r#"topk(2, sum by (a) (rate({b="c"}[1m])))"#);
    check(
        r#"{app="x"} | label_format a=b, c="{{.d}}" | line_format "{{.a}}" | drop a, b="c" | keep d"#,
        r#"{app="x"} | label_format a=b, c="{{.d}}" | line_format "{{.a}}" | drop a, b="c" | keep d"#,
    );
}

#[test]
fn broken_queries_say_what_and_where() {
    let check = |query: &str, expected: &str| {
        let error = parse(query).map(|expr| expr.to_string()).expect_err(query);
        assert_eq!(error.to_string(), format!("parse error at {expected}"), "{query}");
    };
    let empty_value = "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";
    check(
        "",
        "line 1, col 1: syntax error: unexpected $end: here is the end of the query, expected is a selector such as {app=\"x\"}, a function or a number",
    );
    check("{}", &format!("line 1, col 1: {empty_value}"));
    check(r#"{a=~".*"}"#, &format!("line 1, col 1: {empty_value}"));
    check(
        r#"{a="b""#,
        "line 1, col 7: syntax error: unexpected $end, expecting } or ,: here is the end of the query, expected is \"}\"",
    );
    check(r#"{a="b"#, "line 1, col 4: literal not terminated: the string that begins here has no closing \"");
    check(
        r#"{a=b}"#,
        "line 1, col 4: syntax error: unexpected IDENTIFIER, expecting STRING: here is identifier b, expected is a quoted value",
    );
    check(
        r#"{a>"b"}"#,
        "line 1, col 3: syntax error: unexpected >, expecting = or =~ or !~ or !=: here is \">\", expected is one of = != =~ !~",
    );
    check(r#"{a="\q"}"#, "line 1, col 5: invalid char escape \\q (a raw string stands in backquotes)");
    check(
        "{a=\"b\"}\n  | ",
        "line 2, col 5: syntax error: unexpected $end: here is the end of the query, expected is a parser, a format or a condition on a label",
    );
    check("{ä=\"b\"}", "line 1, col 2: syntax error: unexpected character 'ä'");
    check(
        r#"{a="b"} | json | a=="200""#,
        "line 1, col 19: syntax error: unexpected STRING: == compares numbers, durations and sizes",
    );
    check(
        r#"{a="b"} | a > 1mb"#,
        "line 1, col 15: not a valid duration string: \"1mb\", unknown unit \"mb\" in duration \"1mb\", and no number or byte size (20MB)",
    );
    let no_address = "ip: invalid pattern: \"1.1\": write 10.0.0.1, 10.0.0.0/8 or 10.0.0.1-10.0.0.9";
    check(r#"{a="b"} | a = ip("1.1")"#, &format!("line 1, col 18: {no_address}"));
    check(r#"{a="b"} |= ip("1.1")"#, &format!("line 1, col 15: {no_address}"));
    check(r#"{a="b"} |~ ip("1.1.1.1")"#, "line 1, col 12: ip: invalid operation: |~ takes no ip(…), |= and != do");
    check(r#"{a="b"} | json = "x""#, "line 1, col 16: syntax error: unexpected =: \"=\" after the end of the expression");
    check(
        r#"{a="b"} | distinct c"#,
        "line 1, col 20: syntax error: unexpected IDENTIFIER: here is identifier c, expected is one of = != =~ !~ == > >= < <=",
    );
    check(
        r#"{a="b"} | unwrap c"#,
        "line 1, col 11: syntax error: unexpected unwrap: it stands only inside a range aggregation such as sum_over_time(… | unwrap x [5m])",
    );
    check(r#"{a="b"} | regexp "x""#, "line 1, col 18: at least one named capture must be supplied, such as (?P<name>…)");
    check(
        r#"{a="b"} | pattern "<_> x""#,
        "line 1, col 19: at least one capture is required, such as <ip>: the pattern \"<_> x\" has none",
    );
    check(
        r#"{a="b"} | pattern "<a><b>""#,
        "line 1, col 19: invalid expression: found consecutive capture: nothing stands between two captures of \"<a><b>\"",
    );
    check(r#"{a="b"} |> "<a> x""#, "line 1, col 12: named captures are not allowed: a line filter has <_> instead of <a>");
    check(r#"{a="b"} | json c="d[""#, "line 1, col 16: bad JSON path \"d[\": write a.b[0] or [\"a b\"].c");
    check(
        r#"rate({a="b"})"#,
        "line 1, col 13: syntax error: unexpected ), expecting RANGE: here is \")\", expected is a range such as [5m]",
    );
    check(r#"rate({a="b"}[0s])"#, "line 1, col 14: a range is longer than 0");
    check(r#"rate({a="b"}[5m]) by (c)"#, "line 1, col 19: grouping not allowed for rate aggregation: put sum by (…) around it");
    check(
        r#"sum_over_time({a="b"}[5m])"#,
        "line 1, col 1: invalid aggregation sum_over_time without unwrap: add | unwrap label, whose value it takes",
    );
    check(
        r#"count_over_time({a="b"} | unwrap c [5m])"#,
        "line 1, col 1: invalid aggregation count_over_time with unwrap: it counts lines or bytes",
    );
    check(
        r#"quantile_over_time(-1, {a="b"} | unwrap c [5m])"#,
        "line 1, col 20: syntax error: unexpected -: here is \"-\", expected is the quantile, a number from 0 to 1",
    );
    check(
        r#"sum({a="b"})"#,
        "line 1, col 5: syntax error: unexpected ): sum needs numbers, such as count_over_time(… [5m]) makes",
    );
    check(r#"topk(1.5, rate({a="b"}[5m]))"#, "line 1, col 6: invalid parameter topk(1.5, : a whole number of series is kept");
    check(
        r#"{a="b"} + 1"#,
        "line 1, col 1: unexpected type for left leg of binary operation (+): numbers are needed on both sides, this is no metric query",
    );
    check(
        "vector(vector(1))",
        "line 1, col 8: syntax error: unexpected IDENTIFIER, expecting NUMBER: here is identifier vector, expected is a number literal",
    );
    check(
        "-vector(1)",
        "line 1, col 2: syntax error: unexpected IDENTIFIER: here is identifier vector, expected is a number (a sign stands only before number literals)",
    );
    check(
        "vector(1) and 1",
        "line 1, col 11: unexpected literal for right leg of logical/set binary operation (and): 1.000000: vectors are needed on both sides",
    );
    check("vector(1) + bool 1", "line 1, col 13: bool stands only after a comparison, not after \"+\"");
    check(
        "nope(1)",
        "line 1, col 1: syntax error: unexpected IDENTIFIER: here is identifier nope, expected is a selector such as {app=\"x\"}, a known function or a number",
    );
    check("1 2", "line 1, col 3: syntax error: unexpected NUMBER: number 2 after the end of the expression");
}

#[test]
fn hostile_queries_are_refused_and_end() {
    for query in
        ["(".repeat(100_000), "{a=\"b\"}".repeat(100_000), format!("{{a=~\"{}\"}}", "(a{1000}){1000}"), "1+".repeat(20_000)]
    {
        assert!(parse(&query).is_err(), "{}", &query[..40.min(query.len())]);
    }
    // Every prefix of a long query: an error or a query, never a panic.
    let query = r#"topk(2, sum by (a) (rate({b=~"c|ü"} |~ `x` or "y" | json p="q.r[0]" | s>5ms or t="u" | line_format "{{.v}}" [1m] offset 1h))) / 2"#;
    for end in (0..=query.len()).filter(|end| query.is_char_boundary(*end)) {
        let _ = parse(&query[..end]);
    }
}

#[test]
fn the_patterns_of_a_query_share_a_budget() {
    let (matcher, filter) = (|i| format!("c{i}=~`{i}\\pL{{40}}`"), |i| format!("|~ `{i}\\pL{{40}}`"));
    let stages: String = (0..100).map(filter).collect();
    let matchers = (0..100).map(matcher).collect::<Vec<_>>().join(", ");
    for query in [format!("{{a=`b`}} {stages}"), format!("{{{matchers}}}")] {
        let error = parse(&query).map(|_| ()).unwrap_err();
        assert!(error.message.contains("those of this query take more than 33554432 bytes compiled"), "{error}");
        assert!(error.column > 20, "{error}");
    }
    let alternatives: Vec<String> = (0..1_000).map(|i| format!("`word{i}.`")).collect();
    assert!(parse(&format!("{{a=`b`}} |~ {}", alternatives.join(" or "))).is_ok());
}
