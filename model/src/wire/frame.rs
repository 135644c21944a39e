//! The record: magic, version, section headers, compressed body, checksum.

use super::{Kind, Limits, Section, SectionHeader, WireError};

/// What can be read without decompressing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Of all sections.
    pub kind: Kind,
    /// One a section, in order.
    pub sections: Vec<SectionHeader>,
}

/// Puts sections together until the record is full.
pub struct RecordBuilder {
    kind: Kind,
    limits: Limits,
}

impl RecordBuilder {
    /// An empty record of a kind.
    pub fn new(kind: Kind, limits: Limits) -> Self {
        Self { kind, limits }
    }

    /// Adds a section (its `header.records` is set from the body). Errors with `Limit` when the section alone exceeds
    /// the limits, with `Invalid` when its kind is another, or its tenant or source is empty.
    pub fn push(&mut self, _section: &Section) -> Result<(), WireError> {
        let _ = (self.kind, self.limits);
        Err(WireError::Magic)
    }

    /// Bytes of bodies so far, uncompressed.
    pub fn body_bytes(&self) -> usize {
        0
    }

    /// Sections so far.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is no section.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The record. Errors with `Limit` when it exceeds `record_bytes` in spite of compression: split and try again.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        Err(WireError::Magic)
    }
}

/// Reads and verifies the frame (checksum included) and the section headers.
pub fn decode_headers(_record: &[u8], _limits: &Limits) -> Result<Headers, WireError> {
    Err(WireError::Magic)
}

/// Reads a whole record.
pub fn decode(_record: &[u8], _limits: &Limits) -> Result<(Kind, Vec<Section>), WireError> {
    Err(WireError::Magic)
}
