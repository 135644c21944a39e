//! A group: the samples of neighbouring series, compressed together. Format: `docs/formats/metrics_block.md`.
//!
//! Written by `writer.rs`, read by `block.rs` and `merge.rs`. It knows series only by their place in the group.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use weir_model::memory::allocation;

use super::samples::{Samples, range};
use super::schema::LEVEL;
use super::split::{LOW_BITS_MAX, SplitBytes, low_bytes};
use super::times::{SharedTimes, Times, TimesWriter};
use super::timestamps;
use super::values::{self, Columns};
use weir_blocks::limits::UNPACKED_BYTES_MAX;
use weir_blocks::packed::{Cursor, put_packed, put_varint};

/// A group is closed when it has this many bytes before compression: a look-up of one series unpacks so much.
const GROUP_BYTES: usize = 64 << 10;
/// And this many samples, as constants take no bytes to speak of: 4 MiB once decoded.
const GROUP_SAMPLES: u64 = 1 << 18;
/// Timestamps that a merge keeps of each block for the next series: 512 KiB.
const TIMES_KEPT: usize = 1 << 16;
/// A series of more samples than this in one block is refused when it is read.
const SERIES_SAMPLES_MAX: u64 = 1 << 26;
/// And goes on in another block when it is written: two years of one sample a second.
pub(crate) const SERIES_SAMPLES: usize = 1 << 25;
/// A sample's timestamp takes at most 10 bytes, its value 8 as it is, 9 or so as the rare exception among decimals; where differences
/// are split, 6 of low bits and a byte, and up to 8 of one in sixteen.
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

impl GroupEntry {
    /// Whether a series of the block is in it.
    pub fn has(&self, id: u32) -> bool {
        id.wrapping_sub(self.series_first) < self.series
    }
}

/// What a series' timestamps are in version 2 of a group; from [`SHARED_FIRST`] on the number of a shared list.
const OWN: u64 = 0;
const AS_BEFORE: u64 = 1;
const SHARED_FIRST: u64 = 2;

/// Series on their way into a group.
#[derive(Default)]
pub(crate) struct GroupBuilder {
    heads: Vec<u8>,
    timestamps: Vec<u8>,
    columns: Columns,
    /// Of the series before, to say "the same" for a byte.
    before: Vec<i64>,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl GroupBuilder {
    /// Adds a series with at least one sample, ascending.
    pub(crate) fn push(&mut self, samples: &Samples, times: &mut TimesWriter) {
        let (Some(&first), Some(&last)) = (samples.timestamps.first(), samples.timestamps.last()) else { return };
        self.first = if self.series == 0 { first } else { self.first.min(first) };
        self.last = if self.series == 0 { last } else { self.last.max(last) };
        put_varint(&mut self.heads, samples.timestamps.len() as u64);
        if self.before == samples.timestamps {
            put_varint(&mut self.heads, AS_BEFORE);
        } else {
            self.push_timestamps(&samples.timestamps, times);
            self.before.clone_from(&samples.timestamps);
        }
        let (values_start, highs_start) = (self.columns.values.len(), self.columns.highs.len());
        let low_bits = values::encode_series(&samples.values, &mut self.columns);
        put_varint(&mut self.heads, (self.columns.values.len() - values_start) as u64);
        self.heads.push(low_bits);
        if low_bits > 0 {
            put_varint(&mut self.heads, (self.columns.highs.len() - highs_start) as u64);
        }
        self.series += 1;
        self.samples += samples.timestamps.len() as u64;
    }

    fn push_timestamps(&mut self, timestamps: &[i64], times: &mut TimesWriter) {
        if let Some(shared) = times.share(timestamps) {
            put_varint(&mut self.heads, SHARED_FIRST + u64::from(shared.list));
            put_varint(&mut self.heads, u64::from(shared.first));
            return;
        }
        let start = self.timestamps.len();
        timestamps::encode(timestamps, &mut self.timestamps);
        put_varint(&mut self.heads, OWN);
        put_varint(&mut self.heads, (self.timestamps.len() - start) as u64);
    }

    /// Whether it is large enough to be closed.
    pub(crate) fn is_full(&self) -> bool {
        let Columns { values, highs, lows } = &self.columns;
        let bytes = self.heads.len() + self.timestamps.len() + values.len() + highs.len() + lows.len();
        bytes >= GROUP_BYTES || self.samples >= GROUP_SAMPLES
    }

    /// Appends the group's bytes.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        let raw = [self.heads, self.timestamps, self.columns.values].concat();
        put_packed(out, &raw, LEVEL);
        put_packed(out, &self.columns.highs, LEVEL);
        out.extend(self.columns.lows);
    }
}

/// How a block's groups are laid out.
#[derive(Clone)]
pub(crate) enum Layout {
    /// `samples.1`, which older blocks have: one run, no shared timestamps.
    One,
    Two(Arc<Times>),
}

