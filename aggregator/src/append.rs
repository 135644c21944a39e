//! One partition's records on their way into the head: decode, drop what is stored already, insert, quarantine what cannot be
//! understood.
//!
//! Sync and without I/O. When it is called says `machine`; what makes its records durable is `shell`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::manifest::Manifest;
use weir_blocks::view::TailSection;
use weir_bus::Record;
use weir_model::signal::Signal;
use weir_model::time::UnixNanos;
use weir_model::wire::{Frame, Limits, Section};

use crate::dedup::{DedupSnapshot, DedupState, Forgotten, Verdict};
use crate::live::{LivePartition, Partitions};
use crate::machine::Appended;
use crate::metrics::{ForgottenLabels, Metrics, PartitionLabels};

/// A bus record that could not be understood: kept whole, in the same commit as its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub offset: u64,
    pub reason: String,
    pub value: Bytes,
}

/// What a seal makes durable: everything below `next_offset` that the manifest has not yet.
pub(crate) struct Cut<E: Engine> {
    pub head: Arc<E::Head>,
    pub next_offset: u64,
    pub dedup: DedupSnapshot,
    pub quarantined: Vec<Quarantined>,
    /// Offset ranges `[first, next)` that the bus no longer had.
    pub losses: Vec<(u64, u64)>,
    /// What the head was made of, for a seal that fails.
    pub records: Vec<HeadRecord>,
}

/// A bus record as it was appended, and when.
#[derive(Clone, Debug)]
pub(crate) struct HeadRecord {
    pub record: Record,
    pub at: UnixNanos,
}

/// The appending side of a partition.
pub(crate) struct Appender<E: Engine> {
    engine: Arc<E>,
    live: Arc<LivePartition<E>>,
    partitions: Arc<Partitions<E>>,
    labels: PartitionLabels,
    metrics: Metrics,
    limits: Limits,
    dedup: DedupState,
    next_offset: u64,
    /// When the oldest record of the active head came in.
    head_since: Option<UnixNanos>,
    quarantined: Vec<Quarantined>,
    losses: Vec<(u64, u64)>,
    /// Every record since the last cut: compressed, a tenth of what the head takes.
    records: Vec<HeadRecord>,
    /// Bytes of `records`.
    record_bytes: usize,
}

impl<E: Engine> Appender<E> {
    pub fn new(
        engine: Arc<E>,
        live: Arc<LivePartition<E>>,
        partitions: Arc<Partitions<E>>,
        dedup: DedupState,
        metrics: Metrics,
    ) -> Self {
        let next_offset = live.snapshot.read().manifest.next_offset;
        let labels = PartitionLabels { topic: live.topic.into(), partition: live.partition };
        Self {
            engine,
            live,
            partitions,
            labels,
            metrics,
            limits: Limits::default(),
            dedup,
            next_offset,
            head_since: None,
            quarantined: Vec::new(),
            losses: Vec::new(),
            records: Vec::new(),
            record_bytes: 0,
        }
    }

    /// Appends a record to the head. What is below the next offset has been already.
    pub fn append(&mut self, record: &Record, now: UnixNanos) {
        if record.offset < self.next_offset {
            return;
        }
        if let Err(reason) = self.append_sections(record, now) {
            self.quarantine(record, reason);
        }
        self.record_bytes += record.value.len();
        self.records.push(HeadRecord { record: record.clone(), at: now });
        self.head_since.get_or_insert(now);
        self.next_offset = record.offset + 1;
        self.live.indexed_offset.store(self.next_offset, Ordering::Release);
        self.metrics.consumed.get_or_create(&self.labels).inc();
    }

