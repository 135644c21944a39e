//! Blocks and heads as segments whose entries are chunks by time.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{Buckets, Budget, Coverage, LogVisitor, Mention, ReadError, TakeTemplate};
use weir_model::time::{TimeRange, UnixNanos};

use super::asked::HeldPack;
use super::block::LogsBlock;
use super::chunks_ahead::Reached;
use super::head::LogsHead;
use super::lookahead::Fetched;
use super::newest::Newest;
use super::plan::{ChunkOrder, LogsPlan, MentionPlan};
use super::schema::{Place, StreamKey};
use super::selected::Left;
use super::source::{Lies, Source};
use super::source_lines::SourceLines;
use weir_blocks::StoreError;
use weir_blocks::engine::Head;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Entries, Segment, SegmentError};

/// A chunk of a stream that passes, with lines in the range. Nothing of it is read.
pub struct Chunk {
    tenant: Arc<str>,
    pub(crate) stream: Labels,
    pub(crate) source: Source,
    /// What the index leaves of its block, where that was asked: this chunk, and these others.
    left: Rc<Left>,
    /// Its bytes were read ahead, and are paid.
    fetched: Cell<bool>,
}

impl Chunk {
    fn new(key: &StreamKey, source: Source) -> Self {
        Self {
            tenant: Arc::clone(&key.tenant),
            stream: key.labels.clone(),
            source,
            left: Rc::default(),
            fetched: Cell::new(false),
        }
    }

    /// Without what is hidden of its stream; `None` when that is all of it.
    fn hiding(self, hidden: &Hidden) -> Option<Self> {
        let (first, last) = self.times();
        if !hidden.touches(&self.tenant, first, last) {
            return Some(self);
        }
        let source = self.source.hiding(hidden.of(&self.tenant, &self.stream));
        (!source.is_hidden()).then_some(Self { source, ..self })
    }

    /// The labels of its stream.
    pub fn stream(&self) -> &Labels {
        &self.stream
    }

    /// Earliest and latest timestamp, both inclusive.
    pub fn times(&self) -> (UnixNanos, UnixNanos) {
        (self.source.meta().first, self.source.meta().last)
    }

    /// Where its first line lies.
    pub fn first_place(&self) -> Place {
        self.source.meta().first_place
    }

    /// Decodes it and gives every line in the range that passes the plan's filters, in source order, until `take` breaks. Errors
    /// with `Corrupt`.
    pub fn visit(
        &self,
        range: TimeRange,
        plan: &LogsPlan,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        self.source.lines(&HeldPack::default())?.visit(range, &plan.filters, None, take)
    }

    /// The same from the last line to the first, of those lines only that the visitor wants by their times.
    pub fn visit_back(
        &self,
        range: TimeRange,
        plan: &LogsPlan,
        visitor: &mut dyn LogVisitor,
    ) -> Result<ControlFlow<()>, StoreError> {
        self.source.lines(&HeldPack::default())?.give(range, &plan.filters, None, &mut Newest::new(&self.stream, visitor))
    }

    /// Gives the times of lines in the range, in source order; nothing else is unpacked. Errors with `Corrupt`.
    pub fn line_times(&self, range: TimeRange, take: &mut dyn FnMut(UnixNanos)) -> Result<(), StoreError> {
        self.source.lines(&HeldPack::default())?.times(range, take)
    }

    /// Counts the lines in the plan's range that pass by what is constant of their texts. Errors with `Corrupt`.
    pub fn templates(&self, plan: &LogsPlan, buckets: Buckets, take: TakeTemplate<'_>) -> Result<ControlFlow<()>, StoreError> {
        self.source.lines(&HeldPack::default())?.templates((plan.range, buckets), &plan.filters, take)
    }

    /// Where it lies when that is in a block.
    pub(crate) fn stored(&self) -> Option<(&Arc<LogsBlock>, u32)> {
        match &self.source.lies {
            Lies::Stored(block, chunk) => Some((block, *chunk)),
            _ => None,
        }
    }

