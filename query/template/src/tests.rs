//! Tables of templates and what Go 1.26 makes of them, over a language with one function.

use weir_model::fuzz::{CountingAllocator, Fuzz, MemoryLimit, on_a_small_stack};
use weir_model::pattern::PatternBudget;

use crate::{Function, Language, Limits, Map, Template, Value};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Its dot has texts and, below `.list` and `.map`, more.
#[derive(Clone, Copy, Debug)]
struct Plain;

static FUNCTIONS: [Function<Plain>; 3] = [
    Function::new("up", 1, |_, arguments| Ok(arguments[0].text()?.to_uppercase().into())),
    Function::new("fail", 0, |_, _| Err("it fails".into())),
    Function::new("finds", 2, |_, arguments| match &arguments[0] {
        Value::Pattern(regex) => Ok(regex.is_match(arguments[1].text()?).into()),
        other => Err(other.instead_of("literal")),
    })
    .pattern(),
];

impl Language for Plain {
    type Scope<'a> = &'a str;

    const LIMITS: Limits = Limits { output_bytes: 4 << 10, argument_bytes: 64 << 10, actions: 10_000 };
    const VARIABLES: &'static [(&'static str, &'static str)] = &[("own", "name")];

    fn functions() -> &'static [Function<Self>] {
        &FUNCTIONS
    }

    fn field<'a>(scope: &Self::Scope<'a>, name: &str) -> Result<Value<'a>, String> {
        match name {
            "name" => Ok((*scope).into()),
            "list" => Ok(vec![1.into(), 2.5.into(), "x".into(), Value::Nil, true.into()].into()),
            "map" => Ok(Map::of_texts([("b", crate::Text::Borrowed(scope))].into_iter()).into()),
            "n" => Ok("5".into()),
            _ => Ok("".into()),
        }
    }

    fn dot<'a>(scope: &Self::Scope<'a>) -> Value<'a> {
        let texts = [("name", *scope), ("n", "5")].map(|(name, text)| (name, crate::Text::Borrowed(text)));
        Map::of_texts(texts.into_iter()).into()
    }
}

fn run(source: &str) -> Result<String, String> {
    let template = Template::<Plain>::parse(source, &mut PatternBudget::default()).map_err(|error| format!("parse: {error}"))?;
    template.execute(&"BLIp").map_err(|error| error.to_string())
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(run(source).unwrap_or_else(|error| panic!("{source}: {error}")), expected, "{source}");
}

#[track_caller]
fn wrong(source: &str, expected: &str) {
    assert_eq!(run(source).unwrap_err(), expected, "{source}");
}

#[test]
fn text_fields_and_trimming() {
    check("a {{.name}} b", "a BLIp b");
    check("{{ .nope }}|{{ $.name }}|{{ len . }}|{{ . }}", "|BLIp|2|map[n:5 name:BLIp]");
    check("x \n{{- 3 -}}\n y", "x3y");
    check("x {{-3}} y", "x -3 y");
    check("a {{- /* gone }} */ -}} b{{/* too */}}", "ab");
    check(
        "{{ \"a\\n\" }}{{ `b\\n` }}{{ \"\\u00e9\\x41\\101\" }}{{ \"}}\" }}{{ `}}` }}",
        "a\nb\\néA A}}}}".replace("A A", "AA").as_str(),
    );
    check(
        "{{ 'a' }} {{ 0x10 }} {{ 1_000 }} {{ 010 }} {{ -3 }} {{ +3 }} {{ .5 }} {{ 5. }} {{ 1e2 }}",
        "97 16 1000 8 -3 3 0.5 5 100",
    );
    check("{{ 'é' }} {{ '🦀' }} {{ '\\'' }} {{ '\\u00e9' }}", "233 129408 39 233");
    check("{{ 1e20 }} {{ 1e5 }} {{ 1234567.0 }} {{ 123456.5 }} {{ 0.00001 }}", "1e+20 100000 1.234567e+06 123456.5 1e-05");
    check("{{ printf \"%s %s\" .name .n }} {{\n.name\n}}", "BLIp 5 BLIp");
}

