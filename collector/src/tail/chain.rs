//! One chain's generations, read in order. Sync: [`super::follow`] runs it off the async threads.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use prometheus_client::metrics::gauge::Gauge;
use weir_model::time::UnixNanos;

use super::assemble::{Assembler, Chunk, Oddities, Snapshot};
use super::checkpoint::Entry;
use super::discover::{Candidate, ChainSpec};
use super::identity::{self, FileId, Fingerprint};

mod generation;
mod pins;

use generation::{BLOCK_BYTES, grace};
use pins::Held;

/// A file opened and not yet begun.
struct Waiting {
    file: File,
    id: FileId,
    size: u64,
    /// Bytes of a compressed file that were not unpacked.
    cut: u64,
    /// The same file as before, cut to nothing: its birth says nothing of its generation.
    truncated: bool,
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

pub(super) struct Chain {
    spec: ChainSpec,
    id: String,
    /// Where rotated files are pinned and compressed ones unpacked.
    pins: PathBuf,
    pin_bytes_max: u64,
    now: Option<Generation>,
    queue: VecDeque<Waiting>,
    epoch: u64,
    held: Held,
    pub losses: Vec<Loss>,
}

impl Chain {
    /// Finds the generation that the checkpoint names, wherever it is now, and queues all later ones.
    pub fn open(spec: ChainSpec, entry: Option<Entry>, pins: &Path, pin_bytes_max: u64, held: Gauge) -> io::Result<Self> {
        let mut chain = Self {
            id: spec.id(),
            spec,
            pins: pins.to_owned(),
            pin_bytes_max,
            now: None,
            queue: VecDeque::new(),
            epoch: entry.as_ref().map_or(0, |entry| entry.epoch),
            held: Held::new(held),
            losses: Vec::new(),
        };
        let mut files = chain.open_all()?;
        if let Some(entry) = entry {
            chain.resume(&entry, &mut files)?;
        }
        chain.queue.extend(files);
        chain.count_held();
        Ok(chain)
    }

    /// Pinned files whose names are gone first (they are the oldest), then those of the directory in their order.
    fn open_all(&self) -> io::Result<Vec<Waiting>> {
        let mut files = Vec::new();
        for candidate in &self.spec.files {
            files.extend(self.open_one(candidate)?);
        }
        let mut pinned = Vec::new();
        for path in self.pinned()? {
            let file = self.open_one(&Candidate { path, gzip: false })?;
            pinned.extend(file.filter(|file| files.iter().all(|other: &Waiting| other.id != file.id)));
        }
        pinned.sort_by_key(|file| file.id.born);
        pinned.append(&mut files);
        Ok(pinned)
    }

