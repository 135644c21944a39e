//! A section of lines in a head, as it came: what an open chunk is made of.

use std::sync::{Arc, OnceLock};

use weir_model::log::{LogAttributes, LogBatch};
use weir_model::memory::{allocation, shared};

use super::builder::chunk_bytes;
use super::rollup::{self, ChunkDetails, Rollups};
use super::schema::{ChunkMeta, Place};
use weir_blocks::engine::Position;

/// A section's lines as they came.
pub(crate) struct Part {
    pub(crate) position: Position,
    /// One a line, ascending, where lines of the section were left out; else they follow each other from `position`.
    places: Option<Box<[Place]>>,
    pub(crate) batch: Arc<LogBatch>,
    /// Without roll-ups and details: see [`Self::rollups`].
    pub(crate) meta: ChunkMeta,
    rollups: OnceLock<Box<(Rollups, ChunkDetails)>>,
}

impl Part {
    pub(crate) fn new(position: Position, batch: Arc<LogBatch>) -> Self {
        let count = batch.len() as u32;
        let times = || batch.iter().map(|record| record.timestamp);
        let meta = ChunkMeta {
            partition: position.partition,
            first: times().min().unwrap_or_default(),
            last: times().max().unwrap_or_default(),
            count,
            body_bytes: batch.body_bytes() as u64,
            first_place: (position.offset, position.ordinal),
            last_place: (position.offset, position.ordinal.saturating_add(count.saturating_sub(1))),
            rollups: Rollups::default(),
            details: None,
        };
        Self { position, places: None, batch, meta, rollups: OnceLock::new() }
    }

    /// One of lines that do not follow each other: as many places as lines, ascending. `None` when there is no line.
    pub(crate) fn with_places(partition: u32, batch: Arc<LogBatch>, places: Vec<Place>) -> Option<Self> {
        let (first_place, last_place) = (*places.first()?, *places.last()?);
        let mut part = Self::new(Position { partition, offset: first_place.0, ordinal: first_place.1 }, batch);
        (part.meta.first_place, part.meta.last_place) = (first_place, last_place);
        part.places = Some(places.into());
        Some(part)
    }

    /// Which line lies at a place.
    pub(crate) fn find(&self, place: Place) -> Option<usize> {
        match &self.places {
            Some(places) => places.binary_search(&place).ok(),
            None if self.meta.first_place <= place && place <= self.meta.last_place => {
                Some((place.1 - self.position.ordinal) as usize)
            }
            None => None,
        }
    }

    /// Where line `i` lies.
    pub(crate) fn place(&self, i: usize) -> Place {
        self.places.as_ref().map_or((self.position.offset, self.position.ordinal + i as u32), |places| places[i])
    }

    /// What an encoded chunk of these lines would be known by; made when it is first asked for.
    pub(crate) fn rollups(&self) -> &(Rollups, ChunkDetails) {
        self.rollups.get_or_init(|| {
            let lines = self.batch.iter().map(|record| (record.timestamp, record.severity, record.body.len()));
            let (rollups, at_start) = rollup::of_lines(lines);
            let metadata = rollup::names_of(self.batch.attributes());
            Box::new((rollups, ChunkDetails { at_start, metadata }))
        })
    }

    /// Memory held: the batch and this, with its place in a list that grows by doubling.
    pub(crate) fn memory(&self) -> usize {
        let places = self.places.as_ref().map_or(0, |places| allocation(size_of_val(&**places)));
        let batch = shared(size_of::<LogBatch>()) + self.batch.memory() + self.batch.stream.memory();
        shared(size_of::<Self>()) + 2 * size_of::<usize>() + batch + places
    }

    /// Bytes towards a chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        let attributes = self.batch.attributes().iter().map(LogAttributes::text_bytes).sum();
        let contexts = self.batch.iter().any(|record| !record.trace_id.is_none() || !record.span_id.is_none());
        chunk_bytes(self.batch.len(), self.batch.body_bytes(), contexts, attributes)
    }
}
