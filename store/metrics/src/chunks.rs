//! Chunks of bytes by series, grouped and compressed, with a directory: where histograms, starts and exemplars lie in a block. It does
//! not know what they mean. Format: `docs/formats/metrics_block.md`.

use std::ops::Range;

use super::schema::LEVEL;
use weir_blocks::limits::UNPACKED_BYTES_MAX;
use weir_blocks::packed::{Cursor, put_packed, put_varint, put_zigzag};

/// A group is closed when it has this many bytes before compression, as one of samples.
const GROUP_BYTES: usize = 64 << 10;

/// What the directory says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkEntry {
    /// Series of its first and its last chunk: a series may lie in several groups.
    pub series: (u32, u32),
    /// What its chunks have.
    pub records: u64,
    /// Earliest and latest millisecond.
    pub times: (i64, i64),
    pub bytes: Range<u64>,
    /// crc32c of those bytes.
    pub crc: u32,
}

/// Chunks on their way into a block.
#[derive(Default)]
pub(crate) struct ChunkWriter {
    heads: Vec<u8>,
    bodies: Vec<u8>,
    chunks: u64,
    open: Option<ChunkEntry>,
    entries: Vec<ChunkEntry>,
    out: Vec<u8>,
}

impl ChunkWriter {
    /// Series ascend.
    pub(crate) fn push(&mut self, series: u32, records: u64, times: (i64, i64), body: &[u8]) {
        let none = ChunkEntry { series: (series, series), records: 0, times, bytes: 0..0, crc: 0 };
        let entry = self.open.get_or_insert(none);
        put_varint(&mut self.heads, u64::from(series - entry.series.1));
        put_varint(&mut self.heads, body.len() as u64);
        self.bodies.extend_from_slice(body);
        self.chunks += 1;
        entry.series.1 = series;
        entry.records += records;
        entry.times = (entry.times.0.min(times.0), entry.times.1.max(times.1));
        if self.heads.len() + self.bodies.len() >= GROUP_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(entry) = self.open.take() else { return };
        let mut raw = Vec::with_capacity(self.heads.len() + self.bodies.len() + 10);
        put_varint(&mut raw, self.chunks);
        raw.append(&mut self.heads);
        raw.append(&mut self.bodies);
        self.chunks = 0;
        let start = self.out.len();
        put_packed(&mut self.out, &raw, LEVEL);
        let crc = crc32c::crc32c(&self.out[start..]);
        self.entries.push(ChunkEntry { bytes: start as u64..self.out.len() as u64, crc, ..entry });
    }

    /// Groups so far.
    pub(crate) fn groups(&self) -> usize {
        self.entries.len()
    }

    /// The directory and the groups.
    pub(crate) fn finish(mut self) -> (Vec<ChunkEntry>, Vec<u8>) {
        self.close();
        (self.entries, self.out)
    }
}

pub(crate) fn encode_entries(entries: &[ChunkEntry], raw: &mut Vec<u8>) {
    put_varint(raw, entries.len() as u64);
    let mut before = 0;
    for entry in entries {
        put_varint(raw, u64::from(entry.series.0 - before));
        put_varint(raw, u64::from(entry.series.1 - entry.series.0));
        put_varint(raw, entry.records);
        put_zigzag(raw, entry.times.0);
        put_varint(raw, entry.times.1.wrapping_sub(entry.times.0) as u64);
        put_varint(raw, entry.bytes.end - entry.bytes.start);
        raw.extend_from_slice(&entry.crc.to_le_bytes());
        before = entry.series.1;
    }
}

/// The inverse; `series` is how many the block has. Errors with a sentence.
pub(crate) fn parse_entries(cursor: &mut Cursor<'_>, series: usize) -> Result<Vec<ChunkEntry>, String> {
    let mut entries = Vec::new();
    let (mut before, mut offset) = (0_u32, 0_u64);
    for at in 0..cursor.count(10)? {
        let first = cursor.small()?.checked_add(before);
        let last = cursor.small()?.checked_add(first.unwrap_or(u32::MAX));
        let records = cursor.varint()?;
        let earliest = cursor.zigzag()?;
        let latest = earliest.wrapping_add(cursor.varint()? as i64);
        let end = offset.checked_add(cursor.varint()?);
        let crc = u32::from_le_bytes(cursor.array()?);
        let (Some(first), Some(last), Some(end)) = (first, last.filter(|last| (*last as usize) < series), end) else {
            return Err(format!("group {at} has series after {before} that are not there"));
        };
        if latest < earliest {
            return Err(format!("group {at} ends before it begins"));
        }
        entries.push(ChunkEntry { series: (first, last), records, times: (earliest, latest), bytes: offset..end, crc });
        (before, offset) = (last, end);
    }
    Ok(entries)
}

/// Which groups may have chunks of a series.
pub(crate) fn of_series(entries: &[ChunkEntry], series: u32) -> Range<usize> {
    let first = entries.partition_point(|entry| entry.series.1 < series);
    let last = entries.partition_point(|entry| entry.series.0 <= series);
    first..last.max(first)
}

/// An unpacked group.
pub(crate) struct ChunkGroup {
    raw: Vec<u8>,
    /// Ascending by series.
    chunks: Vec<(u32, Range<usize>)>,
}

impl ChunkGroup {
    /// From verified bytes. Errors with a sentence.
    pub(crate) fn parse(bytes: &[u8], entry: &ChunkEntry) -> Result<Self, String> {
        let mut outer = Cursor::new(bytes);
        let raw = outer.unpacked(UNPACKED_BYTES_MAX)?;
        outer.end()?;
        let mut cursor = Cursor::new(&raw);
        let mut heads = Vec::new();
        let mut series = entry.series.0;
        for _ in 0..cursor.count(2)? {
            series = series.checked_add(cursor.small()?).filter(|own| *own <= entry.series.1).ok_or("a series past the last")?;
            heads.push((series, cursor.small()? as usize));
        }
        let mut at = raw.len() - cursor.left();
        let mut chunks = Vec::with_capacity(heads.len());
        for (series, length) in heads {
            chunks.push((series, at..at + length));
            at += length;
        }
        if at != raw.len() {
            return Err(format!("{} bytes where {at} are expected", raw.len()));
        }
        Ok(Self { raw, chunks })
    }

    pub(crate) fn memory(&self) -> usize {
        weir_model::memory::allocation(self.raw.capacity())
            + weir_model::memory::allocation(self.chunks.capacity() * size_of::<(u32, Range<usize>)>())
    }

    /// The chunks of a series, in order.
    pub(crate) fn of(&self, series: u32) -> impl Iterator<Item = &[u8]> {
        let first = self.chunks.partition_point(|(own, _)| *own < series);
        self.chunks[first..].iter().take_while(move |(own, _)| *own == series).map(|(_, bytes)| &self.raw[bytes.clone()])
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.chunks.iter().map(|(series, bytes)| (*series, &self.raw[bytes.clone()]))
    }
}
