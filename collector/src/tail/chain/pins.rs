//! Pins: hard links in the collector's own directory, by which a rotated file outlives its name until it is acknowledged.
//! And what rotated files hold otherwise: unnamed copies of compressed ones, and how many bytes all of it is.
//! Called by [`super::Chain`].

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use prometheus_client::metrics::gauge::Gauge;
use rustix::fs::{AtFlags, CWD, linkat};
use xxhash_rust::xxh3::xxh3_64;

use super::Chain;
use crate::private;
use crate::tail::identity::FileId;
use crate::tail::look::Found;

/// Of a compressed file that is too large, so many times the budget is unpacked to count what is lost; beyond it the
/// count is a lower bound. A file of a few MB can unpack to TB.
const COUNTED_TIMES: u64 = 16;

/// A compressed file's contents in an unnamed file.
pub(super) struct Unpacked {
    pub file: File,
    pub size: u64,
    /// Bytes that were not kept.
    pub cut: u64,
}

/// A chain's share of the gauge of held bytes; given back when it is dropped.
pub(super) struct Held {
    gauge: Gauge,
    bytes: i64,
}

impl Held {
    pub fn new(gauge: Gauge) -> Self {
        Self { gauge, bytes: 0 }
    }

    fn set(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(bytes - self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Chain {
    /// Everything that waits, and what is read now if something waits behind it, but for the file that is still written.
    pub(super) fn count_held(&mut self) {
        let reading = self.now.as_ref().filter(|_| !self.queue.is_empty()).and_then(|now| now.file.metadata().ok());
        let waiting = self.queue.iter().take(self.queue.len().saturating_sub(1)).map(|waiting| waiting.size);
        self.held.set(waiting.sum::<u64>() + reading.map_or(0, |facts| facts.len()));
    }

    /// At most `pin_bytes_max` bytes are unpacked; the rest is counted.
    pub(super) fn unpack(&self, found: &Found) -> io::Result<Unpacked> {
        (&found.file).rewind()?;
        let unpacked = unpack(&found.file, &self.deps.pins.join(format!("{}unpacked", self.prefix())), self.deps.pin_bytes_max)?;
        if unpacked.cut > 0 {
            let file = found.path.display().to_string();
            tracing::warn!(file, bytes = unpacked.cut, "a compressed log file is larger than pin_max; its end is not read");
        }
        Ok(unpacked)
    }

    pub(super) fn prefix(&self) -> String {
        format!("{:016x}.", xxh3_64(self.id.as_bytes()))
    }

    fn pin_path(&self, id: FileId) -> PathBuf {
        self.deps.pins.join(format!("{}{:x}-{:x}", self.prefix(), id.inode, id.born))
    }

    pub(super) fn pinned(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = self.prefix();
        // What is carried from file to file lies there, too.
        let is_id = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let ours =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().strip_prefix(&prefix).is_some_and(is_id));
        Ok(fs::read_dir(&self.deps.pins)?.flatten().map(|entry| entry.path()).filter(ours).collect())
    }

    /// On another file system a link is not possible: then the open file holds the bytes until we go down.
    pub(super) fn pin_if_rotated(&self, found: &Found) {
        if found.path != self.spec.current && !found.gzip && found.size <= self.deps.pin_bytes_max {
            // By the open file: its path may name another one by now.
            let file = format!("/proc/self/fd/{}", found.file.as_raw_fd());
            let _ = linkat(CWD, file, CWD, self.pin_path(found.id), AtFlags::SYMLINK_FOLLOW);
        }
    }

    pub(super) fn unpin(&self, id: FileId) {
        let _ = fs::remove_file(self.pin_path(id));
    }
}

fn unpack(file: &File, path: &Path, bytes_max: u64) -> io::Result<Unpacked> {
    let mut out = private::create(path)?;
    fs::remove_file(path)?;
    let mut contents = flate2::read::MultiGzDecoder::new(file);
    let size = io::copy(&mut contents.by_ref().take(bytes_max), &mut out)?;
    let cut = io::copy(&mut contents.take(bytes_max.saturating_mul(COUNTED_TIMES)), &mut io::sink())?;
    Ok(Unpacked { file: out, size, cut })
}
