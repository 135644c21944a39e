//! One chain's generations, read in order. Sync: [`super::follow`] runs it off the async threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use weir_model::time::UnixNanos;

use super::admit::Refusals;
use super::assemble::{Assembler, Chunk, Oddities, Snapshot};
use super::checkpoint::Entry;
use super::discover::ChainSpec;
use super::identity::{self, FileId, Fingerprint};
use super::look::{Found, look};
use crate::epoch::Epochs;

mod carry;
mod epoch;
mod generation;
mod open;
mod pins;

use generation::{BLOCK_BYTES, grace};
use pins::{Held, Unpacked};

/// A file opened and not yet begun.
struct Waiting {
    file: File,
    id: FileId,
    size: u64,
    /// Bytes of a compressed file that were not unpacked.
    cut: u64,
    /// The same file as before, cut to nothing: its birth says nothing of its generation.
    truncated: bool,
    /// The file before it was given up, or is not known.
    after_gap: bool,
}

/// The file being read.
struct Generation {
    file: File,
    id: FileId,
    epoch: u64,
    fingerprint: Fingerprint,
    assembler: Assembler,
    block_bytes: usize,
    /// Bytes of a compressed file that were not unpacked; 0 once they are declared.
    cut: u64,
    /// Since when nothing new has come, Unix nanoseconds; 0 while something comes.
    idle_since: UnixNanos,
}

/// What one step brought.
pub(super) enum Step {
    /// Lines, and from where to go on once they are acknowledged.
    Lines { chunks: Vec<Chunk>, snapshot: Snapshot, fingerprint: Fingerprint, bytes: u64 },
    /// Nothing new.
    Idle,
    /// The generation is over: these are its last lines. Then [`Chain::begin_next`], once all is acknowledged.
    Ended { chunks: Vec<Chunk>, snapshot: Snapshot, fingerprint: Fingerprint },
}

/// Bytes that were never read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub reason: &'static str,
    pub bytes: u64,
}

/// What every chain is given.
#[derive(Clone)]
pub(super) struct ChainDeps {
    /// Where rotated files are pinned and compressed ones unpacked.
    pub pins: PathBuf,
    pub pin_bytes_max: u64,
    /// Bytes that all chains hold.
    pub held: Gauge,
    pub refusals: Arc<Refusals>,
    pub epochs: Arc<Epochs>,
    /// When nothing is known of what was read before: files born by then, Unix nanoseconds, may have been read, and cut
    /// since. 0 when there is a checkpoint.
    pub unknown_before: u64,
}

pub(super) struct Chain {
    spec: ChainSpec,
    id: String,
    deps: ChainDeps,
    now: Option<Generation>,
    queue: VecDeque<Waiting>,
    epoch: u64,
    /// The file that was the checkpoint's generation and has begun anew since.
    cut: Option<FileId>,
    held: Held,
    pub losses: Vec<Loss>,
}

impl Chain {
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

    fn generation(&self, waiting: Waiting, epoch: u64, from: Snapshot) -> io::Result<Generation> {
        let fingerprint = Fingerprint::of(&waiting.file)?;
        let assembler = Assembler::new(self.spec.format, self.spec.stream_labels(), from);
        let (file, id, cut) = (waiting.file, waiting.id, waiting.cut);
        Ok(Generation { file, id, epoch, fingerprint, assembler, block_bytes: BLOCK_BYTES, cut, idle_since: 0 })
    }

