//! Line filters that the store could not run, and conditions on labels; how a label's text is read as a number.

use weir_model::time::parse_duration;

use super::labels::LineLabels;
use super::readable;
use crate::ast::{LINE, LabelFilter, LineTest, Unit};
use crate::lex::byte_unit;

/// Whether a line passes.
pub fn line_passes(test: &LineTest, line: &[u8]) -> bool {
    match test {
        LineTest::Store(filter) => filter.passes(line),
        LineTest::Patterns { any, negated } => any.iter().any(|pattern| pattern.matches_line(&readable(line))) != *negated,
    }
}

/// Whether a line and its labels pass. A value that is no number marks the line and keeps it.
pub fn passes(filter: &LabelFilter, line: &[u8], labels: &mut LineLabels) -> bool {
    match filter {
        LabelFilter::Or(any) => any.iter().any(|one| passes(one, line, labels)),
        // Also those behind one that fails: they may mark the line as broken.
        LabelFilter::And(all) => {
            let mut passed = true;
            for one in all {
                passed &= passes(one, line, labels);
            }
            passed
        }
        LabelFilter::Text(matcher) if matcher.name == LINE => matcher.matches(&readable(line)),
        LabelFilter::Text(matcher) => matcher.matches(labels.get(&matcher.name).unwrap_or_default()),
        // Of a line that is broken already, only its texts can be judged.
        LabelFilter::Number { .. } if labels.error().is_some() => true,
        LabelFilter::Number { name, op, value, unit } => match labels.get(name).map(|text| read(text, *unit)) {
            None => false,
            Some(Ok(number)) => op.holds(number, *value),
            Some(Err(message)) => {
                labels.fail("LabelFilterErr", message);
                true
            }
        },
    }
}

/// Reads a label's text; durations in nanoseconds.
pub fn read(text: &str, unit: Unit) -> Result<f64, String> {
    let clipped = || text.chars().take(64).collect::<String>();
    match unit {
        Unit::Number => text.parse().map_err(|_| format!("{:?} is no number", clipped())),
        Unit::Duration => read_duration(text).ok_or_else(|| format!("{:?} is no duration", clipped())),
        Unit::Bytes => read_bytes(text).ok_or_else(|| format!("{:?} is no byte size", clipped())),
    }
}

/// As Go reads durations: up to hours, never a bare number but 0.
fn read_duration(text: &str) -> Option<f64> {
    let (sign, magnitude) = match text.strip_prefix(['-', '+']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    if magnitude == "0" {
        return Some(0.0);
    }
    if magnitude.contains(['d', 'w', 'y']) || magnitude.parse::<f64>().is_ok() {
        return None;
    }
    parse_duration(magnitude).ok().map(|nanos| sign * nanos as f64)
}

/// As `2,048`, `1.5 KiB`, `20mb`.
fn read_bytes(text: &str) -> Option<f64> {
    let text = text.trim().replace(',', "");
    let split = text.find(|letter: char| letter.is_ascii_alphabetic() || letter == ' ').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    Some((number * byte_unit(unit.trim())?).trunc())
}
