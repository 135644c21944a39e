//! Counts of blocks by several threads. A question that opens every chunk is all computing, and blocks have nothing to do with each other: who
//! is done with one takes the next. What is counted goes to the thread of the request, which gives it on.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::Builder;

use parking_lot::Mutex;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::select::{Budget, CountBy, Coverage, LineCount, ReadError, TakeCount};
use weir_model::time::UnixNanos;

use super::block::LogsBlock;
use super::count::Counter;
use super::lookahead::Fetched;
use super::plan::LogsPlan;
use super::segment::{each, shown};
use super::selected::Left;
use weir_blocks::hidden::Hidden;

/// Threads of one request: there are sixteen for all of them, and a machine has others to serve.
const THREADS_MAX: usize = 8;
/// Fewer chunks than these are counted sooner than threads begin.
const CHUNKS_MIN: u64 = 128;
/// Counts that a thread hands over at once, and how often it may before they are taken: half a megabyte for all threads.
const BATCH: usize = 256;
const BATCHES_MAX: usize = 16;

/// What blocks are counted for.
pub(crate) struct Counting<'a> {
    /// Makes the plan, one for each thread: it holds the pack that was opened last.
    pub(crate) plan: &'a (dyn Fn() -> LogsPlan + Sync),
    pub(crate) by: &'a CountBy,
    pub(crate) budget: &'a dyn Budget,
}

/// A block to be counted.
pub(crate) struct Share {
    pub(crate) block: Arc<LogsBlock>,
    pub(crate) hidden: Hidden,
    /// What its index leaves.
    pub(crate) left: Left,
}

impl Share {
    /// Chunks that are counted, at most.
    fn chunks(&self) -> u64 {
        self.left.as_ref().map_or_else(|| u64::from(self.block.chunks()), |left| left.len())
    }
}

impl Counting<'_> {
    /// Counts these blocks. `Break` when no more counts are wanted.
    pub(crate) fn count(
        &self,
        shares: Vec<Share>,
        fetched: &Fetched,
        coverage: &mut Coverage,
        take: TakeCount<'_>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let is_worth_it = shares.iter().map(Share::chunks).sum::<u64>() >= CHUNKS_MIN;
        let threads = if is_worth_it { cores.min(shares.len()).min(THREADS_MAX) } else { 1 };
        let turns = shares.first().map(|share| share.block.turns().clone());
        let (shares, ended) = (Mutex::new(shares.into_iter()), AtomicBool::new(false));
        let next = || if ended.load(Ordering::Relaxed) { None } else { shares.lock().next() };
        let in_place = |coverage: &mut Coverage, take: TakeCount<'_>| {
            let mut flow = ControlFlow::Continue(());
            coverage.merge(self.work(&next, fetched, &mut |count| {
                flow = take(count);
                flow
            })?);
            Ok(flow)
        };
        let Some(turns) = turns.filter(|_| threads > 1) else { return in_place(coverage, take) };
        let (sender, counts) = mpsc::sync_channel(BATCHES_MAX);
        let work = |sender| {
            let mut batch = Batch { counts: Vec::new(), sender };
            let result = self.work(&next, fetched, &mut |count| batch.add(count));
            let _nobody_wants_it = batch.send();
            // Who fails ends the others, and who is not listened to any more, too.
            ended.fetch_or(result.is_err(), Ordering::Relaxed);
            result
        };
        // A panic of one is that of the request.
        std::thread::scope(|scope| {
            let mut helpers = Vec::new();
            for turn in std::iter::from_fn(|| turns.thread()).take(threads) {
                let (work, sender) = (&work, sender.clone());
                let helper = Builder::new().name("weir-count".into()).spawn_scoped(scope, move || {
                    let _turn = turn;
                    work(sender)
                });
                helpers.extend(helper);
            }
            drop(sender);
            if helpers.is_empty() {
                return in_place(coverage, take);
            }
            let flow = give(counts, take);
            ended.fetch_or(flow.is_break(), Ordering::Relaxed);
            for helper in helpers {
                match helper.join() {
                    Ok(seen) => coverage.merge(seen?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(flow)
        })
    }

    /// Counts blocks until there is no next one, or no more is wanted.
    fn work(&self, next: &dyn Fn() -> Option<Share>, fetched: &Fetched, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        let (plan, mut coverage) = (Arc::new((self.plan)()), Coverage::default());
        let mut counter = Counter::new(self.by, self.budget, take);
        let mut all = || {
            while let Some(Share { block, hidden, left }) = next() {
                let cursor = shown(block.cursor_of(left, Arc::clone(&plan), self.budget), hidden);
                if each(cursor, fetched, &mut coverage, |chunk, coverage| counter.add_chunk(&chunk, &plan, coverage))?.is_break()
                {
                    break;
                }
            }
            Ok(())
        };
        let result = all();
        plan.end(self.budget);
        result.map(|()| coverage)
    }
}

/// Gives on what threads have counted, until they are done or no more is wanted.
fn give(counts: mpsc::Receiver<Vec<Counted>>, take: TakeCount<'_>) -> ControlFlow<()> {
    counts.into_iter().flatten().try_for_each(|counted| take(&counted.count()))
}

/// A [`LineCount`] of its own.
struct Counted {
    stream: Labels,
    bucket: UnixNanos,
    severity: u8,
    metadata: Labels,
    trace_id: TraceId,
    span_id: SpanId,
    lines: u64,
    bytes: u64,
}

impl Counted {
    fn new(count: &LineCount<'_>) -> Self {
        let LineCount { stream, bucket, severity, metadata, trace_id, span_id, lines, bytes } = *count;
        Self { stream: stream.clone(), bucket, severity, metadata: metadata.clone(), trace_id, span_id, lines, bytes }
    }

    fn count(&self) -> LineCount<'_> {
        let Self { stream, bucket, severity, metadata, trace_id, span_id, lines, bytes } = self;
        let (bucket, severity, trace_id, span_id) = (*bucket, *severity, *trace_id, *span_id);
        LineCount { stream, bucket, severity, metadata, trace_id, span_id, lines: *lines, bytes: *bytes }
    }
}

/// Counts on their way to the thread of the request.
struct Batch {
    counts: Vec<Counted>,
    sender: SyncSender<Vec<Counted>>,
}

impl Batch {
    /// `Break` when nobody listens any more.
    fn add(&mut self, count: &LineCount<'_>) -> ControlFlow<()> {
        self.counts.push(Counted::new(count));
        if self.counts.len() < BATCH { ControlFlow::Continue(()) } else { self.send() }
    }

    fn send(&mut self) -> ControlFlow<()> {
        match self.sender.send(std::mem::take(&mut self.counts)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
