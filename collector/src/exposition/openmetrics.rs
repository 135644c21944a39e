//! OpenMetrics 1.0 text, read strictly: own parser, sync and pure, with line and column in every error. Called by the scrape
//! when a target answers `application/openmetrics-text`.
//!
//! Two kinds of wrong: what is no OpenMetrics at all (a broken line, no `# EOF`: the body may be cut) always fails; what can
//! be read but breaks a rule of the format (order of groups, a histogram without `+Inf`) fails [`parse`] and is told by
//! [`read`]. Why: `docs/decisions/0053-openmetrics-rules.md`.
//!
//! - [`syntax`]: one line. [`rules`]: what a family's lines must be together. [`histogram`]: what its buckets must be.

use weir_model::label::Labels;

use super::body::{Exemplar, Exposition, Sample};
use rules::Rules;
use syntax::{Line, RawSample, Wrong};

mod histogram;
mod rules;
mod syntax;
#[cfg(test)]
mod tests;

/// The content type, without parameters.
pub const CONTENT_TYPE: &str = "application/openmetrics-text";

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct OpenMetricsError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads a body that keeps every rule. Families without metadata have no entry in [`Exposition::families`]; a counter's
/// family is named without `_total`. Timestamps beyond what nanoseconds can say are `i64::MAX` or `i64::MIN`.
pub fn parse(body: &str) -> Result<Exposition, OpenMetricsError> {
    match read(body)? {
        (exposition, None) => Ok(exposition),
        (_, Some(broken)) => Err(broken),
    }
}

/// Reads a body as [`parse`] does, but for rules that are broken: the first is told beside what was read.
pub fn read(body: &str) -> Result<(Exposition, Option<OpenMetricsError>), OpenMetricsError> {
    let mut reader = Reader::default();
    let mut lines = body.split('\n').enumerate();
    for (i, line) in &mut lines {
        let wrong = |wrong| located(i, line, wrong);
        match syntax::line(line).map_err(wrong)? {
            Line::Eof => return reader.end(i, lines),
            Line::Metadata(metadata) => reader.told(i, line, |rules, families| rules.metadata(&metadata, families)),
            Line::Sample(sample) => reader.sample(i, line, sample),
        }
    }
    let last = body.split('\n').count();
    Err(OpenMetricsError { line: last, column: 1, reason: "the body does not end with # EOF".into() })
}

fn located(i: usize, line: &str, wrong: Wrong) -> OpenMetricsError {
    let before = line.get(..wrong.at).unwrap_or(line);
    OpenMetricsError { line: i + 1, column: before.chars().count() + 1, reason: wrong.reason }
}

#[derive(Default)]
struct Reader {
    exposition: Exposition,
    rules: Rules,
    broken: Option<OpenMetricsError>,
}

impl Reader {
    fn told(
        &mut self,
        i: usize,
        line: &str,
        check: impl FnOnce(&mut Rules, &mut Vec<weir_model::metric::Family>) -> Result<(), Wrong>,
    ) {
        let checked = check(&mut self.rules, &mut self.exposition.families);
        if let Err(wrong) = checked
            && self.broken.is_none()
        {
            self.broken = Some(located(i, line, wrong));
        }
    }

    fn sample(&mut self, i: usize, line: &str, raw: RawSample<'_>) {
        let labels = raw.all_labels();
        self.told(i, line, |rules, _| rules.sample(&raw));
        if let Some(exemplar) = raw.exemplar {
            let labels = Labels::from_pairs(exemplar.labels);
            let (value, timestamp) = (exemplar.value, exemplar.timestamp);
            self.exposition.exemplars.push(Exemplar { sample: self.exposition.samples.len(), labels, value, timestamp });
        }
        self.exposition.samples.push(Sample::number(labels, raw.value, raw.timestamp));
    }

    /// Nothing may follow but one line end.
    fn end<'a>(
        mut self,
        i: usize,
        mut rest: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<(Exposition, Option<OpenMetricsError>), OpenMetricsError> {
        let after = rest.next();
        if let Some((line, _)) = after.filter(|(_, text)| !text.is_empty()).or_else(|| rest.next()) {
            return Err(OpenMetricsError { line: line + 1, column: 1, reason: "text after # EOF".into() });
        }
        self.told(i, "", |rules, _| rules.close());
        Ok((self.exposition, self.broken))
    }
}
