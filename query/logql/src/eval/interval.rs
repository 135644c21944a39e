//! Log queries with an `interval`: in the order of the answer, the first line and then each that is at least so long after (or
//! before) the last one shown.
//!
//! Which lines these are cannot be said of one line alone, so that they are read in pages: what is too near the last line
//! shown is passed over, and the next page begins behind it.

use weir_model::select::{Budget, Coverage, LogReader};
use weir_model::time::TimeRange;

use super::lines::{Entry, LogOptions, lines};
use super::{Answer, Stats};
use crate::ast::LogExpr;
use crate::error::QueryError;

/// Lines of one page: few enough to hold, many enough for lines that stand far apart.
const PAGE_LINES: usize = 1_000;

/// As [`lines`]; `interval` in nanoseconds, above 0.
pub fn spaced_lines(
    reader: &dyn LogReader,
    text: &str,
    log: &LogExpr,
    options: &LogOptions,
    interval: i64,
    budget: &dyn Budget,
) -> Result<Answer<Vec<Entry>>, QueryError> {
    let mut answer = Answer { value: Vec::new(), coverage: Coverage::default(), stats: Stats::default() };
    let (limit, mut options) = (options.limit, options.clone());
    options.limit = limit.min(PAGE_LINES);
    while answer.value.len() < limit && options.range.start < options.range.end {
        let page = lines(reader, text, log, &options, budget)?;
        answer.coverage.merge(page.coverage);
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
    use weir_model::scope::Scope;
    use weir_model::select::NoBudget;

    use super::*;
    use crate::memory::MemoryLogs;
    use crate::{Expr, parse};

    /// The times of the lines shown, of one at each of `times`.
    fn shown(times: impl IntoIterator<Item = i64>, interval: i64, limit: usize, newest_first: bool) -> Vec<i64> {
        let mut store = MemoryLogs::default();
        for at in times {
            store.push(&[("a", "b")], at, b"x");
        }
        let query = r#"{a="b"}"#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let range = TimeRange { start: 0, end: 1_000_000 };
        let options = LogOptions { scope: Scope::of("t"), range, limit, newest_first, detected_level: false };
        let answer = spaced_lines(&store, query, &log, &options, interval, &NoBudget).unwrap();
        answer.value.iter().map(|entry| entry.source.timestamp).collect()
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
