//! The lines of one chunk, opened: as columns of version 1, as stored, or as the sections of a head's open chunk. What is hidden of
//! them is as if it were not there.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::select::{Buckets, Mention, TakeTemplate};
use weir_model::time::{TimeRange, UnixNanos};

use super::chunk::Lines;
use super::filter::Filters;
use super::opened::OpenedPack;
use super::part::Part;
use super::patterns::take_line;
use super::places::{self, PlaceRun};
use super::schema::Place;
use super::stored::StoredLines;
use super::take::{EachLine, Shown, TakeLines, in_order};
use super::tokens::Tokens;
use weir_blocks::StoreError;
use weir_blocks::hidden::HiddenRows;

/// A chunk's lines, without hidden ones. What of an encoded chunk cannot be read is an error of what asks for it first.
pub(crate) struct SourceLines {
    lines: AllLines,
    hidden: HiddenRows,
    /// Lines that are not hidden, ascending, once somebody has asked for them by number.
    shown: OnceLock<Vec<u32>>,
}

enum AllLines {
    /// Of version 1.
    Decoded(Box<Lines>),
    Stored(StoredChunk, ChunkName),
    Parts(Arc<Vec<Arc<Part>>>),
}

/// A chunk of an opened pack.
struct StoredChunk {
    pack: Arc<OpenedPack>,
    /// Which lines of the pack are its own.
    within: Range<usize>,
}

/// What errors call a chunk.
#[derive(Clone)]
pub(crate) struct ChunkName {
    pub(crate) path: Arc<str>,
    pub(crate) chunk: Option<u32>,
}

impl ChunkName {
    pub(super) fn corrupt(&self, detail: String) -> StoreError {
        StoreError::corrupt(&self.path, self.chunk.map_or(detail.clone(), |chunk| format!("chunk {chunk}: {detail}")))
    }
}

impl SourceLines {
    /// Of a block's chunk, which has these lines of a pack.
    pub(crate) fn stored(pack: Arc<OpenedPack>, within: Range<usize>, name: ChunkName) -> Self {
        AllLines::Stored(StoredChunk { pack, within }, name).into()
    }

    /// Of a chunk that a head has encoded; only its checksum is checked.
    pub(crate) fn of_head(bytes: Bytes) -> Result<Self, StoreError> {
        let name = ChunkName { path: "a head's chunk".into(), chunk: None };
        let lines = StoredLines::open(bytes).map_err(|detail| name.corrupt(detail))?;
        let within = 0..lines.len();
        Ok(Self::stored(Arc::new(lines.into()), within, name))
    }

    /// Of version 1.
    pub(crate) fn decoded(lines: Lines) -> Self {
        AllLines::Decoded(Box::new(lines)).into()
    }

    pub(crate) fn of_parts(parts: Arc<Vec<Arc<Part>>>) -> Self {
        AllLines::Parts(parts).into()
    }

    /// Without these lines.
    #[must_use]
    pub(crate) fn hiding(self, hidden: HiddenRows) -> Self {
        Self { hidden, ..self }
    }

    /// The numbers of lines that are not hidden; `None` when all are. Renders all once; errors with `Corrupt`.
    fn shown(&self) -> Result<Option<&[u32]>, StoreError> {
        if self.hidden.is_nothing() {
            return Ok(None);
        }
        if let Some(shown) = self.shown.get() {
            return Ok(Some(shown));
        }
        let mut shown = Vec::new();
        for i in 0..self.lines.len() {
            if !self.lines.with(i, |_, record| self.hidden.has(record.timestamp, record.body))? {
                shown.push(i as u32);
            }
        }
        Ok(Some(self.shown.get_or_init(|| shown)))
    }

