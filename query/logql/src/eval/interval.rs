//! Log queries with an `interval`: in the order of the answer, the first line and then each that is at least so long after (or
//! before) the last one shown.
//!
//! Which lines these are cannot be said of one line alone, so that they are read in pages: what is too near the last line
//! shown is passed over, and the next page begins behind it.

use std::time::Duration;

use weir_model::select::{Budget, Coverage, LogReader};
use weir_model::time::TimeRange;

use super::lines::{Entry, LogOptions, lines};
use super::{Answer, Stats};
use crate::ast::LogExpr;
use crate::error::QueryError;

/// Lines of one page: few enough to hold, many enough for lines that stand far apart.
const PAGE_LINES: usize = 1_000;
/// Pages of one query: each asks all partitions anew, and 200,000 lines have been looked at then.
const PAGES_MAX: usize = 200;

/// As [`lines`]; `interval` in nanoseconds, above 0. Errors with `Bad` when the lines stand so dense that it takes more than
/// [`PAGES_MAX`] pages.
pub fn spaced_lines(
    reader: &dyn LogReader,
    text: &str,
    log: &LogExpr,
    options: &LogOptions,
    interval: i64,
    budget: &dyn Budget,
) -> Result<Answer<Vec<Entry>>, QueryError> {
    let mut answer = Answer { value: Vec::new(), coverage: Coverage::default(), stats: Stats::default() };
    let mut pages = 0;
    let (limit, mut options) = (options.limit, options.clone());
    options.limit = limit.min(PAGE_LINES);
    while answer.value.len() < limit && options.range.start < options.range.end {
        if pages == PAGES_MAX {
            let interval = Duration::from_nanos(interval.unsigned_abs());
            let detail = "too many lines lie between those to show: narrow the range or raise the interval";
            return Err(QueryError::Bad(format!("interval {interval:?}: {detail}")));
        }
        let page = lines(reader, text, log, &options, budget)?;
        // How far the first page saw holds for all: the later ones saw more.
        let partitions = if pages == 0 { page.coverage.partitions } else { Vec::new() };
        answer.coverage.merge(Coverage { partitions, missing: page.coverage.missing });
        pages += 1;
        answer.stats.lines_scanned += page.stats.lines_scanned;
        answer.stats.lines_passed += page.stats.lines_passed;
        answer.stats.bytes_passed += page.stats.bytes_passed;
        let is_last = page.value.len() < options.limit;
        for entry in page.value {
            // The range is what may be shown next.
            if answer.value.len() < limit && options.range.contains(entry.source.timestamp) {
                options.range = behind(options.range, &entry, interval, options.newest_first);
                answer.value.push(entry);
            } else {
                budget.release(entry.bytes());
            }
        }
        if is_last {
            break;
        }
    }
    Ok(answer)
}