    /// `None` when the file has just gone.
    fn open_one(&self, candidate: &Candidate) -> io::Result<Option<Waiting>> {
        let file = match File::open(&candidate.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = identity::of_file(&file)?;
        if candidate.gzip {
            let unpacked = self.unpack(candidate, &file)?;
            return Ok(Some(Waiting {
                file: unpacked.file,
                id: facts.id,
                size: unpacked.size,
                cut: unpacked.cut,
                truncated: false,
            }));
        }
        Ok(Some(Waiting { file, id: facts.id, size: facts.size, cut: 0, truncated: false }))
    }

    /// Takes the checkpoint's generation and everything before it out of `files`.
    fn resume(&mut self, entry: &Entry, files: &mut Vec<Waiting>) -> io::Result<()> {
        let mut found = None;
        for (i, file) in files.iter().enumerate() {
            let whole = file.size >= entry.restart && entry.fingerprint.matches(&file.file)?;
            if whole && file.id == entry.id {
                found = Some(i);
                break;
            }
            // A copy, compressed or not. Too short a fingerprint recognises nothing.
            if whole && entry.fingerprint.bytes > 0 && found.is_none() {
                found = Some(i);
            }
        }
        let Some(at) = found else {
            // Everything that is left is newer: rotation removes the oldest first. How much is gone cannot be known.
            self.losses.push(Loss { reason: "generation_gone", bytes: 0 });
            files.iter_mut().filter(|file| file.id == entry.id).for_each(|file| file.truncated = true);
            return Ok(());
        };
        let mut rest = files.split_off(at);
        files.iter().for_each(|older| self.unpin(older.id));
        let file = rest.remove(0);
        rest.iter_mut().filter(|later| later.id == entry.id).for_each(|later| later.truncated = true);
        *files = rest;
        self.now = Some(self.generation(file, entry.epoch, entry.snapshot())?);
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
        if let Some(over) = self.now.take() {
            self.unpin(over.id);
            if over.cut > 0 {
                self.losses.push(Loss { reason: "unpack_budget", bytes: over.cut });
            }
        }
        let Some(waiting) = self.queue.pop_front() else {
            self.count_held();
            return Ok(None);
        };
        let born = if waiting.truncated || waiting.id.born == 0 { now.unsigned_abs() } else { waiting.id.born };
        self.epoch = born.max(self.epoch + 1);
        let restart = if at_end { waiting.size } else { 0 };
        let from = Snapshot { restart, last: [restart; super::STREAMS] };
        let generation = self.generation(waiting, self.epoch, from)?;
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

    /// Looks at the directory anew: labels may have changed, files may have been rotated.
    pub fn update(&mut self, spec: ChainSpec) -> io::Result<()> {
        self.spec = spec;
        let labels = self.spec.stream_labels();
        if let Some(generation) = &mut self.now {
            generation.assembler.relabel(&labels);
        }
        self.look_for_rotation()
    }

    fn look_for_rotation(&mut self) -> io::Result<()> {
        let known = |id: FileId| self.queue.iter().any(|waiting| waiting.id == id);
        let reading = self.now.as_ref().map(|generation| generation.id);
        let mut later = Vec::new();
        let mut behind = self.now.is_none();
        for candidate in &self.spec.files {
            let Ok(facts) = identity::of_path(&candidate.path) else { continue };
            if Some(facts.id) == reading {
                // Everything before it in the order is older.
                behind = true;
                later.clear();
                self.pin_if_rotated(candidate, facts.id, facts.size);
                continue;
            }
            let current = candidate.path == self.spec.current;
            let born_later = |id: FileId| facts.id.born > id.born || (facts.id.born == 0 && current);
            let newer = behind || reading.is_some_and(|id| born_later(id) && !candidate.gzip);
            if newer && !known(facts.id) {
                later.push(candidate.clone());
            }
        }
        for candidate in later {
            if let Some(waiting) = self.open_one(&candidate)? {
                self.pin_if_rotated(&candidate, waiting.id, waiting.size);
                self.queue.push_back(waiting);
            }
        }
        self.hold_to_budget();
        Ok(())
    }

    /// Beyond the budget the oldest waiting generations are given up, and said so.
    fn hold_to_budget(&mut self) {
        while self.queue.len() > 1 && self.queue.iter().map(|waiting| waiting.size).sum::<u64>() > self.pin_bytes_max {
            if let Some(lost) = self.queue.pop_front() {
                self.losses.push(Loss { reason: "pin_budget", bytes: lost.size + lost.cut });
                self.unpin(lost.id);
            }
        }
        self.count_held();
    }

    /// Reads on.
    pub fn step(&mut self, now: UnixNanos) -> io::Result<Step> {
        let whole = self.survives_truncation()?;
        let (grace, rotated) = (grace(self.spec.format), self.has_next());
        let Some(generation) = &mut self.now else { return Ok(Step::Idle) };
        if !whole {
            generation.assembler.finish(&[], now);
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
        generation.finish(now)?;
        Ok(generation.ended())
    }

    /// The chain's files have gone: what is left is read to its end.
    pub fn finish(&mut self, now: UnixNanos) -> io::Result<Vec<Chunk>> {
        let Some(generation) = &mut self.now else { return Ok(Vec::new()) };
        generation.finish(now)?;
        Ok(generation.assembler.take())
    }

    /// Whether there may be something to read: cheap, for every poll.
    pub fn has_news(&self) -> bool {
        let Some(generation) = &self.now else { return self.has_next() };
        let size = identity::of_file(&generation.file).map_or(0, |facts| facts.size);
        size != generation.assembler.position() || self.has_next()
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
        let cut = Waiting { file: cut, id: facts.id, size: facts.size, cut: 0, truncated: true };
        self.queue.push_front(cut);
        let copy = self.find_copy()?;
        if let (Some(generation), Some(copy)) = (&mut self.now, copy) {
            (generation.file, generation.id, generation.cut) = (copy.file, copy.id, copy.cut);
            return Ok(true);
        }
        self.losses.push(Loss { reason: "truncated", bytes: 0 });
        Ok(false)
    }

    fn find_copy(&self) -> io::Result<Option<Waiting>> {
        let Some(generation) = &self.now else { return Ok(None) };
        if generation.fingerprint.bytes == 0 {
            return Ok(None);
        }
        let directory = fs::read_dir(self.spec.current.parent().unwrap_or(Path::new("/")))?;
        let name = self.spec.current.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for entry in directory.flatten() {
            let own = entry.file_name().to_string_lossy().into_owned();
            if own == name || !own.starts_with(&name) {
                continue;
            }
            let candidate = Candidate { path: entry.path(), gzip: own.ends_with(".gz") };
            if let Some(copy) = self.open_one(&candidate)?
                && copy.id != generation.id
                && copy.size >= generation.assembler.position()
                && generation.fingerprint.matches(&copy.file)?
            {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }
}
