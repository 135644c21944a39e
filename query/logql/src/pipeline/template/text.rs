//! Functions on texts. By letters, never by bytes, so that none is cut in halves.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use weir_template::{Map, Missing, Replacement, Value, replace_all};

use super::ARGUMENT_BYTES_MAX;
use crate::ast::Unit;
use crate::pipeline::{filter, readable};

const TOO_LONG: &str = "the result is too long";

pub(super) fn from_text<'a>(value: &Value<'a>, change: fn(&str) -> String) -> Result<Value<'a>, String> {
    Ok(change(value.text()?).into())
}

/// The same where the result may be three times as long.
pub(super) fn long_text<'a>(value: &Value<'a>, change: fn(&str) -> String) -> Result<Value<'a>, String> {
    if value.text()?.len() > ARGUMENT_BYTES_MAX / 3 { Err(TOO_LONG.into()) } else { from_text(value, change) }
}

fn limited(bytes: u128) -> Result<(), String> {
    if bytes > ARGUMENT_BYTES_MAX as u128 { Err(TOO_LONG.into()) } else { Ok(()) }
}

/// The first `count` times, all when negative.
pub(super) fn replace<'a>(text: &Value<'a>, (from, to): (&Value<'a>, &Value<'a>), count: i64) -> Result<Value<'a>, String> {
    let (text, from, to) = (text.text()?, from.text()?, to.text()?);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = text.matches(from).take(count).count();
    if found == 0 {
        return Ok(text.to_owned().into());
    }
    limited(found as u128 * to.len() as u128 + text.len() as u128)?;
    Ok(text.replacen(from, to, count).into())
}

/// Takes letters of `set` away with one of the functions of `str` that do so.
pub(super) fn trim<'a>(
    text: &Value<'a>,
    set: &Value<'a>,
    trim: for<'t> fn(&'t str, &dyn Fn(char) -> bool) -> &'t str,
) -> Result<Value<'a>, String> {
    let set: HashSet<char> = set.text()?.chars().collect();
    Ok(trim(text.text()?, &|letter| set.contains(&letter)).to_owned().into())
}

pub(super) fn without<'a>(
    text: &Value<'a>,
    part: &Value<'a>,
    strip: for<'t> fn(&'t str, &str) -> Option<&'t str>,
) -> Result<Value<'a>, String> {
    let text = text.text()?;
    Ok(strip(text, part.text()?).unwrap_or(text).to_owned().into())
}

/// The byte at which the letter of that number begins; the end when there are fewer.
fn place(text: &str, letters: usize) -> usize {
    text.char_indices().nth(letters).map_or(text.len(), |(at, _)| at)
}

fn size(count: i64) -> usize {
    usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)
}

/// A positive length keeps the first letters, a negative one the last.
pub(super) fn truncate<'a>(length: i64, text: &str) -> Result<Value<'a>, String> {
    let kept = match length {
        0.. => &text[..place(text, size(length))],
        _ => &text[place(text, text.chars().count().saturating_sub(size(length)))..],
    };
    Ok(kept.to_owned().into())
}

/// From `start` to before `end`; a negative one is no bound.
pub(super) fn substring<'a>((start, end): (i64, i64), text: &str) -> Result<Value<'a>, String> {
    let letters = text.chars().count();
    let out_of_range = |range: String| format!("slice bounds out of range [{range}]");
    if start < 0 && (end < 0 || size(end) > letters) {
        return Err(out_of_range(format!(":{end}")) + &format!(" with length {letters}"));
    }
    let from = if start < 0 { 0 } else { size(start) };
    let to = if end < 0 || size(end) > letters { letters } else { size(end) };
    if from > to {
        return Err(out_of_range(format!("{from}:{to}")));
    }
    Ok(text[place(text, from)..place(text, to)].to_owned().into())
}

pub(super) fn repeat(text: &str, count: i64) -> Result<String, String> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count")?;
    limited(count as u128 * text.len() as u128)?;
    Ok(text.repeat(count))
}

pub(super) fn indent<'a>(before: &str, spaces: i64, text: &str) -> Result<Value<'a>, String> {
    let pad = repeat(" ", spaces)?;
    limited(pad.len() as u128 * (text.matches('\n').count() as u128 + 1) + text.len() as u128)?;
    Ok(format!("{before}{pad}{}", text.replace('\n', &format!("\n{pad}"))).into())
}

/// Where the text stands within the width.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Padded or cut to so many letters; as it is when that is negative.
pub(super) fn align<'a>(side: Side, width: i64, text: &str) -> Result<Value<'a>, String> {
    let letters = text.chars().count();
    let Ok(width) = usize::try_from(width) else { return Ok(text.to_owned().into()) };
    if width <= letters {
        let kept = if side == Side::Left { &text[..place(text, width)] } else { &text[place(text, letters - width)..] };
        return Ok(kept.to_owned().into());
    }
    limited((width - letters) as u128 + text.len() as u128)?;
    let pad = " ".repeat(width - letters);
    Ok(if side == Side::Left { format!("{text}{pad}") } else { format!("{pad}{text}") }.into())
}

/// Pattern, text, replacement.
pub(super) fn replace_matches<'a>(arguments: &[Value<'a>], how: Replacement) -> Result<Value<'a>, String> {
    let [pattern, text, replacement] = arguments else { return Err("takes three arguments".into()) };
    let regex = pattern.regex()?;
    replace_all(&regex, text.text()?, (replacement.text()?, how), ARGUMENT_BYTES_MAX).map(Value::from)
}

/// Go's `url.QueryUnescape`. What is no UTF-8 then comes as `\xff`.
pub(super) fn url_decode<'a>(text: &str) -> Result<Value<'a>, String> {
    let is_escape = |tail: &str| tail.len() >= 2 && tail.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if let Some((at, _)) = text.match_indices('%').find(|(at, _)| !is_escape(&text[at + 1..])) {
        let end = text.floor_char_boundary((at + 3).min(text.len()));
        return Err(format!("invalid URL escape {:?}", &text[at..end]));
    }
    let spaced = text.replace('+', " ");
    Ok(readable(&percent_decode_str(&spaced).collect::<Vec<u8>>()).into_owned().into())
}

pub(super) fn base64_encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// What is none becomes the text of the error, as in Sprig.
pub(super) fn base64_decode(text: &str) -> String {
    match STANDARD.decode(text.replace(['\r', '\n'], "")) {
        Ok(bytes) => readable(&bytes).into_owned(),
        Err(base64::DecodeError::InvalidByte(at, _)) => format!("illegal base64 data at input byte {at}"),
        Err(_) => format!("illegal base64 data at input byte {}", text.len().saturating_sub(1) / 4 * 4),
    }
}

/// Nil where it is no JSON, as in Sprig. Numbers are floats.
pub(super) fn from_json<'a>(text: &str) -> Value<'a> {
    serde_json::from_str(text).map_or(Value::Nil, of_json)
}

/// Not deep: the parser stops at 128 levels.
fn of_json<'a>(json: serde_json::Value) -> Value<'a> {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).into(),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => items.into_iter().map(of_json).collect::<Vec<_>>().into(),
        serde_json::Value::Object(entries) => {
            Map::new(entries.into_iter().map(|(name, value)| (name, of_json(value))).collect(), Missing::Nil).into()
        }
    }
}

/// A size in bytes or a duration, as label filters read them, in units of `scale`.
pub(super) fn unit<'a>(text: &str, unit: Unit, scale: f64) -> Result<Value<'a>, String> {
    filter::read(text, unit).map(|value| (value / scale).into())
}
