//! Blocks and heads as segments whose entries are chunks by time.

use std::cell::{Cell, OnceCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{Buckets, Budget, Coverage, LogVisitor, Mention, NoBudget, ReadError, TakeTemplate};
use weir_model::time::{TimeRange, UnixNanos};

use super::asked::HeldPack;
use super::block::LogsBlock;
use super::head::LogsHead;
use super::index::Known;
use super::lookahead::IndexMatches;
use super::newest::Newest;
use super::plan::{ChunkOrder, LogsPlan};
use super::predicate::TokenPredicate;
use super::schema::{ChunkMeta, Place, StreamKey};
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
    /// Shared by the chunks of a block.
    asked: Rc<AskedIndex>,
    /// Its bytes were read ahead, and are paid.
    fetched: Cell<bool>,
}

/// Which chunks of a block its index names. Each question is asked at most once a request, and only when a chunk's turn comes.
#[derive(Default)]
struct AskedIndex {
    filters: OnceCell<Option<RoaringBitmap>>,
    mention: OnceCell<Option<RoaringBitmap>>,
}

impl AskedIndex {
    /// Whether a chunk is known to have no line that passes: nothing is asked for that.
    fn leaves_out(&self, chunk: u32) -> bool {
        matches!(self.filters.get(), Some(Some(chunks)) if !chunks.contains(chunk))
    }

    /// Whether a chunk may have a line that passes, and says what is mentioned, as far as was asked; what its stream's labels say is not known
    /// here.
    fn names(&self, chunk: u32, is_mentioned: bool) -> bool {
        let has = |asked: &OnceCell<Option<RoaringBitmap>>| {
            asked.get().and_then(Option::as_ref).is_none_or(|chunks| chunks.contains(chunk))
        };
        has(&self.filters) && (!is_mentioned || has(&self.mention))
    }
}

impl Chunk {
    fn new(key: &StreamKey, source: Source) -> Self {
        Self {
            tenant: Arc::clone(&key.tenant),
            stream: key.labels.clone(),
            source,
            asked: Rc::default(),
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

    /// Opens it within a budget: see [`Source::open`].
    pub(crate) fn open(
        &self,
        plan: &LogsPlan,
        budget: &dyn Budget,
        coverage: &mut Coverage,
    ) -> Result<Option<SourceLines>, ReadError> {
        match self.fetched.get() || self.reach(plan, budget)? {
            true => self.source.open_paid(&plan.held, budget, coverage),
            false => self.source.open(&plan.held, budget, coverage),
        }
    }

    /// Its turn to be opened has come: whether it was read, with others that follow, and is paid.
    fn reach(&self, plan: &LogsPlan, budget: &dyn Budget) -> Result<bool, ReadError> {
        let (Some(ahead), Some((block, chunk))) = (&plan.ahead, self.stored()) else { return Ok(false) };
        if plan.held.get(block, chunk).is_some() {
            return Ok(false);
        }
        let names = |chunk: &u32| self.asked.names(*chunk, plan.mention.is_some());
        let list = || block.in_turn(plan).into_iter().map(|(_, chunk)| chunk).filter(names).collect();
        let pack = ahead.reach((block, chunk), list, budget)?;
        pack.iter().for_each(|pack| plan.held.hold(block, chunk, pack));
        Ok(pack.is_some())
    }

    /// Its block when the index of that has not been asked yet.
    pub(crate) fn unasked_block(&self) -> Option<&Arc<LogsBlock>> {
        match &self.source.lies {
            Lies::Stored(block, _) if self.asked.filters.get().is_none() && self.asked.mention.get().is_none() => Some(block),
            _ => None,
        }
    }

    /// What the index of its block says, which need not be asked then.
    pub(crate) fn set_matches(&self, matches: IndexMatches) {
        self.asked.filters.get_or_init(|| matches.filters);
        self.asked.mention.get_or_init(|| matches.mention);
    }

    /// Whether a line of it may pass and be of use. May read the index of its block.
    pub fn may_match(&self, plan: &LogsPlan) -> bool {
        self.has_tokens(&plan.tokens, &self.asked.filters)
            && plan.mention.as_ref().is_none_or(|mention| {
                let has_level = || !self.source.has_rollups() || mention.may_be_among(&self.source.meta().rollups);
                mention.is_of_stream(&self.stream) || has_level() && self.has_tokens(&mention.tokens, &self.asked.mention)
            })
    }

    /// What its lines have to say to be of use, when its stream's labels do not say it.
    pub(crate) fn mention<'p>(&self, plan: &'p LogsPlan) -> Option<&'p Mention> {
        plan.mention.as_ref().filter(|mention| !mention.is_of_stream(&self.stream)).map(|plan| &plan.mention)
    }

    fn has_tokens(&self, predicate: &TokenPredicate, asked: &OnceCell<Option<RoaringBitmap>>) -> bool {
        match &self.source.lies {
            Lies::Stored(block, chunk) => {
                // Whoever reads has reached it with a budget; what is left asks nothing of an index.
                let ask = || block.candidates_or_all(predicate, &mut Known::default(), &NoBudget);
                asked.get_or_init(ask).as_ref().is_none_or(|chunks| chunks.contains(*chunk))
            }
            Lies::Encoded(chunk) => predicate.met_by(&chunk.tokens),
            Lies::Parts(..) => true,
        }
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

/// What cannot be read goes to the coverage; the end of the request is an error.
pub(crate) fn missed(error: SegmentError, coverage: &mut Coverage) -> Result<(), ReadError> {
    match error {
        SegmentError::Unreadable(error) => coverage.miss(error.to_string()),
        SegmentError::Ended(error) => return Err(error),
    }
    Ok(())
}

impl LogsBlock {
    /// The chunks for a plan in the order of their turns: all of a pack together, so that it is opened once, by the earliest or latest of
    /// those that are selected.
    fn in_turn(&self, plan: &LogsPlan) -> Vec<(ChunkOrder, u32)> {
        let selected: Vec<(u32, &ChunkMeta)> = self.select(plan).collect();
        let mut chunks = Vec::with_capacity(selected.len());
        for of_pack in selected.chunk_by(|a, b| self.pack_of(a.0) == self.pack_of(b.0)) {
            let orders = of_pack.iter().map(|(_, meta)| plan.order(meta));
            let first = orders.clone().min();
            chunks.extend(orders.zip(of_pack).map(|(own, (chunk, _))| (first, self.pack_of(*chunk), own, *chunk)));
        }
        chunks.sort_unstable();
        chunks.into_iter().filter_map(|(first, _, _, chunk)| Some((first?, chunk))).collect()
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
        let asked = Rc::new(AskedIndex::default());
        let block = Arc::clone(&self);
        let list = move || block.in_turn(&plan);
        Box::new(listed(budget, list).filter_map(move |entry| {
            let (order, chunk) = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if asked.leaves_out(chunk) {
                return None;
            }
            let source = Source::from(Lies::Stored(Arc::clone(&self), chunk));
            Some(Ok((order, Chunk { asked: Rc::clone(&asked), ..Chunk::new(self.stream(chunk), source) })))
        }))
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
