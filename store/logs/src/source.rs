//! One chunk, wherever it lies: in a block, encoded in a head, or as the sections of a head's open chunk.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::select::{Budget, Coverage, ReadError};
use weir_model::time::{TimeRange, UnixNanos};

use super::block::LogsBlock;
use super::chunk::{EncodedChunk, Lines, place_runs};
use super::filter::Filters;
use super::part::Part;
use super::schema::{ChunkMeta, Place, level_of};
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

/// A chunk's lines, without hidden ones.
pub(crate) struct SourceLines {
    lines: AllLines,
    hidden: HiddenRows,
    /// Lines that are not hidden, ascending; `None` when all are.
    shown: Option<Vec<u32>>,
}

enum AllLines {
    Decoded(Box<Lines>),
    Parts(Arc<Vec<Arc<Part>>>),
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
                let runs = place_runs(&chunk.bytes).map_err(corrupt)?;
                Ok(runs.iter().any(|run| run.has(place)))
            }
            Lies::Parts(_, parts) => Ok(parts.iter().any(|part| part.find(place).is_some())),
        }
    }

    /// Opens it within a budget. One that cannot be read goes to the coverage, and the others still answer.
    pub(crate) fn open(&self, budget: &dyn Budget, coverage: &mut Coverage) -> Result<Option<SourceLines>, ReadError> {
        budget.check()?;
        budget.spend(u64::from(self.meta().count))?;
        if let Lies::Stored(block, chunk) = &self.lies {
            budget.read(block.chunk_bytes(*chunk) as u64)?;
        }
        match self.lines() {
            Ok(lines) => Ok(Some(lines)),
            Err(error) => {
                coverage.miss(error.to_string());
                Ok(None)
            }
        }
    }

    /// Opens it. Errors with `Corrupt` that names block and chunk.
    pub(crate) fn lines(&self) -> Result<SourceLines, StoreError> {
        let lines = match &self.lies {
            Lies::Stored(block, chunk) => AllLines::decoded(block.lines(*chunk)?),
            Lies::Encoded(chunk) => AllLines::decoded(Lines::decode(&chunk.bytes).map_err(corrupt)?),
            Lies::Parts(_, parts) => AllLines::Parts(Arc::clone(parts)),
        };
        if !self.may_hide() {
            return Ok(SourceLines { lines, hidden: HiddenRows::default(), shown: None });
        }
        let is_shown = |i: &u32| !lines.with(*i as usize, |_, record| self.hidden.has(record.timestamp, record.body));
        let shown = (0..lines.len() as u32).filter(is_shown).collect();
        Ok(SourceLines { lines, hidden: self.hidden.clone(), shown: Some(shown) })
    }
}

impl From<Lies> for Source {
    fn from(lies: Lies) -> Self {
        Self { lies, hidden: HiddenRows::default() }
    }
}

fn corrupt(detail: String) -> StoreError {
    StoreError::corrupt("a head's chunk", detail)
}

impl SourceLines {
    /// Gives the timestamp, the level and the bytes of the body of every line in the range.
    pub(crate) fn measure(&self, range: TimeRange, take: &mut dyn FnMut(UnixNanos, u8, usize)) -> Result<(), StoreError> {
        let _all = self.visit(range, &Filters::new(&[]), &mut |_, record| {
            take(record.timestamp, level_of(record.severity), record.body.len());
            ControlFlow::Continue(())
        });
        Ok(())
    }

    /// Gives every line in the range that passes, in source order.
    pub(crate) fn visit(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.shown.is_none() {
            return self.lines.visit(range, filters, take);
        }
        self.lines.visit(range, filters, &mut |id, record| {
            if self.hidden.has(record.timestamp, record.body) { ControlFlow::Continue(()) } else { take(id, record) }
        })
    }

    /// Number of lines.
    pub(crate) fn len(&self) -> usize {
        self.shown.as_ref().map_or_else(|| self.lines.len(), Vec::len)
    }

    /// Which line has this place.
    pub(crate) fn find(&self, place: Place) -> Option<usize> {
        let at = self.lines.find(place)?;
        self.shown.as_ref().map_or(Some(at), |shown| shown.binary_search(&(at as u32)).ok())
    }

    /// Line `i`.
    pub(crate) fn with<T>(&self, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> T {
        self.lines.with(self.shown.as_ref().map_or(i, |shown| shown[i] as usize), take)
    }
}

impl AllLines {
    fn decoded(lines: Lines) -> Self {
        Self::Decoded(Box::new(lines))
    }

    fn visit(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        match self {
            Self::Decoded(lines) => {
                let (bodies, ends) = lines.bodies();
                filters.select(bodies, ends, |i, _| {
                    let (id, record) = lines.get(i);
                    if range.contains(record.timestamp) {
                        flow = take(id, record);
                    }
                    flow
                });
            }
            Self::Parts(parts) => {
                for (id, record) in parts.iter().flat_map(|part| part_lines(part)) {
                    if range.contains(record.timestamp) && filters.passes(record.body) {
                        flow = take(id, record);
                    }
                    if flow.is_break() {
                        break;
                    }
                }
            }
        }
        flow
    }

    fn len(&self) -> usize {
        match self {
            Self::Decoded(lines) => lines.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.batch.len()).sum(),
        }
    }

    fn find(&self, place: Place) -> Option<usize> {
        match self {
            Self::Decoded(lines) => lines.find(place),
            Self::Parts(parts) => {
                let mut before = 0;
                parts.iter().find_map(|part| {
                    let found = part.find(place).map(|i| before + i);
                    before += part.batch.len();
                    found
                })
            }
        }
    }

    fn with<T>(&self, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> T {
        match self {
            Self::Decoded(lines) => {
                let (id, record) = lines.get(i);
                take(id, record)
            }
            Self::Parts(parts) => {
                let mut rest = i;
                let mut parts = parts.iter();
                let part = loop {
                    let part = parts.next().expect("invariant: i is below len");
                    match rest.checked_sub(part.batch.len()) {
                        Some(left) => rest = left,
                        None => break part,
                    }
                };
                take(part_id(part, rest), part.batch.get(rest))
            }
        }
    }
}

fn part_id(part: &Part, i: usize) -> LineId {
    let (offset, ordinal) = part.place(i);
    LineId { partition: part.position.partition, offset, ordinal }
}

fn part_lines(part: &Part) -> impl Iterator<Item = (LineId, LogRecord<'_>)> {
    (0..part.batch.len()).map(|i| (part_id(part, i), part.batch.get(i)))
}
