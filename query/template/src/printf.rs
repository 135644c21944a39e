//! Go's `Sprintf`: `%v %s %q %d %b %o %O %x %X %c %U %t %e %E %f %F %g %G`, flags, widths, precisions, `*` and `[n]`.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use crate::escape::{printable, quote, quoted};
use crate::number::{general, not_finite, pad_exponent};
use crate::value::Value;

/// A width or precision. Go takes a million, which no line needs.
const WIDTH_MAX: usize = 1_000;

/// What stands between the % and the verb.
#[derive(Default)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    /// Of the result, which is refused beyond: what remains of a list is left out then.
    bytes_max: usize,
}

/// Arguments and which is next.
struct Arguments<'v, 'a> {
    all: &'v [Value<'a>],
    next: usize,
    /// Some were taken by number: what is left over is no error then.
    reordered: bool,
}

/// Errors when the result has more than `bytes_max`; what Go writes into the result for a wrong verb is no error.
pub(crate) fn printf(format: &str, arguments: &[Value<'_>], bytes_max: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = Arguments { all: arguments, next: 0, reordered: false };
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if out.len() > bytes_max {
            return Err("the result is too long".into());
        }
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut bad_index = false;
        let spec = Spec { bytes_max, ..spec(&mut letters, &mut arguments, &mut bad_index)? };
        let Some(verb) = letters.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        match arguments.all.get(arguments.next) {
            _ if verb == '%' => out.push('%'),
            _ if bad_index => _ = write!(out, "%!{verb}(BADINDEX)"),
            None => _ = write!(out, "%!{verb}(MISSING)"),
            Some(value) => {
                arguments.next += 1;
                one(&mut out, verb, value, &spec);
            }
        }
    }
    if !arguments.reordered && arguments.next < arguments.all.len() {
        let extra = arguments.all[arguments.next..].iter().map(|value| match value {
            Value::Nil => "<nil>".to_owned(),
            value => format!("{}={value}", value.kind()),
        });
        let _ = write!(out, "%!(EXTRA {})", extra.collect::<Vec<_>>().join(", "));
    }
    if out.len() > bytes_max { Err("the result is too long".into()) } else { Ok(out) }
}

fn spec(letters: &mut Peekable<Chars<'_>>, arguments: &mut Arguments<'_, '_>, bad: &mut bool) -> Result<Spec, String> {
    let mut spec = Spec::default();
    while let Some(flag) = letters.next_if(|letter| "+-# 0".contains(*letter)) {
        match flag {
            '+' => spec.plus = true,
            '-' => spec.minus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
    }
    numbered(letters, arguments, bad);
    spec.width = match size(letters, arguments)? {
        Some(width) => {
            spec.minus |= width < 0;
            Some(checked(width.unsigned_abs())?)
        }
        None => None,
    };
    if letters.next_if_eq(&'.').is_some() {
        numbered(letters, arguments, bad);
        spec.precision = Some(checked(size(letters, arguments)?.unwrap_or(0).max(0).unsigned_abs())?);
    }
    numbered(letters, arguments, bad);
    spec.zero &= !spec.minus;
    Ok(spec)
}

fn checked(size: u64) -> Result<usize, String> {
    let size = usize::try_from(size).ok().filter(|size| *size <= WIDTH_MAX);
    size.ok_or_else(|| format!("a width or precision above {WIDTH_MAX}"))
}

/// `[n]`: which argument is next.
fn numbered(letters: &mut Peekable<Chars<'_>>, arguments: &mut Arguments<'_, '_>, bad: &mut bool) {
    if letters.next_if_eq(&'[').is_none() {
        return;
    }
    let mut digits = String::new();
    while let Some(letter) = letters.next_if(|letter| *letter != ']' && digits.len() < 8) {
        digits.push(letter);
    }
    letters.next_if_eq(&']');
    arguments.reordered = true;
    match digits.parse::<usize>() {
        Ok(number) if (1..=arguments.all.len()).contains(&number) => arguments.next = number - 1,
        _ => *bad = true,
    }
}

/// Digits, or `*`: the next argument.
fn size(letters: &mut Peekable<Chars<'_>>, arguments: &mut Arguments<'_, '_>) -> Result<Option<i64>, String> {
    if letters.next_if_eq(&'*').is_some() {
        let size = arguments.all.get(arguments.next).ok_or("no argument for *")?.integer()?;
        arguments.next += 1;
        return Ok(Some(size));
    }
    let mut size = None;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        let digit = i64::from(digit.to_digit(10).unwrap_or(0));
        size = Some((size.unwrap_or(0_i64) * 10 + digit).min(1 << 32));
    }
    Ok(size)
}

