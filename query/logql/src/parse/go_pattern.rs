//! Go's regular expressions, which Loki's users write, as Rust's: where both read a text and mean another thing by it, or only
//! Go reads it. The rest stays as it is. What has been translated is not changed again.

use std::borrow::Cow;

/// `\d`, `\w`, `\s` and `\b` are of ASCII; `{` that begins no repetition is a letter; `\Q…\E` quotes; `\<` and `\>` are letters; a class
/// is read as Go reads it.
pub(super) fn translate(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['{', '[', '\\']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let tail = &rest[letter.len_utf8()..];
        rest = match letter {
            '\\' if tail.starts_with('Q') => {
                let (quoted, after) = tail[1..].split_once("\\E").unwrap_or((&tail[1..], ""));
                out.push_str(&regex::escape(quoted));
                after
            }
            '\\' => escape(tail, &mut out),
            '[' => class(tail, &mut out),
            '{' if !is_repetition(tail) => {
                out.push_str("\\{");
                tail
            }
            _ => {
                out.push(letter);
                tail
            }
        };
    }
    Cow::Owned(out)
}

/// What stands behind a backslash outside of a class; returns what follows it.
fn escape<'p>(tail: &'p str, out: &mut String) -> &'p str {
    let Some(letter) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    match letter {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
            let not = if letter.is_ascii_uppercase() { "^" } else { "" };
            out.push_str(&format!("[{not}{}]", of_ascii(letter)));
        }
        'b' | 'B' if out.ends_with(ASCII_EDGE) && tail[1..].starts_with(')') => out.extend(['\\', letter]),
        'b' | 'B' => out.push_str(&format!("{ASCII_EDGE}\\{letter})")),
        _ => {
            let (text, after) = one_escape(tail);
            out.push_str(&text);
            return after;
        }
    }
    &tail[1..]
}

const ASCII_EDGE: &str = "(?-u:";

/// What a class of Perl's has.
fn of_ascii(letter: char) -> &'static str {
    match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => r"\t\n\f\r\x20",
    }
}

/// What stands behind a backslash, as Rust has it, and what follows. The braces of `\p{Greek}` and `\x{10ffff}` belong to it.
fn one_escape(tail: &str) -> (String, &str) {
    let Some(letter) = tail.chars().next() else { return ("\\".into(), tail) };
    let mut end = letter.len_utf8();
    if matches!(letter, 'p' | 'P' | 'x') && tail[end..].starts_with('{') {
        end = tail.find('}').map_or(tail.len(), |at| at + 1);
    } else if matches!(letter, 'p' | 'P') {
        end += tail[end..].chars().next().map_or(0, char::len_utf8);
    } else if letter == 'x' {
        end += tail[end..].bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
    }
    let text = &tail[..end];
    (if matches!(letter, '<' | '>') { text.to_owned() } else { format!("\\{text}") }, &tail[end..])
}

/// A class, from behind its bracket; returns what follows it. In Go's, `[` is a letter, a bracket that closes is one where it comes first,
/// and `-` stands for a range wherever something follows it.
fn class<'p>(tail: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    let mut rest = tail;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    while !rest.is_empty() {
        match rest.strip_prefix(']') {
            Some(after) if !is_first => {
                out.push(']');
                return after;
            }
            _ => is_first = false,
        }
        if let Some(end) = rest.strip_prefix("[:").and_then(|name| name.find(":]")) {
            let (name, after) = rest.split_at(end + 4);
            out.push_str(name);
            rest = after;
            continue;
        }
        let (low, after) = item(rest);
        rest = after;
        out.push_str(low.text());
        if let (Item::Letter(_), Some(after)) = (&low, rest.strip_prefix('-'))
            && !after.is_empty()
            && !after.starts_with(']')
        {
            // A class is no end of a range: the compiler says so.
            let (high, behind) = item(after);
            out.push('-');
            out.push_str(if matches!(high, Item::Letter(_)) { high.text() } else { &after[..after.len() - behind.len()] });
            rest = behind;
        }
    }
    rest
}

/// What a class consists of, as Rust has it.
enum Item {
    Letter(String),
    Class(String),
}

impl Item {
    fn text(&self) -> &str {
        let (Self::Letter(text) | Self::Class(text)) = self;
        text
    }
}

