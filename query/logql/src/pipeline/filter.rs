//! Line filters that the store could not run, and conditions on labels; how a label's text is read as a number.

use weir_model::clip;
use weir_model::time::parse_duration;

use super::labels::LineLabels;
use super::readable;
use crate::ast::{LINE, LabelFilter, LineTest, Unit};
use crate::lex::{byte_unit, parse_hex_float, without_underscores};

/// Whether a line passes.
pub fn line_passes(test: &LineTest, line: &[u8]) -> bool {
    match test {
        LineTest::Store(filter) => filter.passes(line),
        LineTest::Patterns { any, negated } => any.iter().any(|pattern| pattern.matches_line(&readable(line))) != *negated,
        LineTest::Addresses { ips, texts, negated } => (texts.passes(line) || ips.iter().any(|ip| ip.is_in(line))) != *negated,
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
        // As in Loki, where addresses of a broken line are not judged, but its texts and numbers are.
        LabelFilter::Ip { .. } if labels.error().is_some() => true,
        LabelFilter::Ip { name, ip, negated } => labels.get(name).is_some_and(|value| ip.is_in(value.as_bytes()) != *negated),
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

/// Reads a label's text; durations in nanoseconds. Errors in the words of Go's libraries, which Loki has them from.
pub fn read(text: &str, unit: Unit) -> Result<f64, String> {
    match unit {
        Unit::Number => read_number(text),
        Unit::Duration => read_duration(text),
        Unit::Bytes => read_bytes(text),
    }
}

fn read_number(text: &str) -> Result<f64, String> {
    let failed = |why: &str| format!("strconv.ParseFloat: parsing {:?}: {why}", clip(text));
    let plain = without_underscores(text).ok_or_else(|| failed("invalid syntax"))?;
    let number = plain.parse::<f64>().ok().or_else(|| parse_hex_float(&plain)).ok_or_else(|| failed("invalid syntax"))?;
    let named = text.trim_start_matches(['-', '+']).get(..3).is_some_and(|word| word.eq_ignore_ascii_case("inf"));
    if number.is_infinite() && !named { Err(failed("value out of range")) } else { Ok(number) }
}

/// Up to hours, never a bare number but 0.
pub(crate) fn read_duration(text: &str) -> Result<f64, String> {
    let (sign, magnitude) = match text.strip_prefix(['-', '+']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    let shown = clip(text);
    if magnitude == "0" {
        return Ok(0.0);
    }
    if magnitude.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(format!("time: missing unit in duration {shown:?}"));
    }
    let is_digit = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut units = magnitude.split(is_digit).filter(|unit| !unit.is_empty());
    match units.find(|unit| !DURATION_UNITS.contains(unit)) {
        Some(unit) if magnitude.starts_with(is_digit) => {
            Err(format!("time: unknown unit {:?} in duration {shown:?}", clip(unit)))
        }
        None if magnitude.starts_with(is_digit) => {
            let nanos = parse_duration(&magnitude.replace('μ', "µ")).map(|nanos| sign * nanos as f64);
            nanos.map_err(|_| format!("time: invalid duration {shown:?}"))
        }
        _ => Err(format!("time: invalid duration {shown:?}")),
    }
}

const DURATION_UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];

/// `2,048`, `1.5 KiB`, `20mb`; whole bytes.
pub(crate) fn read_bytes(text: &str) -> Result<f64, String> {
    let split = text.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | ','))).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let digits = digits.replace(',', "");
    let number = read_number(&digits)?;
    let unit = unit.trim().to_lowercase();
    let scale = byte_unit(&unit).ok_or_else(|| format!("unhandled size name: {}", clip(&unit)))?;
    Ok((number * scale).trunc())
}
