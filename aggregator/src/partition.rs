//! One partition's records on their way into the head: decode, drop what is stored already, insert, put poison aside.
//!
//! Sync and without I/O, so that the simulation drives exactly this code. What makes it durable is `commit`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use weir_bus::Record;
use weir_model::signal::Signal;
use weir_model::time::UnixNanos;
use weir_model::wire::{Frame, Limits, Section};
use weir_store::engine::{Engine, Head, Position};
use weir_store::manifest::Manifest;
use weir_store::view::TailSection;

use crate::budget::HeadBytes;
use crate::dedup::{Forgotten, Marks, Remembered, Verdict};
use crate::metrics::{ForgottenLabels, Metrics, PartitionLabels};
use crate::shared::{Partitions, Shared};

/// A bus record that could not be understood: kept whole, in the same commit as its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    pub offset: u64,
    pub reason: String,
    pub value: Bytes,
}

/// What a seal makes durable: everything below `next_offset` that the manifest has not yet.
pub(crate) struct Cut<E: Engine> {
    pub head: Arc<E::Head>,
    pub next_offset: u64,
    pub remembered: Remembered,
    pub poison: Vec<Poison>,
    /// Offset ranges `[first, next)` that the bus no longer had.
    pub losses: Vec<(u64, u64)>,
    /// What the head was made of, for a seal that fails.
    pub taken: Vec<Taken>,
}

/// A bus record as it was taken, and when.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub record: Record,
    pub at: UnixNanos,
}

/// The taking side of a partition.
pub(crate) struct Partition<E: Engine> {
    engine: Arc<E>,
    shared: Arc<Shared<E>>,
    partitions: Arc<Partitions<E>>,
    labels: PartitionLabels,
    metrics: Metrics,
    limits: Limits,
    marks: Marks,
    next_offset: u64,
    /// When the oldest record of the active head came in.
    head_since: Option<UnixNanos>,
    poison: Vec<Poison>,
    losses: Vec<(u64, u64)>,
    /// Every record since the last cut: compressed, a tenth of what the head takes.
    taken: Vec<Taken>,
    /// Bytes of `taken`, and of that of the last cut.
    taken_bytes: HeadBytes,
}

impl<E: Engine> Partition<E> {
    pub fn new(engine: Arc<E>, shared: Arc<Shared<E>>, partitions: Arc<Partitions<E>>, marks: Marks, metrics: Metrics) -> Self {
        let next_offset = shared.state.read().manifest.next_offset;
        let labels = PartitionLabels { topic: shared.topic.into(), partition: shared.partition };
        Self {
            engine,
            shared,
            partitions,
            labels,
            metrics,
            limits: Limits::default(),
            marks,
            next_offset,
            head_since: None,
            poison: Vec::new(),
            losses: Vec::new(),
            taken: Vec::new(),
            taken_bytes: HeadBytes::default(),
        }
    }

    /// Takes a record. What is below the next offset has been taken already.
    pub fn take(&mut self, record: &Record, now: UnixNanos) {
        if record.offset < self.next_offset {
            return;
        }
        if let Err(reason) = self.take_sections(record, now) {
            self.put_aside(record, reason);
        }
        self.taken_bytes.active += record.value.len();
        self.taken.push(Taken { record: record.clone(), at: now });
        self.head_since.get_or_insert(now);
        self.next_offset = record.offset + 1;
        self.shared.searchable.store(self.next_offset, Ordering::Release);
        self.metrics.consumed.get_or_create(&self.labels).inc();
    }

