//! What lies around a chunk's columns: checksum, lengths, zstd. Drawn in `docs/formats/logs_block.md`.
//!
//! [`Columns`] writes version 2, [`Frame`] reads it; [`FrameOne`] reads version 1.

use std::ops::Range;

use bytes::Bytes;
use weir_blocks::StoreError;
use weir_blocks::columns::{Reader, put_varint};
use weir_blocks::limits::check_unpacked;
use weir_blocks::packed::unzstd;
use weir_model::compression;

use super::schema::ZSTD_LEVEL;

/// The columns of a chunk, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Places,
    Times,
    TimeBits,
    Contexts,
    ContextIds,
    Details,
    Templates,
    Texts,
    Words,
    Codes,
    Numbers,
    Ids,
    Bodies,
}

/// By their numbers, with their names in messages.
pub(crate) const COLUMNS: [(Column, &str); 13] = [
    (Column::Places, "places"),
    (Column::Times, "times"),
    (Column::TimeBits, "bits of times"),
    (Column::Contexts, "contexts"),
    (Column::ContextIds, "ids of contexts"),
    (Column::Details, "details"),
    (Column::Templates, "templates"),
    (Column::Texts, "texts"),
    (Column::Words, "words"),
    (Column::Codes, "codes"),
    (Column::Numbers, "numbers"),
    (Column::Ids, "ids"),
    (Column::Bodies, "bodies"),
];

/// Checksum, partition, lines.
const HEADER_BYTES: usize = 12;

/// A chunk's columns in the making; one that is not set is empty.
pub(crate) struct Columns {
    partition: u32,
    lines: u32,
    columns: [Vec<u8>; COLUMNS.len()],
}

impl Columns {
    pub(crate) fn new(partition: u32, lines: u32) -> Self {
        Self { partition, lines, columns: Default::default() }
    }

    pub(crate) fn set(&mut self, column: Column, bytes: Vec<u8>) {
        self.columns[column as usize] = bytes;
    }

    /// The chunk. Errors when a reader would refuse it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.lines.to_le_bytes());
        let mut stored = Vec::new();
        for (bytes, (_, name)) in self.columns.iter().zip(COLUMNS) {
            check_unpacked(name, bytes.len()).map_err(|error| StoreError::engine("encode a chunk", error))?;
            let start = stored.len();
            pack(bytes, &mut stored).map_err(|error| StoreError::engine("compress a chunk", error))?;
            put_varint(&mut out, bytes.len() as u64);
            put_varint(&mut out, (stored.len() - start) as u64);
        }
        out.extend_from_slice(&stored);
        let crc = crc32c::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }
}

/// Appends bytes, compressed when that helps.
fn pack(bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let start = out.len();
    if !bytes.is_empty() {
        compression::compress_to(bytes, ZSTD_LEVEL, out)?;
    }
    if out.len() - start >= bytes.len() {
        out.truncate(start);
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// An encoded chunk whose checksum is right. Nothing of it is unpacked.
pub(crate) struct Frame {
    pub(crate) partition: u32,
    pub(crate) lines: usize,
    bytes: Bytes,
    /// Of each column its length, and where it is stored.
    columns: [(usize, Range<usize>); COLUMNS.len()],
}

impl Frame {
    /// Errors with a sentence when its checksum is wrong.
    pub(crate) fn split(bytes: Bytes) -> Result<Self, String> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or("shorter than its header")?;
        check_crc(&bytes)?;
        let mut reader = Reader::new(rest);
        let (mut at, mut columns) = (0, <[(usize, Range<usize>); COLUMNS.len()]>::default());
        for ((length, stored), (_, name)) in columns.iter_mut().zip(COLUMNS) {
            *length = usize::try_from(reader.varint(name)?).unwrap_or(usize::MAX);
            check_unpacked(name, *length)?;
            let end = at + reader.count(name, 1)?;
            *stored = at..end;
            at = end;
        }
        let start = bytes.len() - reader.left();
        if at != reader.left() {
            return Err(format!("{} bytes of columns, {at} were expected", reader.left()));
        }
        columns.iter_mut().for_each(|(_, stored)| *stored = start + stored.start..start + stored.end);
        Ok(Self { partition: u32_at(header, 4), lines: u32_at(header, 8) as usize, bytes, columns })
    }

    /// Unpacks a column.
    pub(crate) fn column(&self, column: Column) -> Result<Vec<u8>, String> {
        let (length, stored) = &self.columns[column as usize];
        let stored = &self.bytes[stored.clone()];
        if stored.len() == *length { Ok(stored.to_vec()) } else { unpack(stored, *length, COLUMNS[column as usize].1) }
    }

    /// The pack as it is stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length, and as stored.
    pub(crate) fn column_bytes(&self, column: Column) -> (usize, usize) {
        let (length, stored) = &self.columns[column as usize];
        (*length, stored.len())
    }
}

const HEADER_ONE_BYTES: usize = 24;

/// An encoded chunk of version 1 whose checksum is right.
pub(crate) struct FrameOne<'a> {
    pub(crate) partition: u32,
    columns: &'a [u8],
    columns_length: usize,
    bodies: &'a [u8],
    bodies_length: usize,
}

impl<'a> FrameOne<'a> {
    /// Errors with a sentence when its checksum is wrong.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Self, String> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_ONE_BYTES>().ok_or("shorter than its header")?;
        let number = |at: usize| u32_at(header, at);
        check_crc(bytes)?;
        let (columns, bodies) = rest.split_at_checked(number(12) as usize).ok_or("its columns end early")?;
        if bodies.len() != number(20) as usize {
            return Err(format!("{} bytes of bodies, {} were expected", bodies.len(), number(20)));
        }
        let (columns_length, bodies_length) = (number(8) as usize, number(16) as usize);
        Ok(Self { partition: number(4), columns, columns_length, bodies, bodies_length })
    }

    /// Unpacks the columns.
    pub(crate) fn columns(&self) -> Result<Vec<u8>, String> {
        unpack(self.columns, self.columns_length, "columns")
    }

    /// Unpacks the bodies.
    pub(crate) fn bodies(&self) -> Result<Vec<u8>, String> {
        unpack(self.bodies, self.bodies_length, "bodies")
    }
}

fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// The first four bytes are the checksum of the others.
fn check_crc(bytes: &[u8]) -> Result<(), String> {
    let (stored, computed) = (u32_at(bytes, 0), crc32c::crc32c(&bytes[4..]));
    if stored == computed { Ok(()) } else { Err(format!("checksum {computed:08x}, stored {stored:08x}")) }
}

fn unpack(packed: &[u8], length: usize, what: &str) -> Result<Vec<u8>, String> {
    check_unpacked(what, length)?;
    let bytes = unzstd(packed, length).map_err(|error| format!("{what}: {error}"))?;
    if bytes.len() == length { Ok(bytes) } else { Err(format!("{what}: {} bytes of {length}", bytes.len())) }
}
