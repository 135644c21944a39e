//! Which queries are answered by counts of lines, and what tells those lines apart: the store counts without giving lines, and mostly
//! without reading them.

use std::collections::BTreeSet;

use weir_model::log::LogRecord;
use weir_model::select::{Buckets, CountBy, LineCount};

use crate::pipeline::Pipeline;
use crate::pipeline::labels::{EXTRACTED, LEVEL};

/// How the lines of a pipeline that passes on to labels of these names, or to all labels, are counted; `None` when their labels or texts are needed one
/// by one.
pub(super) fn count_by(pipeline: &Pipeline, names: Option<&BTreeSet<String>>, level: bool, buckets: Buckets) -> Option<CountBy> {
    // Ids are of single lines, and a label that made way for another is not what the store has by that name.
    let is_counted = |name: &str| !matches!(name, "trace_id" | "span_id") && !name.ends_with(EXTRACTED);
    if !pipeline.is_of_labels() {
        return None;
    }
    let by = CountBy { mention: pipeline.mention(level), ..CountBy::of(buckets) };
    let Some(names) = names else { return Some(CountBy { all: true, ..by }) };
    let metadata = names.iter().filter(|name| !(level && *name == LEVEL)).cloned().collect();
    names.iter().all(|name| is_counted(name)).then_some(CountBy { metadata, ..by })
}

/// A line that stands for those counted: it has their labels.
pub(super) fn record_of<'a>(count: &LineCount<'a>) -> LogRecord<'a> {
    LogRecord {
        timestamp: count.bucket,
        sequence: 0,
        body: &[],
        severity: count.severity,
        flags: 0,
        trace_id: count.trace_id,
        span_id: count.span_id,
        attributes: count.metadata.into(),
    }
}
