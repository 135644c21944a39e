//! The files of one log, read in order. Sync: [`super::follow`] runs it off the async threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use weir_model::time::UnixNanos;

use super::admit::Refusals;
use super::assemble::{Assembler, ParseStats, Snapshot};
use super::checkpoint::Entry;
use super::discover::LogSpec;
use super::identity::{self, FileId, Fingerprint};
use super::listing::{Found, list_stable};
use crate::epoch::Epochs;

mod carry;
mod epoch;
mod held;
mod open;
mod pins;
mod rotated_file;

#[cfg(test)]
pub(super) use carry::decode as decode_carried;
use held::{Held, Unpacked};
pub(super) use rotated_file::Step;
use rotated_file::{BLOCK_BYTES, RotatedFile, grace};

/// A file opened and not yet begun.
struct Waiting {
    file: File,
    id: FileId,
    size: u64,
    /// Bytes of a compressed file that were not unpacked.
    cut: u64,
    /// The same file as before, cut to nothing: its birth is not that of its lines.
    truncated: bool,
    /// The file before it was given up, or is not known.
    after_gap: bool,
}

/// Bytes that were never read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub reason: &'static str,
    pub bytes: u64,
}

/// What every log is given.
#[derive(Clone)]
pub(super) struct FileSetDeps {
    /// Where rotated files are pinned and compressed ones unpacked.
    pub pins: PathBuf,
    pub pin_bytes_max: u64,
    /// Bytes that all logs hold.
    pub held: Gauge,
    pub refusals: Arc<Refusals>,
    pub epochs: Arc<Epochs>,
    /// When nothing is known of what was read before: files born by then, Unix nanoseconds, may have been read, and cut
    /// since. 0 when there is a checkpoint.
    pub unknown_before: u64,
}

pub(super) struct LogFileSet {
    spec: LogSpec,
    id: String,
    deps: FileSetDeps,
    now: Option<RotatedFile>,
    queue: VecDeque<Waiting>,
    epoch: u64,
    /// The file that the checkpoint names, when it has begun anew since.
    cut: Option<FileId>,
    held: Held,
    pub losses: Vec<Loss>,
}

impl LogFileSet {
    /// Ready to be read, unpacked if need be.
    fn waiting(&self, found: Found) -> io::Result<Waiting> {
        let (id, truncated) = (found.id, self.cut == Some(found.id));
        if found.gzip {
            let unpacked = self.unpack(&found)?;
            let Unpacked { file, size, cut } = unpacked;
            return Ok(Waiting { file, id, size, cut, truncated, after_gap: false });
        }
        Ok(Waiting { file: found.file, id, size: found.size, cut: 0, truncated, after_gap: false })
    }

    /// These come next.
    fn enqueue(&mut self, files: Vec<Found>) -> io::Result<()> {
        for file in files {
            self.pin_if_rotated(&file);
            let waiting = self.waiting(file)?;
            self.queue.push_back(waiting);
        }
        self.count_held();
        Ok(())
    }

    fn rotated_file(&self, waiting: Waiting, epoch: u64, from: Snapshot) -> io::Result<RotatedFile> {
        let fingerprint = Fingerprint::of(&waiting.file)?;
        let assembler = Assembler::new(self.spec.format, self.spec.stream_labels(), from);
        let (file, id, cut) = (waiting.file, waiting.id, waiting.cut);
        Ok(RotatedFile { file, id, epoch, fingerprint, assembler, block_bytes: BLOCK_BYTES, cut, idle_since: 0 })
    }

