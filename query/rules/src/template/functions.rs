//! Prometheus' functions.

use std::rc::Rc;

use weir_model::label::{Labels, NAME};
use weir_template::{
    Function, Language, List, Map, Missing, Replacement, Struct, Text, Value, escape_query, general, lower, replace_all, title,
    upper,
};

use super::{Rules, Scope};

pub(super) static FUNCTIONS: [Function<Rules>; 25] = [
    Function::new("args", 0, |_, arguments| args(arguments)).up_to(usize::MAX),
    Function::new("externalURL", 0, |scope, _| Ok(scope.external_url.into())),
    Function::new("first", 1, |_, a| {
        list(&a[0])?.first().cloned().ok_or_else(|| "first() called on vector with no elements".into())
    }),
    Function::new("graphLink", 1, |_, a| text(&a[0], |text| format!("/graph?g0.expr={}&g0.tab=0", escape_query(text)))),
    Function::new("humanize", 1, |_, a| number(&a[0], humanize)),
    Function::new("humanize1024", 1, |_, a| number(&a[0], humanize1024)),
    Function::new("humanizeDuration", 1, |_, a| number(&a[0], humanize_duration)),
    Function::new("humanizePercentage", 1, |_, a| number(&a[0], |value| general(value * 100.0, Some(4)) + "%")),
    Function::new("humanizeTimestamp", 1, |_, a| number(&a[0], humanize_timestamp)),
    Function::new("label", 2, |_, a| sample(&a[1], "Labels").and_then(|labels| label(&labels, a[0].text()?))),
    Function::new("match", 2, |_, a| Ok(a[0].regex()?.is_match(a[1].text()?).into())).pattern(),
    Function::new("parseDuration", 1, |_, a| {
        let nanos = weir_model::time::parse_duration(a[0].text()?).map_err(|error| error.to_string())?;
        Ok((nanos as f64 / 1e9).into())
    }),
    Function::new("pathPrefix", 0, |_, _| Ok("".into())),
    Function::new("query", 1, |scope, a| query(scope, a)),
    Function::new("reReplaceAll", 3, |_, a| {
        let bytes_max = Rules::LIMITS.argument_bytes;
        let replaced = replace_all(&*a[0].regex()?, a[2].text()?, (a[1].text()?, Replacement::Expanded), bytes_max);
        replaced.map(Value::from)
    })
    .pattern(),
    Function::new("safeHtml", 1, |_, a| text(&a[0], str::to_owned)),
    Function::new("sortByLabel", 2, |_, a| sorted(a[0].text()?, list(&a[1])?)),
    Function::new("stripDomain", 1, |_, a| text(&a[0], strip_domain)),
    Function::new("stripPort", 1, |_, a| text(&a[0], |text| split_port(text).0.to_owned())),
    Function::new("strvalue", 1, |_, a| sample(&a[0], "Labels").and_then(|labels| label(&labels, "__value__"))),
    Function::new("tableLink", 1, |_, a| text(&a[0], |text| format!("/graph?g0.expr={}&g0.tab=1", escape_query(text)))),
    Function::new("title", 1, |_, a| text(&a[0], title)),
    Function::new("toLower", 1, |_, a| text(&a[0], lower)),
    Function::new("toUpper", 1, |_, a| text(&a[0], upper)),
    Function::new("value", 1, |_, a| sample(&a[0], "Value")),
];

fn text<'a>(value: &Value<'a>, change: fn(&str) -> String) -> Result<Value<'a>, String> {
    Ok(change(value.text()?).into())
}

fn number<'a>(value: &Value<'a>, show: fn(f64) -> String) -> Result<Value<'a>, String> {
    let number = match value {
        Value::Number(value) => *value,
        Value::Integer(value) => *value as f64,
        Value::Text(text) => text.parse().map_err(|_| format!("{:?} is no number", weir_model::clip(text)))?,
        other => return Err(other.instead_of("a number")),
    };
    Ok(show(number).into())
}

fn list<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Rc<List<'a>>, String> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(other.instead_of("template.queryResult")),
    }
}

/// A field of a sample that `query` gave.
fn sample<'a>(value: &Value<'a>, field: &str) -> Result<Value<'a>, String> {
    match value {
        Value::Struct(sample) => sample.get(field).cloned().ok_or_else(|| value.instead_of("*template.sample")),
        other => Err(other.instead_of("*template.sample")),
    }
}

fn label<'a>(labels: &Value<'a>, name: &str) -> Result<Value<'a>, String> {
    match labels {
        Value::Map(labels) => Ok(labels.get(name)),
        other => Err(other.instead_of("map[string]string")),
    }
}

/// `arg0`, `arg1` and so on.
fn args<'a>(arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    // A map of maps of maps … would be dropped by recursion.
    if arguments.iter().any(|argument| matches!(argument, Value::List(_) | Value::Map(_) | Value::Struct(_))) {
        return Err("args takes no list".into());
    }
    let entries = arguments.iter().enumerate().map(|(i, argument)| (format!("arg{i}"), argument.clone()));
    Ok(Map::new(entries.collect(), Missing::Nil).into())
}

fn query<'a>(scope: &Scope<'a>, arguments: &[Value<'a>]) -> Result<Value<'a>, String> {
    let samples = (scope.query)(arguments[0].text()?)?;
    let sample = |(labels, value): (Labels, f64)| {
        let pairs = labels.iter().map(|(name, value)| (name, Text::Made(value.into())));
        let fields = vec![("Labels", Map::of_texts(pairs).into()), ("Value", value.into())];
        Value::from(Struct { kind: "*template.sample", fields })
    };
    Ok(samples.into_iter().map(sample).collect::<Vec<_>>().into())
}

fn sorted<'a>(name: &str, items: &[Value<'a>]) -> Result<Value<'a>, String> {
    let key = |item: &Value<'a>, name: &str| Ok::<_, String>(label(&sample(item, "Labels")?, name)?.to_string());
    let keyed = items.iter().map(|item| Ok(((key(item, name)?, key(item, NAME)?), item.clone())));
    let mut keyed = keyed.collect::<Result<Vec<_>, String>>()?;
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(keyed.into_iter().map(|(_, item)| item).collect::<Vec<_>>().into())
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
