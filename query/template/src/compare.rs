//! `eq ne lt le gt ge`.

use std::cmp::Ordering;

use crate::builtin::Builtin;
use crate::value::Value;

/// Numbers compare with numbers, where Go refuses to compare whole ones with others.
pub(crate) fn compare(builtin: Builtin, arguments: &[Value<'_>]) -> Result<bool, String> {
    let [first, rest @ ..] = arguments else { return Err("missing argument for comparison".into()) };
    let second = rest.first().ok_or("missing argument for comparison")?;
    match builtin {
        Builtin::Eq => rest.iter().try_fold(false, |found, other| Ok(found || equal(first, other)?)),
        Builtin::Ne => Ok(!equal(first, second)?),
        Builtin::Lt => Ok(order(first, second)? == Some(Ordering::Less)),
        Builtin::Le => Ok(matches!(order(first, second)?, Some(Ordering::Less | Ordering::Equal))),
        Builtin::Gt => Ok(order(first, second)? == Some(Ordering::Greater)),
        _ => Ok(matches!(order(first, second)?, Some(Ordering::Greater | Ordering::Equal))),
    }
}

fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Struct(_), _) => Err(format!("non-comparable type {}", a.kind())),
        _ => Ok(order(a, b)? == Some(Ordering::Equal)),
    }
}

/// `None` where a number is none.
fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(Some(str::cmp(a, b))),
        (Value::Integer(a), Value::Integer(b)) => Ok(Some(a.cmp(b))),
        (Value::Number(a), Value::Number(b)) => Ok(a.partial_cmp(b)),
        (Value::Integer(a), Value::Number(b)) => Ok((*a as f64).partial_cmp(b)),
        (Value::Number(a), Value::Integer(b)) => Ok(a.partial_cmp(&(*b as f64))),
        _ if a.kind() == b.kind() => Err("invalid type for comparison".into()),
        _ => Err(format!("incompatible types for comparison: {} and {}", a.kind(), b.kind())),
    }
}