    /// Its bytes were read ahead: opening it does not pay them again.
    pub(crate) fn set_fetched(&self) {
        self.fetched.set(true);
    }

    /// Opens it within a budget: see [`Source::open`]. `None` too when it was looked through and no line of it passes.
    pub(crate) fn open(
        &self,
        plan: &LogsPlan,
        budget: &dyn Budget,
        coverage: &mut Coverage,
    ) -> Result<Option<SourceLines>, ReadError> {
        let reached = if self.fetched.get() { None } else { Some(self.reach(plan, budget)?) };
        match reached {
            Some(Reached::Unread) => self.source.open(&plan.held, budget, coverage),
            Some(Reached::Empty) => {
                budget.spend(u64::from(self.source.meta().count))?;
                Ok(None)
            }
            Some(Reached::Read(_)) | None => self.source.open_paid(&plan.held, budget, coverage),
        }
    }

    /// Its turn to be opened has come: what was read of it, with others that follow, and is held then.
    fn reach(&self, plan: &LogsPlan, budget: &dyn Budget) -> Result<Reached, ReadError> {
        let (Some(ahead), Some((block, chunk))) = (&plan.ahead, self.stored()) else { return Ok(Reached::Unread) };
        if plan.held.get(block, chunk).is_some() {
            return Ok(Reached::Unread);
        }
        let list = || block.in_turn(plan, &self.left).into_iter().map(|(_, chunk)| chunk).collect();
        let reached = ahead.reach((block, chunk), plan, list, budget)?;
        if let Reached::Read(pack) = &reached {
            plan.held.hold(block, chunk, pack);
        }
        Ok(reached)
    }

    /// Whether a line of it may pass and be of use, as far as is known without opening it. What the index of a block does not leave is not given
    /// by its cursor.
    pub fn may_match(&self, plan: &LogsPlan) -> bool {
        let mention = plan.mention.as_ref().filter(|mention| !mention.is_of_stream(&self.stream));
        let has_level = |mention: &MentionPlan| !self.source.has_rollups() || mention.may_be_among(&self.source.meta().rollups);
        let has_words = || match &self.source.lies {
            Lies::Encoded(chunk) => {
                plan.tokens.met_by(&chunk.tokens) && mention.is_none_or(|mention| mention.tokens.met_by(&chunk.tokens))
            }
            Lies::Stored(..) | Lies::Parts(..) => true,
        };
        mention.is_none_or(has_level) && has_words()
    }

    /// What its lines have to say to be of use, when its stream's labels do not say it.
    pub(crate) fn mention<'p>(&self, plan: &'p LogsPlan) -> Option<&'p Mention> {
        plan.mention.as_ref().filter(|mention| !mention.is_of_stream(&self.stream)).map(|plan| &plan.mention)
    }
}

/// Chunks by time.
pub(crate) type ChunkEntries<'a> = Entries<'a, ChunkOrder, Chunk>;

/// Cursors of the segments that may match.
pub(crate) fn cursors<'s, 'a, S>(
    segments: impl IntoIterator<Item = &'s Arc<S>>,
    plan: &Arc<LogsPlan>,
    budget: &'a dyn Budget,
) -> impl Iterator<Item = ChunkEntries<'a>>
where
    S: for<'b> Segment<LogsPlan, Key = ChunkOrder, Item<'b> = Chunk> + 'static,
{
    let matching = segments.into_iter().filter(|segment| segment.may_match(plan));
    matching.map(|segment| Arc::clone(segment).cursor(Arc::clone(plan), budget))
}

/// What is left of a cursor's chunks without what is hidden of its segment.
pub(crate) fn shown<'a>(cursor: ChunkEntries<'a>, hidden: Hidden) -> ChunkEntries<'a> {
    if hidden.is_nothing() {
        return cursor;
    }
    Box::new(cursor.filter_map(move |entry| match entry {
        Ok((order, chunk)) => chunk.hiding(&hidden).map(|chunk| Ok((order, chunk))),
        Err(error) => Some(Err(error)),
    }))
}

