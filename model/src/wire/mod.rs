//! The wire: how batches travel as one bus record. Format to the byte: `docs/formats/wire.md`.
//!
//! A record holds *sections*, one a source; small sources share a record. The section headers can be read without
//! decompressing anything, so that a consumer can drop what it has already stored for the price of a header.
//!
//! - [`limits`]: what a decoder is willing to believe.
//! - [`frame`]: the record: magic, version, headers, compressed body, checksum.
//! - [`budget`]: how much memory a decoder may be talked into.
//! - [`columns`]: dictionaries and the column directory that all bodies share.
//! - [`logs`], [`metrics`], [`spans`]: the bodies; [`value`]: attributes of spans; [`schema`]: what names the columns of samples, and
//!   by which bytes it is known again; [`histograms`], [`extras`]: what rows have beside numbers.

mod budget;
mod columns;
mod extras;
mod frame;
mod histograms;
mod limits;
pub(crate) mod logs;
pub(crate) mod metrics;
mod schema;
pub(crate) mod spans;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use budget::Budget;
pub use frame::{Frame, RecordBuilder, decode};
pub use limits::Limits;
pub(crate) use schema::EncodedSchema;
pub use schema::SCHEMAS_BYTES_MAX;

use crate::signal::Signal;

/// What most records are written under.
pub(crate) const VERSION_BASE: u8 = 2;
/// That of records of which a row has more than numbers.
pub(crate) const VERSION_EXTRAS: u8 = 3;
/// That of records of which a section has neighbouring columns of a schema.
pub(crate) const VERSION_PARTS: u8 = 4;

/// What a record carries; one kind a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// `weir.logs`
    Logs = 1,
    /// `weir.metrics`
    Metrics = 2,
    /// `weir.spans`
    Spans = 3,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Spans];

    /// The topic that carries it.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Logs => "weir.logs",
            Self::Metrics => "weir.metrics",
            Self::Spans => "weir.spans",
        }
    }

    /// Short name, as in paths and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Spans => "spans",
        }
    }
}

/// How a consumer recognises what it already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// The source can be read again from any place: positions grow within an epoch, and epochs grow. For a file the
    /// epoch is its generation and the sequence its bytes `[first, last)`; for a sampler, the row numbers.
    Sequence {
        /// Generation of the source.
        epoch: u64,
        /// Inclusive start.
        first: u64,
        /// Exclusive end; `first <= last`.
        last: u64,
    },
    /// The source is a client that may send the same bytes again because it saw no answer: a digest of what it sent.
    Digest([u8; 16]),
}

/// One source's share of a record, before its body is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionHeader {
    /// Whose. Not empty.
    pub tenant: String,
    /// Unique per tenant and kind. Not empty.
    pub source: String,
    /// For dropping duplicates.
    pub mark: Mark,
    /// Log lines, metric rows × series, or spans.
    pub records: u32,
}

/// One source's share of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Section<S> {
    /// Whose, from where, and how to know it again.
    pub header: SectionHeader,
    /// What, shared from the decoder to the chunk.
    pub batch: Arc<S>,
}

impl<S: Signal> Section<S> {
    /// A section whose header says how many records the batch has.
    pub fn new(header: SectionHeader, batch: impl Into<Arc<S>>) -> Self {
        let batch = batch.into();
        let records = u32::try_from(batch.records()).unwrap_or(u32::MAX);
        Self { header: SectionHeader { records, ..header }, batch }
    }
}

/// Why bytes are not a record, or a batch cannot become one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// Ends before it should.
    #[error("record ends early: {what} needs more bytes")]
    Truncated {
        /// Which field.
        what: &'static str,
    },
    /// Does not start with the magic bytes.
    #[error("not a weir record: wrong magic bytes")]
    Magic,
    /// Written by a version that this one does not know.
    #[error("record version {0} is newer than this weir understands")]
    Version(u8),
    /// Carries another signal than is asked for.
    #[error("a record of {} where {} are expected", .found.name(), .wanted.name())]
    Kind {
        /// In the record.
        found: Kind,
        /// Asked for.
        wanted: Kind,
    },
    /// Bits have changed on the way.
    #[error("checksum mismatch: stored {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// In the record.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// A field has an impossible value.
    #[error("bad {what}: {detail}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// Declares more than a decoder is willing to believe, or a batch larger than a record may be.
    #[error("{what} of {value} is above the limit of {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// Declared.
        value: u64,
        /// Allowed.
        limit: u64,
    },
}
