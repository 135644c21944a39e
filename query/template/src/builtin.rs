//! Go's own functions.

use std::fmt::Write;

use crate::compare::compare;
use crate::escape::{escape_query, html, js};
use crate::printf::printf;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Subslice,
    Print,
    Printf,
    Println,
    Html,
    Js,
    Urlquery,
}

const ANY: usize = usize::MAX;

/// Names, and the fewest and the most arguments.
const BUILTINS: [(Builtin, &str, usize, usize); 18] = [
    (Builtin::And, "and", 1, ANY),
    (Builtin::Or, "or", 1, ANY),
    (Builtin::Not, "not", 1, 1),
    (Builtin::Eq, "eq", 1, ANY),
    (Builtin::Ne, "ne", 2, 2),
    (Builtin::Lt, "lt", 2, 2),
    (Builtin::Le, "le", 2, 2),
    (Builtin::Gt, "gt", 2, 2),
    (Builtin::Ge, "ge", 2, 2),
    (Builtin::Len, "len", 1, 1),
    (Builtin::Index, "index", 1, ANY),
    (Builtin::Subslice, "slice", 1, 4),
    (Builtin::Print, "print", 0, ANY),
    (Builtin::Printf, "printf", 1, ANY),
    (Builtin::Println, "println", 0, ANY),
    (Builtin::Html, "html", 0, ANY),
    (Builtin::Js, "js", 0, ANY),
    (Builtin::Urlquery, "urlquery", 0, ANY),
];

impl Builtin {
    pub(crate) fn named(name: &str) -> Option<Self> {
        BUILTINS.iter().find(|(_, own, ..)| *own == name).map(|(builtin, ..)| *builtin)
    }

    pub(crate) fn name(self) -> &'static str {
        BUILTINS[self as usize].1
    }

    pub(crate) fn arity(self) -> (usize, usize) {
        let (_, _, least, most) = BUILTINS[self as usize];
        (least, most)
    }

    /// What it makes may have `bytes_max`. `and` and `or` are for [`eval`](crate::eval), which stops at what decides.
    pub(crate) fn call<'a>(self, arguments: &[Value<'a>], bytes_max: usize) -> Result<Value<'a>, String> {
        match self {
            Self::And | Self::Or => Ok(arguments.last().cloned().unwrap_or(Value::Nil)),
            Self::Not => Ok((!arguments[0].truth()).into()),
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => compare(self, arguments).map(Value::Bool),
            Self::Len => len(&arguments[0]).map(|length| Value::Integer(length as i64)),
            Self::Index => arguments[1..].iter().try_fold(arguments[0].clone(), |value, key| index(&value, key)),
            Self::Subslice => slice(&arguments[0], &arguments[1..]),
            Self::Print => Ok(print(arguments).into()),
            Self::Printf => printf(arguments[0].text()?, &arguments[1..], bytes_max).map(Value::from),
            Self::Println => Ok(println(arguments).into()),
            Self::Html => Ok(html(&print(arguments)).into()),
            Self::Js => Ok(js(&print(arguments)).into()),
            Self::Urlquery => Ok(escape_query(&print(arguments)).into()),
        }
    }
}

/// Go's `Sprint`: a blank between two of which neither is a text.
fn print(arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (i, argument) in arguments.iter().enumerate() {
        let is_text = matches!(argument, Value::Text(_));
        let blank = if i > 0 && !is_text && !after_text { " " } else { "" };
        let _ = write!(out, "{blank}{argument}");
        after_text = is_text;
    }
    out
}

fn println(arguments: &[Value<'_>]) -> String {
    let mut out = String::new();
    for (i, argument) in arguments.iter().enumerate() {
        let _ = write!(out, "{}{argument}", if i == 0 { "" } else { " " });
    }
    out.push('\n');
    out
}

fn len(value: &Value<'_>) -> Result<usize, String> {
    match value {
        Value::Text(text) => Ok(text.len()),
        Value::List(list) => Ok(list.len()),
        Value::Map(map) => Ok(map.iter().len()),
        other => Err(format!("len of type {}", other.kind())),
    }
}

fn index<'a>(value: &Value<'a>, key: &Value<'_>) -> Result<Value<'a>, String> {
    let at = |length: usize| match key {
        Value::Integer(at) => {
            let own = usize::try_from(*at).ok().filter(|own| *own < length);
            own.ok_or_else(|| format!("index out of range: {at}"))
        }
        other => Err(format!("cannot index slice/array with type {}", other.kind())),
    };
    match (value, key) {
        (Value::Map(map), Value::Text(name)) => Ok(map.get(name)),
        (Value::Map(_), key) => Err(format!("value has type {}; should be string", key.kind())),
        (Value::List(list), _) => Ok(list[at(list.len())?].clone()),
        (Value::Text(text), _) => Ok(Value::Integer(i64::from(text.as_bytes()[at(text.len())?]))),
        (Value::Nil, _) => Err("index of untyped nil".into()),
        (other, _) => Err(format!("can't index item of type {}", other.kind())),
    }
}

fn slice<'a>(value: &Value<'a>, bounds: &[Value<'_>]) -> Result<Value<'a>, String> {
    let length = match value {
        Value::Text(_) if bounds.len() > 2 => return Err("cannot 3-index slice a string".into()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", other.kind())),
    };
    let mut range = [0, length, length];
    for (bound, own) in range.iter_mut().zip(bounds) {
        let at = own.integer()?;
        *bound = usize::try_from(at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}"))?;
    }
    let [start, end, _] = range;
    if start > end || bounds.len() > 2 && end > range[2] {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    match value {
        Value::List(list) => Ok(list[start..end].to_vec().into()),
        Value::Text(text) => {
            let part = text.get(start..end).ok_or_else(|| format!("slice cuts a letter at {start} or {end}"))?;
            Ok(part.to_owned().into())
        }
        _ => Ok(Value::Nil),
    }
}