fn one(out: &mut String, verb: char, value: &Value<'_>, spec: &Spec) {
    if out.len() > spec.bytes_max {
        return;
    }
    let separated = |out: &mut String, i: usize| out.push_str(if i == 0 { "" } else { " " });
    match value {
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                separated(out, i);
                one(out, verb, item, spec);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (name, item)) in map.iter().enumerate() {
                separated(out, i);
                one(out, verb, &name.into(), spec);
                out.push(':');
                one(out, verb, item, spec);
            }
            out.push(']');
        }
        Value::Integer(value) => match integer(verb, *value, spec) {
            Some(text) => pad(out, &text, spec, spec.precision.is_none() || verb == 'c' || verb == 'q'),
            None => bad(out, verb, &Value::Integer(*value)),
        },
        Value::Number(value) => match float(verb, *value, spec) {
            Some(text) => pad(out, &text, spec, value.is_finite()),
            None => bad(out, verb, &Value::Number(*value)),
        },
        Value::Bool(value) if matches!(verb, 't' | 'v') => pad(out, &value.to_string(), spec, true),
        Value::Nil if verb == 'v' => pad(out, "<nil>", spec, true),
        Value::Text(text) => match self::text(verb, text, spec) {
            Some(text) => pad(out, &text, spec, true),
            None => bad(out, verb, value),
        },
        Value::Time(_) | Value::Struct(_) | Value::Pattern(_) if matches!(verb, 'v' | 's') => {
            pad(out, &value.to_string(), spec, true);
        }
        value => bad(out, verb, value),
    }
}

/// A verb that the value does not have.
fn bad(out: &mut String, verb: char, value: &Value<'_>) {
    let _ = match value {
        Value::Nil => write!(out, "%!{verb}(<nil>)"),
        value => write!(out, "%!{verb}({}={value})", value.kind()),
    };
}

fn text(verb: char, text: &str, spec: &Spec) -> Option<String> {
    let hex = |upper: bool| {
        let mut out = String::new();
        for (i, byte) in text.bytes().take(spec.precision.unwrap_or(usize::MAX)).enumerate() {
            out.push_str(if spec.space && i > 0 { " " } else { "" });
            let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        }
        out
    };
    let cut = || match spec.precision {
        Some(precision) => text.char_indices().nth(precision).map_or(text, |(end, _)| &text[..end]),
        None => text,
    };
    match verb {
        's' => Some(cut().to_owned()),
        'v' if spec.sharp => Some(quote(cut(), false)),
        'v' => Some(cut().to_owned()),
        'q' if spec.sharp && !cut().contains(|letter: char| letter == '`' || letter != '\t' && !printable(letter)) => {
            Some(format!("`{}`", cut()))
        }
        'q' => Some(quote(cut(), spec.plus)),
        'x' => Some(hex(false)),
        'X' => Some(hex(true)),
        _ => None,
    }
}

fn integer(verb: char, value: i64, spec: &Spec) -> Option<String> {
    let letter = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let magnitude = value.unsigned_abs();
    let (digits, prefix) = match verb {
        'd' | 'v' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), if spec.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if spec.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if spec.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if spec.sharp { "0X" } else { "" }),
        'c' => return Some(letter.to_string()),
        'q' => {
            let mut out = String::from("'");
            quoted(&mut out, letter, '\'', spec.plus);
            out.push('\'');
            return Some(out);
        }
        'U' => {
            let shown = if spec.sharp && printable(letter) { format!(" '{letter}'") } else { String::new() };
            return Some(format!("U+{magnitude:04X}{shown}"));
        }
        _ => return None,
    };
    let zeros = "0".repeat(spec.precision.unwrap_or(0).saturating_sub(digits.len()));
    let digits = if spec.precision == Some(0) && value == 0 { String::new() } else { digits };
    let sign = if value < 0 { "-" } else { sign_of(spec) };
    Some(format!("{sign}{prefix}{zeros}{digits}"))
}

fn sign_of(spec: &Spec) -> &'static str {
    match spec {
        Spec { plus: true, .. } => "+",
        Spec { space: true, .. } => " ",
        _ => "",
    }
}

fn float(verb: char, value: f64, spec: &Spec) -> Option<String> {
    let scientific = || {
        let text = format!("{value:.*e}", spec.precision.unwrap_or(6));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        pad_exponent(mantissa, exponent.parse().unwrap_or(0))
    };
    let text = match verb {
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'v' if !value.is_finite() => {
            let text = not_finite(value);
            return Some(if value.is_nan() { format!("{}{text}", sign_of(spec)) } else { text.to_owned() });
        }
        'f' | 'F' => format!("{value:.*}", spec.precision.unwrap_or(6)),
        'e' => scientific(),
        'E' => scientific().to_uppercase(),
        'g' | 'v' => general(value, spec.precision),
        'G' => general(value, spec.precision).to_uppercase(),
        _ => return None,
    };
    Some(if text.starts_with('-') { text } else { format!("{}{text}", sign_of(spec)) })
}

/// With zeros after the sign only where `zeros`.
fn pad(out: &mut String, text: &str, spec: &Spec, zeros: bool) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if spec.zero && zeros {
        let (sign, digits) = if text.starts_with(['-', '+', ' ']) { text.split_at(1) } else { ("", text) };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}