    /// Unpacks and checks everything.
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        match &self.lines {
            AllLines::Stored(lines, name) => lines.pack.load().map_err(|detail| name.corrupt(detail))?,
            AllLines::Decoded(_) | AllLines::Parts(_) => {}
        }
        self.shown().map(drop)
    }

    /// Gives every line in the range that passes and may say what is mentioned, in source order; others that do not say it may come
    /// along.
    pub(crate) fn visit(
        &self,
        range: TimeRange,
        filters: &Filters,
        mention: Option<&Mention>,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        self.give(range, filters, mention, &mut EachLine(take))
    }

    /// The same of those lines only that are wanted by their times, in the order that the taker has.
    pub(crate) fn give<T: TakeLines>(
        &self,
        range: TimeRange,
        filters: &Filters,
        mention: Option<&Mention>,
        taker: &mut T,
    ) -> Result<ControlFlow<()>, StoreError> {
        if self.hidden.is_nothing() {
            return self.lines.visit(range, filters, mention, taker);
        }
        self.lines.visit(range, filters, mention, &mut Shown { hidden: &self.hidden, taker })
    }

    /// An encoded chunk of which nothing is hidden: columns say what its lines have.
    fn whole(&self) -> Option<(&StoredChunk, &ChunkName)> {
        match &self.lines {
            AllLines::Stored(lines, name) if self.hidden.is_nothing() => Some((lines, name)),
            _ => None,
        }
    }

    /// Whether no line has an id or an attribute, as far as that can be told without looking at lines one by one.
    pub(crate) fn are_plain(&self) -> bool {
        let is_plain = |lines: &StoredChunk| lines.pack.contexts().is_ok_and(|contexts| contexts.are_plain(lines.within.clone()));
        self.whole().is_some_and(|(lines, _)| is_plain(lines))
    }

    /// Gives the time of every line in the range; of an encoded chunk nothing else is unpacked unless lines are hidden.
    pub(crate) fn times(&self, range: TimeRange, take: &mut dyn FnMut(UnixNanos)) -> Result<(), StoreError> {
        if let Some((lines, name)) = self.whole() {
            let times = lines.pack.times().map_err(|detail| name.corrupt(detail))?;
            times[lines.within.clone()].iter().filter(|time| range.contains(**time)).for_each(|time| take(*time));
            return Ok(());
        }
        let all = self.visit(range, &Filters::new(&[]), None, &mut |_, record| {
            take(record.timestamp);
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Gives the time, the severity and the bytes of the body of every line in the range that passes and that is wanted by its time
    /// and severity. Few bodies are rendered unless lines are hidden.
    pub(crate) fn measure(
        &self,
        range: TimeRange,
        filters: &Filters,
        wants: &dyn Fn(UnixNanos, u8) -> bool,
        take: &mut dyn FnMut(UnixNanos, u8, usize),
    ) -> Result<(), StoreError> {
        if let Some((lines, name)) = self.whole() {
            let within = (lines.within.clone(), range);
            return lines.pack.measure(within, filters, wants, take).map_err(|detail| name.corrupt(detail));
        }
        let all = self.visit(range, filters, None, &mut |_, record| {
            if wants(record.timestamp, record.severity) {
                take(record.timestamp, record.severity, record.body.len());
            }
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Gives time and severity of every line in the range that passes, where texts of templates say which do: [`StoredLines::tally`].
    pub(crate) fn tally(
        &self,
        range: Option<TimeRange>,
        filters: &Filters,
        take: &mut dyn FnMut(UnixNanos, u8),
    ) -> Result<bool, StoreError> {
        let Some((lines, name)) = self.whole() else { return Ok(false) };
        lines.pack.tally((lines.within.clone(), range), filters, take).map_err(|detail| name.corrupt(detail))
    }

    /// Counts the lines in the range that pass by what is constant of their texts.
    pub(crate) fn templates(
        &self,
        (range, buckets): (TimeRange, Buckets),
        filters: &Filters,
        take: TakeTemplate<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if let Some((lines, name)) = self.whole() {
            let within = (lines.within.clone(), range, buckets);
            return lines.pack.count_templates(within, filters, take).map_err(|detail| name.corrupt(detail));
        }
        self.visit(range, filters, None, &mut |_, record| {
            take_line(record.body, record.severity, buckets.start_of(record.timestamp), take)
        })
    }

    /// Number of lines. Errors with `Corrupt`.
    pub(crate) fn len(&self) -> Result<usize, StoreError> {
        Ok(self.shown()?.map_or_else(|| self.lines.len(), <[u32]>::len))
    }

    /// Which line has this place.
    pub(crate) fn find(&self, place: Place) -> Result<Option<usize>, StoreError> {
        let Some(at) = self.lines.find(place)? else { return Ok(None) };
        Ok(self.shown()?.map_or(Some(at), |shown| shown.binary_search(&(at as u32)).ok()))
    }

    /// Line `i`.
    pub(crate) fn with<T>(&self, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> Result<T, StoreError> {
        self.lines.with(self.shown()?.map_or(i, |shown| shown[i] as usize), take)
    }

    /// Earliest and latest time; `None` of what is not stored in a pack.
    pub(crate) fn span(&self) -> Result<Option<(UnixNanos, UnixNanos)>, StoreError> {
        let Some((lines, name)) = self.whole() else { return Ok(None) };
        let times = lines.pack.times().map_err(|detail| name.corrupt(detail))?[lines.within.clone()].iter().copied();
        Ok(times.clone().min().zip(times.max()))
    }

    /// Gives every line, in source order. Errors when one cannot be read, or with what `take` says.
    pub(crate) fn each(&self, take: &mut dyn FnMut(LineId, LogRecord<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let Some((lines, name)) = self.whole() else {
            return (0..self.len()?).try_for_each(|i| self.with(i, &mut *take)?);
        };
        let mut body = Vec::new();
        for i in lines.within.clone() {
            body.clear();
            let rendered = lines.pack.render(i, &mut body).and_then(|()| lines.pack.record(i, &body));
            let (id, record) = rendered.map_err(|detail| name.corrupt(detail))?;
            take(id, record)?;
        }
        Ok(())
    }

    /// Of its pack each column's name with its bytes before compression and as stored; none of version 1.
    pub(crate) fn column_bytes(&self) -> Vec<(&'static str, u64, u64)> {
        match &self.lines {
            AllLines::Stored(lines, _) => lines.pack.column_bytes(),
            AllLines::Decoded(_) | AllLines::Parts(_) => Vec::new(),
        }
    }

    /// The pack of an encoded chunk that is not of version 1, as it is stored, and the tokens of all its lines.
    pub(crate) fn pack_tokens(&self) -> Result<Option<(Bytes, Tokens)>, StoreError> {
        match &self.lines {
            AllLines::Stored(lines, name) => {
                let tokens = lines.pack.tokens().map_err(|detail| name.corrupt(detail))?;
                Ok(Some((lines.pack.bytes().clone(), tokens)))
            }
            AllLines::Decoded(_) | AllLines::Parts(_) => Ok(None),
        }
    }

    /// Where lines of an encoded chunk lie.
    pub(crate) fn place_runs(&self) -> Result<Vec<PlaceRun>, StoreError> {
        match &self.lines {
            AllLines::Decoded(lines) => Ok(lines.place_runs().collect()),
            AllLines::Stored(lines, name) => {
                let places = lines.pack.places().map_err(|detail| name.corrupt(detail))?;
                Ok(places::runs(&places[lines.within.clone()]).collect())
            }
            AllLines::Parts(_) => Ok(Vec::new()),
        }
    }
}

impl From<AllLines> for SourceLines {
    fn from(lines: AllLines) -> Self {
        Self { lines, hidden: HiddenRows::default(), shown: OnceLock::new() }
    }
}

impl AllLines {
    fn visit<T: TakeLines>(
        &self,
        range: TimeRange,
        filters: &Filters,
        mention: Option<&Mention>,
        taker: &mut T,
    ) -> Result<ControlFlow<()>, StoreError> {
        match self {
            Self::Decoded(lines) => Ok(visit_decoded(lines, range, filters, taker)),
            Self::Stored(lines, name) => {
                let within = (lines.within.clone(), range);
                lines.pack.visit(within, filters, mention, taker).map_err(|detail| name.corrupt(detail))
            }
            Self::Parts(parts) => {
                for part in in_order::<T, _>(parts.iter()) {
                    if part.visit(range, filters, taker).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Decoded(lines) => lines.len(),
            Self::Stored(lines, _) => lines.within.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.batch.len()).sum(),
        }
    }

    fn find(&self, place: Place) -> Result<Option<usize>, StoreError> {
        match self {
            Self::Decoded(lines) => Ok(lines.find(place)),
            Self::Stored(lines, name) => {
                let found = lines.pack.find(lines.within.clone(), place).map_err(|detail| name.corrupt(detail))?;
                Ok(found.map(|i| i - lines.within.start))
            }
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

    fn with<T>(&self, i: usize, take: impl FnOnce(LineId, LogRecord<'_>) -> T) -> Result<T, StoreError> {
        match self {
            Self::Decoded(lines) => {
                let (id, record) = lines.get(i);
                Ok(take(id, record))
            }
            Self::Stored(lines, name) => {
                let (mut body, i, lines) = (Vec::new(), lines.within.start + i, &lines.pack);
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
                Ok(take(part.id(rest), part.batch.get(rest)))
            }
        }
    }
}

fn visit_decoded<T: TakeLines>(lines: &Lines, range: TimeRange, filters: &Filters, taker: &mut T) -> ControlFlow<()> {
    let (bodies, ends) = lines.bodies();
    let mut give = |i: usize| {
        let (id, record) = lines.get(i);
        let is_wanted = range.contains(record.timestamp) && taker.wants(record.timestamp);
        if is_wanted { taker.take(id, record) } else { ControlFlow::Continue(()) }
    };
    if !T::IS_BACKWARD {
        let mut flow = ControlFlow::Continue(());
        filters.select(bodies, ends, |i, _| {
            flow = give(i);
            flow
        });
        return flow;
    }
    let mut passing = Vec::new();
    filters.select(bodies, ends, |i, _| {
        passing.push(i);
        ControlFlow::Continue(())
    });
    passing.into_iter().rev().try_for_each(give)
}
