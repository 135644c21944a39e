//! The functions of rule templates.

use std::cmp::Ordering;

use weir_model::label::NAME;
use weir_model::pattern::PatternBudget;

use super::format::{general, printf};
use super::{Scope, Value};

const NAMES: [&str; 37] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "tableLink",
    "title",
    "toLower",
    "toUpper",
];
const MORE: [&str; 3] = ["strvalue", "value", "urlquery"];

/// A function of that name, if there is one.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().chain(&MORE).find(|own| **own == name).copied()
}

pub(super) fn call(name: &str, mut arguments: Vec<Value>, scope: &Scope<'_>) -> Result<Value, String> {
    let wrong = || format!("wrong number of arguments or types for {name}");
    match name {
        "and" | "or" => {
            let stop = |value: &Value| value.truth() == (name == "or");
            let at = arguments.iter().position(stop).unwrap_or(arguments.len().saturating_sub(1));
            return arguments.into_iter().nth(at).ok_or_else(wrong);
        }
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => return compare(name, &arguments).map(Value::Bool),
        "print" => return Ok(Value::Text(arguments.iter().map(Value::show).collect())),
        "println" => return Ok(Value::Text(arguments.iter().map(Value::show).collect::<Vec<_>>().join(" ") + "\n")),
        "printf" => {
            let Some(Value::Text(format)) = arguments.first() else { return Err(wrong()) };
            return printf(format, &arguments[1..]).map(Value::Text);
        }
        "index" => {
            let rest = arguments.split_off(1.min(arguments.len()));
            let first = arguments.pop().ok_or_else(wrong)?;
            return rest.iter().try_fold(first, index);
        }
        "externalURL" => return Ok(Value::Text(scope.external_url.to_owned())),
        "pathPrefix" => return Ok(Value::Text(String::new())),
        // A list of lists of lists … would be dropped by recursion.
        "args" if arguments.iter().any(|argument| matches!(argument, Value::List(_))) => {
            return Err("args takes no list".into());
        }
        "args" => return Ok(Value::List(arguments)),
        _ => {}
    }
    match &arguments[..] {
        [one] => unary(name, one, scope),
        [Value::Text(pattern), Value::Text(text)] if name == "match" => Ok(Value::Bool(regex(pattern)?.is_match(text))),
        [Value::Text(label), Value::Sample(labels, _)] if name == "label" => Ok(Value::Text(labels.get(label).to_owned())),
        [Value::Text(label), Value::List(items)] if name == "sortByLabel" => Ok(sorted(label, items)),
        [Value::Text(pattern), Value::Text(replacement), Value::Text(text)] if name == "reReplaceAll" => {
            Ok(Value::Text(regex(pattern)?.replace_all(text, replacement.as_str()).into_owned()))
        }
        _ => Err(wrong()),
    }
}

fn unary(name: &str, one: &Value, scope: &Scope<'_>) -> Result<Value, String> {
    let text = |change: fn(&str) -> String| match one {
        Value::Text(text) => Ok(Value::Text(change(text))),
        _ => Err(format!("{name} takes a string")),
    };
    let number = |show: fn(f64) -> String| Ok(Value::Text(show(as_number(name, one)?)));
    match (name, one) {
        ("not", value) => Ok(Value::Bool(!value.truth())),
        ("len", Value::Text(text)) => Ok(Value::Integer(text.len() as i64)),
        ("len", Value::List(items)) => Ok(Value::Integer(items.len() as i64)),
        ("len", Value::Map(map)) => Ok(Value::Integer(map.len() as i64)),
        ("toUpper", _) => text(str::to_uppercase),
        ("toLower", _) => text(str::to_lowercase),
        ("title", _) => text(title),
        ("safeHtml", _) => text(str::to_owned),
        ("stripPort", _) => text(|text| split_port(text).0.to_owned()),
        ("stripDomain", _) => text(strip_domain),
        ("urlquery", _) => text(escape_query),
        ("graphLink", _) => text(|text| format!("/graph?g0.expr={}&g0.tab=0", escape_query(text))),
        ("tableLink", _) => text(|text| format!("/graph?g0.expr={}&g0.tab=1", escape_query(text))),
        ("humanize", _) => number(humanize),
        ("humanize1024", _) => number(humanize1024),
        ("humanizeDuration", _) => number(humanize_duration),
        ("humanizePercentage", _) => number(|value| general(value * 100.0, Some(4)) + "%"),
        ("humanizeTimestamp", _) => number(humanize_timestamp),
        ("parseDuration", Value::Text(text)) => {
            let nanos = weir_model::time::parse_duration(text).map_err(|error| error.to_string())?;
            Ok(Value::Number(nanos as f64 / 1e9))
        }
        ("query", Value::Text(query)) => {
            let samples = (scope.query)(query)?;
            Ok(Value::List(samples.into_iter().map(|(labels, value)| Value::Sample(labels, value)).collect()))
        }
        ("first", Value::List(items)) => items.first().cloned().ok_or_else(|| "first() called on vector with no elements".into()),
        ("value", Value::Sample(_, value)) => Ok(Value::Number(*value)),
        ("strvalue", Value::Sample(labels, _)) => Ok(Value::Text(labels.get("__value__").to_owned())),
        _ => Err(format!("wrong number of arguments or types for {name}")),
    }
}

