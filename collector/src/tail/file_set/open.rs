//! Opening a log: which files there are, with those that are pinned or were held since their birth, and which of them the
//! checkpoint means. Called by [`super::super::follow`].

use std::collections::VecDeque;
use std::io;

use super::held::Held;
use super::{FileSetDeps, LogFileSet, Loss, find_copy};
use crate::tail::checkpoint::Entry;
use crate::tail::discover::LogSpec;
use crate::tail::identity::Fingerprint;
use crate::tail::listing::{Found, list_stable};

impl LogFileSet {
    /// Finds the file that the checkpoint names, wherever it is now, and queues all later ones.
    /// `born` are files of it that were opened at their birth; their names may be gone by now.
    pub fn open(spec: LogSpec, entry: Option<Entry>, born: Vec<Found>, deps: FileSetDeps) -> io::Result<Self> {
        let held = Held::new(deps.held.clone());
        let mut file_set = Self {
            id: spec.id(),
            spec,
            deps,
            now: None,
            queue: VecDeque::new(),
            epoch: entry.as_ref().map_or(0, |entry| entry.epoch),
            cut: None,
            held,
            losses: Vec::new(),
        };
        let named = list_stable(&file_set.spec.current, &file_set.spec.directories, &file_set.deps.refusals)?;
        let mut files = with_born(file_set.with_pinned(named)?, born)?;
        if let Some(entry) = entry {
            file_set.resume(&entry, &mut files)?;
        }
        file_set.enqueue(files)?;
        Ok(file_set)
    }

    /// Adds the pinned files whose names are gone: in the place of their compressed copies, else before everything else,
    /// because rotation removes the oldest first.
    fn with_pinned(&self, mut files: Vec<Found>) -> io::Result<Vec<Found>> {
        let mut pinned = Vec::new();
        for path in self.pinned()? {
            let file = Found::open(path, false, std::slice::from_ref(&self.deps.pins), &self.deps.refusals)?;
            pinned.extend(file.filter(|file| files.iter().all(|other| other.id != file.id)));
        }
        pinned.sort_by_key(|file| file.id.born);
        let mut oldest = Vec::new();
        for pin in pinned {
            let fingerprint = Fingerprint::of(&pin.file)?;
            match find_copy(&files, &fingerprint, |file| file.gzip)? {
                Some(at) => files[at] = pin,
                None => oldest.push(pin),
            }
        }
        oldest.append(&mut files);
        Ok(oldest)
    }

    /// Takes the file that the checkpoint names, and everything before it, out of `files`.
    fn resume(&mut self, entry: &Entry, files: &mut Vec<Found>) -> io::Result<()> {
        let whole = |file: &Found| file.gzip || file.size >= entry.restart;
        let mut at = None;
        for (i, file) in files.iter().enumerate() {
            if file.id == entry.id && whole(file) && file.begins_with(&entry.fingerprint)? {
                at = Some(i);
            }
        }
        if at.is_none() {
            at = find_copy(files, &entry.fingerprint, whole)?;
        }
        let Some(at) = at else {
            // Everything that is left is newer: rotation removes the oldest first. How much is gone cannot be known.
            self.losses.push(Loss { reason: "generation_gone", bytes: 0 });
            self.cut = Some(entry.id);
            return Ok(());
        };
        let mut rest = files.split_off(at);
        files.iter().for_each(|older| self.unpin(older.id));
        let file = rest.remove(0);
        self.cut = Some(entry.id).filter(|id| file.id != *id);
        *files = rest;
        self.pin_if_rotated(&file);
        let file = self.waiting(file)?;
        let mut reading = self.rotated_file(file, entry.epoch, entry.snapshot())?;
        reading.assembler.carry(self.kept_carried(entry)?);
        self.now = Some(reading);
        Ok(())
    }
}

/// Adds files that were opened at their birth and have no name any more, in the order of birth.
fn with_born(mut files: Vec<Found>, born: Vec<Found>) -> io::Result<Vec<Found>> {
    for file in born {
        let fingerprint = Fingerprint::of(&file.file)?;
        if files.iter().any(|other| other.id == file.id) || find_copy(&files, &fingerprint, |other| other.gzip)?.is_some() {
            continue;
        }
        let later = files.iter().position(|other| other.id.born > file.id.born);
        files.insert(later.unwrap_or(files.len()), file);
    }
    Ok(files)
}
