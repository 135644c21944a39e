//! What parses, what it prints as, and what is refused where.

use super::{parse, parse_selector};

#[track_caller]
fn prints(query: &str, expected: &str) {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(expr.to_string(), expected, "{query}");
    assert_eq!(parse(expected).unwrap().to_string(), expected, "a printed query reads back as itself");
}

#[track_caller]
fn fails(query: &str, expected: &str) {
    match parse(query) {
        Ok(expr) => panic!("{query} was read as {expr}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{query}"),
    }
}

#[test]
fn queries_print_in_one_way() {
    prints("sum  by(a,b) (rate( x{c='d'}[5m]))", "sum by (a, b) (rate(x{c=\"d\"}[5m]))");
    prints("SUM(x) BY (a)", "sum by (a) (x)");
    prints("a+on(b)group_left(c)d", "a + on (b) group_left (c) d");
    prints("a ==bool b or c unless ignoring() d", "a == bool b or c unless d");
    prints("x[5m:30s] offset -1h @ 12.5", "x[5m:30s] @ 12.500 offset -1h");
    prints("x @ start() offset 90s", "x @ start() offset 1m30s");
    prints("{\"a.b\", 'c.d'=~\"e\"}", "{\"a.b\",\"c.d\"=~\"e\"}");
    prints("topk without (le) (5, x)", "topk without (le) (5, x)");
    prints("rate(x[step()+1m] anchored)", "rate(x[step() + 1m] anchored)");
    prints("-2^2*3", "-2 ^ 2 * 3");
    prints("1h30m + 0x1F + .5", "1h30m + 31 + 0.5");
    prints("by{on=\"x\"} or or unless unless", "by{on=\"x\"} or or unless unless");
    prints("sum by (on, ignoring, and, a:b) (x)", "sum by (on, ignoring, and, \"a:b\") (x)");
    prints("sum by (\"without\", \"inf\", 'NaN') (x)", "sum by (\"without\", \"inf\", \"NaN\") (x)");
    prints("x{a=\"\\xff\"}", "x{a=\"\\ufffd\"}");
    prints("a + fill(0) b", "a + fill (0) b");
}

