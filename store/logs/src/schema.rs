//! What the parts of the engine call things: sections, streams, and what is known of a chunk without opening it.

use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::log::SEVERITY_CRITICAL;
use weir_model::time::{SECOND, UnixNanos};

use super::rollup::{ChunkDetails, Rollups};

/// Section: every stream once.
pub(crate) const STREAMS: &str = "streams.1";
/// Section: packs of chunks, one after the other, each with its own checksum.
pub(crate) const CHUNKS: &str = "chunks.2";
/// The same of blocks of before.
pub(crate) const CHUNKS_ONE: &str = "chunks.1";
/// Section: what is known of each chunk, and which pack it lies in.
pub(crate) const DIRECTORY: &str = "directory.2";
/// The same of blocks of before: each chunk is alone in its pack.
pub(crate) const DIRECTORY_ONE: &str = "directory.1";
/// Section: a tantivy index of words whose documents are the chunks.
pub(crate) const INDEX: &str = "index.2";
/// Section: which chunks have an id or a number, in pages.
pub(crate) const IDS: &str = "ids.2";
/// Section: where each page of [`IDS`] begins.
pub(crate) const ID_PAGES: &str = "id_pages.1";
/// Section: which chunks have a name with a value among their metadata, in pages.
pub(crate) const PAIRS: &str = "pairs.2";
/// Section: where each page of [`PAIRS`] begins.
pub(crate) const PAIR_PAGES: &str = "pair_pages.1";
/// The same two of blocks of before, each in one piece.
pub(crate) const FORMER_IDS: &str = "ids.1";
pub(crate) const FORMER_PAIRS: &str = "pairs.1";
/// Section: whether there is a word at all.
pub(crate) const GRAMS: &str = "grams.1";
/// Section: whether a part may be in the tokens of a chunk that are too long to be words. Blocks of before, and those without such tokens, have none.
pub(crate) const LONG_GRAMS: &str = "long_grams.1";
/// Section in place of all these in blocks of before: a tantivy index of all tokens as they were written.
pub(crate) const FORMER_INDEX: &str = "index.1";

/// Section: which chunk has a line, in pages. Blocks of before have none.
pub(crate) const PLACES: &str = "places.1";
/// Section: where each page of [`PLACES`] begins.
pub(crate) const PLACE_PAGES: &str = "place_pages.1";

/// Section: what newer blocks know of each chunk besides.
pub(crate) const DETAILS: &str = "details.1";

/// Width of a roll-up's bucket: the finest step of a volume histogram that need not open chunks.
pub(crate) const ROLLUP_NANOS: i64 = 10 * SECOND;

/// zstd level of all columns: level 3 was a sixth of the time of ingesting.
pub(crate) const ZSTD_LEVEL: i32 = 3;

/// Whose stream, and which. Streams of two tenants are never the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamKey {
    pub(crate) tenant: Arc<str>,
    pub(crate) labels: Labels,
}

/// Offset and ordinal: a line's identity within its partition, and the order of its source.
pub type Place = (u64, u32);

/// What is known of a chunk without opening it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) partition: u32,
    /// Earliest and latest timestamp.
    pub(crate) first: UnixNanos,
    pub(crate) last: UnixNanos,
    /// Lines.
    pub(crate) count: u32,
    /// Bytes of their bodies.
    pub(crate) body_bytes: u64,
    /// Of its first and last line.
    pub(crate) first_place: Place,
    pub(crate) last_place: Place,
    /// By bucket and level, ascending.
    pub(crate) rollups: Rollups,
    /// `None` in blocks of earlier builds: then critical lines are counted among the fatal ones.
    pub(crate) details: Option<ChunkDetails>,
}

impl ChunkMeta {
    /// False only when no line of it has a place.
    pub(crate) fn covers(&self, place: Place) -> bool {
        self.first_place <= place && place <= self.last_place
    }
}

/// Lines of one level in one bucket of [`ROLLUP_NANOS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollup {
    /// Timestamps divided by [`ROLLUP_NANOS`], rounded down.
    pub(crate) bucket: i64,
    /// See [`level_of`].
    pub(crate) level: u8,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// Levels of [`level_of`] of which a directory has only the first.
pub(crate) const LEVEL_FATAL: u8 = 6;
pub(crate) const LEVEL_CRITICAL: u8 = 7;

/// Severity numbers as eight levels: 0 not known, 1 trace … 6 fatal, 7 critical.
pub(crate) fn level_of(severity: u8) -> u8 {
    match severity {
        SEVERITY_CRITICAL => LEVEL_CRITICAL,
        1..=24 => severity.div_ceil(4),
        _ => 0,
    }
}