/// An unpacked group.
pub(crate) struct Group {
    raw: Vec<u8>,
    highs: Vec<u8>,
    lows: Vec<u8>,
    series: Vec<Place>,
    shared: Arc<Times>,
    /// Those decoded last, and what they are: neighbours often have the same.
    timestamps: RefCell<(Decoded, Vec<i64>)>,
}

/// Where one series of a group lies in it.
struct Place {
    count: usize,
    timestamps: Timestamps,
    values: Range<usize>,
    highs: Range<usize>,
    /// The first byte.
    lows: usize,
    low_bits: u8,
}

#[derive(Clone)]
enum Timestamps {
    /// Of this series or of the one before that has the same.
    Own(Range<usize>),
    Shared(SharedTimes),
}

#[derive(Default, PartialEq)]
enum Decoded {
    #[default]
    Nothing,
    /// Where they lie.
    Own(Range<usize>),
    List(u32),
}

/// What is said of a series, and where its parts end; those of the one before are where they begin.
#[derive(Default)]
struct Ends {
    timestamps: usize,
    values: usize,
    highs: usize,
    lows: usize,
}

/// The head of one series.
struct SeriesHead {
    count: u64,
    timestamps: HeadTimestamps,
    value_bytes: usize,
    low_bits: u8,
    high_bytes: usize,
}

enum HeadTimestamps {
    Own(usize),
    AsBefore,
    Shared(SharedTimes),
}

impl SeriesHead {
    fn read(cursor: &mut Cursor<'_>, layout: &Layout) -> Result<Self, String> {
        let count = cursor.varint()?;
        if count == 0 || count > SERIES_SAMPLES_MAX {
            return Err(format!("a series of {count} samples"));
        }
        if matches!(layout, Layout::One) {
            let timestamps = match cursor.small()? {
                0 => HeadTimestamps::AsBefore,
                bytes => HeadTimestamps::Own(bytes as usize),
            };
            return Ok(Self { count, timestamps, value_bytes: cursor.small()? as usize, low_bits: 0, high_bytes: 0 });
        }
        let timestamps = match cursor.varint()? {
            OWN => HeadTimestamps::Own(cursor.small()? as usize),
            AS_BEFORE => HeadTimestamps::AsBefore,
            list => {
                let list = u32::try_from(list - SHARED_FIRST).map_err(|_| format!("list {list} of timestamps"))?;
                HeadTimestamps::Shared(SharedTimes { list, first: cursor.small()? })
            }
        };
        let value_bytes = cursor.small()? as usize;
        let low_bits = cursor.byte()?;
        if low_bits > LOW_BITS_MAX {
            return Err(format!("differences of {low_bits} low bits"));
        }
        let high_bytes = if low_bits > 0 { cursor.small()? as usize } else { 0 };
        Ok(Self { count, timestamps, value_bytes, low_bits, high_bytes })
    }
}

impl Group {
    /// From verified bytes. Errors with a sentence.
    pub(crate) fn parse(bytes: &[u8], entry: &GroupEntry, layout: &Layout) -> Result<Self, String> {
        let mut outer = Cursor::new(bytes);
        let raw = outer.unpacked(UNPACKED_BYTES_MAX)?;
        let (shared, highs, lows) = match layout {
            Layout::One => (Arc::default(), Vec::new(), Vec::new()),
            Layout::Two(shared) => {
                let highs = outer.unpacked(UNPACKED_BYTES_MAX)?;
                (Arc::clone(shared), highs, outer.take(outer.left())?.to_vec())
            }
        };
        outer.end()?;
        let mut cursor = Cursor::new(&raw);
        let mut heads = Vec::new();
        for _ in 0..entry.series {
            heads.push(SeriesHead::read(&mut cursor, layout)?);
        }
        let own_bytes = |head: &SeriesHead| if let HeadTimestamps::Own(bytes) = head.timestamps { bytes } else { 0 };
        let timestamps = raw.len() - cursor.left();
        let values = timestamps + heads.iter().map(own_bytes).sum::<usize>();
        let mut ends = Ends { timestamps, values, highs: 0, lows: 0 };
        let mut series: Vec<Place> = Vec::with_capacity(heads.len());
        for head in heads {
            let place = ends.place(head, series.last())?;
            series.push(place);
        }
        for (name, length, expected) in
            [("samples", raw.len(), ends.values), ("upper parts", highs.len(), ends.highs), ("low bits", lows.len(), ends.lows)]
        {
            if length != expected {
                return Err(format!("{length} bytes of {name} where {expected} are expected"));
            }
        }
        Ok(Self { raw, highs, lows, series, shared, timestamps: RefCell::default() })
    }

    /// Memory of what is unpacked, and of the timestamps that were decoded last.
    pub(crate) fn memory(&self) -> usize {
        self.memory_with(self.timestamps.borrow().1.capacity())
    }

