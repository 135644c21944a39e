//! What a partition knows in memory: where its batches lie, its latest records, what is lost. Answers where an offset is;
//! never touches the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::recover::Located;
use super::storage::SegmentFile;

/// A read stops after the record that reaches this: enough to keep a decoder busy, little enough to hold.
const READ_BYTES: usize = 4 << 20;

/// One segment file; the last one grows.
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) length: u64,
    pub(super) batches: Vec<Located>,
}

/// Latest records, contiguous up to the partition's `next`.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) records: VecDeque<Bytes>,
    pub(super) bytes: usize,
}

pub(super) struct State {
    pub(super) segments: VecDeque<Segment>,
    /// The next record's offset; everything below is durable.
    pub(super) next: u64,
    pub(super) released: u64,
    pub(super) tail: Tail,
    /// Offsets that damage took, ascending.
    pub(super) losses: Vec<Range<u64>>,
}

/// What an offset is, as far as memory says.
pub(crate) enum Lookup {
    Found(Read),
    /// In this batch on the disk: see [`Partition::fetch`].
    OnDisk(OnDisk),
}

/// A batch to be read from the disk, for the records from `offset` on.
pub(crate) struct OnDisk {
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) path: PathBuf,
    pub(super) segment: u64,
    pub(super) located: Located,
    pub(super) offset: u64,
}

/// What a reader finds at an offset.
pub(crate) enum Read {
    /// Records with their offsets, at least one.
    Records(Vec<(u64, Bytes)>),
    /// Nothing yet.
    Empty,
    /// Nothing any more, never anything, or lost.
    Absent {
        /// First offset that can be read, at or above what was lost.
        first: u64,
        /// The next record's offset.
        next: u64,
    },
}

impl State {
    /// What lies at `offset`, without touching the disk.
    pub(super) fn lookup(&self, offset: u64) -> Lookup {
        let (first, next) = (self.first(), self.next);
        if offset == next {
            return Lookup::Found(Read::Empty);
        }
        if offset < first || offset > next {
            return Lookup::Found(Read::Absent { first, next });
        }
        if let Some(loss) = self.losses.iter().find(|loss| loss.contains(&offset)) {
            return Lookup::Found(Read::Absent { first: loss.end, next });
        }
        if let Some(records) = self.tail.read(offset, next) {
            return Lookup::Found(Read::Records(records));
        }
        match self.locate(offset) {
            Some((segment, located)) => {
                let (file, path) = (segment.file.clone(), segment.path.clone());
                Lookup::OnDisk(OnDisk { file, path, segment: segment.base, located, offset })
            }
            // Offsets below `released` may have been skipped at start: there is nothing up to the end.
            None => Lookup::Found(Read::Absent { first: next, next }),
        }
    }

    pub(super) fn unreleased_bytes(&self, released: u64) -> u64 {
        let unreleased = |located: &Located| {
            let left = located.head.end().saturating_sub(released).min(u64::from(located.head.count));
            u64::from(located.head.length) * left / u64::from(located.head.count)
        };
        self.segments.iter().flat_map(|segment| &segment.batches).map(unreleased).sum()
    }

    pub(super) fn first(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.base.min(self.next))
    }

    /// The first batch that ends after `offset`.
    pub(super) fn locate(&self, offset: u64) -> Option<(&Segment, Located)> {
        let from = self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        self.segments.range(from..).find_map(|segment| {
            let at = segment.batches.partition_point(|located| located.head.end() <= offset);
            Some((segment, *segment.batches.get(at)?))
        })
    }
}

impl Tail {
    pub(super) fn extend(&mut self, records: Vec<Bytes>, bytes_max: usize) {
        for record in records {
            self.bytes += record.len();
            self.records.push_back(record);
        }
        while self.bytes > bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    pub(super) fn read(&self, offset: u64, next: u64) -> Option<Vec<(u64, Bytes)>> {
        let first = next - self.records.len() as u64;
        let skip = usize::try_from(offset.checked_sub(first)?).ok()?;
        let mut left = READ_BYTES;
        let mut records = Vec::new();
        for (i, record) in self.records.range(skip..).enumerate() {
            records.push((offset + i as u64, record.clone()));
            left = left.saturating_sub(record.len() + 1);
            if left == 0 {
                break;
            }
        }
        Some(records)
    }
}

/// Adds a loss, joined with the one before where they touch.
pub(super) fn declare(losses: &mut Vec<Range<u64>>, loss: Range<u64>) {
    if loss.is_empty() {
        return;
    }
    losses.push(loss);
    losses.sort_by_key(|loss| loss.start);
    losses.dedup_by(|later, earlier| {
        let touches = later.start <= earlier.end;
        if touches {
            earlier.end = earlier.end.max(later.end);
        }
        touches
    });
}
