//! Numbers as Go prints them, and `printf`.

use super::Value;

/// `%g`: shortest (`None`) or with so many significant digits; an exponent when very small or large.
pub(crate) fn general(value: f64, digits: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let text = match digits {
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest form switches to an exponent at 21 digits, like JSON.
    let most = digits.map_or(21, |digits| digits.max(1) as i32);
    if exponent < -4 || exponent >= most {
        return pad_exponent(trim_zeros(mantissa), exponent);
    }
    match digits {
        None => value.to_string(),
        Some(digits) => {
            let decimals = usize::try_from(digits.max(1) as i32 - 1 - exponent).unwrap_or(0);
            trim_zeros(&format!("{value:.decimals$}")).to_owned()
        }
    }
}

/// Go writes at least two digits of an exponent, and its sign.
pub(crate) fn pad_exponent(mantissa: &str, exponent: i32) -> String {
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Go's `Sprintf` with `% d f e g s q v t x X c` and flags, width and precision.
pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = letters.next_if(|letter| "+-# 0".contains(*letter)) {
            flags.push(flag);
        }
        let mut number = || {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok().map(|value| value.min(512))
        };
        let width = number().unwrap_or(0);
        let precision = if letters.next_if_eq(&'.').is_some() { Some(number_after(&mut letters)) } else { None };
        let verb = letters.next().ok_or("printf: the format ends in %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let text = match arguments.next() {
            None => format!("%!{verb}(MISSING)"),
            Some(value) => one(verb, value, precision, flags.contains('+')),
        };
        pad(&mut out, &text, width, &flags);
    }
    Ok(out)
}

fn number_after(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut digits = String::new();
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse::<usize>().unwrap_or(0).min(512)
}

fn one(verb: char, value: &Value, precision: Option<usize>, plus: bool) -> String {
    let signed = |text: String| if plus && !text.starts_with(['-', '+']) { format!("+{text}") } else { text };
    let float = match value {
        Value::Number(value) => Some(*value),
        _ => None,
    };
    match (verb, value, float) {
        ('f' | 'F', _, Some(value)) if value.is_finite() => signed(format!("{value:.*}", precision.unwrap_or(6))),
        ('e', _, Some(value)) if value.is_finite() => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            signed(pad_exponent(mantissa, exponent.parse().unwrap_or(0)))
        }
        ('g' | 'v' | 'f' | 'F' | 'e', _, Some(value)) => signed(general(value, precision)),
        ('d' | 'v', Value::Integer(value), _) => signed(value.to_string()),
        ('x', Value::Integer(value), _) => format!("{value:x}"),
        ('X', Value::Integer(value), _) => format!("{value:X}"),
        ('t', Value::Bool(value), _) => value.to_string(),
        ('q', Value::Text(text), _) => format!("{text:?}"),
        ('s', Value::Text(text), _) => text.chars().take(precision.unwrap_or(usize::MAX)).collect(),
        ('v', value, _) => value.show(),
        (verb, value, _) => format!("%!{verb}({}={})", kind(value), value.show()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::Integer(_) => "int",
        Value::Text(_) => "string",
        Value::Map(_) => "map[string]string",
        Value::Sample(..) => "*template.sample",
        Value::List(_) => "template.queryResult",
    }
}

fn pad(out: &mut String, text: &str, width: usize, flags: &str) {
    let missing = width.saturating_sub(text.chars().count());
    if flags.contains('-') {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if flags.contains('0') {
        let (sign, digits) = if text.starts_with(['-', '+']) { text.split_at(1) } else { ("", text) };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}
