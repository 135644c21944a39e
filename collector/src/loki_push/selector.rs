//! Stream labels as Loki's protobuf writes them: `{name="value", other="…"}`. Pure.

use weir_model::label::{Labels, is_label_name};

/// Labels of a selector with equality only. Errors say what stands where.
pub(super) fn parse(text: &str) -> Result<Labels, String> {
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let Some(inner) = inner else { return Err(format!("expected {{name=\"value\"}}, got {:?}", clip(text))) };
    let mut pairs = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=').ok_or_else(|| format!("expected name=\"value\" at {:?}", clip(rest)))?;
        let name = name.trim();
        if !is_label_name(name) {
            return Err(format!("not a label name: {:?}", clip(name)));
        }
        let (value, tail) = quoted(tail.trim_start()).ok_or_else(|| format!("value of {name} is not a quoted string"))?;
        pairs.push((name.to_owned(), value));
        rest = tail.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(format!("expected a comma at {:?}", clip(rest))),
        }
    }
    Ok(Labels::from_pairs(pairs))
}

/// A Go string literal and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
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

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let check = |text: &str, expected: &str| match parse(text) {
            Ok(labels) => assert_eq!(labels.to_string(), expected, "{text}"),
            Err(error) => assert!(error.contains(expected) && !expected.is_empty(), "{text}: {error}"),
        };
        check(r#"{a="1", b="2"}"#, r#"{a="1", b="2"}"#);
        check(r#" { b = "2" , a="1", } "#, r#"{a="1", b="2"}"#);
        check("{a=`x\"y`}", r#"{a="x\"y"}"#);
        check(r#"{a="\u00e9\x41\101\n"}"#, r#"{a="éAA\n"}"#);
        check("{}", "{}");
        check(r#"{a="1""#, "expected {name");
        check(r#"{a=1}"#, "not a quoted string");
        check(r#"{a="1" b="2"}"#, "comma");
        check(r#"{a-b="1"}"#, "not a label name");
        check(r#"{a="\q"}"#, "not a quoted string");
        check(r#"{a="\"#, "expected {name");
    }

    /// Read by loops: on a small stack, what is long is labels or an error.
    #[test]
    fn long_selectors_are_read_on_a_small_stack() {
        let work = || {
            let pairs: String = (0..30_000).map(|i| format!("a{i}=\"{i}\",")).collect();
            assert_eq!(parse(&format!("{{{pairs}}}")).unwrap().len(), 30_000);
            for part in ["{", "{a=", "\"", "\\", ",", "a=\"", "a=`", "{a=\"\\"] {
                let text = part.repeat(30_000);
                for text in [format!("{{{text}}}"), format!("{{a=\"{text}"), text] {
                    assert!(parse(&text).map_or_else(|error| error.len() < 1_000, |labels| labels.len() <= 1), "{part}");
                }
            }
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
    }
}
