//! One sample line: `name{label="value",…} value [timestamp]`, with blanks anywhere and a trailing comma
//! allowed. Pure.

use weir_model::label::{Labels, NAME, is_label_name};

/// Labels in the order in which they are written.
type Pairs<'a> = Vec<(&'a str, String)>;

/// A sample as written.
#[derive(Debug, PartialEq)]
pub(crate) struct RawSample<'a> {
    /// Name and labels as they stand there.
    pub series: &'a str,
    pub name: &'a str,
    pub labels: Pairs<'a>,
    pub value: &'a str,
    pub timestamp: Option<&'a str>,
}

impl RawSample<'_> {
    pub fn labels(&self) -> Labels {
        let own = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        Labels::from_pairs(own.chain([(NAME, self.name)]))
    }
}

pub(crate) fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b':'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// The line without its line end.
pub(crate) fn parse(line: &str) -> Result<RawSample<'_>, String> {
    let end = line.find(['{', ' ', '\t']).ok_or("a sample needs a value")?;
    let name = &line[..end];
    if !is_metric_name(name) {
        return Err(format!("not a metric name: {:?}", clip(name)));
    }
    let mut rest = line[end..].trim_start();
    let (mut series, mut labels) = (name, Vec::new());
    if let Some(body) = rest.strip_prefix('{') {
        (labels, rest) = label_set(body)?;
        series = &line[..line.len() - rest.len()];
    }
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

/// Labels up to the closing brace, and what follows it.
fn label_set(text: &str) -> Result<(Pairs<'_>, &str), String> {
    let mut labels: Pairs<'_> = Vec::new();
    let mut rest = text.trim_start();
    if let Some(tail) = rest.strip_prefix('}') {
        return Ok((labels, tail));
    }
    loop {
        let (name, tail) = rest.split_once('=').ok_or("expected label=\"value\"")?;
        let name = name.trim();
        if !is_label_name(name) {
            return Err(format!("not a label name: {:?}", clip(name)));
        }
        if labels.iter().any(|(other, _)| *other == name) {
            return Err(format!("label {name} appears twice"));
        }
        let (value, tail) = quoted(tail.trim_start())?;
        labels.push((name, value));
        rest = tail.trim_start();
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
