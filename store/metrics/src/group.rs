//! A group: the samples of neighbouring series, compressed together. Format: `docs/formats/metrics_block.md`.
//!
//! Written by `writer.rs`, read by `block.rs` and `merge.rs`. It knows series only by their place in the group.

use std::cell::RefCell;
use std::ops::Range;

use weir_model::memory::allocation;

use super::samples::{Samples, range};
use super::schema::LEVEL;
use super::{timestamps, values};
use weir_blocks::limits::UNPACKED_BYTES_MAX;
use weir_blocks::packed::{Cursor, put_packed, put_varint};

/// A group is closed when it has this many bytes before compression: a look-up of one series unpacks so much.
const GROUP_BYTES: usize = 64 << 10;
/// And this many samples, as constants take no bytes to speak of: 4 MiB once decoded.
const GROUP_SAMPLES: u64 = 1 << 18;
/// A series of more samples than this in one block is refused when it is read.
const SERIES_SAMPLES_MAX: u64 = 1 << 26;
/// And goes on in another block when it is written: two years of one sample a second.
pub(crate) const SERIES_SAMPLES: usize = 1 << 25;
/// A sample's timestamp takes at most 10 bytes, its value 8 as it is, 9 or so as the rare exception among decimals.
const SAMPLE_BYTES_MAX: usize = 24;

const _: () = assert!(SERIES_SAMPLES as u64 <= SERIES_SAMPLES_MAX);
const _: () = assert!(SERIES_SAMPLES * SAMPLE_BYTES_MAX + 2 * GROUP_BYTES <= UNPACKED_BYTES_MAX);

/// What the directory says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    /// Place of its first series in the block.
    pub series_first: u32,
    /// Series.
    pub series: u32,
    /// Samples.
    pub samples: u64,
    /// Earliest millisecond.
    pub first: i64,
    /// Latest millisecond, inclusive.
    pub last: i64,
    /// Where it lies in `samples.1`.
    pub bytes: Range<u64>,
    /// crc32c of those bytes.
    pub crc: u32,
}

/// Series on their way into a group.
#[derive(Default)]
pub(crate) struct GroupBuilder {
    heads: Vec<u8>,
    timestamps: Vec<u8>,
    values: Vec<u8>,
    /// Of the series before, to say "the same" for a byte.
    before: Vec<i64>,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl GroupBuilder {
    /// Adds a series with at least one sample, ascending.
    pub(crate) fn push(&mut self, samples: &Samples) {
        let (Some(&first), Some(&last)) = (samples.timestamps.first(), samples.timestamps.last()) else { return };
        self.first = if self.series == 0 { first } else { self.first.min(first) };
        self.last = if self.series == 0 { last } else { self.last.max(last) };
        let (timestamps_start, values_start) = (self.timestamps.len(), self.values.len());
        if self.before != samples.timestamps {
            timestamps::encode(&samples.timestamps, &mut self.timestamps);
            self.before.clone_from(&samples.timestamps);
        }
        values::encode(&samples.values, &mut self.values);
        put_varint(&mut self.heads, samples.timestamps.len() as u64);
        put_varint(&mut self.heads, (self.timestamps.len() - timestamps_start) as u64);
        put_varint(&mut self.heads, (self.values.len() - values_start) as u64);
        self.series += 1;
        self.samples += samples.timestamps.len() as u64;
    }

    /// Whether it is large enough to be closed.
    pub(crate) fn is_full(&self) -> bool {
        self.heads.len() + self.timestamps.len() + self.values.len() >= GROUP_BYTES || self.samples >= GROUP_SAMPLES
    }

    /// Appends the group's bytes.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        let raw = [self.heads, self.timestamps, self.values].concat();
        put_packed(out, &raw, LEVEL);
    }
}

/// An unpacked group.
pub(crate) struct Group {
    raw: Vec<u8>,
    series: Vec<Place>,
    /// Those decoded last, and where they lie: neighbours mostly have the same.
    timestamps: RefCell<(Range<usize>, Vec<i64>)>,
}

