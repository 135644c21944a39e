//! Which patterns the lines of a query have, and how often in each bucket of time. A pattern is the constant text of lines that differ in
//! their variables; a variable is a word with a digit, with what joins it to others, and stands as `<_>`. Lines are read one by one: the
//! counts are of all lines that were read, not of a sample.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogRecord, detected_level};
use weir_model::select::{Budget, Coverage, Covered, LogReader, LogVisitor, Mention, ReadError};
use weir_model::time::{TimeRange, UnixNanos};

use crate::ast::LogExpr;
use crate::error::QueryError;
use crate::pipeline::labels::LineLabels;
use crate::pipeline::{Lines, Pipeline, readable};

/// A variable in a pattern. Alone it is also the pattern of what has no room for one of its own.
const VARIABLE: &str = "<_>";

/// Bytes of a line that make its pattern; what follows is one variable. Loki reads 3,000.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Patterns of one answer; lines of further ones count as [`VARIABLE`]. Pages show some dozens.
const PATTERNS_MAX: usize = 10_000;

/// What is asked besides the query.
pub struct PatternOptions {
    pub scope: weir_model::scope::Scope,
    pub range: TimeRange,
    /// Width of a bucket in nanoseconds, above 0.
    pub step: i64,
    /// Lines have the label `detected_level`.
    pub detected_level: bool,
    /// So many lines are counted; the coverage says when there were more.
    pub lines_max: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub text: String,
    /// As Loki names it: `info`, `unknown`, …
    pub level: &'static str,
    /// Lines by the start of their bucket.
    pub lines: BTreeMap<UnixNanos, u64>,
}

impl Pattern {
    pub fn count(&self) -> u64 {
        self.lines.values().sum()
    }
}

/// The patterns of the lines that pass, the most frequent first.
pub fn patterns(
    reader: &dyn LogReader,
    text: &str,
    log: &LogExpr,
    options: &PatternOptions,
    budget: &dyn Budget,
) -> Result<Covered<Vec<Pattern>>, QueryError> {
    let pipeline = Pipeline::compile(text, log, Lines::Needed)?;
    let select = pipeline.select(log, &options.scope, options.range, true);
    let (labels, counts) = (LineLabels::default(), HashMap::new());
    let mut visitor =
        Count { pipeline: &pipeline, options, labels, counts, patterns: 0, seen: 0, cut: false, budget, failure: None };
    let mut coverage = reader.visit(&select, budget, &mut visitor)?;
    if let Some(failure) = visitor.failure {
        return Err(failure.into());
    }
    miss(&mut coverage, visitor.cut, options.lines_max);
    let one = |((level, text), lines)| Pattern { text, level, lines };
    let mut found: Vec<Pattern> = visitor.counts.into_iter().map(one).collect();
    found.sort_by(|a, b| b.count().cmp(&a.count()).then_with(|| (&a.text, a.level).cmp(&(&b.text, b.level))));
    Ok(Covered { value: found, coverage })
}

fn miss(coverage: &mut Coverage, cut: bool, lines_max: u64) {
    if cut {
        coverage.miss(format!(
            "patterns are counted in {lines_max} lines, and there are more: take a shorter range or a narrower selector"
        ));
    }
}

struct Count<'a> {
    pipeline: &'a Pipeline,
    options: &'a PatternOptions,
    labels: LineLabels,
    counts: HashMap<(&'static str, String), BTreeMap<UnixNanos, u64>>,
    patterns: usize,
    seen: u64,
    cut: bool,
    budget: &'a dyn Budget,
    failure: Option<ReadError>,
}

impl Count<'_> {
    fn count(&mut self, record: LogRecord<'_>) -> Result<(), ReadError> {
        if self.pipeline.has_templates {
            self.budget.check()?;
        }
        self.labels.begin_line(&record, self.options.detected_level);
        let Some(line) = self.pipeline.run(record.body, record.timestamp, &mut self.labels) else { return Ok(()) };
        let bucket = record.timestamp.div_euclid(self.options.step).saturating_mul(self.options.step);
        let mut key = (detected_level(record.severity), pattern_of(&line));
        if !self.counts.contains_key(&key) {
            if self.patterns == PATTERNS_MAX {
                key.1 = VARIABLE.into();
            } else {
                self.patterns += 1;
                self.budget.reserve(128 + key.1.len() as u64)?;
            }
        }
        let buckets = self.counts.entry(key).or_default();
        if !buckets.contains_key(&bucket) {
            self.budget.reserve(32)?;
        }
        *buckets.entry(bucket).or_default() += 1;
        Ok(())
    }
}