    /// Begins the next file, at `from` the end when told so; its entry must be durable before its lines are
    /// shipped. `None` when there is none.
    pub fn begin_next(&mut self, now: UnixNanos, at_end: bool) -> io::Result<Option<Entry>> {
        let mut carried = Default::default();
        if let Some(mut over) = self.now.take() {
            carried = over.assembler.carried();
            self.unpin(over.id);
            if over.cut > 0 {
                self.losses.push(Loss { reason: "unpack_budget", bytes: over.cut });
            }
        }
        let Some(waiting) = self.queue.pop_front() else {
            self.drop_carried()?;
            self.count_held();
            return Ok(None);
        };
        self.epoch = self.next_epoch(&waiting, now)?;
        let restart = if at_end { waiting.size } else { 0 };
        let from = Snapshot { restart, last: [restart; super::STREAMS] };
        let mut reading = self.rotated_file(waiting, self.epoch, from)?;
        self.keep_carried(self.epoch, &carried)?;
        reading.assembler.carry(carried);
        let entry = Entry {
            log: self.id.clone(),
            epoch: reading.epoch,
            id: reading.id,
            fingerprint: reading.fingerprint,
            restart: from.restart,
            last: from.last,
        };
        self.now = Some(reading);
        self.count_held();
        Ok(Some(entry))
    }

    /// Leaves out what was there before us, but for the current file.
    pub fn keep_only_current(&mut self) {
        self.queue.drain(..self.queue.len().saturating_sub(1));
        self.count_held();
    }

    /// Epoch of what is being read; `None` before [`LogFileSet::begin_next`].
    pub fn epoch(&self) -> Option<u64> {
        self.now.as_ref().map(|reading| reading.epoch)
    }

    /// Whether a later file waits.
    pub fn has_next(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Labels may have changed.
    pub fn update(&mut self, spec: LogSpec) {
        self.spec = spec;
        let labels = self.spec.stream_labels();
        if let Some(reading) = &mut self.now {
            reading.assembler.relabel(&labels);
        }
    }

    /// The newest file known.
    fn newest(&self) -> Option<FileId> {
        self.queue.back().map(|waiting| waiting.id).or(self.now.as_ref().map(|now| now.id))
    }

    /// Whether the current path names another file than the newest one known. One system call.
    fn has_rotated(&self) -> bool {
        match identity::of_path(&self.spec.current) {
            Ok(stat) => self.newest() != Some(stat.id),
            Err(_) => false,
        }
    }

    /// Queues what has come since the newest file known.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let mut files = list_stable(&self.spec.current, &self.spec.directories, &self.deps.refusals)?;
        let known = |id: FileId| self.queue.iter().any(|waiting| waiting.id == id);
        let reading = self.now.as_ref().map(|now| now.id);
        files.iter().filter(|file| known(file.id) || Some(file.id) == reading).for_each(|file| self.pin_if_rotated(file));
        let newest = self.newest_in(&files)?;
        // Where the newest one known has gone, nobody knows what lay between.
        let is_gap = newest.is_none();
        if let Some(at) = newest {
            files.drain(..=at);
        } else if let Some(now) = &self.now {
            // Its name is gone, and those of all before it. What is left is newer, unless someone removed the newest alone:
            // then older ones are left, which were read.
            let current = self.spec.current.as_path();
            files.retain(|file| !file.gzip && (file.id.born > now.id.born || file.id.born == 0 && file.path == current));
        }
        files.retain(|file| !known(file.id) && Some(file.id) != reading);
        let before = self.queue.len();
        self.enqueue(files)?;
        if let Some(first) = self.queue.get_mut(before) {
            first.after_gap |= is_gap;
        }
        self.hold_to_budget();
        Ok(())
    }