#[test]
fn variables_have_their_block() {
    check("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}", "32");
    check("{{ $x := 1 }}{{ if true }}{{ $x := $x | print 2 }}{{ $x }}{{ end }}{{ $x }}", "2 11");
    check("{{ if $x := .nope }}a{{ else }}b{{ $x }}{{ end }}{{ with $x := .name }}{{ $x }}{{ . }}{{ end }}", "bBLIpBLIp");
    check("{{ $own }} {{ $own = 5 }}{{ $own }} {{ $.name }}", "BLIp 5 BLIp");
    check("{{ $x := .map }}{{ $x.b }}{{ $x.c }}", "BLIp");
    check("{{ $x := 0 }}{{ range $x = 3 }}{{ end }}{{ $x }}", "2");
    wrong("{{ $y }}", "parse: line 1, col 4: undefined variable \"$y\"");
    wrong("{{ $x = 3 }}", "parse: line 1, col 1: undefined variable \"$x\"");
    wrong("{{ if 1 }}{{ $x := 1 }}{{ end }}\n{{ $x }}", "parse: line 2, col 4: undefined variable \"$x\"");
    wrong("{{ $x, $y := 1 }}", "parse: line 1, col 1: too many declarations in command");
    wrong("{{ range $i, $x, $y := . }}{{ end }}", "parse: line 1, col 1: too many declarations in range");
}

#[test]
fn blocks() {
    check("{{ if .nope }}a{{ else if eq .n \"5\" }}b{{ else }}c{{ end }}", "b");
    check("{{ with .nope }}{{ else with .name }}{{ . }}{{ end }}{{ with .nope }}{{ else }}{{ .n }}{{ end }}", "BLIp5");
    check("{{ range 3 }}{{ . }}{{ end }}{{ range 0 }}x{{ else }}e{{ end }}{{ range -1 }}x{{ else }}e{{ end }}", "012ee");
    check("{{ range $k, $v := . }}{{ $k }}={{ $v }} {{ end }}{{ range $v := . }}{{ $v }} {{ end }}", "n=5 name=BLIp 5 BLIp ");
    check("{{ range $i, $x := .list }}{{ $i }}:{{ $x }} {{ end }}", "0:1 1:2.5 2:x 3:<no value> 4:true ");
    check(
        "{{ range 5 }}{{ if eq . 3 }}{{ break }}{{ end }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ $.n }} {{ end }}",
        "05 25 ",
    );
    check("{{ range 2 }}{{ range 2 }}{{ break }}{{ end }}{{ . }}{{ else }}x{{ end }}", "01");
    wrong("{{ range .name }}{{ end }}", "line 1, col 10: range can't iterate over BLIp");
    wrong("{{ range $i, $x := 3 }}{{ end }}", "line 1, col 20: can't use 3 to iterate over more than one variable");
    wrong("{{ with .name }}{{ .bar }}{{ end }}", "line 1, col 20: can't evaluate field bar in type string");
    wrong("a\n  {{ if 1 }}x", "parse: line 2, col 3: {{if}} lacks its {{end}}");
    wrong("{{ end }}", "parse: line 1, col 1: unexpected {{end}}");
    wrong("{{ else }}", "parse: line 1, col 1: unexpected {{else}}");
    wrong("{{ if 1 }}a{{ else }}b{{ else }}c{{ end }}", "parse: line 1, col 23: expected end; found {{else}}");
    wrong("{{ with 1 }}a{{ else if 1 }}b{{ end }}", "parse: line 1, col 22: unexpected <if> in else");
    wrong("{{ if }}x{{ end }}", "parse: line 1, col 1: missing value for if");
    wrong("{{ break }}", "parse: line 1, col 1: {{break}} outside {{range}}");
    wrong("{{ range 1 }}{{ else }}{{ continue }}{{ end }}", "parse: line 1, col 24: {{continue}} outside {{range}}");
    wrong("{{ range 1 }}{{ break 5 }}{{ end }}", "parse: line 1, col 23: unexpected \"5\" in {{break}}");
}

