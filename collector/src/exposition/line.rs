//! One sample line: `name{label="value",…} value [timestamp]`, with blanks anywhere and a trailing comma
//! allowed. A name of other letters stands in quotes: `{"my.metric","my.label"="value"} 1`. Pure.

use std::borrow::Cow;

use weir_model::label::{Labels, NAME, is_label_name, is_metric_name};

/// Labels in the order in which they are written.
type Pairs<'a> = Vec<(Cow<'a, str>, String)>;

/// A sample as written.
#[derive(Debug, PartialEq)]
pub(crate) struct RawSample<'a> {
    /// Name and labels as they stand there.
    pub series: &'a str,
    pub name: Cow<'a, str>,
    pub labels: Pairs<'a>,
    pub value: &'a str,
    pub timestamp: Option<&'a str>,
}

impl RawSample<'_> {
    pub fn labels(&self) -> Labels {
        let own = self.labels.iter().map(|(name, value)| (&**name, value.as_str()));
        Labels::from_pairs(own.chain([(NAME, &*self.name)]))
    }
}

/// The line without its line end.
pub(crate) fn parse(line: &str) -> Result<RawSample<'_>, String> {
    let end = line.find(['{', ' ', '\t']).ok_or("a sample needs a value")?;
    let plain = &line[..end];
    let mut rest = line[end..].trim_start();
    let mut name = Some(Cow::Borrowed(plain)).filter(|_| is_metric_name(plain));
    if name.is_none() && !(plain.is_empty() && rest.starts_with('{')) {
        return Err(format!("not a metric name: {:?}", clip(plain)));
    }
    let (mut series, mut labels) = (plain, Vec::new());
    if let Some(body) = rest.strip_prefix('{') {
        (labels, rest) = label_set(body, &mut name)?;
        series = &line[..line.len() - rest.len()];
    }
    let name = name.ok_or("a sample needs a metric name")?;
    let (value, timestamp) = tail(rest)?;
    Ok(RawSample { series, name, labels, value, timestamp })
}

/// What follows the series: a value and perhaps a timestamp.
pub(crate) fn tail(rest: &str) -> Result<(&str, Option<&str>), String> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = words.next().ok_or("a sample needs a value")?;
    let timestamp = words.next();
    match words.next() {
        Some(word) => Err(format!("unexpected {:?} after the timestamp", clip(word))),
        None => Ok((value, timestamp)),
    }
}

/// Labels up to the closing brace, and what follows it. What is in quotes and has no value is the metric's name.
fn label_set<'a>(text: &'a str, metric: &mut Option<Cow<'a, str>>) -> Result<(Pairs<'a>, &'a str), String> {
    let mut labels: Pairs<'_> = Vec::new();
    let mut rest = text.trim_start();
    if let Some(tail) = rest.strip_prefix('}') {
        return Ok((labels, tail));
    }
    loop {
        let (name, tail) = label_name(rest)?;
        if let (Cow::Owned(name), [b',' | b'}', ..]) = (&name, tail.as_bytes()) {
            if metric.replace(name.clone().into()).is_some() {
                return Err(format!("{:?} is a second metric name", clip(name)));
            }
            rest = tail;
        } else {
            let tail = tail.strip_prefix('=').ok_or("expected label=\"value\"")?;
            if labels.iter().any(|(other, _)| *other == name) {
                return Err(format!("label {name} appears twice"));
            }
            let (value, tail) = quoted(tail.trim_start())?;
            labels.push((name, value));
            rest = tail.trim_start();
        }
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None => {
                return rest.strip_prefix('}').map(|tail| (labels, tail)).ok_or_else(|| "expected , or } after a label".into());
            }
        }
        if let Some(tail) = rest.strip_prefix('}') {
            return Ok((labels, tail));
        }
    }
}

/// A name, owned where it stood in quotes, and what follows it and blanks.
fn label_name(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    if text.starts_with('"') {
        let (name, tail) = quoted(text)?;
        return if name.is_empty() { Err("a name in quotes is empty".to_owned()) } else { Ok((name.into(), tail.trim_start())) };
    }
    let end = text.find('=').ok_or("expected label=\"value\"")?;
    let name = text[..end].trim();
    if is_label_name(name) { Ok((name.into(), &text[end..])) } else { Err(format!("not a label name: {:?}", clip(name))) }
}

/// The metric's name of metadata, which may stand in quotes, and what follows it and one of these blanks.
pub(crate) fn metadata_name<'a>(text: &'a str, blanks: &[char]) -> Result<(Cow<'a, str>, Option<&'a str>), String> {
    if text.starts_with('"') {
        let (name, tail) = quoted(text)?;
        let rest = tail.strip_prefix(blanks);
        if name.is_empty() || (rest.is_none() && !tail.is_empty()) {
            return Err(format!("not a metric name: {:?}", clip(text)));
        }
        return Ok((name.into(), rest));
    }
    let (name, rest) = text.split_once(blanks).map_or((text, None), |(name, rest)| (name, Some(rest)));
    if is_metric_name(name) { Ok((name.into(), rest)) } else { Err(format!("not a metric name: {:?}", clip(name))) }
}

/// `"…"` with `\\`, `\"` and `\n` undone; another backslash stays as it is, as Prometheus has it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let body = text.strip_prefix('"').ok_or("a label value needs quotes")?;
    let mut value = String::new();
    let mut letters = body.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &body[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            letter => value.push(letter),
        }
    }
    Err("a label value does not end".to_owned())
}

/// A number as both formats write it: Go's floats without underscores, hex or `infinity` spelled out otherwise than `Inf`.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    if let Some(whole) = whole(text.as_bytes()) {
        return Ok(whole as f64);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let word = matches!(&*bare, "inf" | "infinity" | "nan") && text.len() - bare.len() <= 1;
    let number = if plain || word { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("not a number: {:?}", clip(text)))
}

/// Digits alone, and so few that a double has them exactly: what most counters say.
fn whole(text: &[u8]) -> Option<u64> {
    let digit = |whole: u64, byte: &u8| byte.is_ascii_digit().then(|| whole * 10 + u64::from(byte - b'0'));
    if text.is_empty() || text.len() > 15 { None } else { text.iter().try_fold(0, digit) }
}

pub(crate) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
