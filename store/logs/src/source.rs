//! One chunk, wherever it lies: in a block, encoded in a head, or as the sections of a head's open chunk.

use std::sync::Arc;

use weir_model::select::{Budget, Coverage, ReadError};

use super::asked::HeldPack;
use super::block::LogsBlock;
use super::chunk::EncodedChunk;
use super::part::Part;
use super::schema::{ChunkMeta, Place};
use super::source_lines::SourceLines;
use weir_blocks::StoreError;
use weir_blocks::hidden::{Hidden, HiddenRows};

/// Cheap to copy and to keep: nothing of it is decoded.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) lies: Lies,
    /// Lines that are as if they were not there.
    hidden: HiddenRows,
}

/// Where a chunk lies.
#[derive(Clone)]
pub(crate) enum Lies {
    Stored(Arc<LogsBlock>, u32),
    Encoded(Arc<EncodedChunk>),
    Parts(Arc<ChunkMeta>, Arc<Vec<Arc<Part>>>),
}

impl Source {
    /// The open chunk; `None` when it is empty. What is known of it has no roll-ups.
    pub(crate) fn of_parts(parts: Vec<Arc<Part>>) -> Option<Self> {
        let meta = parts.iter().map(|part| &part.meta);
        let mut whole = meta.clone().next()?.clone();
        for part in meta.skip(1) {
            whole.first = whole.first.min(part.first);
            whole.last = whole.last.max(part.last);
            whole.count += part.count;
            whole.body_bytes += part.body_bytes;
            whole.last_place = part.last_place;
        }
        Some(Lies::Parts(Arc::new(whole), Arc::new(parts)).into())
    }

    /// One of a block.
    pub(crate) fn stored(block: &Arc<LogsBlock>, chunk: u32, hidden: &Hidden) -> Self {
        let hidden = if hidden.is_nothing() { HiddenRows::default() } else { block.hidden(chunk, hidden) };
        Self { lies: Lies::Stored(Arc::clone(block), chunk), hidden }
    }

    /// Without these lines.
    #[must_use]
    pub(crate) fn hiding(self, hidden: HiddenRows) -> Self {
        Self { hidden, ..self }
    }

    /// Whether a line of it may be hidden; false is certain.
    pub(crate) fn may_hide(&self) -> bool {
        self.hidden.overlaps(self.meta().first, self.meta().last)
    }

    /// Whether all of its lines are hidden; true is certain.
    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden.covers(self.meta().first, self.meta().last)
    }

    /// What is known without opening it.
    pub(crate) fn meta(&self) -> &ChunkMeta {
        match &self.lies {
            Lies::Stored(block, chunk) => block.meta(*chunk),
            Lies::Encoded(chunk) => &chunk.meta,
            Lies::Parts(meta, _) => meta,
        }
    }

    /// Whether the roll-ups that it knows of count all lines, and no hidden ones.
    pub(crate) fn has_rollups(&self) -> bool {
        !matches!(self.lies, Lies::Parts(..)) && !self.may_hide()
    }

    /// False only when no line has a place. Of a head it is told for certain, and without unpacking bodies.
    pub(crate) fn has(&self, place: Place) -> Result<bool, StoreError> {
        match &self.lies {
            Lies::Stored(block, chunk) => Ok(block.meta(*chunk).covers(place)),
            Lies::Encoded(chunk) => {
                let runs = SourceLines::of_head(chunk.bytes.clone())?.place_runs()?;
                Ok(runs.iter().any(|run| run.has(place)))
            }
            Lies::Parts(_, parts) => Ok(parts.iter().any(|part| part.find(place).is_some())),
        }
    }

    /// Opens it within a budget, which pays for its pack unless that is held. One that cannot be read goes to the coverage, and the others
    /// still answer.
    pub(crate) fn open(
        &self,
        held: &HeldPack,
        budget: &dyn Budget,
        coverage: &mut Coverage,
    ) -> Result<Option<SourceLines>, ReadError> {
        budget.check()?;
        if let Lies::Stored(block, chunk) = &self.lies
            && held.get(block, *chunk).is_none()
        {
            budget.read(block.pack_bytes(*chunk))?;
        }
        self.open_paid(held, budget, coverage)
    }

    /// The same of one whose bytes the budget knows.
    pub(crate) fn open_paid(
        &self,
        held: &HeldPack,
        budget: &dyn Budget,
        coverage: &mut Coverage,
    ) -> Result<Option<SourceLines>, ReadError> {
        budget.check()?;
        budget.spend(u64::from(self.meta().count))?;
        match self.lines(held) {
            Ok(lines) => Ok(Some(lines)),
            Err(error) => {
                coverage.miss(error.to_string());
                Ok(None)
            }
        }
    }

    /// Opens it; its pack is held afterwards. Errors with `Corrupt` that names block and chunk.
    pub(crate) fn lines(&self, held: &HeldPack) -> Result<SourceLines, StoreError> {
        let lines = match &self.lies {
            Lies::Stored(block, chunk) if block.has_packs() => {
                let pack = match held.get(block, *chunk) {
                    Some(pack) => pack,
                    None => {
                        let pack = Arc::new(block.opened(*chunk)?);
                        held.hold(block, *chunk, &pack);
                        pack
                    }
                };
                block.lines_of(*chunk, pack)
            }
            Lies::Stored(block, chunk) => block.lines(*chunk)?,
            Lies::Encoded(chunk) => SourceLines::of_head(chunk.bytes.clone())?,
            Lies::Parts(_, parts) => SourceLines::of_parts(Arc::clone(parts)),
        };
        Ok(if self.may_hide() { lines.hiding(self.hidden.clone()) } else { lines })
    }
}

impl From<Lies> for Source {
    fn from(lies: Lies) -> Self {
        Self { lies, hidden: HiddenRows::default() }
    }
}