fn as_number(name: &str, value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(value) => Ok(*value),
        Value::Integer(value) => Ok(*value as f64),
        Value::Text(text) => text.parse().map_err(|_| format!("{name}: {text:?} is no number")),
        _ => Err(format!("{name} takes a number")),
    }
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    PatternBudget::default().compile(pattern).map_err(|error| error.to_string())
}

fn compare(name: &str, arguments: &[Value]) -> Result<bool, String> {
    let [first, rest @ ..] = arguments else { return Err(format!("{name} takes two arguments")) };
    if rest.is_empty() {
        return Err(format!("{name} takes two arguments"));
    }
    let order = |other: &Value| -> Result<Option<Ordering>, String> {
        match (first, other) {
            (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
            (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
            (Value::Number(_) | Value::Integer(_), Value::Number(_) | Value::Integer(_)) => {
                Ok(as_number(name, first)?.partial_cmp(&as_number(name, other)?))
            }
            _ => Err("incompatible types for comparison".into()),
        }
    };
    let second = order(&rest[0])?;
    Ok(match name {
        "eq" => rest.iter().map(order).collect::<Result<Vec<_>, _>>()?.contains(&Some(Ordering::Equal)),
        "ne" => second != Some(Ordering::Equal),
        "lt" => second == Some(Ordering::Less),
        "le" => matches!(second, Some(Ordering::Less | Ordering::Equal)),
        "gt" => second == Some(Ordering::Greater),
        _ => matches!(second, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn index(value: Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Map(map), Value::Text(name)) => Ok(Value::Text(map.get(name).cloned().unwrap_or_default())),
        (Value::List(items), Value::Integer(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at).cloned());
            item.ok_or_else(|| format!("index out of range: {at}"))
        }
        (value, key) => Err(format!("can't index {} by {}", value.show(), key.show())),
    }
}

fn sorted(label: &str, items: &[Value]) -> Value {
    let mut items = items.to_vec();
    items.sort_by_key(|item| match item {
        Value::Sample(labels, _) => (labels.get(label).to_owned(), labels.get(NAME).to_owned()),
        _ => Default::default(),
    });
    Value::List(items)
}

fn title(text: &str) -> String {
    let mut start = true;
    let change = |letter: char| {
        let upper = start;
        start = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        if upper { letter.to_uppercase().collect::<String>() } else { letter.to_string() }
    };
    text.chars().map(change).collect()
}

fn split_port(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') && host.ends_with(']') => {
            (host.trim_start_matches('[').trim_end_matches(']'), port)
        }
        _ => (text, ""),
    }
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or(host);
    if port.is_empty() { short.to_owned() } else { format!("{short}:{port}") }
}

/// As a query parameter's value.
pub(crate) fn escape_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => (byte as char).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn scaled(mut value: f64, prefixes: [&str; 8], factor: f64, large: bool) -> String {
    let mut chosen = "";
    for prefix in prefixes {
        let done = if large { value.abs() < factor } else { value.abs() >= 1.0 };
        if done {
            break;
        }
        chosen = prefix;
        value = if large { value / factor } else { value * factor };
    }
    format!("{}{chosen}", general(value, Some(4)))
}

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return general(value, Some(4));
    }
    if value.abs() >= 1.0 {
        return scaled(value, ["k", "M", "G", "T", "P", "E", "Z", "Y"], 1000.0, true);
    }
    scaled(value, SMALL, 1000.0, false)
}

fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return general(value, Some(4));
    }
    scaled(value, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"], 1024.0, true)
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return general(value, Some(4));
    }
    if value == 0.0 {
        return "0s".into();
    }
    if value.abs() < 1.0 {
        return scaled(value, SMALL, 1000.0, false) + "s";
    }
    let (sign, whole) = (if value < 0.0 { "-" } else { "" }, value.abs() as u64);
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match () {
        () if days > 0 => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
        () if hours > 0 => format!("{sign}{hours}h {minutes}m {seconds}s"),
        () if minutes > 0 => format!("{sign}{minutes}m {seconds}s"),
        () => format!("{sign}{}s", general(value.abs(), Some(4))),
    }
}

fn humanize_timestamp(value: f64) -> String {
    if !value.is_finite() {
        return general(value, Some(4));
    }
    let nanos = (value * 1e9) as i128;
    jiff::Timestamp::from_nanosecond(nanos).map_or_else(
        |_| general(value, Some(4)),
        |time| time.to_string().replace('T', " ").trim_end_matches('Z').to_owned() + " +0000 UTC",
    )
}
