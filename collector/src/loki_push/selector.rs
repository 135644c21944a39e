//! Stream labels as Loki's protobuf writes them: `{name="value", other="…"}`; a name that Prometheus would quote (`"a.b"`) is quoted, and
//! normalised here. Pure.

use weir_model::clip;
use weir_model::label::{Labels, is_label_name, normalise_label_name};
use weir_model::selector::unquote;

/// Labels of a selector with equality only. Errors say what stands where.
pub(super) fn parse(text: &str) -> Result<Labels, String> {
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let Some(inner) = inner else { return Err(format!("expected {{name=\"value\"}}, got {:?}", clip(text))) };
    let mut pairs = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (name, tail) = name(rest)?;
        let (value, tail) = unquote(tail.trim_start()).ok_or_else(|| format!("value of {name} is not a quoted string"))?;
        pairs.push((name, value));
        rest = tail.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(format!("expected a comma at {:?}", clip(rest))),
        }
    }
    Ok(Labels::from_pairs(pairs))
}

/// The name before the next `=`, and what follows that.
fn name(rest: &str) -> Result<(String, &str), String> {
    let expected = || format!("expected name=\"value\" at {:?}", clip(rest));
    if rest.starts_with('"') {
        let (name, tail) = unquote(rest).ok_or_else(expected)?;
        let tail = tail.trim_start().strip_prefix('=').ok_or_else(expected)?;
        if name.is_empty() {
            return Err("a label name is empty".into());
        }
        return Ok((normalise_label_name(&name).into_owned(), tail));
    }
    let (name, tail) = rest.split_once('=').ok_or_else(expected)?;
    let name = name.trim();
    if is_label_name(name) { Ok((name.to_owned(), tail)) } else { Err(format!("not a label name: {:?}", clip(name))) }
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
        check(r#"{"a.b" = "1", c="="}"#, r#"{a_b="1", c="="}"#);
        check(r#"{"a"}"#, "expected name");
        check(r#"{""="1"}"#, "empty");
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
