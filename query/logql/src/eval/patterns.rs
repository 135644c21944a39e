//! Which patterns the lines of a query have, and how often in each bucket of time. A pattern is the constant text of lines that differ in
//! their variables; a variable is a word with a digit, with what joins it to others, and stands as `<_>`. Counts are exact, not of a
//! sample. A query of nothing but a selector and line filters is answered from the templates that the store has; others read lines one by
//! one, up to a limit.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogRecord, detected_level};
use weir_model::select::{
    Buckets, Budget, Coverage, Covered, LogReader, LogVisitor, Mention, ReadError, TemplateCount, TemplateText,
};
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
    /// So many lines are read; the coverage says when there were more. Those that the store counts by itself do not count for this.
    pub lines_max: u64,
    /// Lines are read one by one, whatever the query is: so that what is told apart is told apart alike beside a query of which they are
    /// ([`is_by_line`]).
    pub by_line: bool,
}

/// Whether the lines of a query are read one by one for their patterns, since the store's templates are not of what it makes of lines.
pub fn is_by_line(text: &str, log: &LogExpr) -> Result<bool, QueryError> {
    Ok(!Pipeline::compile(text, log, Lines::Needed)?.is_empty())
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
    let mut visitor = Count {
        pipeline: &pipeline,
        options,
        labels,
        counts,
        patterns: 0,
        has_overflowed: false,
        seen: 0,
        cut: false,
        budget,
        failure: None,
    };
    let buckets = Buckets::new(options.step, 0).filter(|_| pipeline.is_empty() && !options.by_line);
    let mut coverage = match buckets {
        Some(buckets) => reader.templates(&select, buckets, budget, &mut |count| visitor.template(count))?,
        None => reader.visit(&select, budget, &mut visitor)?,
    };
    if let Some(failure) = visitor.failure {
        return Err(failure.into());
    }
    miss(&mut coverage, visitor.cut, options.lines_max);
    if visitor.has_overflowed {
        coverage
            .miss(format!("only the first {PATTERNS_MAX} patterns are told apart: take a shorter range or a narrower selector"));
    }
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
    /// There were more.
    has_overflowed: bool,
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
        self.add((detected_level(record.severity), pattern_of(&line)), bucket, 1)
    }

    fn template(&mut self, count: &TemplateCount<'_>) -> ControlFlow<()> {
        let (pattern, lines) = match count.text {
            TemplateText::Constant(text) => (joined(text), count.lines),
            TemplateText::Line(line) => match self.admit(count.lines) {
                0 if self.cut => return ControlFlow::Break(()),
                lines => (pattern_of(line), lines),
            },
        };
        let added = self.add((detected_level(count.severity), pattern), count.bucket, lines);
        self.note(added)?;
        if self.cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// How many of so many lines may still be read, and they are; the answer is cut where those are fewer.
    fn admit(&mut self, lines: u64) -> u64 {
        let admitted = lines.min(self.options.lines_max - self.seen);
        self.seen += admitted;
        self.cut = admitted < lines;
        admitted
    }

    fn note(&mut self, counted: Result<(), ReadError>) -> ControlFlow<()> {
        match counted {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn add(&mut self, mut key: (&'static str, String), bucket: UnixNanos, lines: u64) -> Result<(), ReadError> {
        if !self.counts.contains_key(&key) {
            if self.patterns == PATTERNS_MAX {
                key.1 = VARIABLE.into();
                self.has_overflowed = true;
            } else {
                self.patterns += 1;
                self.budget.reserve(128 + key.1.len() as u64)?;
            }
        }
        let buckets = self.counts.entry(key).or_default();
        if !buckets.contains_key(&bucket) {
            self.budget.reserve(32)?;
        }
        *buckets.entry(bucket).or_default() += lines;
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
        if self.admit(1) == 0 {
            return ControlFlow::Break(());
        }
        let counted = self.count(record);
        self.note(counted)
    }
}

/// A template of the store as a pattern: its variables that touch are one.
fn joined(template: &str) -> String {
    let shown = template.floor_char_boundary(LINE_BYTES_MAX);
    let mut pattern = String::new();
    for (i, text) in template[..shown].trim_end().split(VARIABLE).enumerate() {
        if i > 0 {
            push_variable(&mut pattern);
        }
        pattern.push_str(text);
    }
    if shown < template.len() {
        push_variable(&mut pattern);
    }
    pattern
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
    use weir_model::select::{LogSelect, LogTail, NoBudget, OwnedLine, TakeTemplate};
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

    #[test]
    fn variables_of_a_template_that_touch_are_one() {
        let check = |template: &str, expected: &str| assert_eq!(joined(template), expected, "{template}");
        check("took <_> for <_> (<_> of <_>)\n", "took <_> for <_> (<_> of <_>)");
        check("<_>T<_>:<_> GET /a/<_>/b", "<_>T<_> GET /a/<_>/b");
        check("no variable", "no variable");
        check(&format!("{} <_>", "é".repeat(LINE_BYTES_MAX)), &format!("{}<_>", "é".repeat(LINE_BYTES_MAX / 2)));
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
        let options =
            PatternOptions { scope: Scope::of("t"), range, step: 10 * SECOND, detected_level: true, lines_max, by_line: false };
        patterns(&store, query, &log, &options, &NoBudget).unwrap()
    }

    /// Whose own templates, and how many lines have each, are others than those of its lines.
    struct OtherTemplates(MemoryLogs, Vec<(TemplateText<'static>, u64)>);

    impl LogReader for OtherTemplates {
        fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
            self.0.visit(select, budget, visitor)
        }
        fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
            self.0.streams(select, budget)
        }
        fn templates(&self, _: &LogSelect, _: Buckets, _: &dyn Budget, take: TakeTemplate<'_>) -> Result<Coverage, ReadError> {
            for &(text, lines) in &self.1 {
                if take(&TemplateCount { text, severity: 0, bucket: 0, lines }).is_break() {
                    break;
                }
            }
            Ok(Coverage::default())
        }
        fn line(
            &self,
            scope: &Scope,
            id: LineId,
            context: usize,
            budget: &dyn Budget,
        ) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
            self.0.line(scope, id, context, budget)
        }
        fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
            self.0.tail(select)
        }
    }

    #[test]
    fn lines_may_be_asked_for_whatever_the_store_has() {
        let mut store = MemoryLogs::default();
        store.push(&[("app", "x")], SECOND, b"took 5 ms");
        let store = OtherTemplates(store, vec![(TemplateText::Constant("of the store"), 1)]);
        let check = |query: &str, by_line: bool, expected: &str| {
            let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
            let range = TimeRange { start: 0, end: 100 * SECOND };
            let step = 10 * SECOND;
            let options = PatternOptions { scope: Scope::of("t"), range, step, detected_level: true, lines_max: 9, by_line };
            let found = patterns(&store, query, &log, &options, &NoBudget).unwrap().value;
            assert_eq!(found.iter().map(|pattern| &*pattern.text).collect::<Vec<_>>(), [expected], "{query} {by_line}");
            is_by_line(query, &log).unwrap()
        };
        assert!(!check(r#"{app="x"}"#, false, "of the store"));
        assert!(!check(r#"{app="x"} |= "took""#, true, "took <_> ms"));
        assert!(check(r#"{app="x"} | logfmt"#, false, "took <_> ms"));
    }

    #[test]
    fn lines_that_are_counted_by_their_texts_count_for_the_limit() {
        let query = r#"{app="x"}"#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let check = |lines: u64, lines_max: u64, expected: &[(&str, u64)]| {
            let range = TimeRange { start: 0, end: 100 * SECOND };
            let (scope, step) = (Scope::of("t"), 10 * SECOND);
            let options = PatternOptions { scope, range, step, detected_level: true, lines_max, by_line: false };
            let texts = [&b"took 5 ms"[..], b"failed"].map(|line| (TemplateText::Line(line), lines));
            let store = OtherTemplates(MemoryLogs::default(), texts.into());
            let found = patterns(&store, query, &log, &options, &NoBudget).unwrap();
            let counts: Vec<_> = found.value.iter().map(|pattern| (&*pattern.text, pattern.count())).collect();
            assert_eq!(counts, expected, "{lines} of {lines_max}");
            !found.coverage.missing.is_empty()
        };
        // Far more than could be counted one by one.
        let many = u64::MAX / 4;
        assert!(!check(many, 2 * many, &[("failed", many), ("took <_> ms", many)]));
        assert!(check(many, many + 3, &[("took <_> ms", many), ("failed", 3)]));
        assert!(check(many, many, &[("took <_> ms", many)]));
        assert!(check(many, 7, &[("took <_> ms", 7)]));
        assert!(check(1, 0, &[]));
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