#[test]
fn pipelines_and_operands() {
    check("{{ .name | up | printf \"%s-%s\" (up \"a\") }} {{ (.map).b }} {{ (print .n) | up }}", "A-BLIP BLIp 5");
    check("{{ $x := 1 | print 2 }}{{ $x }} {{ up (print (print .n)) }}", "2 1 5");
    check("{{ finds `L.p` .name }} {{ finds \"^p\" .name }}", "true false");
    wrong("{{ nope }}", "parse: line 1, col 4: function \"nope\" not defined");
    wrong("{{ call .name }}", "parse: line 1, col 4: function \"call\" not defined");
    wrong("{{ finds \"(\" .name }}", "parse: line 1, col 4: bad regular expression \"(\": unclosed group");
    wrong("{{ finds .name .name }}", "line 1, col 4: error calling finds: wrong type for value; expected literal; got string");
    wrong("{{ up }}", "parse: line 1, col 4: wrong number of args for up: want 1 got 0");
    wrong("{{ .n | up .n }}", "parse: line 1, col 9: wrong number of args for up: want 1 got 2");
    wrong("{{ up 5 }}", "line 1, col 4: error calling up: wrong type for value; expected string; got int");
    wrong("ü\nü {{ print (fail) }}", "line 2, col 13: error calling fail: it fails");
    wrong("{{ print up }}", "line 1, col 4: wrong number of args for up: want 1 got 0");
    wrong("{{ .name | .n }}", "parse: line 1, col 12: can't give argument to non-function");
    wrong("{{ .name 1 }}", "parse: line 1, col 4: can't give argument to non-function");
    wrong("{{ 1 | 2 }}", "parse: line 1, col 8: non executable command in pipeline stage 2");
    wrong("{{ nil }}", "parse: line 1, col 4: nil is not a command");
    wrong("{{ .name.x }}", "line 1, col 4: can't evaluate field x in type string");
    for (source, expected) in [
        ("{{ }}", "col 1: missing value for command"),
        ("{{ | }}", "col 4: missing value for command"),
        ("{{ .n | }}", "col 1: missing value for command"),
        ("{{ ( .n }}", "col 4: unclosed left paren"),
        ("{{ .n ) }}", "col 7: unexpected \")\" in operand"),
        ("{{ .n-x }}", "col 4: bad character U+002D '-'"),
        ("{{ \"a\"\"b\" }}", "col 7: unexpected \"b\" in operand"),
        ("{{ \"a\".x }}", "col 7: unexpected <.x> in operand"),
        ("{{ 5x }}", "col 4: bad number syntax: \"5x\""),
        ("{{ 1i }}", "col 4: bad number syntax: \"1i\""),
        ("{{ \"a }}", "col 4: unterminated quoted string"),
        ("{{ `a }}", "col 4: unterminated raw quoted string"),
        ("{{ 'ab' }}", "col 4: malformed character constant"),
        ("{{ \"\\d\" }}", "col 4: invalid syntax: an unknown escape in a string"),
        ("{{ .n ", "col 1: unclosed action"),
        ("{{/* x }}", "col 1: unclosed comment"),
        ("{{/* x */ }}", "col 1: comment ends before closing delimiter"),
        ("{{ .n ? }}", "col 7: unexpected '?' in an action"),
        ("{{ if .n = 3 }}{{ end }}", "col 10: unexpected \"=\" in operand"),
    ] {
        wrong(source, &format!("parse: line 1, {expected}"));
    }
}

