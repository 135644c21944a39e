//! What an engine has to offer so that its heads can be asked from afar.

use std::sync::Arc;

use weir_model::scope::Scope;
use weir_model::select::{Budget, ReadError};
use weir_model::signal::Signal;
use weir_model::wire::{Limits, RecordBuilder, Section, WireError};

use super::request::HeadQuery;
use super::response::Row;
use weir_blocks::engine::Engine;

/// Of one record of an extract. Larger than on the bus: nothing but the two ends has to hold it, and a series carries its
/// target's labels beside its own.
pub const RECORD_LIMITS: Limits =
    Limits { record_bytes: 16 << 20, body_bytes: 64 << 20, sections: 4096, records: 1 << 20, labels: 4096, text_bytes: 1 << 20 };

/// A record is closed at this size of its bodies.
const RECORD_BODY_BYTES: usize = 1 << 20;

/// What an owner gives at most for one partition.
#[derive(Clone, Copy, Debug)]
pub struct ExtractLimits {
    /// Bytes of bodies before compression.
    pub bytes_max: u64,
    /// The configuration key that says so, for the refusal.
    pub key: &'static str,
}

/// A record of an extract: what does not fit the wire's sections travels beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtractRecord {
    /// The engine's own; see `logs.rs` and `traces.rs`.
    pub side: Vec<u8>,
    /// A wire record.
    pub record: Vec<u8>,
}

/// What answers a request about one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadExtract {
    /// One a head; a head that has nothing to say is left out.
    pub heads: Vec<Vec<ExtractRecord>>,
    /// Answers that are added up instead.
    pub rows: Vec<Row>,
    /// Only what lies on the requested side of this timestamp is in `heads`: at or after it when the newest came first, before
    /// it when the oldest did. `None` when all is.
    pub watermark: Option<i64>,
}

impl HeadExtract {
    /// Of each head's records.
    pub(crate) fn of_heads(heads: impl Iterator<Item = Result<Vec<ExtractRecord>, ReadError>>) -> Result<Self, ReadError> {
        let heads: Vec<Vec<ExtractRecord>> = heads.collect::<Result<_, _>>()?;
        Ok(Self { heads: heads.into_iter().filter(|records| !records.is_empty()).collect(), ..Self::default() })
    }
}

/// An engine whose heads can be asked from another process.
pub trait HeadProtocol: Engine {
    /// Takes what answers the query out of the heads of one partition: of the one tenant of the scope, and nothing that may not be
    /// seen. Errors with `Budget` when that is more than the limits allow, with `Store` when the query makes no sense to this
    /// engine.
    fn extract(
        scope: &Scope,
        query: &HeadQuery,
        heads: &[Arc<Self::Head>],
        limits: ExtractLimits,
        budget: &dyn Budget,
    ) -> Result<HeadExtract, ReadError>;

    /// Puts a head together out of the records of [`HeadExtract::heads`]. It answers the one query that it was made for, and is
    /// neither sealed nor written to. Errors are sentences; one says that the head takes more than `bytes_max` of memory.
    fn rebuild_head(&self, partition: u32, tenant: &str, records: &[ExtractRecord], bytes_max: u64)
    -> Result<Self::Head, String>;
}

/// A query for another engine.
pub(crate) fn not_mine(kind: &str) -> ReadError {
    ReadError::Store(format!("the heads of {kind} cannot answer this query"))
}

/// Errors when a head that is being put together has grown above what it may take.
pub(crate) fn check_bytes(held: usize, bytes_max: u64) -> Result<(), String> {
    if held as u64 > bytes_max { Err(format!("they take more than {bytes_max} bytes of memory")) } else { Ok(()) }
}

/// Sections into records, with the side data that belongs to each.
pub(crate) struct Packer<S> {
    builder: RecordBuilder<S>,
    side: Vec<u8>,
    records: Vec<ExtractRecord>,
    bytes: u64,
    limits: ExtractLimits,
    what: &'static str,
}

impl<S: Signal> Packer<S> {
    /// `what` is counted, for the refusal: "bytes of unsealed …".
    pub(crate) fn new(limits: ExtractLimits, what: &'static str) -> Self {
        let builder = RecordBuilder::new(RECORD_LIMITS);
        Self { builder, side: Vec::new(), records: Vec::new(), bytes: 0, limits, what }
    }

    /// Appends a section and its side data.
    pub(crate) fn push(&mut self, section: &Section<S>, side: &[u8]) -> Result<(), ReadError> {
        let before = self.builder.body_bytes();
        if let Err(error) = self.builder.push(section) {
            if !matches!(error, WireError::Limit { .. }) || self.builder.is_empty() {
                return Err(wire(&error));
            }
            self.close()?;
            return self.push(section, side);
        }
        self.bytes += (self.builder.body_bytes() - before) as u64;
        if self.bytes > self.limits.bytes_max {
            return Err(ReadError::Budget { limit: self.limits.bytes_max, what: self.what, key: self.limits.key });
        }
        self.side.extend_from_slice(side);
        if self.builder.body_bytes() >= RECORD_BODY_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), ReadError> {
        let full = std::mem::replace(&mut self.builder, RecordBuilder::new(RECORD_LIMITS));
        let record = full.finish().map_err(|error| wire(&error))?;
        self.records.push(ExtractRecord { side: std::mem::take(&mut self.side), record });
        Ok(())
    }

    /// All records; none when no section came.
    pub(crate) fn finish(mut self) -> Result<Vec<ExtractRecord>, ReadError> {
        if !self.builder.is_empty() {
            self.close()?;
        }
        Ok(self.records)
    }

    /// All records as one head's.
    pub(crate) fn into_extract(self) -> Result<HeadExtract, ReadError> {
        HeadExtract::of_heads(std::iter::once(self.finish()))
    }
}

fn wire(error: &WireError) -> ReadError {
    ReadError::Store(format!("unsealed records cannot be put on the wire: {error}"))
}
