//! Selectors by themselves, `{a="b", c=~"d"}`: of policies; and the quoted strings in them, which pushed streams have as well.
//! Queries are read by the languages' own lexers. Pure; loops only.

use thiserror::Error;

use crate::clip;
use crate::label::{MatchOp, Matcher, is_label_name};
use crate::pattern::{PatternBudget, PatternError};

/// What is wrong with a selector; shows at most the beginning of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelectorError {
    #[error("expected {{name=\"value\"}}, got {0:?}")]
    Braces(String),
    #[error("expected name=\"value\" at {0:?}")]
    Matcher(String),
    #[error("not a label name: {0:?}")]
    Name(String),
    #[error("value of {0} is not a quoted string")]
    Value(String),
    #[error("expected a comma at {0:?}")]
    Comma(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// The matchers of a selector, in their order; `{}` has none. Regular expressions are compiled within `patterns`.
pub fn parse(text: &str, patterns: &mut PatternBudget) -> Result<Vec<Matcher>, SelectorError> {
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let Some(inner) = inner else { return Err(SelectorError::Braces(clip(text))) };
    let mut matchers = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let wrong = || SelectorError::Matcher(clip(rest));
        let (name, tail) = rest.split_at(rest.find(['=', '!']).ok_or_else(wrong)?);
        let name = name.trim_end();
        if !is_label_name(name) {
            return Err(SelectorError::Name(clip(name)));
        }
        let (op, tail) = operator(tail).ok_or_else(wrong)?;
        let (value, tail) = unquote(tail.trim_start()).ok_or_else(|| SelectorError::Value(clip(name)))?;
        matchers.push(Matcher::within(patterns, name, op, value)?);
        rest = tail.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(SelectorError::Comma(clip(rest))),
        }
    }
    Ok(matchers)
}

/// The longest operator that a text begins with, and what follows it.
fn operator(text: &str) -> Option<(MatchOp, &str)> {
    let longest_first = [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal];
    longest_first.into_iter().find_map(|op| Some((op, text.strip_prefix(op.as_str())?)))
}

/// The value of a Go string literal, `"…"` or `` `…` ``, that a text begins with, and what follows it. Bytes that are no UTF-8
/// become U+FFFD.
pub fn unquote(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.to_owned(), rest));
    }
    let body = text.strip_prefix('"')?;
    let mut value = Vec::new();
    let mut at = 0;
    let bytes = body.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some((String::from_utf8_lossy(&value).into_owned(), &body[at + 1..])),
            b'\\' => at += 1 + escape(bytes.get(at + 1..)?, &mut value)?,
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
    None
}

/// Undoes one escape (what follows the backslash); its length.
fn escape(text: &[u8], value: &mut Vec<u8>) -> Option<usize> {
    let simple = |byte| Some((byte, 1));
    let (byte, length) = match text.first()? {
        b'n' => simple(b'\n'),
        b't' => simple(b'\t'),
        b'r' => simple(b'\r'),
        b'a' => simple(7),
        b'b' => simple(8),
        b'f' => simple(12),
        b'v' => simple(11),
        b'"' => simple(b'"'),
        b'\'' => simple(b'\''),
        b'\\' => simple(b'\\'),
        b'x' => Some((u8::try_from(number(text, 1, 2, 16)?).ok()?, 3)),
        b'0'..=b'7' => Some((u8::try_from(number(text, 0, 3, 8)?).ok()?, 3)),
        kind @ (b'u' | b'U') => {
            let digits = if *kind == b'u' { 4 } else { 8 };
            let letter = char::from_u32(number(text, 1, digits, 16)?)?;
            value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(1 + digits);
        }
        _ => None,
    }?;
    value.push(byte);
    Some(length)
}

fn number(text: &[u8], start: usize, digits: usize, radix: u32) -> Option<u32> {
    text.get(start..start + digits)?
        .iter()
        .try_fold(0_u32, |sum, byte| Some(sum.checked_mul(radix)? + (*byte as char).to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let check = |text: &str, expected: &str| match parse(text, &mut PatternBudget::default()) {
            Ok(matchers) => {
                let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
                assert_eq!(texts.join(" "), expected, "{text}");
            }
            Err(error) => assert!(error.to_string().contains(expected) && !expected.is_empty(), "{text}: {error}"),
        };
        check(r#"{a="1", b!="2"}"#, r#"a="1" b!="2""#);
        check(r#" { b =~ "2.*" , a!~`x"y`, } "#, r#"b=~"2.*" a!~"x\"y""#);
        check(r#"{a="\u00e9\x41\101\n"}"#, r#"a="éAA\n""#);
        check("{}", "");
        check(r#"{a="}"}"#, r#"a="}""#);
        check(r#"{a="1""#, "expected {name");
        check(r#"{a="1"} |= "x""#, "expected {name");
        check(r#"{a="1"}, b="}"#, "comma");
        check("{a=1}", "value of a is not a quoted string");
        check("{a=='1'}", "not a quoted string");
        check(r#"{a="1" b="2"}"#, "comma");
        check(r#"{a-b="1"}"#, "not a label name");
        check(r#"{="1"}"#, "not a label name");
        check(r#"{a!"1"}"#, "expected name");
        check("{a}", "expected name");
        check(r#"{a=~"("}"#, "unclosed group");
        check(r#"{a="\q"}"#, "not a quoted string");
        check(r#"{a="\"#, "expected {name");
    }

    /// Read by loops: on a small stack, what is long is matchers or an error.
    #[test]
    fn long_selectors_are_read_on_a_small_stack() {
        let work = || {
            let pairs: String = (0..30_000).map(|i| format!("a{i}=\"{i}\",")).collect();
            assert_eq!(parse(&format!("{{{pairs}}}"), &mut PatternBudget::default()).unwrap().len(), 30_000);
            for part in ["{", "{a=", "\"", "\\", ",", "a=\"", "a=`", "{a=\"\\", "!"] {
                let text = part.repeat(30_000);
                for text in [format!("{{{text}}}"), format!("{{a=\"{text}"), text] {
                    let read = parse(&text, &mut PatternBudget::default());
                    assert!(read.map_or_else(|error| error.to_string().len() < 1_000, |matchers| matchers.len() <= 1), "{part}");
                }
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
    }
}
