//! Sprig's arithmetic: anything is read as a number, and what is none is 0. Whole numbers wrap around, as Go's do.

use weir_template::{Value, general, parse_integer};

/// As a whole number. Of a text with a point, what stands before it.
pub(super) fn integer(value: &Value<'_>) -> i64 {
    match value {
        Value::Integer(value) => *value,
        Value::Number(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => {
            let whole = text.split_once('.').filter(|(_, decimals)| decimals.bytes().all(|digit| digit.is_ascii_digit()));
            parse_integer(whole.map_or(text, |(whole, _)| whole)).unwrap_or(0)
        }
        _ => 0,
    }
}

pub(super) fn float(value: &Value<'_>) -> f64 {
    match value {
        Value::Integer(value) => *value as f64,
        Value::Number(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

pub(super) fn fold<'a>(arguments: &[Value<'a>], operator: fn(i64, i64) -> i64) -> Result<Value<'a>, String> {
    Ok(arguments.iter().map(integer).reduce(operator).unwrap_or(0).into())
}

pub(super) fn fold_float<'a>(arguments: &[Value<'a>], operator: fn(f64, f64) -> f64) -> Result<Value<'a>, String> {
    let chosen = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { operator(a, b) };
    Ok(arguments.iter().map(float).reduce(chosen).unwrap_or(0.0).into())
}

pub(super) fn divide<'a>(arguments: &[Value<'a>], operator: fn(i64, i64) -> i64) -> Result<Value<'a>, String> {
    match integer(&arguments[1]) {
        0 => Err("integer divide by zero".into()),
        divisor => Ok(operator(integer(&arguments[0]), divisor).into()),
    }
}

/// Value, decimals, and from which fraction on it goes up.
pub(super) fn round<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let up_from = match arguments.get(2) {
        None => 0.5,
        Some(Value::Number(value)) => *value,
        Some(Value::Integer(value)) => *value as f64,
        Some(other) => return Err(other.instead_of("float64")),
    };
    let power = 10_f64.powf(arguments[1].integer()? as f64);
    let shifted = float(&arguments[0]) * power;
    let rounded = if shifted.fract() >= up_from { shifted.ceil() } else { shifted.floor() };
    Ok((rounded / power).into())
}

/// `addf` and its kin reckon in decimals, so that 0.1 and 0.2 are 0.3; in floats where the digits do not fit.
pub(super) fn decimal<'a>(arguments: &[Value<'a>], operator: char) -> Result<Value<'a>, String> {
    let numbers: Vec<f64> = arguments.iter().map(float).collect();
    if let Some(value) = numbers.iter().find(|value| !value.is_finite()) {
        return Err(format!("cannot create a decimal from {}", general(*value, None)));
    }
    if operator == '/' && numbers.iter().skip(1).any(|value| *value == 0.0) {
        return Err("decimal division by 0".into());
    }
    let reckoned = numbers.iter().map(|value| Decimal::of(*value)).reduce(|a, b| a?.apply(operator, b?));
    let exact = reckoned.flatten().map(Decimal::float);
    let plain = |a: f64, b: f64| match operator {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    };
    Ok(exact.or_else(|| numbers.iter().copied().reduce(plain)).unwrap_or(0.0).into())
}

/// `mantissa / 10^scale`
#[derive(Clone, Copy)]
struct Decimal {
    mantissa: i128,
    scale: i32,
}

/// Decimals of a quotient, as in the library that Sprig uses.
const QUOTIENT_SCALE: i32 = 16;

impl Decimal {
    /// The shortest decimal that is this float.
    fn of(value: f64) -> Option<Self> {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let scale = i32::try_from(decimals).ok()? - exponent.parse::<i32>().ok()?;
        let mantissa = mantissa.replace('.', "").parse().ok()?;
        if scale < 0 { Self { mantissa, scale }.scaled(0) } else { Some(Self { mantissa, scale }) }
    }

    /// With at least its own decimals.
    fn scaled(self, scale: i32) -> Option<Self> {
        let power = 10_i128.checked_pow(u32::try_from(scale - self.scale).ok()?)?;
        Some(Self { mantissa: self.mantissa.checked_mul(power)?, scale })
    }

    fn apply(self, operator: char, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(match operator {
            '*' => Self { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale: self.scale + other.scale },
            '/' => return self.over(other),
            _ => {
                let (a, b) = (self.scaled(scale)?.mantissa, other.scaled(scale)?.mantissa);
                Self { mantissa: if operator == '+' { a.checked_add(b)? } else { a.checked_sub(b)? }, scale }
            }
        })
    }

    /// Rounded half away from zero.
    fn over(self, other: Self) -> Option<Self> {
        let shift = QUOTIENT_SCALE + other.scale - self.scale;
        let power = 10_i128.checked_pow(shift.unsigned_abs())?;
        let (mut above, mut below) = (self.mantissa, other.mantissa);
        if shift >= 0 {
            above = above.checked_mul(power)?
        } else {
            below = below.checked_mul(power)?
        }
        let quotient = above.checked_div(below)?;
        let rest = above.checked_rem(below)?.unsigned_abs();
        let up = rest >= below.unsigned_abs() - rest;
        let away = if (above < 0) == (below < 0) { 1 } else { -1 };
        Some(Self { mantissa: quotient + if up { away } else { 0 }, scale: QUOTIENT_SCALE })
    }

    fn float(self) -> f64 {
        format!("{}e{}", self.mantissa, -self.scale).parse().unwrap_or(f64::NAN)
    }
}