    /// Where the newest file known lies in `files`, itself or a compressed copy of it; else the one before it.
    fn newest_in(&self, files: &[Found]) -> io::Result<Option<usize>> {
        let waiting = self.queue.iter().rev().map(|waiting| (waiting.id, &waiting.file));
        for (id, file) in waiting.chain(self.now.as_ref().map(|now| (now.id, &now.file))) {
            if let Some(at) = files.iter().rposition(|found| found.id == id) {
                return Ok(Some(at));
            }
            if let Some(at) = find_copy(files, &Fingerprint::of(file)?, |found| found.gzip)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Beyond the budget the oldest waiting files are given up, and said so.
    fn hold_to_budget(&mut self) {
        while self.queue.len() > 1 && self.queue.iter().map(|waiting| waiting.size).sum::<u64>() > self.deps.pin_bytes_max {
            if let Some(lost) = self.queue.pop_front() {
                self.losses.push(Loss { reason: "pin_budget", bytes: lost.size + lost.cut });
                self.unpin(lost.id);
            }
            if let Some(next) = self.queue.front_mut() {
                next.after_gap = true;
            }
        }
        self.count_held();
    }

    /// Reads on.
    pub fn step(&mut self, now: UnixNanos) -> io::Result<Step> {
        if self.has_rotated() {
            self.follow_rotation()?;
        }
        let whole = self.survives_truncation()?;
        let (grace, rotated) = (grace(self.spec.format), self.has_next());
        let goes_on = self.queue.front().is_some_and(|next| !next.after_gap);
        let Some(reading) = &mut self.now else { return Ok(Step::Idle) };
        if !whole {
            reading.assembler.close_all();
            return Ok(reading.ended());
        }
        let bytes = reading.read(now)?;
        if bytes > 0 {
            reading.idle_since = 0;
            let chunks = reading.assembler.take();
            let (snapshot, fingerprint) = (reading.assembler.snapshot(), reading.fingerprint);
            return Ok(Step::Lines { chunks, snapshot, fingerprint, bytes });
        }
        if reading.idle_since == 0 {
            reading.idle_since = now;
        }
        if !rotated || now - reading.idle_since < grace {
            return Ok(Step::Idle);
        }
        reading.finish(now, goes_on)?;
        Ok(reading.ended())
    }

    /// The log's files have gone: what is left is read to its end.
    pub fn finish(&mut self, now: UnixNanos) -> io::Result<Step> {
        let Some(reading) = &mut self.now else { return Ok(Step::Idle) };
        reading.finish(now, false)?;
        Ok(reading.ended())
    }

    /// Whether there may be something to read: cheap, for every poll.
    pub fn has_unread(&self) -> bool {
        let Some(reading) = &self.now else { return self.has_next() || self.has_rotated() };
        let size = identity::of_file(&reading.file).map_or(0, |stat| stat.size);
        size != reading.assembler.position() || self.has_next() || self.has_rotated()
    }

    pub fn take_stats(&mut self) -> ParseStats {
        self.now.as_mut().map(|reading| std::mem::take(&mut reading.assembler.stats)).unwrap_or_default()
    }

    /// The same file is shorter than what was read of it, or begins otherwise: it was copied away and cut. The copy is
    /// read to its end first, if it can be found; `false` when it cannot, and what was read of the file is all of it.
    fn survives_truncation(&mut self) -> io::Result<bool> {
        let Some(reading) = &mut self.now else { return Ok(true) };
        let stat = identity::of_file(&reading.file)?;
        if stat.size >= reading.assembler.position() && reading.fingerprint.matches(&reading.file)? {
            return Ok(true);
        }
        let cut = reading.file.try_clone()?;
        let cut = Waiting { file: cut, id: stat.id, size: stat.size, cut: 0, truncated: true, after_gap: false };
        self.queue.push_front(cut);
        let copy = self.copy_of_cut()?;
        if let (Some(reading), Some(copy)) = (&mut self.now, copy) {
            (reading.file, reading.id, reading.cut) = (copy.file, copy.id, copy.cut);
            return Ok(true);
        }
        self.losses.push(Loss { reason: "truncated", bytes: 0 });
        Ok(false)
    }

    fn copy_of_cut(&self) -> io::Result<Option<Waiting>> {
        let Some(reading) = &self.now else { return Ok(None) };
        let position = reading.assembler.position();
        let whole = |file: &Found| file.id != reading.id && (file.gzip || file.size >= position);
        let mut files = list_stable(&self.spec.current, &self.spec.directories, &self.deps.refusals)?;
        let Some(at) = find_copy(&files, &reading.fingerprint, whole)? else { return Ok(None) };
        let copy = self.waiting(files.swap_remove(at))?;
        Ok(Some(copy).filter(|copy| copy.size >= position))
    }
}

/// The newest file that begins with these bytes. Of none, every file would.
fn find_copy(files: &[Found], of: &Fingerprint, eligible: impl Fn(&Found) -> bool) -> io::Result<Option<usize>> {
    if of.bytes == 0 {
        return Ok(None);
    }
    for (at, file) in files.iter().enumerate().rev() {
        if eligible(file) && file.begins_with(of)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