/// Every chunk of a cursor until `take` breaks; of those that were read ahead it is told. What cannot be read goes to the coverage.
pub(crate) fn each(
    cursor: ChunkEntries<'_>,
    fetched: &Fetched,
    coverage: &mut Coverage,
    mut take: impl FnMut(Chunk, &mut Coverage) -> Result<ControlFlow<()>, ReadError>,
) -> Result<ControlFlow<()>, ReadError> {
    for entry in cursor {
        match entry {
            Ok((_, chunk)) => {
                fetched.tell(&chunk);
                if take(chunk, coverage)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Err(error) => missed(error, coverage)?,
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What cannot be read goes to the coverage; the end of the request is an error.
pub(crate) fn missed(error: SegmentError, coverage: &mut Coverage) -> Result<(), ReadError> {
    match error {
        SegmentError::Unreadable(error) => coverage.miss(error.to_string()),
        SegmentError::Ended(error) => return Err(error),
    }
    Ok(())
}

impl LogsBlock {
    /// What passes of the chunks that the index leaves.
    pub(crate) fn cursor_of<'a>(self: Arc<Self>, left: Left, plan: Arc<LogsPlan>, budget: &'a dyn Budget) -> ChunkEntries<'a> {
        let (block, left) = (Arc::clone(&self), Rc::new(left));
        let of_list = Rc::clone(&left);
        let chunks = listed(budget, move || block.in_turn(&plan, &of_list));
        Box::new(chunks.map(move |entry| {
            let (order, chunk) = entry?;
            let source = Source::from(Lies::Stored(Arc::clone(&self), chunk));
            Ok((order, Chunk { left: Rc::clone(&left), ..Chunk::new(self.stream(chunk), source) }))
        }))
    }
}

impl Segment<LogsPlan> for LogsBlock {
    type Key = ChunkOrder;
    type Item<'a> = Chunk;

    fn may_match(&self, plan: &LogsPlan) -> bool {
        self.range().is_some_and(|(first, last)| plan.range.overlaps(first, last))
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<LogsPlan>, budget: &'a dyn Budget) -> ChunkEntries<'a>
    where
        Self: 'a,
    {
        self.cursor_of(None, plan, budget)
    }
}

impl LogsHead {
    /// The chunks of one stream, in the order of their lines.
    pub fn chunks_of(&self, tenant: &str, stream: &Labels) -> Vec<Chunk> {
        let all = self.sources(|key| &*key.tenant == tenant && key.labels == *stream);
        let chunks = all.into_iter().flat_map(|(key, sources)| sources.into_iter().map(move |source| Chunk::new(&key, source)));
        chunks.collect()
    }
}

impl Segment<LogsPlan> for LogsHead {
    type Key = ChunkOrder;
    type Item<'a> = Chunk;

    fn may_match(&self, _: &LogsPlan) -> bool {
        self.records() > 0
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<LogsPlan>, budget: &'a dyn Budget) -> ChunkEntries<'a>
    where
        Self: 'a,
    {
        let list = move || {
            let mut chunks = Vec::new();
            for (key, sources) in self.sources(|key| plan.passes_stream(&key.tenant, &key.labels)) {
                for source in sources.into_iter().filter(|source| plan.overlaps(source.meta())) {
                    chunks.push((plan.order(source.meta()), Chunk::new(&key, source)));
                }
            }
            chunks.sort_by_key(|(order, _)| *order);
            chunks
        };
        Box::new(listed(budget, list))
    }
}

/// Entries that are listed when the first one is pulled.
fn listed<'a, T: 'a>(
    budget: &'a dyn Budget,
    list: impl FnOnce() -> Vec<T> + 'a,
) -> impl Iterator<Item = Result<T, SegmentError>> + 'a {
    let mut list = Some(list);
    let mut entries = Vec::new().into_iter();
    std::iter::from_fn(move || {
        if let Some(list) = list.take() {
            if let Err(error) = budget.check() {
                return Some(Err(error.into()));
            }
            entries = list().into_iter();
        }
        entries.next().map(Ok)
    })
}
