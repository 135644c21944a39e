//! Pins: hard links in the collector's own directory, by which a rotated file outlives its name until it is acknowledged.
//! Called by [`super::Chain`].

use std::path::PathBuf;
use std::{fs, io};

use xxhash_rust::xxh3::xxh3_64;

use super::Chain;
use crate::tail::discover::Candidate;
use crate::tail::identity::FileId;

impl Chain {
    pub(super) fn prefix(&self) -> String {
        format!("{:016x}.", xxh3_64(self.id.as_bytes()))
    }

    fn pin_path(&self, id: FileId) -> PathBuf {
        self.pins.join(format!("{}{:x}-{:x}", self.prefix(), id.inode, id.born))
    }

    pub(super) fn pinned(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = self.prefix();
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        Ok(fs::read_dir(&self.pins)?.flatten().map(|entry| entry.path()).filter(ours).collect())
    }

    /// On another file system a link is not possible: then the open file holds the bytes until we go down.
    pub(super) fn pin_if_rotated(&self, candidate: &Candidate, id: FileId, size: u64) {
        if candidate.path != self.spec.current && !candidate.gzip && size <= self.pin_bytes_max {
            let _ = fs::hard_link(&candidate.path, self.pin_path(id));
        }
    }

    pub(super) fn unpin(&self, id: FileId) {
        let _ = fs::remove_file(self.pin_path(id));
    }
}
