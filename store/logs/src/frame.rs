//! What lies around a chunk's columns and bodies: checksum, lengths, zstd. Drawn in `docs/formats/logs_block.md`.

use weir_model::compression;

use super::schema::ZSTD_LEVEL;
use weir_blocks::StoreError;
use weir_blocks::limits::check_unpacked;
use weir_blocks::packed::unzstd;

const HEADER_BYTES: usize = 24;

/// Errors when a reader would refuse it.
pub(crate) fn encode(partition: u32, columns: &[u8], bodies: &[u8]) -> Result<Vec<u8>, StoreError> {
    for (what, length) in [("columns", columns.len()), ("bodies", bodies.len())] {
        check_unpacked(what, length).map_err(|error| StoreError::engine("encode a chunk", error))?;
    }
    let pack =
        |bytes: &[u8]| compression::compress(bytes, ZSTD_LEVEL).map_err(|error| StoreError::engine("compress a chunk", error));
    let (packed_columns, packed_bodies) = (pack(columns)?, pack(bodies)?);
    let mut out = Vec::with_capacity(HEADER_BYTES + packed_columns.len() + packed_bodies.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&partition.to_le_bytes());
    for length in [columns.len(), packed_columns.len(), bodies.len(), packed_bodies.len()] {
        out.extend_from_slice(&(length as u32).to_le_bytes());
    }
    out.extend_from_slice(&packed_columns);
    out.extend_from_slice(&packed_bodies);
    let crc = crc32c::crc32c(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// An encoded chunk whose checksum is right.
pub(crate) struct Frame<'a> {
    pub(crate) partition: u32,
    columns: &'a [u8],
    columns_length: usize,
    bodies: &'a [u8],
    bodies_length: usize,
}

impl<'a> Frame<'a> {
    /// Errors with a sentence when its checksum is wrong.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<Self, String> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or("shorter than its header")?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (stored, computed) = (number(0), crc32c::crc32c(&bytes[4..]));
        if stored != computed {
            return Err(format!("checksum {computed:08x}, stored {stored:08x}"));
        }
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

fn unpack(packed: &[u8], length: usize, what: &str) -> Result<Vec<u8>, String> {
    check_unpacked(what, length)?;
    let bytes = unzstd(packed, length).map_err(|error| format!("{what}: {error}"))?;
    if bytes.len() == length { Ok(bytes) } else { Err(format!("{what}: {} bytes of {length}", bytes.len())) }
}
