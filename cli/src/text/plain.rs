//! Errors of serde and its formats, for people: they name types of the program that reads, which its users do not know.

/// What stands for the name of a type, the first that fits.
const WORDS: [(&str, &str); 12] = [
    ("expected struct ", "expected a table"),
    ("expected internally tagged enum ", "expected a table"),
    ("expected enum ", "expected one of its words"),
    ("expected usize", "expected a whole number, not negative"),
    ("expected u", "expected a whole number, not negative"),
    ("expected i", "expected a whole number"),
    ("expected f", "expected a number"),
    ("expected a borrowed string", "expected a text in quotes"),
    ("expected path string", "expected a path in quotes"),
    ("expected a string", "expected a text in quotes"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a table"),
];

/// Other words of programs.
const PHRASES: [(&str, &str); 10] = [
    ("unknown field `", "unknown key `"),
    ("missing field `", "missing key `"),
    ("unknown variant `", "unknown value `"),
    ("invalid type: sequence,", "invalid type: list,"),
    ("invalid type: map,", "invalid type: table,"),
    ("invalid type: floating point `", "invalid type: number `"),
    ("` as i128,", "`,"),
    ("expected socket address", "expected an IP address and a port in quotes, such as \"127.0.0.1:9640\""),
    ("invalid socket address syntax", "this is no IP address with a port, such as 127.0.0.1:9640"),
    ("wanted string or table", "expected a text in quotes"),
];

/// `error` with `expected struct CollectorConfig` as `expected a table`, and so on.
pub(crate) fn error(error: &str) -> String {
    let mut written = String::with_capacity(error.len());
    let mut rest = error;
    while let Some(at) = rest.find("expected ") {
        written.push_str(&rest[..at]);
        rest = &rest[at..];
        let (used, words) = named(rest).unwrap_or(("expected ".len(), "expected "));
        written.push_str(words);
        rest = &rest[used..];
    }
    written.push_str(rest);
    PHRASES.iter().fold(written, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// How much of `text` names a type, and what to say instead.
fn named(text: &str) -> Option<(usize, &'static str)> {
    WORDS.iter().find_map(|(before, words)| {
        let after = text.strip_prefix(before)?;
        let is_named = before.ends_with(' ');
        let is_number = before.len() == "expected u".len();
        let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(after.len());
        let name = &after[..end];
        let fits =
            if is_number { matches!(name, "8" | "16" | "32" | "64" | "128" | "size") } else { is_named || name.is_empty() };
        fits.then_some((before.len() + end, *words))
    })
}

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn no_type_is_named() {
        let check = |given: &str, expected: &str| assert_eq!(error(given), expected);
        check("invalid type: integer `5`, expected struct CollectorConfig", "invalid type: integer `5`, expected a table");
        check("a: invalid type: map, expected a string at line 2", "a: invalid type: table, expected a text in quotes at line 2");
        check("unknown variant `middle`, expected `start` or `end`", "unknown value `middle`, expected `start` or `end`");
        check(
            "invalid value: integer `-1`, expected usize\nin `x`",
            "invalid value: integer `-1`, expected a whole number, not negative\nin `x`",
        );
        check(
            "invalid value: integer `70000`, expected u16",
            "invalid value: integer `70000`, expected a whole number, not negative",
        );
        check("expected f64", "expected a number");
        check("unknown field `a`, expected one of `b`, `if`", "unknown key `a`, expected one of `b`, `if`");
        check("unknown field `a`, expected `useful`", "unknown key `a`, expected `useful`");
        check("expected an array", "expected an array");
        check("expected if", "expected if");
    }
}
