//! A file's epoch. As a rule the file's birth, which the same file has again after a lost checkpoint: then what is read
//! again is dropped as known. A file that was cut in place has begun anew under its old birth, which would make its lines look
//! old: it draws an epoch that is above all that were ever used here ([`crate::epoch`]).
//!
//! Where nothing is known of what was read before, a file may have been cut. Engines write the time of each line: where the
//! first one is as old as the file, it was not. Of all others the lines are taken as new: twice rather than never.
//! Called by [`super::LogFileSet`].

use std::io;
use std::os::unix::fs::FileExt;

use weir_model::time::UnixNanos;

use super::{LogFileSet, Waiting};
use crate::config::FileFormat;
use crate::tail::{cri, docker};

/// From a file's birth to its first line, where the engine makes it for that line or has its container start with it.
const FIRST_LINE_WITHIN: UnixNanos = 1_000_000_000;
/// Holds a first line as engines frame it (16 KiB of text, twice as long in JSON).
const FIRST_LINE_BYTES: usize = 48 << 10;

impl LogFileSet {
    /// Above that of the file before.
    pub(super) fn next_epoch(&self, waiting: &Waiting, now: UnixNanos) -> io::Result<u64> {
        let born = waiting.id.born;
        let least = self.epoch + 1;
        let is_unknown = self.epoch == 0 && born <= self.deps.unknown_before && !self.is_whole(waiting)?;
        if !waiting.truncated && born != 0 && !is_unknown {
            return Ok(born.max(least));
        }
        let least_now = i64::try_from(born).unwrap_or(0).max(now);
        Ok(self.deps.epochs.next(least_now).map_err(io::Error::other)?.max(least))
    }

    /// Whether a file holds its first line still.
    fn is_whole(&self, waiting: &Waiting) -> io::Result<bool> {
        if self.spec.format == FileFormat::Plain {
            return Ok(false);
        }
        let mut first = vec![0; FIRST_LINE_BYTES];
        let length = waiting.file.read_at(&mut first, 0)?;
        let line = first[..length].split(|byte| *byte == b'\n').next().unwrap_or_default();
        let part = if self.spec.format == FileFormat::Cri { cri::parse(line) } else { docker::parse(line) };
        let Ok(born) = UnixNanos::try_from(waiting.id.born) else { return Ok(false) };
        Ok(part.is_some_and(|part| part.timestamp <= born.saturating_add(FIRST_LINE_WITHIN)))
    }

    /// Whether its epoch is another one than the file's birth says: it must not be forgotten as long as the file may come
    /// back.
    pub(in crate::tail) fn is_renumbered(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.epoch != now.id.born)
    }
}
