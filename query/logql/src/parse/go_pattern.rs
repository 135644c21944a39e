//! Go's regular expressions, which Loki's users write, as Rust's: where both read a text and mean another thing by it, or only
//! Go reads it. The rest stays as it is.

use std::borrow::Cow;

/// `{` that begins no repetition is a letter; `\Q…\E` quotes; `\<` and `\>` are letters; within a class `[` is a letter, and so
/// are `&&`, `--` and `~~`. What has been translated is not changed again.
pub(super) fn translate(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['{', '[']) && !["\\Q", "\\<", "\\>"].iter().any(|own| pattern.contains(own)) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Within a class: the letter before, where it could make a pair.
    let mut class: Option<char> = None;
    while let Some(letter) = rest.chars().next() {
        let tail = &rest[letter.len_utf8()..];
        rest = tail;
        match (letter, class) {
            ('\\', None) if tail.starts_with('Q') => {
                let (quoted, after) = tail[1..].split_once("\\E").unwrap_or((&tail[1..], ""));
                out.push_str(&regex::escape(quoted));
                rest = after;
            }
            ('\\', _) => {
                let escaped = tail.chars().next();
                if !matches!(escaped, Some('<' | '>')) {
                    out.push('\\');
                }
                out.extend(escaped);
                rest = &tail[escaped.map_or(0, char::len_utf8)..];
                // The braces of `\p{Greek}` and `\x{10ffff}` are no repetition.
                if matches!(escaped, Some('p' | 'P' | 'x')) && rest.starts_with('{') {
                    let end = rest.find('}').map_or(rest.len(), |at| at + 1);
                    out.push_str(&rest[..end]);
                    rest = &rest[end..];
                }
                class = class.map(|_| '\\');
            }
            ('{', None) if !is_repetition(tail) => out.push_str("\\{"),
            ('[', None) => {
                out.push('[');
                // A bracket that closes is a letter when it comes first.
                for first in ['^', ']'] {
                    if let Some(after) = rest.strip_prefix(first) {
                        out.push(first);
                        rest = after;
                    }
                }
                class = Some('[');
                // A range that begins with `-`: Rust takes all that come first for letters.
                if !out.ends_with(']') && rest.starts_with("--") && !rest.starts_with("--]") {
                    out.push_str("\\-");
                    rest = &rest[1..];
                    class = Some('\\');
                }
            }
            ('[', Some(_)) if tail.starts_with(':') && tail.contains(":]") => {
                let end = tail.find(":]").map_or(0, |at| at + 2);
                out.push('[');
                out.push_str(&tail[..end]);
                rest = &tail[end..];
                class = Some(']');
            }
            ('[', Some(_)) => {
                out.push_str("\\[");
                class = Some('[');
            }
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('&' | '-' | '~', Some(before)) if before == letter => {
                out.extend(['\\', letter]);
                class = Some('\\');
            }
            _ => {
                out.push(letter);
                class = class.map(|_| letter);
            }
        }
    }
    Cow::Owned(out)
}

/// `3}`, `3,}` or `3,5}`
fn is_repetition(text: &str) -> bool {
    let Some((inside, _)) = text.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn what_only_go_reads() {
        let check = |pattern: &str, expected: &str, hit: &str| {
            let translated = translate(pattern);
            assert_eq!(translated, expected, "{pattern}");
            assert_eq!(translate(&translated), expected, "{pattern} twice");
            let regex = regex::Regex::new(&format!("^(?:{translated})$")).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(regex.is_match(hit), "{pattern} on {hit}");
        };
        check(r#"{"level":"(error|warn)"}"#, r#"\{"level":"(error|warn)"}"#, r#"{"level":"warn"}"#);
        check("a{2}b{1,}c{1,3}", "a{2}b{1,}c{1,3}", "aabcc");
        check("a{,2}", r"a\{,2}", "a{,2}");
        check(r"\Qa.b[\E.", r"a\.b\[.", "a.b[x");
        check(r"\<a\>", "<a>", "<a>");
        check(r"[^[]+\[", r"[^\[]+\[", "a[");
        check("[]a]+", "[]a]+", "]a");
        check("[^]a]", "[^]a]", "b");
        check("[[:alpha:]_]+", "[[:alpha:]_]+", "a_");
        check("[[:x]+", r"[\[:x]+", "[:x");
        check("[a&&b]+", r"[a&\&b]+", "a&b");
        check("[+--]+", r"[+-\-]+", "+,-");
        check("[--a]+", r"[\--a]+", "-3a");
        check("[^--a]+", r"[^\--a]+", "+z");
        check("[---b]+", r"[\--\-b]+", "-b");
        check("[--]+", r"[-\-]+", "--");
        check(r"\x{41}\p{Greek}[\x{42}{]", r"\x{41}\p{Greek}[\x{42}{]", "Aα{");
        check("ü{", r"ü\{", "ü{");
    }
}