/// Where one series of a group lies in it.
struct Place {
    count: usize,
    /// Of this series or of the one before that has the same.
    timestamps: Range<usize>,
    values: Range<usize>,
}

impl Group {
    /// From verified bytes. Errors with a sentence.
    pub(crate) fn parse(bytes: &[u8], entry: &GroupEntry) -> Result<Self, String> {
        let mut outer = Cursor::new(bytes);
        let raw = outer.unpacked(UNPACKED_BYTES_MAX)?;
        outer.end()?;
        let mut cursor = Cursor::new(&raw);
        let mut heads = Vec::new();
        for _ in 0..entry.series {
            heads.push((cursor.varint()?, cursor.small()? as usize, cursor.small()? as usize));
        }
        let timestamps_all: usize = heads.iter().map(|head| head.1).sum();
        let mut timestamps_at = raw.len() - cursor.left();
        let mut values_at = timestamps_at + timestamps_all;
        let mut before: Option<(u64, Range<usize>)> = None;
        let mut series = Vec::with_capacity(heads.len());
        for (count, timestamps, values) in heads {
            if count == 0 || count > SERIES_SAMPLES_MAX {
                return Err(format!("a series of {count} samples"));
            }
            let own = match before.take() {
                Some((same, range)) if timestamps == 0 && same == count => range,
                _ => timestamps_at..timestamps_at + timestamps,
            };
            series.push(Place { count: count as usize, timestamps: own.clone(), values: values_at..values_at + values });
            before = Some((count, own));
            timestamps_at += timestamps;
            values_at += values;
        }
        if values_at != raw.len() {
            return Err(format!("{} bytes where {values_at} are expected", raw.len()));
        }
        Ok(Self { raw, series, timestamps: RefCell::default() })
    }

    /// Memory of what is unpacked, and of the timestamps that were decoded last.
    pub(crate) fn memory(&self) -> usize {
        self.memory_with(self.timestamps.borrow().1.capacity())
    }

    /// The same when so many timestamps are decoded.
    pub(crate) fn memory_with(&self, timestamps: usize) -> usize {
        let places = allocation(self.series.capacity() * size_of::<Place>());
        allocation(self.raw.capacity()) + places + allocation(timestamps * size_of::<i64>())
    }

    /// Number of samples of a series, which exists.
    pub(crate) fn count(&self, at: usize) -> usize {
        self.series[at].count
    }

    /// Appends the samples of a series within `start..=end`; which of its samples they are. Errors with a sentence, and then appends
    /// none.
    pub(crate) fn read(&self, at: usize, start: i64, end: i64, samples: &mut Samples) -> Result<Range<usize>, String> {
        let place = self.series.get(at).ok_or_else(|| format!("series {at} of {}", self.series.len()))?;
        let mut known = self.timestamps.borrow_mut();
        if known.0 != place.timestamps || known.1.len() != place.count {
            // Not both at once.
            *known = Default::default();
            let mut cursor = Cursor::new(&self.raw[place.timestamps.clone()]);
            let timestamps = timestamps::decode(&mut cursor, place.count)?;
            cursor.end()?;
            *known = (place.timestamps.clone(), timestamps);
        }
        let wanted = range(&known.1, start, end);
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let mut cursor = Cursor::new(&self.raw[place.values.clone()]);
        samples.timestamps.reserve(wanted.len());
        let before = samples.values.len();
        let read = values::decode(&mut cursor, place.count, &mut samples.values).and_then(|()| cursor.end());
        if let Err(error) = read {
            samples.values.truncate(before);
            return Err(error);
        }
        samples.values.truncate(before + wanted.end);
        samples.values.drain(before..before + wanted.start);
        samples.timestamps.extend_from_slice(&known.1[wanted.clone()]);
        Ok(wanted)
    }
}
