//! Counts of a head's lines for another process, in rows that are added up: by stream, level, bucket and metadata, or by template.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_logs::LogsHead;
use weir_model::label::Labels;
use weir_model::select::{Buckets, Budget, CountBy, LogReader, LogSelect, ReadError, TemplateText};

use crate::logs::reader;
use crate::request::pairs;
use crate::response::json_text_bytes;
use crate::{ExtractLimits, Row};

/// Memory of a row of counts beside its texts.
const ROW_BYTES: usize = size_of::<Row>();

/// A template's row as it travels, at its longest, beside its text: names, numbers and signs of JSON. More than it takes in memory.
const TEMPLATE_ROW_BYTES: usize =
    r#"{"row":"template","text":"","bucket":-9223372036854775808,"severity":255,"lines":18446744073709551615},"#.len();

/// Buckets as a request has them.
pub(crate) fn buckets(step: i64, origin: i64) -> Result<Buckets, ReadError> {
    Buckets::new(step, origin).ok_or_else(|| ReadError::Store(format!("the step of counts is above 0, got {step}")))
}

/// Each stream, bucket, level and metadata once.
pub(crate) fn count_rows(
    select: &LogSelect,
    by: &CountBy,
    heads: &[Arc<LogsHead>],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<Vec<Row>, ReadError> {
    let mut sums = BTreeMap::<(Labels, i64, u8, Labels), (u64, u64)>::new();
    let mut room = Room { bytes: 0, limits, what: "bytes of counts of unsealed lines" };
    reader(heads).counts(select, by, budget, &mut |count| {
        let entry = sums.entry((count.stream.clone(), count.bucket, count.severity, count.metadata.clone()));
        if let Entry::Vacant(_) = &entry {
            room.take(ROW_BYTES + count.stream.text_bytes() + count.metadata.text_bytes());
        }
        let sum = entry.or_default();
        *sum = (sum.0 + count.lines, sum.1 + count.bytes);
        room.flow()
    })?;
    room.check()?;
    let row = |((stream, bucket, severity, metadata), (lines, bytes))| Row::Count {
        stream: pairs(&stream),
        bucket,
        severity,
        metadata: pairs(&metadata),
        lines,
        bytes,
    };
    Ok(sums.into_iter().map(row).collect())
}

/// Each template, bucket and level once; a line that has no template stands for itself.
pub(crate) fn template_rows(
    select: &LogSelect,
    buckets: Buckets,
    heads: &[Arc<LogsHead>],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<Vec<Row>, ReadError> {
    let mut sums = BTreeMap::<Vec<u8>, Counted>::new();
    let mut room = Room { bytes: 0, limits, what: "bytes of templates of unsealed lines" };
    reader(heads).templates(select, buckets, budget, &mut |count| {
        let (text, is_line) = match count.text {
            TemplateText::Constant(text) => (text.as_bytes(), false),
            TemplateText::Line(line) => (line, true),
        };
        let travels = || TEMPLATE_ROW_BYTES + text_bytes(count.text);
        let place = (is_line, count.bucket, count.severity);
        match sums.get_mut(text) {
            Some(counted) => match counted.get_mut(&place) {
                Some(lines) => *lines += count.lines,
                None => {
                    room.take(travels());
                    counted.insert(place, count.lines);
                }
            },
            None => {
                room.take(travels());
                sums.insert(text.to_vec(), BTreeMap::from([(place, count.lines)]));
            }
        }
        room.flow()
    })?;
    room.check()?;
    let rows = sums.into_iter().flat_map(|(text, counted)| {
        counted.into_iter().map(move |((is_line, bucket, severity), lines)| match std::str::from_utf8(&text) {
            Ok(text) if !is_line => Row::Template { text: text.to_owned(), bucket, severity, lines },
            _ => Row::Line { body: text.clone(), bucket, severity, lines },
        })
    });
    Ok(rows.collect())
}

/// Lines of one text: of those that have no template or have one, by bucket and level.
type Counted = BTreeMap<(bool, i64, u8), u64>;

/// Bytes of a template's text as it travels: a line in hex.
fn text_bytes(text: TemplateText<'_>) -> usize {
    match text {
        TemplateText::Constant(text) => json_text_bytes(text),
        TemplateText::Line(line) => 2 * line.len(),
    }
}

/// What rows may still take.
struct Room {
    bytes: u64,
    limits: ExtractLimits,
    what: &'static str,
}

impl Room {
    fn take(&mut self, row_bytes: usize) {
        self.bytes += row_bytes as u64;
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.bytes > self.limits.bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn check(&self) -> Result<(), ReadError> {
        match self.flow() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                Err(ReadError::Budget { limit: self.limits.bytes_max, what: self.what, key: self.limits.key })
            }
        }
    }
}
