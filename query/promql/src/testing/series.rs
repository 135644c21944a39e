//! One line of samples: `metric{a="b"} 1 2+3x4 _x5 stale`.

use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::{Labels, MatchOp};
use weir_model::metric::STALE_NAN;

use super::histogram;
use crate::lex::{parse_duration_ms, parse_number};
use crate::parse::parse_selector;

/// One step of a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// `_`
    None,
    /// A float.
    Float(f64),
    /// `{{…}}`, and whether its hint was written.
    Histogram(Arc<Histogram>, bool),
}

/// A described series.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub labels: Labels,
    pub steps: Vec<Step>,
    /// Since when each sample counts, milliseconds after its time.
    pub starts: Vec<Option<i64>>,
}

/// Reads a line. One of start timestamps (`metric@st …`) has no steps.
pub(super) fn parse_line(line: &str) -> Result<Line, String> {
    let split = metric_end(line);
    let (metric, samples) = line.split_at(split);
    let mut steps = Vec::new();
    if let Some(items) = samples.strip_prefix("@st") {
        let mut starts = Vec::new();
        for item in items.split_whitespace() {
            expand_start(item, &mut starts).ok_or_else(|| format!("bad start timestamp {item:?}"))?;
        }
        return Ok(Line { labels: parse_metric(metric.trim())?, steps, starts });
    }
    for token in tokens(samples) {
        expand(&token, &mut steps).ok_or_else(|| format!("bad sample {token:?}"))?;
    }
    Ok(Line { labels: parse_metric(metric.trim())?, steps, starts: Vec::new() })
}

/// Where the metric ends: behind its closing brace, or at the first blank.
fn metric_end(line: &str) -> usize {
    let (mut quote, mut depth, mut escaped) = (None, 0, false);
    for (i, letter) in line.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(own), letter) if own == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '{') => depth += 1,
            (None, '}') if depth == 1 => return i + 1,
            (None, ' ' | '\t' | '@') if depth == 0 && !opens_labels(line[i..].trim_start()) => return i,
            _ => {}
        }
    }
    line.len()
}

/// `{…}`, and not the `{{…}}` of a histogram.
fn opens_labels(rest: &str) -> bool {
    rest.starts_with('{') && !rest.starts_with("{{")
}

/// A metric in selector form, all matchers equalities.
pub(super) fn parse_metric(text: &str) -> Result<Labels, String> {
    if text.is_empty() || text.trim() == "{}" {
        return Ok(Labels::EMPTY);
    }
    let selector = parse_selector(text).map_err(|wrong| format!("bad metric {text:?}: {wrong}"))?;
    if selector.matchers.iter().any(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("bad metric {text:?}: only = is allowed"));
    }
    Ok(Labels::from_pairs(selector.matchers.iter().map(|matcher| (&matcher.name, &matcher.value))))
}

/// Blank-separated, but `{{…}}` is one, with what directly follows it.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut depth = 0_i32;
    let mut fresh = true;
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if letter.is_whitespace() && depth == 0 {
            fresh = true;
            continue;
        }
        if fresh {
            tokens.push(String::new());
            fresh = false;
        }
        if let Some(last) = tokens.last_mut() {
            last.push(letter);
        }
    }
    tokens
}

fn expand(token: &str, steps: &mut Vec<Step>) -> Option<()> {
    let (body, times) = match token.rsplit_once('x') {
        Some((body, times)) if !body.is_empty() && times.bytes().all(|byte| byte.is_ascii_digit()) => {
            (body, Some(times.parse::<usize>().ok()?.min(100_000)))
        }
        _ => (token, None),
    };
    if body == "_" {
        steps.extend(std::iter::repeat_n(Step::None, times.unwrap_or(1)));
        return Some(());
    }
    let count = times.map_or(1, |times| times + 1);
    if body.starts_with("{{") {
        return histogram::expand(body, times, steps);
    }
    if body == "stale" {
        steps.extend(std::iter::repeat_n(Step::Float(STALE_NAN), count));
        return Some(());
    }
    let (first, increment) = match times {
        Some(_) => split_sum(body)?,
        None => (parse_value(body)?, 0.0),
    };
    let mut value = first;
    for _ in 0..count {
        steps.push(Step::Float(value));
        value += increment;
    }
    Some(())
}

/// `_`, `_x3`, `-1m`, `-1mx3`, `-1m+5sx3`
fn expand_start(item: &str, starts: &mut Vec<Option<i64>>) -> Option<()> {
    let (body, times) = match item.split_once('x') {
        Some((body, times)) => (body, Some(times.parse::<usize>().ok()?.min(100_000))),
        None => (item, None),
    };
    if body == "_" {
        starts.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Some(());
    }
    let sign = body[1..].find(['+', '-']).map_or(body.len(), |at| at + 1);
    let (first, increment) = body.split_at(sign);
    let millis = |text: &str| {
        let (sign, text) = text.strip_prefix('-').map_or((1, text.trim_start_matches('+')), |text| (-1, text));
        let millis = if text == "0" { Some(0) } else { parse_duration_ms(text) };
        millis.map(|millis| sign * millis)
    };
    let (first, increment) = (millis(first)?, if increment.is_empty() { 0 } else { millis(increment)? });
    starts.extend((0..=times.unwrap_or(0)).map(|step| Some(first + increment * step as i64)));
    Some(())
}

/// `a+b` or `a-b`, or just `a`.
fn split_sum(body: &str) -> Option<(f64, f64)> {
    let bytes = body.as_bytes();
    let sign = (1..bytes.len()).find(|i| matches!(bytes[*i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E' | b'+' | b'-'));
    match sign {
        Some(at) => Some((parse_value(&body[..at])?, parse_value(&body[at..])?)),
        None => Some((parse_value(body)?, 0.0)),
    }
}

/// A signed number.
pub(super) fn parse_value(text: &str) -> Option<f64> {
    if let Some(rest) = text.strip_prefix('-') {
        return parse_value(rest).map(|value| -value);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    match text.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" => Some(f64::INFINITY),
        _ => parse_number(text),
    }
}
