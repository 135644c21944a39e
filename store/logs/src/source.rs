//! One chunk, wherever it lies: in a block, encoded in a head, or as the sections of a head's open chunk.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::select::{Budget, Coverage, ReadError};
use weir_model::time::{TimeRange, UnixNanos};

use super::block::LogsBlock;
use super::chunk::{EncodedChunk, Lines};
use super::filter::Filters;
use super::part::Part;
use super::patterns::pattern_of;
use super::places::PlaceRun;
use super::schema::{ChunkMeta, Place, level_of};
use super::stored::StoredLines;
use super::tokens::Tokens;
use weir_blocks::StoreError;

/// Cheap to copy and to keep: nothing of it is decoded.
#[derive(Clone)]
pub(crate) enum Source {
    Stored(Arc<LogsBlock>, u32),
    Encoded(Arc<EncodedChunk>),
    Parts(Arc<ChunkMeta>, Arc<Vec<Arc<Part>>>),
}

/// A chunk's lines. What of an encoded chunk cannot be read is an error of what asks for it first.
pub(crate) enum SourceLines {
    /// Of version 1.
    Decoded(Box<Lines>),
    Stored(Box<StoredLines>, ChunkName),
    Parts(Arc<Vec<Arc<Part>>>),
}

/// What errors call a chunk.
#[derive(Clone)]
pub(crate) struct ChunkName {
    pub(crate) path: Arc<str>,
    pub(crate) chunk: Option<u32>,
}

impl ChunkName {
    /// Of one that a head has encoded.
    fn of_head() -> Self {
        Self { path: "a head's chunk".into(), chunk: None }
    }

    fn corrupt(&self, detail: String) -> StoreError {
        StoreError::corrupt(&self.path, self.chunk.map_or(detail.clone(), |chunk| format!("chunk {chunk}: {detail}")))
    }
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
        Some(Self::Parts(Arc::new(whole), Arc::new(parts)))
    }

    /// What is known without opening it.
    pub(crate) fn meta(&self) -> &ChunkMeta {
        match self {
            Self::Stored(block, chunk) => block.meta(*chunk),
            Self::Encoded(chunk) => &chunk.meta,
            Self::Parts(meta, _) => meta,
        }
    }

    /// Whether the roll-ups that it knows of count all lines.
    pub(crate) fn has_rollups(&self) -> bool {
        !matches!(self, Self::Parts(..))
    }

    /// False only when no line has a place. Of a head it is told for certain, and without unpacking bodies.
    pub(crate) fn has(&self, place: Place) -> Result<bool, StoreError> {
        match self {
            Self::Stored(block, chunk) => Ok(block.meta(*chunk).covers(place)),
            Self::Encoded(chunk) => {
                let runs = SourceLines::stored(chunk.bytes.clone(), ChunkName::of_head())?.place_runs()?;
                Ok(runs.iter().any(|run| run.has(place)))
            }
            Self::Parts(_, parts) => Ok(parts.iter().any(|part| part.find(place).is_some())),
        }
    }

    /// Opens it within a budget. One that cannot be read goes to the coverage, and the others still answer.
    pub(crate) fn open(&self, budget: &dyn Budget, coverage: &mut Coverage) -> Result<Option<SourceLines>, ReadError> {
        budget.check()?;
        budget.spend(u64::from(self.meta().count))?;
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
        match self {
            Self::Stored(block, chunk) => block.lines(*chunk),
            Self::Encoded(chunk) => SourceLines::stored(chunk.bytes.clone(), ChunkName::of_head()),
            Self::Parts(_, parts) => Ok(SourceLines::Parts(Arc::clone(parts))),
        }
    }
}

impl SourceLines {
    /// Of an encoded chunk; only its checksum is checked.
    pub(crate) fn stored(bytes: Bytes, name: ChunkName) -> Result<Self, StoreError> {
        let lines = StoredLines::open(bytes).map_err(|detail| name.corrupt(detail))?;
        Ok(Self::Stored(Box::new(lines), name))
    }

