//! Log records: a batch is columns, a record is a view into them.
//!
//! Columns because that is what travels, what is compressed and what the engine stores; nothing allocates per line.

mod attributes;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::memory::allocation;
use crate::time::UnixNanos;

pub use attributes::{AttributeSets, LogAttributes};

/// [`LogRecord::flags`]: the line goes on in the next record of the stream (it was longer than the line limit).
pub const FLAG_CONTINUED: u8 = 1;

/// One log line, borrowed. The stream (its labels) is said once, by the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// When it happened, as the writer says.
    pub timestamp: UnixNanos,
    /// Exclusive end of the line in its source (for files: the byte after its last newline). 0 for pushed lines.
    pub sequence: u64,
    /// The line without its line end. Any bytes: what is not UTF-8 is kept and rendered escaped.
    pub body: &'a [u8],
    /// OpenTelemetry severity number, 1 to 24; 0 when the writer did not say.
    pub severity: u8,
    /// [`FLAG_CONTINUED`] or 0.
    pub flags: u8,
    /// The trace it belongs to, when the writer said so out of band; none otherwise.
    pub trace_id: TraceId,
    /// The span it belongs to, likewise.
    pub span_id: SpanId,
    /// Structured metadata of the line, normalised names. Usually empty.
    pub attributes: LogAttributes<'a>,
}

/// Lines of one stream, in the order of their source; timestamps may be in any order.
#[derive(Clone, Default)]
pub struct LogBatch {
    /// The stream's labels (resource and `stream`), at most a few dozen.
    pub stream: Labels,
    // Open to the crate so that the wire codec moves whole columns.
    pub(crate) timestamps: Vec<UnixNanos>,
    pub(crate) sequences: Vec<u64>,
    /// Exclusive end of each line in `bodies`.
    pub(crate) ends: Vec<u32>,
    pub(crate) bodies: Vec<u8>,
    pub(crate) severities: Vec<u8>,
    pub(crate) flags: Vec<u8>,
    /// Empty when no line has a context, else as long as `timestamps`.
    pub(crate) contexts: Vec<(TraceId, SpanId)>,
    /// Empty when no line has attributes, else as long as `timestamps`: numbers of sets.
    pub(crate) sets: Vec<u32>,
    pub(crate) attributes: AttributeSets,
}

impl LogBatch {
    /// An empty batch of a stream.
    pub fn new(stream: Labels) -> Self {
        Self { stream, ..Self::default() }
    }

    /// An empty batch with room for so many lines with so many bytes of bodies.
    pub fn with_capacity(stream: Labels, lines: usize, body_bytes: usize) -> Self {
        Self {
            timestamps: Vec::with_capacity(lines),
            sequences: Vec::with_capacity(lines),
            ends: Vec::with_capacity(lines),
            bodies: Vec::with_capacity(body_bytes),
            severities: Vec::with_capacity(lines),
            flags: Vec::with_capacity(lines),
            ..Self::new(stream)
        }
    }

    /// Appends a line. The caller keeps the sum of bodies below 4 GiB (the wire's limits are far lower).
    pub fn push(&mut self, record: LogRecord<'_>) {
        if !self.sets.is_empty() || !record.attributes.is_empty() {
            let set = self.add_attributes(record.attributes.iter());
            self.sets.push(set);
        }
        self.push_columns(record);
    }

    /// The number of a set of attributes, for [`Self::push_with`]. Pairs ascend by name, no name twice and no value empty.
    pub fn add_attributes<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u32 {
        self.begin_sets();
        self.attributes.add(pairs)
    }

    /// The numbers of an attribute's texts, for [`Self::add_numbered`]: of one that many lines have, so that it is hashed once.
    pub fn number_attribute(&mut self, name: &str, value: &str) -> (u32, u32) {
        self.attributes.number_pair(name, value)
    }

    /// As [`Self::add_attributes`], of attributes by their numbers.
    pub fn add_numbered(&mut self, pairs: impl Iterator<Item = (u32, u32)>) -> u32 {
        self.begin_sets();
        self.attributes.add_numbers(pairs)
    }

    /// Lines so far have none when the first that has some comes.
    fn begin_sets(&mut self) {
        if self.sets.len() < self.len() {
            let none = self.attributes.add(std::iter::empty());
            self.sets.resize(self.len(), none);
        }
    }

    /// Appends a line with attributes of this number, whatever the record says of them.
    pub fn push_with(&mut self, record: LogRecord<'_>, set: u32) {
        self.sets.push(set);
        self.push_columns(record);
    }

    fn push_columns(&mut self, record: LogRecord<'_>) {
        let count = self.timestamps.len();
        self.timestamps.push(record.timestamp);
        self.sequences.push(record.sequence);
        self.bodies.extend_from_slice(record.body);
        self.ends.push(u32::try_from(self.bodies.len()).expect("invariant: a batch stays below 4 GiB"));
        self.severities.push(record.severity);
        self.flags.push(record.flags);
        if !self.contexts.is_empty() || !record.trace_id.is_none() || !record.span_id.is_none() {
            self.contexts.resize(count, Default::default());
            self.contexts.push((record.trace_id, record.span_id));
        }
    }

