//! Numbers as Go reads and prints them.

/// A whole number as Go's `ParseInt` reads it with base 0: `-7`, `0x1f`, `0b1`, `0o17`, `017`, `1_000`.
pub fn parse_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |prefixes: [&str; 2]| prefixes.into_iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (radix, digits) = if let Some(digits) = prefixed(["0x", "0X"]) {
        (16, digits)
    } else if let Some(digits) = prefixed(["0b", "0B"]) {
        (2, digits)
    } else if let Some(digits) = prefixed(["0o", "0O"]) {
        (8, digits)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.ends_with('_') || digits.contains("__") || radix == 10 && digits.starts_with('_') || digits.starts_with(['+', '-'])
    {
        return None;
    }
    let magnitude = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `%g`: shortest (`None`) or with so many significant digits; an exponent below 1e-4 and where there are more digits before the point.
pub fn general(value: f64, digits: Option<usize>) -> String {
    if !value.is_finite() {
        return not_finite(value).into();
    }
    let text = match digits {
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest form goes over to an exponent at 21 digits in JSON, but at a million here.
    let most = digits.map_or(6, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if exponent < -4 || exponent >= most {
        return pad_exponent(trim_zeros(mantissa), exponent);
    }
    match digits {
        None => value.to_string(),
        Some(digits) => {
            let decimals =
                usize::try_from(i64::try_from(digits.max(1)).unwrap_or(i64::MAX) - 1 - i64::from(exponent)).unwrap_or(0);
            trim_zeros(&format!("{value:.decimals$}")).to_owned()
        }
    }
}

pub(crate) fn not_finite(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "+Inf",
        _ => "-Inf",
    }
}

/// Go writes at least two digits of an exponent, and its sign.
pub fn pad_exponent(mantissa: &str, exponent: i32) -> String {
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}