fn item(rest: &str) -> (Item, &str) {
    let Some(letter) = rest.chars().next() else { return (Item::Letter(String::new()), rest) };
    let tail = &rest[letter.len_utf8()..];
    match (letter, tail.chars().next()) {
        ('\\', Some(of @ ('d' | 'w' | 's'))) => (Item::Class(of_ascii(of).into()), &tail[1..]),
        ('\\', Some('D')) => (Item::Class("[:^digit:]".into()), &tail[1..]),
        ('\\', Some('W')) => (Item::Class("[:^word:]".into()), &tail[1..]),
        // Of POSIX the vertical tab is a space.
        ('\\', Some('S')) => (Item::Class(r"[:^space:]\x0b".into()), &tail[1..]),
        ('\\', next) => {
            let (text, after) = one_escape(tail);
            (if matches!(next, Some('p' | 'P')) { Item::Class(text) } else { Item::Letter(text) }, after)
        }
        ('[' | ']' | '&' | '-' | '~' | '^', _) => (Item::Letter(format!("\\{letter}")), tail),
        _ => (Item::Letter(letter.into()), tail),
    }
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

    /// Compiled as matchers and as line filters are.
    fn compiled(pattern: &str) -> regex::Regex {
        let translated = translate(pattern);
        assert_eq!(translate(&translated), translated, "{pattern} twice");
        regex::bytes::Regex::new(&translated).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        regex::Regex::new(&format!("^(?:{translated})$")).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    #[test]
    fn what_only_go_reads() {
        let check = |pattern: &str, expected: &str, hit: &str| {
            assert_eq!(translate(pattern), expected, "{pattern}");
            assert!(compiled(pattern).is_match(hit), "{pattern} on {hit}");
        };
        check(r#"{"level":"(error|warn)"}"#, r#"\{"level":"(error|warn)"}"#, r#"{"level":"warn"}"#);
        check("a{2}b{1,}c{1,3}", "a{2}b{1,}c{1,3}", "aabcc");
        check("a{,2}", r"a\{,2}", "a{,2}");
        check(r"\Qa.b[\E.", r"a\.b\[.", "a.b[x");
        check(r"\<a\>", "<a>", "<a>");
        check(r"[^[]+\[", r"[^\[]+\[", "a[");
        check("[]a]+", r"[\]a]+", "]a");
        check("[^]a]", r"[^\]a]", "b");
        check("[[:alpha:]_]+", "[[:alpha:]_]+", "a_");
        check("[[:x]+", r"[\[:x]+", "[:x");
        check("[a&&b]+", r"[a\&\&b]+", "a&b");
        check(r"\x{41}\p{Greek}[\x{42}{]", r"\x{41}\p{Greek}[\x{42}{]", "Aα{");
        check(r"\x41\pL[\x42\pN]{2}", r"\x41\pL[\x42\pN]{2}", "AäB5");
        check("ü{", r"ü\{", "ü{");
    }

    #[test]
    fn a_range_of_a_class_is_wherever_go_sees_one() {
        let check = |pattern: &str, hits: &str, misses: &str| {
            let regex = compiled(pattern);
            let hit = |letter: char| regex.is_match(letter.encode_utf8(&mut [0; 4]));
            hits.chars().for_each(|letter| assert!(hit(letter), "{pattern} on {letter}"));
            misses.chars().for_each(|letter| assert!(!hit(letter), "{pattern} on {letter}"));
        };
        check("[+--]", "+,-", ".*");
        check("[--a]", "-/3A[`a", "+,b");
        check("[^--a]", "+,b", "-3a");
        check("[---b]", "-b", ".3a");
        check("[--]", "-", ".");
        check("[a-c--z]", "abc-.5Az", "+,{");
        check("[a-c-]", "abc-", "d,.");
        check("[a-c-e]", "abc-e", "d.");
        check("[a^-z]", "a^_`bz", "]{");
        check(r"[\]-a]", "]^_`a", "[b");
        check(r"[\d-f]", "0123-f", "ae");
        for wrong in [r"[!-\d]", "[b-a]", "[a", r"[\", "["] {
            assert!(regex::Regex::new(&translate(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn letters_digits_blanks_and_edges_are_of_ascii() {
        let check = |pattern: &str, hits: &[&str], misses: &[&str]| {
            let regex = compiled(pattern);
            hits.iter().for_each(|hit| assert!(regex.is_match(hit), "{pattern} on {hit:?}"));
            misses.iter().for_each(|miss| assert!(!regex.is_match(miss), "{pattern} on {miss:?}"));
        };
        check(r"\d+", &["09"], &["٣", "a"]);
        check(r"\D", &["a", "٣", "é"], &["3"]);
        check(r"\w+", &["aZ_9"], &["é", "-"]);
        check(r"\W", &["é", "-"], &["a", "_"]);
        check(r"\s", &[" ", "\t", "\n", "\r", "\x0c"], &["\x0b", "\u{a0}", "\u{2003}"]);
        check(r"\S", &["\x0b", "\u{a0}", "a"], &[" ", "\n"]);
        check(r"[\d.]+", &["1.5"], &["٣"]);
        check(r"[^\w]", &["é", "-"], &["a"]);
        check(r"[\W_]", &["é", "_", "-"], &["a", "5"]);
        check(r"[\D5]", &["a", "5"], &["4"]);
        check(r"[\s]", &[" "], &["\x0b", "\u{a0}"]);
        check(r"[\S]", &["\x0b", "a"], &[" "]);
        check(r".*\bb.*", &["a b", "éb", "b"], &["ab"]);
        check(r".*\Bb.*", &["ab"], &["a b", "éb"]);
        check(r"(?i)\bERROR\b", &["error"], &["errors"]);
        check(r"\\d", &["\\d"], &["5"]);
    }
}