    /// Gives back what is only there for lines to come: for a batch that is complete and waits.
    pub fn shrink_to_fit(&mut self) {
        self.timestamps.shrink_to_fit();
        self.sequences.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bodies.shrink_to_fit();
        self.severities.shrink_to_fit();
        self.flags.shrink_to_fit();
        self.contexts.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.attributes.shrink_to_fit();
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Sum of the bodies' lengths.
    pub fn body_bytes(&self) -> usize {
        self.bodies.len()
    }

    /// The distinct sets of attributes behind the lines.
    pub fn attributes(&self) -> &AttributeSets {
        &self.attributes
    }

    /// Line `i`; panics when there is none, as slices do.
    pub fn get(&self, i: usize) -> LogRecord<'_> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        let (trace_id, span_id) = self.contexts.get(i).copied().unwrap_or_default();
        LogRecord {
            timestamp: self.timestamps[i],
            sequence: self.sequences[i],
            body: &self.bodies[start..self.ends[i] as usize],
            severity: self.severities[i],
            flags: self.flags[i],
            trace_id,
            span_id,
            attributes: self.sets.get(i).map_or(LogAttributes::NONE, |set| self.attributes.get(*set)),
        }
    }

    /// Memory held, the stream's labels apart.
    pub fn memory(&self) -> usize {
        let column = |capacity: usize, bytes_each: usize| allocation(capacity * bytes_each);
        column(self.timestamps.capacity(), size_of::<UnixNanos>())
            + column(self.sequences.capacity(), size_of::<u64>())
            + column(self.ends.capacity(), size_of::<u32>())
            + column(self.bodies.capacity(), 1)
            + column(self.severities.capacity(), 1)
            + column(self.flags.capacity(), 1)
            + column(self.contexts.capacity(), size_of::<(TraceId, SpanId)>())
            + column(self.sets.capacity(), size_of::<u32>())
            + self.attributes.memory()
    }

    /// All lines, in source order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LogRecord<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The batch without the lines whose sequence is at or below `mark`: they are stored already.
    pub fn after(&self, mark: u64) -> Self {
        let mut rest = Self::new(self.stream.clone());
        self.iter().filter(|record| record.sequence > mark).for_each(|record| rest.push(record));
        rest
    }
}

impl PartialEq for LogBatch {
    /// Line by line: how the sets of attributes are numbered says nothing.
    fn eq(&self, other: &Self) -> bool {
        self.stream == other.stream && self.iter().eq(other.iter())
    }
}

impl Eq for LogBatch {}

impl fmt::Debug for LogBatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", self.stream)?;
        out.debug_list().entries(self.iter()).finish()
    }
}

/// OpenTelemetry's severity number ranges as the field's level names; "" for 0 and for anything above 24.
pub fn level_name(severity: u8) -> &'static str {
    match severity {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    }
}

/// The severity of what calls itself critical, the second of the fatal ones: the only level that is not a range of numbers.
pub const SEVERITY_CRITICAL: u8 = 22;

/// A severity as Loki's `detected_level` names it: as [`level_name`], and `critical` and `unknown`.
pub fn detected_level(severity: u8) -> &'static str {
    match level_name(severity) {
        "" => "unknown",
        _ if severity == SEVERITY_CRITICAL => "critical",
        name => name,
    }
}

/// The severity that stands for all of the same [`detected_level`].
pub fn level_severity(severity: u8) -> u8 {
    match severity {
        SEVERITY_CRITICAL => severity,
        1..=24 => (severity - 1) / 4 * 4 + 1,
        _ => 0,
    }
}

/// The severity number of a level's name in any case: `warn` and `WARNING` are 13. `None` when it is no level.
pub fn severity_of_name(name: &[u8]) -> Option<u8> {
    const NAMES: [(&str, u8); 24] = [
        ("trace", 1),
        ("trc", 1),
        ("verbose", 1),
        ("debug", 5),
        ("dbg", 5),
        ("info", 9),
        ("information", 9),
        ("informational", 9),
        ("inf", 9),
        ("notice", 10),
        ("warn", 13),
        ("warning", 13),
        ("wrn", 13),
        ("error", 17),
        ("err", 17),
        ("severe", 17),
        ("fatal", 21),
        ("ftl", 21),
        ("panic", 21),
        ("emerg", 21),
        ("emergency", 21),
        ("critical", SEVERITY_CRITICAL),
        ("crit", SEVERITY_CRITICAL),
        ("alert", SEVERITY_CRITICAL),
    ];
    if !(3..=13).contains(&name.len()) {
        return None;
    }
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, number)| *number)
}

/// The escapes that colour terminals: CSI and OSC sequences of ECMA-48.
static COLOURS: LazyLock<regex::bytes::Regex> = LazyLock::new(|| {
    regex::bytes::Regex::new(r"(?-u)\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))").expect("invariant: it compiles")
});

/// A text with `by` in the place of each sequence that colours a terminal.
pub fn replace_colours<'a>(text: &'a [u8], by: &[u8]) -> Cow<'a, [u8]> {
    COLOURS.replace_all(text, regex::bytes::NoExpand(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_levels_name_has_a_number_and_the_number_lokis_name() {
        let check = |name: &str, expected: &str| {
            assert_eq!(severity_of_name(name.as_bytes()).map(detected_level), Some(expected), "{name}");
        };
        for level in ["critical", "fatal", "error", "warn", "info", "debug", "trace"] {
            check(level, level);
            check(&level.to_uppercase(), level);
        }
        check("Warning", "warn");
        check("crit", "critical");
        check("notice", "info");
        assert_eq!(severity_of_name(b"unknown"), None);
        assert_eq!((0..=25).filter(|number| detected_level(*number) == "unknown").collect::<Vec<u8>>(), [0, 25]);
        assert!((0..=u8::MAX).all(|number| detected_level(level_severity(number)) == detected_level(number)));
        assert_eq!(level_name(SEVERITY_CRITICAL), "fatal", "one bar of a histogram holds both");
    }
}