    /// The same when a series, which exists, has been read.
    pub(crate) fn memory_after(&self, at: usize) -> usize {
        let place = &self.series[at];
        self.memory_with(match place.timestamps {
            Timestamps::Own(_) => place.count,
            Timestamps::Shared(shared) => self.shared.count(shared.list),
        })
    }

    fn memory_with(&self, timestamps: usize) -> usize {
        let places = allocation(self.series.capacity() * size_of::<Place>());
        let bytes: usize = [&self.raw, &self.highs, &self.lows].iter().map(|bytes| allocation(bytes.capacity())).sum();
        bytes + places + allocation(timestamps * size_of::<i64>())
    }

    /// Gives back the timestamps that were decoded last when they are more than [`TIMES_KEPT`].
    pub(crate) fn forget_times(&self) {
        let mut known = self.timestamps.borrow_mut();
        if known.1.capacity() > TIMES_KEPT {
            *known = Default::default();
        }
    }

    /// Number of samples of a series, which exists.
    pub(crate) fn count(&self, at: usize) -> usize {
        self.series[at].count
    }

    /// Appends the samples of a series within `start..=end`; which of its samples they are. Errors with a sentence, and then appends
    /// none.
    pub(crate) fn read(&self, at: usize, start: i64, end: i64, samples: &mut Samples) -> Result<Range<usize>, String> {
        let place = self.series.get(at).ok_or_else(|| format!("series {at} of {}", self.series.len()))?;
        let (wanted, first) = match &place.timestamps {
            Timestamps::Own(range) => (Decoded::Own(range.clone()), 0),
            Timestamps::Shared(shared) => (Decoded::List(shared.list), shared.first as usize),
        };
        let mut known = self.timestamps.borrow_mut();
        if known.0 != wanted || matches!(wanted, Decoded::Own(_)) && known.1.len() != place.count {
            // Not both at once.
            *known = Default::default();
            let timestamps = match &place.timestamps {
                Timestamps::Shared(shared) => self.shared.decode(shared.list)?,
                Timestamps::Own(range) => {
                    let mut cursor = Cursor::new(&self.raw[range.clone()]);
                    let timestamps = timestamps::decode(&mut cursor, place.count)?;
                    cursor.end()?;
                    timestamps
                }
            };
            *known = (wanted, timestamps);
        }
        let own = first.checked_add(place.count).and_then(|end| known.1.get(first..end));
        let own = own.ok_or_else(|| format!("{} timestamps from {first} on of {}", place.count, known.1.len()))?;
        self.read_values(place, own, (start, end), samples)
    }

    fn read_values(
        &self,
        place: &Place,
        timestamps: &[i64],
        (start, end): (i64, i64),
        samples: &mut Samples,
    ) -> Result<Range<usize>, String> {
        let wanted = range(timestamps, start, end);
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let mut cursor = Cursor::new(&self.raw[place.values.clone()]);
        samples.timestamps.reserve(wanted.len());
        let before = samples.values.len();
        let read = if place.low_bits == 0 {
            values::decode(&mut cursor, place.count, &mut samples.values)
        } else {
            let (highs, lows) = (&self.highs[place.highs.clone()], &self.lows[place.lows..]);
            let split = SplitBytes { highs, lows, low_bits: place.low_bits };
            values::decode_split(&mut cursor, split, place.count, &mut samples.values)
        };
        if let Err(error) = read.and_then(|()| cursor.end()) {
            samples.values.truncate(before);
            return Err(error);
        }
        samples.values.truncate(before + wanted.end);
        samples.values.drain(before..before + wanted.start);
        samples.timestamps.extend_from_slice(&timestamps[wanted.clone()]);
        Ok(wanted)
    }
}

impl Ends {
    /// Goes on by a series; errors with a sentence where it cannot be.
    fn place(&mut self, head: SeriesHead, before: Option<&Place>) -> Result<Place, String> {
        let count = head.count as usize;
        let timestamps = match head.timestamps {
            HeadTimestamps::Shared(shared) => Timestamps::Shared(shared),
            HeadTimestamps::Own(bytes) => {
                self.timestamps += bytes;
                Timestamps::Own(self.timestamps - bytes..self.timestamps)
            }
            HeadTimestamps::AsBefore => {
                let same = before.filter(|before| before.count == count).map(|before| before.timestamps.clone());
                same.ok_or_else(|| format!("{count} samples with the timestamps of a series before that has not as many"))?
            }
        };
        let lows = low_bytes(count - 1, head.low_bits).ok_or("too many samples")?;
        self.values += head.value_bytes;
        self.highs += head.high_bytes;
        self.lows += lows;
        Ok(Place {
            count,
            timestamps,
            values: self.values - head.value_bytes..self.values,
            highs: self.highs - head.high_bytes..self.highs,
            lows: self.lows - lows,
            low_bits: head.low_bits,
        })
    }
}