#[test]
fn operators_bind_as_in_prometheus() {
    let shape = |query: &str| match parse(query).unwrap().kind {
        crate::ast::Kind::Chain(mut chain) => {
            let last = chain.links.pop().unwrap();
            let links: String = chain.links.iter().map(|link| format!(" {} {}", link.op.name(), link.rhs)).collect();
            (format!("{}{links}", chain.first), last.op.name(), last.rhs.to_string())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(shape("a ^ b ^ c"), ("a".into(), "^", "b ^ c".into()));
    assert_eq!(shape("a - b - c"), ("a - b".into(), "-", "c".into()));
    assert_eq!(shape("a or b and c"), ("a".into(), "or", "b and c".into()));
    assert_eq!(shape("-a * b"), ("-a".into(), "*", "b".into()));
    assert_eq!(shape("a > b + c"), ("a".into(), ">", "b + c".into()));
}

#[test]
fn errors_name_the_place() {
    fails("", "1:1: parse error: no expression found in input");
    fails("sum(", "1:5: parse error: unclosed left parenthesis");
    fails("a +\n  nope(b)", "2:3: parse error: unknown function with name \"nope\"");
    fails("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector");
    fails("rate(x[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2");
    fails("x[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types");
    fails("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher");
    fails("x{a=\"b\"", "1:8: parse error: unexpected end of input inside braces");
    fails("1 == 2", "1:1: parse error: comparisons between scalars must use BOOL modifier");
    fails("5x", "1:1: parse error: bad number or duration syntax: \"5x\"");
    fails("a $ b", "1:3: parse error: unexpected character: '$'");
    fails("\"abc", "1:1: parse error: unterminated quoted string");
    assert!(parse("x{a=~\"(\"}").unwrap_err().to_string().starts_with("1:6: parse error: bad regular expression \"(\""));
    fails("x[0s]", "1:1: parse error: duration must be greater than 0");
    fails(&"(".repeat(2000), "1:81: parse error: nested deeper than 80");
}

/// What Prometheus 3.14 says of each stands in what is said here.
#[test]
fn errors_have_the_words_of_prometheus() {
    let of_signs = [
        ("*x", "unexpected <op:*>"),
        ("on", "unexpected <on>"),
        ("-bool", "unexpected <bool>"),
        ("x % atan2", "unexpected <op:atan2>"),
        ("x % ignoring == 1", "unexpected <op:==> in grouping opts, expected \"(\""),
        ("by (x)", "unexpected \"(\""),
        ("sum by (without) (x)", "unexpected <without> in grouping opts, expected label"),
        ("sum by (inf) (x)", "unexpected number \"inf\" in grouping opts, expected label"),
        ("(x))", "unexpected right parenthesis ')'"),
        ("((x)", "unclosed left parenthesis"),
        ("x]", "unexpected right bracket ']'"),
        ("x}", "unexpected character: '}'"),
        ("x =~ y", "unexpected character after '=': '~'"),
        ("x !~ y", "unexpected character after '!': '~'"),
        ("x ; y", "unexpected character: ';'"),
        ("a - on (b) ignoring (c) d", "unexpected <ignoring>"),
        ("a + group_left (b) c", "unexpected <group_left>"),
        ("sum (x) by (a) without (b)", "unexpected <without>"),
        ("sum by (a +) (x)", "unexpected <op:+> in grouping opts, expected \",\" or \")\""),
        ("sum by (==) (x)", "unexpected <op:==> in grouping opts, expected label"),
        ("sum () by (a)", "no arguments for aggregate expression provided"),
        ("topk(x)", "wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("x{", "unexpected end of input inside braces"),
        ("x{{", "unexpected left brace '{'"),
        ("x{a:b=\"c\"}", "unexpected character inside braces: ':'"),
        ("x{1=\"c\"}", "unexpected character inside braces: '1'"),
        ("x{a!\"c\"}", "unexpected character after '!' inside braces: '\"'"),
        ("x{a==\"c\"}", "unexpected \"=\" in label matching, expected string"),
        ("x{a=\"b\" c}", "unexpected identifier \"c\" in label matching, expected \",\" or \"}\""),
        ("x{__name__=\"b\" c}", "unexpected identifier \"c\" in label matching, expected \",\" or \"}\""),
    ];
    let of_literals = [
        ("x[]", "unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()"),
        ("x[", "unexpected end of input in duration expression"),
        ("x[5m", "unclosed left bracket"),
        ("x[5m x]", "unexpected character: 'x', expected ':'"),
        ("x[\"5m\"]", "unexpected character in duration expression: '\"'"),
        ("x[5m:\n)]", "unexpected right parenthesis ')'"),
        ("x[5m][5m:]", "subquery is only allowed on instant vector, got matrix instead"),
        ("x[5m1h]", "not a valid duration string: \"5m1h\""),
        ("x[5m1]", "bad number or duration syntax"),
        ("x offset", "unexpected end of input in offset, expected number, duration, step(), or range()"),
        ("x offset 9.5e10", "duration out of range"),
        ("x[9.5e10]", "duration out of range"),
        ("x @ -Inf", "timestamp out of bounds for @ modifier: -Inf"),
        ("1e999", "error parsing number"),
        ("`a", "unterminated raw string"),
        ("\"a\\", "escape sequence not terminated"),
        ("\"\\c\"", "unknown escape sequence U+0063 'c'"),
        ("\"\\x.0\"", "illegal character U+002E '.' in escape sequence"),
        ("'\u{fffd}'", "invalid UTF-8 rune"),
        // What comes first is said first.
        ("by by x $", "unexpected <by>"),
    ];
    for (query, expected) in of_signs.into_iter().chain(of_literals) {
        let error = parse(query).map(|read| read.to_string()).expect_err(query);
        assert!(error.message.contains(expected), "{query}: {error}");
    }
}

#[test]
fn a_series_selector_is_that_alone() {
    for query in ["up", "{}", "{job=~\".*\"}", "a:b{c=\"d\"}", "by", "{\"a.b\", c=\"d\"}"] {
        assert!(parse_selector(query).is_ok(), "{query}");
    }
    let wrong = [
        ("", "1:1: parse error: unexpected end of input, expected a series selector such as up{job=\"x\"}"),
        ("rate(x[5m])", "1:5: parse error: unexpected \"(\" after a series selector, expected the end"),
        ("up offset 5m", "1:4: parse error: unexpected <offset> after a series selector, expected the end"),
        ("1", "1:1: parse error: unexpected number \"1\", expected a series selector such as up{job=\"x\"}"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
    ];
    for (query, expected) in wrong {
        assert_eq!(parse_selector(query).map(|read| read.matchers).unwrap_err().to_string(), expected, "{query}");
    }
}

#[test]
fn the_patterns_of_a_query_share_a_budget() {
    let matchers: Vec<String> = (0..100).map(|i| format!("x{{a=~`{i}\\w{{40}}`}}")).collect();
    let error = parse(&matchers.join(" or ")).map(|_| ()).unwrap_err();
    assert!(error.message.contains("those of this query take more than 33554432 bytes compiled") && error.column > 20, "{error}");
    let usual: Vec<String> = (0..1_000).map(|i| format!("x{{a=~\"web-{i}.*|api\"}}")).collect();
    assert!(parse(&usual.join(" or ")).is_ok());
}
