//! The released offset of a partition, kept in a small file beside its segments.

use std::fs;
use std::io;
use std::path::Path;

use super::storage::disk_error;
use crate::BusError;

/// The offset, then its checksum.
pub(super) fn released_bytes(offset: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes[8..].copy_from_slice(&crc32c::crc32c(&offset.to_le_bytes()).to_le_bytes());
    bytes
}

/// 0 when nothing was ever released. A damaged file errors: guessing could give out offsets twice.
pub(super) fn read_released(path: &Path) -> Result<u64, BusError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(disk_error("read", path)(error)),
    };
    let offset = bytes.first_chunk::<8>().map_or(0, |offset| u64::from_le_bytes(*offset));
    if bytes != released_bytes(offset) {
        return Err(disk_error("read", path)(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong")));
    }
    Ok(offset)
}