impl LogVisitor for Count<'_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn mention(&self) -> Option<Mention> {
        self.pipeline.mention(self.options.detected_level)
    }

    fn stream(&mut self, labels: &Labels) {
        self.labels.set_stream(labels);
    }

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.cut = self.seen == self.options.lines_max;
        if self.cut {
            return ControlFlow::Break(());
        }
        self.seen += 1;
        match self.count(record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}

/// The pattern of a line.
pub fn pattern_of(line: &[u8]) -> String {
    let shown = line.len().min(LINE_BYTES_MAX);
    let text = readable(&line[..shown]);
    let mut pattern = String::new();
    for word in Words(text.trim_end()) {
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            push_variable(&mut pattern);
        } else {
            pattern.push_str(word);
        }
    }
    if shown < line.len() {
        push_variable(&mut pattern);
    }
    pattern
}

/// Variables that touch, or have only such a sign between them as dates, versions and addresses have, are one.
fn push_variable(pattern: &mut String) {
    let before = pattern.trim_end_matches(['.', ':', '-', '/', ',', '+']);
    let is_joined = before.ends_with(VARIABLE) && pattern.len() - before.len() <= 1;
    if is_joined {
        pattern.truncate(before.len());
    } else {
        pattern.push_str(VARIABLE);
    }
}

/// A text as words, which are letters, digits and `_`, and what stands between them.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let first = is_word(self.0.chars().next()?);
        let end = self.0.find(|letter| is_word(letter) != first).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use weir_model::scope::Scope;
    use weir_model::select::NoBudget;
    use weir_model::time::SECOND;

    use super::*;
    use crate::memory::MemoryLogs;
    use crate::{Expr, parse};

    #[test]
    fn what_varies_is_a_variable() {
        let check = |line: &str, expected: &str| assert_eq!(pattern_of(line.as_bytes()), expected, "{line}");
        check("", "");
        check("no variable at all\n", "no variable at all");
        check("took 15ms for user_7 (3 of 4)", "took <_> for <_> (<_> of <_>)");
        check("2026-11-27T20:15:01.5Z GET /a/17/b?x=1.2.3.4:80", "<_> GET /a/<_>/b?x=<_>");
        check("level=info n=5, m=6", "level=info n=<_>, m=<_>");
        check("größe=5µ", "größe=<_>");
        let long = format!("{} 7", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(pattern_of(long.as_bytes()), format!("{}<_>", "x".repeat(LINE_BYTES_MAX)));
        assert_eq!(pattern_of(b"a \xff"), "a \\xff");
    }

    fn ask(lines_max: u64) -> Covered<Vec<Pattern>> {
        let mut store = MemoryLogs::default();
        for second in 0..20 {
            store.push(&[("app", "x")], second * SECOND, format!("took {second} ms").as_bytes()).severity = 9;
        }
        store.push(&[("app", "x")], 12 * SECOND, b"failed").severity = 17;
        let query = r#"{app="x"} != "took 3 ms""#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let range = TimeRange { start: 0, end: 100 * SECOND };
        let options = PatternOptions { scope: Scope::of("t"), range, step: 10 * SECOND, detected_level: true, lines_max };
        patterns(&store, query, &log, &options, &NoBudget).unwrap()
    }

    #[test]
    fn counts_are_of_every_line() {
        let found = ask(100);
        let took = BTreeMap::from([(0, 9), (10 * SECOND, 10)]);
        let failed = BTreeMap::from([(10 * SECOND, 1)]);
        let expected = [
            Pattern { text: "took <_> ms".into(), level: "info", lines: took },
            Pattern { text: "failed".into(), level: "error", lines: failed },
        ];
        assert_eq!((found.value, found.coverage), (expected.into(), Coverage::default()));
        assert!(ask(20).coverage.missing.is_empty(), "as many as are there");
        let cut = ask(19);
        assert_eq!(cut.value.iter().map(Pattern::count).sum::<u64>(), 19);
        assert!(cut.coverage.missing[0].starts_with("patterns are counted in 19 lines"), "{:?}", cut.coverage);
    }
}