    /// Begins the next generation, at `from` the end when told so; its entry must be durable before its lines are
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
        let mut generation = self.generation(waiting, self.epoch, from)?;
        self.keep_carried(self.epoch, &carried)?;
        generation.assembler.carry(carried);
        let entry = Entry {
            chain: self.id.clone(),
            epoch: generation.epoch,
            id: generation.id,
            fingerprint: generation.fingerprint,
            restart: from.restart,
            last: from.last,
        };
        self.now = Some(generation);
        self.count_held();
        Ok(Some(entry))
    }

    /// Leaves out what was there before us, but for the current file.
    pub fn keep_only_current(&mut self) {
        self.queue.drain(..self.queue.len().saturating_sub(1));
        self.count_held();
    }

    /// Epoch of what is being read; `None` before [`Chain::begin_next`].
    pub fn epoch(&self) -> Option<u64> {
        self.now.as_ref().map(|generation| generation.epoch)
    }

    /// Whether a later generation waits.
    pub fn has_next(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Labels may have changed.
    pub fn update(&mut self, spec: ChainSpec) {
        self.spec = spec;
        let labels = self.spec.stream_labels();
        if let Some(generation) = &mut self.now {
            generation.assembler.relabel(&labels);
        }
    }

    /// Newest generation known.
    fn newest(&self) -> Option<FileId> {
        self.queue.back().map(|waiting| waiting.id).or(self.now.as_ref().map(|now| now.id))
    }

    /// Whether the current path names another file than the newest generation known. One look at one path.
    fn has_rotated(&self) -> bool {
        match identity::of_path(&self.spec.current) {
            Ok(facts) => self.newest() != Some(facts.id),
            Err(_) => false,
        }
    }

    /// Queues what has come since the newest generation known.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let mut files = look(&self.spec.current, &self.spec.directories, &self.deps.refusals)?;
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

    /// Where the newest generation known lies in `files`, itself or a compressed copy of it; else the one before it.
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

    /// Beyond the budget the oldest waiting generations are given up, and said so.
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
        let Some(generation) = &mut self.now else { return Ok(Step::Idle) };
        if !whole {
            generation.assembler.close_all();
            return Ok(generation.ended());
        }
        let bytes = generation.read(now)?;
        if bytes > 0 {
            generation.idle_since = 0;
            let chunks = generation.assembler.take();
            let (snapshot, fingerprint) = (generation.assembler.snapshot(), generation.fingerprint);
            return Ok(Step::Lines { chunks, snapshot, fingerprint, bytes });
        }
        if generation.idle_since == 0 {
            generation.idle_since = now;
        }
        if !rotated || now - generation.idle_since < grace {
            return Ok(Step::Idle);
        }
        generation.finish(now, goes_on)?;
        Ok(generation.ended())
    }

    /// The chain's files have gone: what is left is read to its end.
    pub fn finish(&mut self, now: UnixNanos) -> io::Result<Step> {
        let Some(generation) = &mut self.now else { return Ok(Step::Idle) };
        generation.finish(now, false)?;
        Ok(generation.ended())
    }

    /// Whether there may be something to read: cheap, for every poll.
    pub fn has_news(&self) -> bool {
        let Some(generation) = &self.now else { return self.has_next() || self.has_rotated() };
        let size = identity::of_file(&generation.file).map_or(0, |facts| facts.size);
        size != generation.assembler.position() || self.has_next() || self.has_rotated()
    }

    pub fn take_oddities(&mut self) -> Oddities {
        self.now.as_mut().map(|generation| std::mem::take(&mut generation.assembler.oddities)).unwrap_or_default()
    }

    /// The same file is shorter than what was read of it, or begins otherwise: it was copied away and cut. The copy is
    /// read to its end first, if it can be found; `false` when it cannot, and the generation is over.
    fn survives_truncation(&mut self) -> io::Result<bool> {
        let Some(generation) = &mut self.now else { return Ok(true) };
        let facts = identity::of_file(&generation.file)?;
        if facts.size >= generation.assembler.position() && generation.fingerprint.matches(&generation.file)? {
            return Ok(true);
        }
        let cut = generation.file.try_clone()?;
        let cut = Waiting { file: cut, id: facts.id, size: facts.size, cut: 0, truncated: true, after_gap: false };
        self.queue.push_front(cut);
        let copy = self.copy_of_cut()?;
        if let (Some(generation), Some(copy)) = (&mut self.now, copy) {
            (generation.file, generation.id, generation.cut) = (copy.file, copy.id, copy.cut);
            return Ok(true);
        }
        self.losses.push(Loss { reason: "truncated", bytes: 0 });
        Ok(false)
    }

    fn copy_of_cut(&self) -> io::Result<Option<Waiting>> {
        let Some(generation) = &self.now else { return Ok(None) };
        let position = generation.assembler.position();
        let whole = |file: &Found| file.id != generation.id && (file.gzip || file.size >= position);
        let mut files = look(&self.spec.current, &self.spec.directories, &self.deps.refusals)?;
        let Some(at) = find_copy(&files, &generation.fingerprint, whole)? else { return Ok(None) };
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