#[test]
fn gos_functions() {
    check("{{ print 1 2 \"a\" \"b\" 3 4 nil }}|{{ println 1 \"a\" }}|{{ print nil }}{{ print }}", "1 2ab3 4 <nil>|1 a\n|<nil>");
    check("{{ and 1 0 (fail) }} {{ or \"\" \"x\" (fail) }} {{ and .name .n }} {{ .n | and .name }} {{ .n | or }}", "0 x 5 5 5");
    check("{{ not nil }} {{ not .name }} {{ not 0.0 }}", "true false true");
    check(
        "{{ eq 1 2 3 1 }} {{ eq \"a\" \"b\" }} {{ ne 1 2 }} {{ eq nil .n }} {{ eq true true }} {{ ne nil nil }}",
        "true false true false true false",
    );
    check("{{ lt 1 2 }} {{ le 2.5 2.5 }} {{ gt \"b\" \"a\" }} {{ ge 1 2.0 }}", "true true true false");
    check(
        "{{ len .name }} {{ len .list }} {{ index .name 1 }} {{ index .list 2 }} {{ index . \"n\" }} {{ index .map \"x\" }}|{{ index 5 }}",
        "4 5 76 x 5 |5",
    );
    check(
        "{{ slice .name 1 3 }} {{ slice .name 1 }} {{ slice .list 1 3 }} {{ slice .list 1 2 4 }} {{ slice .name }}",
        "LI LIp [2.5 x] [2.5] BLIp",
    );
    check(
        "{{ html \"<a href='x'>&\\\"\" }} {{ js \"it's <b>\\\"x\\\"\\n=&é\" }}",
        "&lt;a href=&#39;x&#39;&gt;&amp;&#34; it\\'s \\u003Cb\\u003E\\\"x\\\"\\u000A\\u003D\\u0026é",
    );
    check("{{ urlquery \"a b&c/ü\" 1 }} {{ urlquery 1 2 }}", "a+b%26c%2F%C3%BC1 1+2");
    for (source, expected) in [
        ("eq 1", "eq: missing argument for comparison"),
        ("eq .n 5", "eq: incompatible types for comparison: string and int"),
        ("lt true false", "lt: invalid type for comparison"),
        ("eq .list .list", "eq: non-comparable type []interface {}"),
        ("index .name 10", "index: index out of range: 10"),
        ("index .list -1", "index: index out of range: -1"),
        ("index .list .n", "index: cannot index slice/array with type string"),
        ("index . 1", "index: value has type int; should be string"),
        ("index 5 1", "index: can't index item of type int"),
        ("slice .name 2 1", "slice: invalid slice index: 2 > 1"),
        ("slice .name 9", "slice: index out of range: 9"),
        ("slice \"ü\" 1", "slice: slice cuts a letter at 1 or 2"),
        ("slice .name 1 2 3", "slice: cannot 3-index slice a string"),
        ("len 3", "len: len of type int"),
        ("printf 5", "printf: wrong type for value; expected string; got int"),
        ("printf \"%5000d\" 1", "printf: a width or precision above 1000"),
        ("printf \"%*d\" -9223372036854775808 1", "printf: a width or precision above 1000"),
        ("printf \"%.*d\" 9223372036854775807 1", "printf: a width or precision above 1000"),
    ] {
        wrong(&format!("{{{{ {source} }}}}"), &format!("line 1, col 4: error calling {expected}"));
    }
}