    fn append_sections(&mut self, record: &Record, now: UnixNanos) -> Result<(), String> {
        let frame = Frame::read(&record.value, &self.limits).map_err(|error| error.to_string())?;
        // Decoded before a mark moves: a body that cannot be read must not make its source's next one a duplicate.
        let known: Vec<bool> = frame.headers().map(|header| self.dedup.knows(header)).collect();
        let batches = frame.decode::<E::Batch>(|i| !known[i]).map_err(|error| error.to_string())?;
        let duplicates = self.dedup.duplicates;
        let gaps = self.dedup.gaps;
        let mut ordinal = 0;
        let mut wrong = Vec::new();
        for (header, batch) in frame.headers().zip(batches) {
            let verdict = self.dedup.admit(header, now);
            if let (Some(batch), false) = (batch, verdict == Verdict::Duplicate) {
                let position = Position { partition: self.live.partition, offset: record.offset, ordinal };
                let section = Section { header: header.clone(), batch: Arc::new(batch) };
                wrong.extend(self.insert(position, section, verdict).err());
            }
            ordinal += header.records;
        }
        self.metrics.duplicates.get_or_create(&self.labels).inc_by(self.dedup.duplicates - duplicates);
        self.metrics.gaps.get_or_create(&self.labels).inc_by(self.dedup.gaps - gaps);
        self.count_forgotten();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Since the last call.
    fn count_forgotten(&mut self) {
        let Forgotten { aged, crowded, crowded_sources } = std::mem::take(&mut self.dedup.forgotten);
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
        let head = Arc::clone(&self.live.snapshot.read().active);
        head.insert(position, &section).map_err(|error| format!("source {:?}: {error}", section.header.source))?;
        self.metrics.records.get_or_create(&self.labels).inc_by(section.batch.records());
        self.partitions.emit(TailSection { position, section, dropped: 0 });
        Ok(())
    }

    fn quarantine(&mut self, record: &Record, reason: String) {
        tracing::warn!(
            topic = self.live.topic,
            partition = self.live.partition,
            offset = record.offset,
            reason,
            "a bus record could not be understood and was put into quarantine"
        );
        self.metrics.quarantined.get_or_create(&self.labels).inc();
        self.quarantined.push(Quarantined { offset: record.offset, reason, value: record.value.clone() });
    }

    /// The bus no longer has the offsets from the next one up to `first`.
    pub fn record_loss(&mut self, first: u64, now: UnixNanos) {
        if first <= self.next_offset {
            return;
        }
        self.metrics.lost.get_or_create(&self.labels).inc_by(first - self.next_offset);
        self.losses.push((self.next_offset, first));
        self.next_offset = first;
        self.live.indexed_offset.store(first, Ordering::Release);
        self.head_since.get_or_insert(now);
    }

    /// How far the active head is.
    pub fn appended(&self) -> Appended {
        let bytes = self.live.snapshot.read().active.bytes() + self.record_bytes;
        Appended { indexed_offset: self.next_offset, since: self.head_since, bytes }
    }

    /// Freezes the head and starts a fresh one. The last cut is published.
    pub fn cut(&mut self, now: UnixNanos) -> Cut<E> {
        let mut snapshot = self.live.snapshot.write();
        let next = self.engine.next_head(&snapshot.active);
        let head = std::mem::replace(&mut snapshot.active, Arc::new(next));
        snapshot.frozen = Some(Arc::clone(&head));
        drop(snapshot);
        (self.head_since, self.record_bytes) = (None, 0);
        self.dedup.forget(now);
        self.count_forgotten();
        let (quarantined, losses) = (std::mem::take(&mut self.quarantined), std::mem::take(&mut self.losses));
        let records = std::mem::take(&mut self.records);
        Cut { head, next_offset: self.next_offset, dedup: self.dedup.snapshot(), quarantined, losses, records }
    }

    /// An active head that holds nothing gives back what it goes on with of the one before.
    pub fn forget_before(&mut self) {
        if self.head_since.is_none() {
            self.live.snapshot.write().active = Arc::new(self.engine.head());
        }
    }
}

/// Records as a new owner would append them, into a head of their own that nobody sees: the head, what of them could not be understood,
/// and the dedup state after them.
pub(crate) fn replay<E: Engine>(
    engine: &Arc<E>,
    partition: u32,
    dedup: DedupState,
    records: &[HeadRecord],
) -> (Arc<E::Head>, Vec<Quarantined>, DedupState) {
    let next_offset = records.first().map_or(0, |first| first.record.offset);
    let manifest = Arc::new(Manifest { next_offset, ..Manifest::default() });
    let live = Arc::new(LivePartition::new(partition, 0, manifest, engine.head()));
    let head = Arc::clone(&live.snapshot.read().active);
    let mut replayed = Appender::new(Arc::clone(engine), live, Arc::default(), dedup, Metrics::default());
    records.iter().for_each(|kept| replayed.append(&kept.record, kept.at));
    (head, replayed.quarantined, replayed.dedup)
}

/// The part of a section that lies after what is stored, and how many of its records lie before.
fn trim<S: Signal>(section: Section<S>, stored: u64) -> (Section<S>, u32) {
    let rest = Section::<S>::new(section.header.clone(), section.batch.trim(&section.header.mark, stored));
    let skipped = section.batch.records() - rest.batch.records();
    (rest, u32::try_from(skipped).unwrap_or(u32::MAX))
}