    /// Unpacks and checks everything.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        match self {
            Self::Stored(lines, name) => lines.load().map_err(|detail| name.corrupt(detail)),
            Self::Decoded(_) | Self::Parts(_) => Ok(()),
        }
    }

    /// Gives every line in the range that passes, in source order.
    pub(crate) fn visit(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
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
            Self::Stored(lines, name) => return lines.visit(range, filters, take).map_err(|detail| name.corrupt(detail)),
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
        Ok(flow)
    }

    /// Gives the time of every line in the range; nothing else is unpacked.
    pub(crate) fn times(&self, range: TimeRange, take: &mut dyn FnMut(UnixNanos)) -> Result<(), StoreError> {
        if let Self::Stored(lines, name) = self {
            let times = lines.times().map_err(|detail| name.corrupt(detail))?;
            times.iter().filter(|time| range.contains(**time)).for_each(|time| take(*time));
            return Ok(());
        }
        let all = self.visit(range, &Filters::new(&[]), &mut |_, record| {
            take(record.timestamp);
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Gives the timestamp, the level and the bytes of the body of every line in the range; no body is rendered.
    pub(crate) fn measure(&self, range: TimeRange, take: &mut dyn FnMut(UnixNanos, u8, usize)) -> Result<(), StoreError> {
        if let Self::Stored(lines, name) = self {
            let columns = || -> Result<_, String> { Ok((lines.times()?, lines.severities()?, lines.lengths()?)) };
            let (times, severities, lengths) = columns().map_err(|detail| name.corrupt(detail))?;
            for i in (0..lines.len()).filter(|i| range.contains(times[*i])) {
                take(times[i], level_of(severities[i]), lengths[i] as usize);
            }
            return Ok(());
        }
        let all = self.visit(range, &Filters::new(&[]), &mut |_, record| {
            take(record.timestamp, level_of(record.severity), record.body.len());
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Gives the time and the pattern of every line in the range that passes.
    pub(crate) fn patterns(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(UnixNanos, &str),
    ) -> Result<(), StoreError> {
        if let Self::Stored(lines, name) = self {
            return lines.patterns(range, filters, take).map_err(|detail| name.corrupt(detail));
        }
        let all = self.visit(range, filters, &mut |_, record| {
            take(record.timestamp, &pattern_of(record.body));
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Number of lines.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Decoded(lines) => lines.len(),
            Self::Stored(lines, _) => lines.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.batch.len()).sum(),
        }
    }

    /// Each column's name with its bytes before compression and as stored; none of version 1.
    pub(crate) fn column_bytes(&self) -> Vec<(&'static str, u64, u64)> {
        match self {
            Self::Stored(lines, _) => lines.column_bytes(),
            Self::Decoded(_) | Self::Parts(_) => Vec::new(),
        }
    }

    /// The tokens of an encoded chunk that is not of version 1.
    pub(crate) fn tokens(&self) -> Result<Option<Tokens>, StoreError> {
        match self {
            Self::Stored(lines, name) => lines.tokens().map(Some).map_err(|detail| name.corrupt(detail)),
            Self::Decoded(_) | Self::Parts(_) => Ok(None),
        }
    }

    /// Where lines of an encoded chunk lie.
    pub(crate) fn place_runs(&self) -> Result<Vec<PlaceRun>, StoreError> {
        match self {
            Self::Decoded(lines) => Ok(lines.place_runs().collect()),
            Self::Stored(lines, name) => lines.place_runs().map_err(|detail| name.corrupt(detail)),
            Self::Parts(_) => Ok(Vec::new()),
        }
    }

    /// Which line has this place.
    pub(crate) fn find(&self, place: Place) -> Result<Option<usize>, StoreError> {
        match self {
            Self::Decoded(lines) => Ok(lines.find(place)),
            Self::Stored(lines, name) => lines.find(place).map_err(|detail| name.corrupt(detail)),
            Self::Parts(parts) => {
                let mut before = 0;
                Ok(parts.iter().find_map(|part| {
                    let found = part.find(place).map(|i| before + i);
                    before += part.batch.len();
                    found
                }))
            }
        }
    }

    /// Line `i`.
    pub(crate) fn with<T>(&self, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> Result<T, StoreError> {
        match self {
            Self::Decoded(lines) => {
                let (id, record) = lines.get(i);
                Ok(take(id, record))
            }
            Self::Stored(lines, name) => {
                let mut body = Vec::new();
                let rendered = lines.render(i, &mut body).and_then(|()| lines.record(i, &body));
                rendered.map(|(id, record)| take(id, record)).map_err(|detail| name.corrupt(detail))
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
                Ok(take(part_id(part, rest), part.batch.get(rest)))
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
