//! What a traces block is made of: section names, limits, directory entries. Format: `docs/formats/traces_block.md`.

use std::ops::Range;

use weir_model::span::SpanKind;
use weir_model::time::UnixNanos;

use weir_blocks::limits::{RECORD_BYTES_MAX, UNPACKED_BYTES_MAX};

/// Sorted trace ids and their arrivals, per tenant.
pub(crate) const TRACES: &str = "traces.1";
/// Which ids may be in `traces.1`.
pub(crate) const FILTER: &str = "filter.1";
/// Names of spans, events, attributes and services.
pub(crate) const STRINGS: &str = "strings.1";
/// Resources and scopes.
pub(crate) const ORIGINS: &str = "origins.1";
/// Operations and attribute names with the time in which they were seen.
pub(crate) const OPERATIONS: &str = "operations.1";
/// Directory of the groups in `spans.1`.
pub(crate) const GROUPS: &str = "groups.1";
/// Groups of spans.
pub(crate) const SPANS: &str = "spans.1";

/// zstd level of everything.
pub(crate) const LEVEL: i32 = 3;
/// A longer trace becomes several neighbouring segments, so that one group never holds more than memory should.
pub(crate) const SEGMENT_SPANS: usize = 16 << 10;
/// And so does one of more bytes, as [`super::content::raw_bytes`] has it: a few spans may be large.
pub(crate) const SEGMENT_BYTES: usize = 4 << 20;
/// A group is closed at so many bytes of spans, as [`super::content::raw_bytes`] has it: its columns then take 64 to
/// 256 KiB.
pub(crate) const GROUP_BYTES: usize = 512 << 10;
/// A group's column that claims more is refused when it is read. It is closed at [`GROUP_BYTES`] and a segment, of which
/// no column takes twice.
pub(crate) const COLUMN_BYTES_MAX: usize = UNPACKED_BYTES_MAX;

const _: () = assert!(2 * (GROUP_BYTES + SEGMENT_BYTES + RECORD_BYTES_MAX) <= COLUMN_BYTES_MAX);

/// What the directory says of a group: neighbouring segments of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    /// Its segments, as places in `traces.1`.
    pub segments: Range<usize>,
    /// Spans.
    pub spans: u64,
    /// Earliest start of a span.
    pub start_min: UnixNanos,
    /// Latest start.
    pub start_max: UnixNanos,
    /// Shortest duration, ns.
    pub duration_min: i64,
    /// Longest duration, ns.
    pub duration_max: i64,
    /// Services that occur, as strings of the block, ascending.
    pub services: Vec<u32>,
    /// Where it lies in `spans.1`.
    pub bytes: Range<u64>,
    /// crc32c of those bytes.
    pub crc: u32,
}

impl GroupEntry {
    /// What it takes in the block.
    pub fn stored_bytes(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }
}

/// When something was seen first and last, by the starts of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub first: UnixNanos,
    pub last: UnixNanos,
}

impl Seen {
    pub(crate) fn at(start: UnixNanos) -> Self {
        Self { first: start, last: start }
    }

    pub(crate) fn extend(&mut self, start: UnixNanos) {
        self.first = self.first.min(start);
        self.last = self.last.max(start);
    }
}

/// Tenant, service, span name, kind (strings of the block).
pub(crate) type Operation = (u32, u32, u32, u8);
/// Tenant, whether of the resource, name (strings of the block).
pub(crate) type AttributeName = (u32, bool, u32);

/// All kinds, by their numbers.
pub const KINDS: [SpanKind; 6] =
    [SpanKind::Unspecified, SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