#[test]
fn printf_as_go() {
    let formats = [
        (r#""%q %v %d %s %x %X %t %c" "a\"b" 1 2 "s" "hi" 255 true 65"#, r#""a\"b" 1 2 s 6869 FF true A"#),
        (
            r#""%U %o %b %e %g %6.2f|%-6d|%06d|%+d|% d" 65 8 5 1.5 1e7 3.14159 42 42 42 42"#,
            "U+0041 10 101 1.500000e+00 1e+07   3.14|42    |000042|+42| 42",
        ),
        (r#""%5t|%5s|%-5s|%.2s|%05s|%-05d|%+05d" true "x" "x" "xyz" "ab" 3 3"#, " true|    x|x    |xy|000ab|3    |+0003"),
        (r#""%d" "x""#, "%!d(string=x)"),
        (r#""%d %d" 1"#, "1 %!d(MISSING)"),
        (r#""%d" 1 2 "a""#, "1%!(EXTRA int=2, string=a)"),
        (r#""%d%%" 1"#, "1%"),
        (r#""%""#, "%!(NOVERB)"),
        (r#""%z" 1"#, "%!z(int=1)"),
        (r#""%[3]d|%[1]s|%d" "a" 2 3"#, "3|a|2"),
        (r#""%[5]d" 1"#, "%!d(BADINDEX)"),
        (r#""%*d|%.*f|%-*d|" 5 1 2 3.14159 5 3"#, "    1|3.14|3    |"),
        (r#""%v %s" nil nil"#, "<nil> %!s(<nil>)"),
        (
            r#""%08.3f|%+.2e|%x|%#x|%#q|%q" 3.14159 12345.678 "hello" 255 "abc" 65"#,
            "0003.142|+1.23e+04|68656c6c6f|0xff|`abc`|'A'",
        ),
        (
            r#""%G %E %5.1e|%-10.2f|%010.2f|%+g|% g|%F" 1e-7 1.5 12345.6 3.14159 -3.14159 1.5 1.5 2.5"#,
            "1E-07 1.500000E+00 1.2e+04|3.14      |-000003.14|+1.5| 1.5|2.500000",
        ),
        (r#""%5d|%-5d|%05d|%x|%X|%#o|%O|%#b" -42 -42 -42 -255 255 8 8 5"#, "  -42|-42  |-0042|-ff|FF|010|0o10|0b101"),
        (r#""%5q|%-8q|%+q|%q|%.1q" "a" "b" "é" "\x00\x7f\n\té" "abc""#, r#"  "a"|"b"     |"\u00e9"|"\x00\x7f\n\té"|"a""#),
        (r#""%c|%U|%#U|%q" 233 233 233 233"#, "é|U+00E9|U+00E9 'é'|'é'"),
        (r#""%6.3v|%v|%+v|%#v" 3.14159 "x" "x" "x""#, r#"  3.14|x|x|"x""#),
        (r#""%X|% x|%.2x" "hello" "hi" "hello""#, "68656C6C6F|68 69|6865"),
        (r#""%.3d|%8.3d|%.0d|%.4g|%.4g|%.10g" 5 5 0 12345.0 1e5 1e5"#, "005|     005||1.234e+04|1e+05|100000"),
        (
            r#""%s|%5v|%v" .list .list .map"#,
            "[%!s(int=1) %!s(float64=2.5) x %!s(<nil>) %!s(bool=true)]|[    1   2.5     x <nil>  true]|map[b:BLIp]",
        ),
    ];
    for (format, expected) in formats {
        check(&format!("{{{{ printf {format} }}}}"), expected);
    }
}

#[test]
fn limits_end_with_an_error() {
    let over = |source: &str, expected: &str| {
        let error = run(source).unwrap_err();
        assert!(error.ends_with(&format!(": {expected}")), "{error}");
    };
    over(&"0123456789abcdef".repeat(257), "longer than 4096 bytes");
    over("{{ range 1000000000000 }}{{ end }}", "more than 10000 actions");
    let doubled = format!("{{{{ $x := \"ab\" }}}}{}", "{{ $x = print $x $x }}".repeat(60));
    over(&doubled, "arguments of print with more than 65536 bytes");
    let many: String = (0..20).map(|i| format!("{{{{ $x{i} := $x }}}}")).collect();
    let wide = format!("{{{{ $x := \"ab\" }}}}{}{many}", "{{ $x = print $x $x }}".repeat(12));
    over(&wide, "variables and blocks with more than 65536 bytes");
    let large = format!("{{{{ $x := \"ab\" }}}}{}", "{{ $x = print $x $x }}".repeat(13));
    let nested = format!("{large}{}{}", "{{ with $x }}".repeat(4), "{{ end }}".repeat(4));
    over(&nested, "variables and blocks with more than 65536 bytes");
    check(&format!("{large}{}", "{{ with $x }}.{{ end }}".repeat(9)), ".........");
    over("{{ range 4000 }}{{ $x := not 1 }}{{ end }}", "more than 10000 actions");
    over("{{ range 3000 }}{{ $x := or 0 0 1 }}{{ end }}", "more than 10000 actions");
    // What a function makes counts, not its arguments alone.
    over("{{ range 2800 }}{{ $x := printf \"%1000d\" 1 }}{{ end }}", "more than 10000 actions");
    let hexadecimal = format!("{{{{ $x := printf \"%1000d\" 1 }}}}{{{{ len (printf \"{}\" 1 }}}}", "%[1]1000d".repeat(100));
    over(&hexadecimal.replace(" 1 }}", " 1) }}").replacen(" 1) }}", " 1 }}", 1), "error calling printf: the result is too long");
    over(&format!("{{{{ printf \"%1000v{}\" .list }}}}", "%[1]1000v".repeat(20)), "the result is too long");
    let busy = format!(
        "{{{{ $x := \"ab\" }}}}{}{{{{ range 1000 }}}}{{{{ $y := up $x }}}}{{{{ end }}}}",
        "{{ $x = print $x $x }}".repeat(13)
    );
    over(&busy, "more than 10000 actions");
}

/// On half the stack that threads have: what does not fit aborts the tests.
#[test]
fn what_nests_too_deep_is_refused_with_its_place() {
    on_a_small_stack(|| {
        for (part, line) in
            [("{{ if 1 }}\n", 64), ("{{ range 1 }}\n", 64), ("{{ if 1 }}\n{{ else }}\n", 127), ("{{ with 1 }}{{ else }}\n", 64)]
        {
            let error = run(&part.repeat(30_000)).unwrap_err();
            assert_eq!(error, format!("parse: line {line}, col 1: nested deeper than 64"), "{part}");
        }
        let chain = |times: usize| format!("{{{{ if eq 1 2 }}}}{}{{{{ end }}}}", "\n{{ else if eq 1 2 }}".repeat(times));
        wrong(&chain(30_000), "parse: line 64, col 1: nested deeper than 64");
        check(&chain(60), "");
        let brackets = |times: usize| format!("{{{{ {}1{} }}}}", "(".repeat(times), ")".repeat(times));
        wrong(&brackets(30_000), "parse: line 1, col 1: nested deeper than 64");
        check(&brackets(64), "1");
        let inner = brackets(64);
        check(&format!("{}{inner}{}", "{{ range 1 }}".repeat(63), "{{ end }}".repeat(63)), "1");
        check(&format!("{{{{ 5{} }}}}", " | print".repeat(9_000)), "5");
    });
}

#[test]
fn templates_with_names() {
    check("{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" 3 }}{{ template \"x\" .name }}", "<3><BLIp>");
    check("{{ template \"x\" . }}{{ define \"x\" }}{{ .name }}{{ $.name }}{{ end }}", "BLIpBLIp");
    check("{{ define \"x\" }}{{ . }}{{ end }}a{{ template \"x\" }}", "a<no value>");
    check(
        "{{ define \"x\" }}{{ .b }}{{ $.b }}{{ end }}{{ with .map }}{{ template \"x\" . }}{{ template \"x\" $.map }}{{ end }}",
        "BLIp".repeat(4).as_str(),
    );
    check("{{ block \"x\" .n }}[{{ . }}]{{ end }}{{ template \"x\" 6 }}", "[5][6]");
    check("{{ range .list }}{{ block \"x\" . }}{{ $y := . }}{{ $y }},{{ end }}{{ end }}", "1,2.5,x,<no value>,true,");
    check("{{ $x := 1 }}{{ define \"x\" }}{{ $x := 2 }}{{ $x }}{{ end }}{{ template \"x\" }}{{ $x }}", "21");
    check("{{ define \"x\" }} {{ end }}{{ define \"x\" }}y{{ end }}{{ define \"x\" }}{{ end }}{{ template \"x\" }}", "y");
    let count = "{{ define \"x\" }}{{ len . }}{{ if . }}{{ template \"x\" (slice . 1) }}{{ end }}{{ end }}";
    check(&format!("{count}{{{{ template \"x\" .name }}}}"), "43210");
    wrong("{{ define \"x\" }}{{ $own }}{{ end }}", "parse: line 1, col 20: undefined variable \"$own\"");
    wrong("{{ template \"x\" . }}", "parse: line 1, col 1: template \"x\" not defined");
    wrong("{{ if 1 }}{{ define \"x\" }}{{ end }}{{ end }}", "parse: line 1, col 14: unexpected <define> in command");
    wrong("{{ define \"x\" }}", "parse: line 1, col 1: {{define}} lacks its {{end}}");
    wrong("{{ define x }}{{ end }}", "parse: line 1, col 11: unexpected <x> in define clause");
    wrong("{{ define \"x\" 1 }}{{ end }}", "parse: line 1, col 15: unexpected \"1\" in define clause");
    wrong("{{ define \"x\" }}{{ else }}{{ end }}", "parse: line 1, col 17: unexpected {{else}} in define clause");
    wrong("{{ block \"x\" }}{{ end }}", "parse: line 1, col 1: missing value for block clause");
    wrong(
        "{{ range .list }}{{ block \"x\" . }}{{ break }}{{ end }}{{ end }}",
        "parse: line 1, col 35: {{break}} outside {{range}}",
    );
    let twice = "{{ define \"x\" }}y{{ end }}{{ define \"x\" }}z{{ end }}";
    wrong(twice, "parse: line 1, col 27: multiple definition of template \"x\"");
    let endless = "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}";
    wrong(endless, "line 1, col 1: blocks and templates nested deeper than 100");
    on_a_small_stack(move || {
        let nested = format!("{}{{{{ template \"x\" . }}}}{}", "{{ if 1 }}".repeat(60), "{{ end }}".repeat(60));
        let source = format!("{{{{ define \"x\" }}}}{nested}{{{{ end }}}}{{{{ template \"x\" . }}}}");
        wrong(&source, "line 1, col 1: blocks and templates nested deeper than 100");
    });
    let grown = "{{ $x := printf \"%1000d\" 1 }}{{ $x = print $x $x $x $x $x $x $x $x }}{{ $x = print $x $x $x $x $x }}";
    let held = format!("{{{{ define \"x\" }}}}{grown}{{{{ end }}}}");
    check(&format!("{held}{}", "{{ template \"x\" }}".repeat(3)), "");
    let error = run(&format!("{held}{grown}{{{{ template \"x\" }}}}")).unwrap_err();
    assert!(error.ends_with("variables and blocks with more than 65536 bytes"), "{error}");
}

#[test]
fn any_template_executes_or_is_refused() {
    let words = [
        "{{",
        "}}",
        "{{ if 1 }}",
        "{{ else }}",
        "{{ else if 1 }}",
        "{{ end }}",
        "{{ range .list }}",
        "{{ range 9 }}",
        "{{ break }}",
        "{{ $x := print $x $x }}",
        "{{ $x = print $x $x }}",
        "$own",
        ".",
        ".map",
        "|",
        "(",
        ")",
        "\"",
        "`",
        "'",
        "printf \"%500d\" ",
        "slice ",
        "index ",
        "finds `a` ",
        "-",
        "1",
        ":=",
        "/*",
        "*/",
    ];
    let memory = MemoryLimit { bytes: 64 << 20, per_input_byte: 200 };
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/template");
    Fuzz::new("go_template").corpus(corpus).text().memory(memory).words(&words).run(|input| {
        let source = std::str::from_utf8(input).expect("invariant: inputs are text");
        match run(source) {
            Ok(text) => assert!(text.len() <= 4 << 10),
            Err(error) => assert!(error.len() < 1_000, "{error}"),
        }
    });
}
