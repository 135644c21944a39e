//! Texts that every match of a regular expression has: a line without one of them need not be rendered to be refused.

use regex_syntax::hir::{Hir, HirKind};

/// The longest say most, and each is looked for in every template.
const REQUIRED_MAX: usize = 4;
/// Fewer bytes are in most templates.
const REQUIRED_BYTES_MIN: usize = 3;

/// Texts, each of which every match of a regular expression has; as many as help.
pub(crate) fn required_texts(pattern: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Ok(hir) = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern) {
        add_required(&hir, &mut found);
    }
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found.truncate(REQUIRED_MAX);
    found
}

fn add_required(hir: &Hir, found: &mut Vec<Vec<u8>>) {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.len() >= REQUIRED_BYTES_MIN => found.push(literal.0.to_vec()),
        HirKind::Capture(capture) => add_required(&capture.sub, found),
        HirKind::Repetition(repetition) if repetition.min > 0 => add_required(&repetition.sub, found),
        HirKind::Concat(parts) => parts.iter().for_each(|part| add_required(part, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_has() {
        let check = |pattern: &str, expected: &[&str]| {
            let found: Vec<String> = required_texts(pattern).into_iter().map(|text| String::from_utf8(text).unwrap()).collect();
            assert_eq!(found, expected, "{pattern}");
        };
        check("status=[0-9]+, msg=[A-Z][a-z]+ .*[Ff]ail", &["status=", ", msg=", "ail"]);
        check("(abc)+x?(?:defg){2}", &["defg", "abc"]);
        check("abc|abd", &[]);
        check("(abc)*ab", &[]);
        check("(?i)abc", &[]);
        check("a[bc]d(", &[]);
        check("one.two.three.four.five", &["three", "four", "five", "one"]);
    }
}