/// What is at least so far from the line.
fn behind(range: TimeRange, line: &Entry, interval: i64, newest_first: bool) -> TimeRange {
    let at = line.source.timestamp;
    if newest_first {
        // The end is exclusive.
        TimeRange { end: range.end.min(at.saturating_sub(interval).saturating_add(1)), ..range }
    } else {
        TimeRange { start: range.start.max(at.saturating_add(interval)), ..range }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use weir_model::id::LineId;
    use weir_model::label::Labels;
    use weir_model::scope::Scope;
    use weir_model::select::{Covered, LogSelect, LogTail, LogVisitor, NoBudget, OwnedLine, PartitionCoverage, ReadError};

    use super::*;
    use crate::memory::{MemoryLogs, line};
    use crate::{Expr, parse};

    fn read(reader: &dyn LogReader, interval: i64, limit: usize, newest_first: bool) -> Result<Answer<Vec<Entry>>, QueryError> {
        let query = r#"{a="b"}"#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let range = TimeRange { start: 0, end: 1_000_000 };
        let options = LogOptions { scope: Scope::of("t"), range, limit, newest_first, detected_level: false };
        spaced_lines(reader, query, &log, &options, interval, &NoBudget)
    }

    /// The times of the lines shown, of one at each of `times`.
    fn shown(times: impl IntoIterator<Item = i64>, interval: i64, limit: usize, newest_first: bool) -> Vec<i64> {
        let mut store = MemoryLogs::default();
        for at in times {
            store.push(&[("a", "b")], at, b"x");
        }
        let answer = read(&store, interval, limit, newest_first).unwrap();
        answer.value.iter().map(|entry| entry.source.timestamp).collect()
    }

    /// Has so many lines at every time, and gets further with every reading.
    struct Dense(u32, AtomicU64);

    impl LogReader for Dense {
        fn visit(&self, select: &LogSelect, _: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
            for ordinal in 0..self.0 {
                let line = line(LineId { ordinal, ..LineId::default() }, &[("a", "b")], select.range.start, b"x");
                visitor.stream(&line.stream);
                let _ = visitor.line(line.id, line.record());
            }
            let page = self.1.fetch_add(1, Ordering::Relaxed);
            let partition = PartitionCoverage { high_watermark: 9_000, indexed_offset: page, ..PartitionCoverage::default() };
            Ok(Coverage { partitions: vec![partition], missing: vec![format!("block {page}")] })
        }

        fn streams(&self, _: &LogSelect, _: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
            unreachable!("only lines are read")
        }

        fn line(&self, _: &Scope, _: LineId, _: usize, _: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
            unreachable!("only lines are read")
        }

        fn tail(&self, _: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
            unreachable!("only lines are read")
        }
    }

    #[test]
    fn the_first_page_says_how_far_all_of_them_saw() {
        let coverage = read(&Dense(3, AtomicU64::new(0)), 1, 3, false).unwrap().coverage;
        assert_eq!(coverage.partitions.iter().map(|seen| seen.indexed_offset).collect::<Vec<_>>(), [0]);
        assert_eq!(coverage.missing, ["block 0", "block 1", "block 2"]);
    }

    #[test]
    fn pages_are_limited() {
        let dense = || Dense(PAGES_MAX as u32 + 1, AtomicU64::new(0));
        assert_eq!(read(&dense(), 1, PAGES_MAX, false).unwrap().value.len(), PAGES_MAX);
        let error = read(&dense(), 1_500, PAGES_MAX + 1, false).map(|answer| answer.value.len()).unwrap_err().to_string();
        assert!(error.starts_with("interval 1.5µs: ") && error.ends_with("narrow the range or raise the interval"), "{error}");
    }

    #[test]
    fn lines_are_at_least_the_interval_apart() {
        let times = [0, 3, 5, 5, 9, 10, 11, 30];
        assert_eq!(shown(times, 5, 100, false), [0, 5, 10, 30]);
        assert_eq!(shown(times, 5, 100, true), [30, 11, 5, 0]);
        assert_eq!(shown(times, 5, 2, true), [30, 11]);
        assert_eq!(shown(times, 6, 100, false), [0, 9, 30]);
        assert_eq!(shown(times, i64::MAX, 100, false), [0]);
        assert_eq!(shown(times, i64::MAX, 100, true), [30]);
        assert_eq!(shown([], 5, 100, true), [0_i64; 0]);
    }

    #[test]
    fn pages_make_no_difference() {
        let every = |step: usize| (0..5_000).step_by(step).collect::<Vec<i64>>();
        assert_eq!(shown(0..5_000, 7, 3_000, false), every(7));
        assert_eq!(shown(0..5_000, 2, 2_100, false), every(2)[..2_100]);
        assert_eq!(shown(0..5_000, 500, 20, false), every(500));
        let newest: Vec<i64> = every(500).into_iter().map(|at| 4_999 - at).collect();
        assert_eq!(shown(0..5_000, 500, 20, true), newest);
    }
}
