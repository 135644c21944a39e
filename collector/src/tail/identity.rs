//! Which file is which. A path says nothing (rotation), an inode number little (reuse); inode and birth time together name
//! a file for as long as it exists, and a fingerprint of its first bytes recognises a copy or a compressed copy of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Names a file on its file system. The device number is left out: it changes between boots, and a log lies in one directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct FileId {
    /// Inode number.
    pub inode: u64,
    /// When the inode was made, Unix nanoseconds; 0 where the file system does not say.
    pub born: u64,
}

/// What the kernel says of a file; the size in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStat {
    pub id: FileId,
    pub size: u64,
}

/// Of what a path names now; symbolic links are followed.
pub(crate) fn of_path(path: &Path) -> io::Result<FileStat> {
    Ok(stat_of(&statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
}

/// Of an open file, or of one that was only resolved.
pub(crate) fn of_file(file: impl AsFd) -> io::Result<FileStat> {
    Ok(stat_of(&statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
}

fn stat_of(stat: &Statx) -> FileStat {
    let known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = if known { stat.stx_btime.tv_sec.unsigned_abs() * 1_000_000_000 + u64::from(stat.stx_btime.tv_nsec) } else { 0 };
    FileStat { id: FileId { inode: stat.stx_ino, born }, size: stat.stx_size }
}

/// A log's first line holds a time to the nanosecond: this many bytes of two files are never the same.
const FINGERPRINT_BYTES: usize = 256;

/// Of the first bytes of a file, as many as there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// How many bytes, at most 256.
    pub bytes: u16,
    /// Their xxh3.
    pub hash: u64,
}

impl Fingerprint {
    /// Of what the file holds now.
    pub fn of(file: &File) -> io::Result<Self> {
        Self::of_first(file, FINGERPRINT_BYTES)
    }

    /// Whether it covers as many bytes as it ever will.
    pub fn is_full(&self) -> bool {
        usize::from(self.bytes) == FINGERPRINT_BYTES
    }

    /// Whether the file begins with the same bytes. A fingerprint of nothing matches everything.
    pub fn matches(&self, file: &File) -> io::Result<bool> {
        Ok(Self::of_first(file, usize::from(self.bytes))? == *self)
    }

    fn of_first(file: &File, bytes: usize) -> io::Result<Self> {
        let mut buffer = [0; FINGERPRINT_BYTES];
        let wanted = &mut buffer[..bytes.min(FINGERPRINT_BYTES)];
        let mut read = 0;
        while read < wanted.len() {
            match file.read_at(&mut wanted[read..], read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        Ok(Self::of_bytes(&buffer[..read]))
    }

    /// Of bytes that were read already, at most as many as a fingerprint covers.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u16, hash: xxh3_64(bytes) }
    }
}