    fn take_sections(&mut self, record: &Record, now: UnixNanos) -> Result<(), String> {
        let frame = Frame::read(&record.value, &self.limits).map_err(|error| error.to_string())?;
        // Decoded before a mark moves: a body that cannot be read must not make its source's next one a duplicate.
        let known: Vec<bool> = frame.headers().map(|header| self.marks.knows(header)).collect();
        let batches = frame.decode::<E::Batch>(|i| !known[i]).map_err(|error| error.to_string())?;
        let duplicates = self.marks.duplicates;
        let gaps = self.marks.gaps;
        let mut ordinal = 0;
        let mut wrong = Vec::new();
        for (header, batch) in frame.headers().zip(batches) {
            let verdict = self.marks.admit(header, now);
            if let (Some(batch), false) = (batch, verdict == Verdict::Duplicate) {
                let position = Position { partition: self.shared.partition, offset: record.offset, ordinal };
                let section = Section { header: header.clone(), batch: Arc::new(batch) };
                wrong.extend(self.insert(position, section, verdict).err());
            }
            ordinal += header.records;
        }
        self.metrics.duplicates.get_or_create(&self.labels).inc_by(self.marks.duplicates - duplicates);
        self.metrics.gaps.get_or_create(&self.labels).inc_by(self.marks.gaps - gaps);
        self.count_forgotten();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Since the last call.
    fn count_forgotten(&mut self) {
        let Forgotten { aged, crowded, crowded_sources } = std::mem::take(&mut self.marks.forgotten);
        self.metrics.forgotten_sources.get_or_create(&self.labels).inc_by(crowded_sources);
        for (reason, count) in [("aged", aged), ("crowded", crowded)].into_iter().filter(|(_, count)| *count > 0) {
            let labels = ForgottenLabels { topic: self.labels.topic.clone(), partition: self.labels.partition, reason };
            self.metrics.forgotten.get_or_create(&labels).inc_by(count);
        }
    }

    fn insert(&self, position: Position, section: Section<E::Batch>, verdict: Verdict) -> Result<(), String> {
        let (section, skipped) = match verdict {
            Verdict::After(stored) => trim(section, stored),
            Verdict::New | Verdict::Duplicate => (section, 0),
        };
        let position = Position { ordinal: position.ordinal + skipped, ..position };
        let head = Arc::clone(&self.shared.state.read().active);
        head.insert(position, &section).map_err(|error| format!("source {:?}: {error}", section.header.source))?;
        self.metrics.records.get_or_create(&self.labels).inc_by(section.batch.records());
        self.partitions.tell(TailSection { position, section, dropped: 0 });
        Ok(())
    }

    fn put_aside(&mut self, record: &Record, reason: String) {
        tracing::warn!(
            topic = self.shared.topic,
            partition = self.shared.partition,
            offset = record.offset,
            reason,
            "a bus record could not be understood and was put into quarantine"
        );
        self.metrics.quarantined.get_or_create(&self.labels).inc();
        self.poison.push(Poison { offset: record.offset, reason, value: record.value.clone() });
    }

    /// The bus no longer has the offsets from the next one up to `first`.
    pub fn lose(&mut self, first: u64, now: UnixNanos) {
        if first <= self.next_offset {
            return;
        }
        self.metrics.lost.get_or_create(&self.labels).inc_by(first - self.next_offset);
        self.losses.push((self.next_offset, first));
        self.next_offset = first;
        self.shared.searchable.store(first, Ordering::Release);
        self.head_since.get_or_insert(now);
    }

    /// Where the bus should go on.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Everything below is sealed.
    pub fn sealed(&self) -> u64 {
        self.shared.state.read().manifest.next_offset
    }

    /// Memory held unsealed.
    pub fn head_bytes(&self) -> HeadBytes {
        let state = self.shared.state.read();
        let frozen = state.frozen.as_ref().map_or(0, |head| head.bytes() + self.taken_bytes.frozen);
        HeadBytes { active: state.active.bytes() + self.taken_bytes.active, frozen }
    }

    /// When the oldest unsealed record came in; `None` when there is none.
    pub fn head_since(&self) -> Option<UnixNanos> {
        self.head_since
    }

    /// Freezes the head and starts a fresh one; `None` when nothing is unsealed, or the last cut is not yet published.
    pub fn cut(&mut self, now: UnixNanos) -> Option<Cut<E>> {
        self.head_since?;
        let mut state = self.shared.state.write();
        if state.frozen.is_some() {
            return None;
        }
        let head = std::mem::replace(&mut state.active, Arc::new(self.engine.head()));
        state.frozen = Some(Arc::clone(&head));
        drop(state);
        self.head_since = None;
        self.marks.forget(now);
        self.count_forgotten();
        let (poison, losses) = (std::mem::take(&mut self.poison), std::mem::take(&mut self.losses));
        self.taken_bytes = HeadBytes { active: 0, frozen: self.taken_bytes.active };
        let taken = std::mem::take(&mut self.taken);
        Some(Cut { head, next_offset: self.next_offset, remembered: self.marks.remembered(), poison, losses, taken })
    }
}

/// Records as a new owner would take them, into a head of their own that nobody sees: the head, what of them could not be understood,
/// and the marks after them.
pub(crate) fn replay<E: Engine>(
    engine: &Arc<E>,
    partition: u32,
    marks: Marks,
    taken: &[Taken],
) -> (Arc<E::Head>, Vec<Poison>, Marks) {
    let next_offset = taken.first().map_or(0, |taken| taken.record.offset);
    let manifest = Arc::new(Manifest { next_offset, ..Manifest::default() });
    let shared = Arc::new(Shared::new(partition, 0, manifest, engine.head()));
    let head = Arc::clone(&shared.state.read().active);
    let mut replayed = Partition::new(Arc::clone(engine), shared, Arc::default(), marks, Metrics::default());
    taken.iter().for_each(|taken| replayed.take(&taken.record, taken.at));
    (head, replayed.poison, replayed.marks)
}

/// The part of a section that lies after what is stored, and how many of its records lie before.
fn trim<S: Signal>(section: Section<S>, stored: u64) -> (Section<S>, u32) {
    let rest = Section::<S>::new(section.header.clone(), section.batch.trim(&section.header.mark, stored));
    let skipped = section.batch.records() - rest.batch.records();
    (rest, u32::try_from(skipped).unwrap_or(u32::MAX))
}
