//! One partition: its segments, offsets, tail cache and losses. The writer alone appends; consumers read; whoever seals
//! releases. Not asynchronous: callers with a disk read ahead of them go off the async threads.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::batch;
use super::index::{Lookup, OnDisk, Read, Segment, State, Tail, declare};
use super::recover::{Damage, Located, scan};
use super::released::{read_released, released_bytes};
use super::storage::{SegmentFile, Storage, disk_error, replace};
use crate::{BusError, BusMetrics, TopicPartition};

/// One partition of a topic.
pub(crate) struct Partition {
    pub(crate) place: TopicPartition,
    dir: PathBuf,
    storage: Arc<dyn Storage>,
    metrics: BusMetrics,
    cache_bytes: usize,
    /// Guards the index of what is durable; never held over a file operation.
    state: Mutex<State>,
    /// Held while the released offset is written and segments are deleted: one at a time.
    releasing: Mutex<()>,
}

/// A batch written and not yet synced.
pub(crate) struct Pending {
    file: Arc<dyn SegmentFile>,
    path: PathBuf,
    located: Located,
    records: Vec<Bytes>,
}

/// Why a batch was not written.
pub(crate) enum WriteError {
    /// The file is as it was before: the callers get the error, the log goes on.
    RolledBack(BusError),
    /// The file's state is not known.
    Fatal(BusError),
}

impl Partition {
    /// Opens a partition, takes its segments apart, cuts off a torn tail, sets damage aside.
    pub(crate) fn open(
        place: TopicPartition,
        dir: PathBuf,
        storage: Arc<dyn Storage>,
        metrics: BusMetrics,
        cache_bytes: usize,
    ) -> Result<Self, BusError> {
        let released = read_released(&dir.join("released"))?;
        let paths = segment_paths(&dir)?;
        let state = State { segments: VecDeque::new(), next: released, released, tail: Tail::default(), losses: Vec::new() };
        let state = Mutex::new(state);
        let partition = Self { place, dir, storage, metrics, cache_bytes, state, releasing: Mutex::new(()) };
        let mut expected = paths.first().map_or(released, |(base, _)| *base);
        for (i, (base, path)) in paths.iter().enumerate() {
            let following = paths.get(i + 1).map(|(base, _)| *base);
            expected = partition.load(*base, path, expected, following)?;
        }
        let mut state = partition.state.lock();
        state.next = expected.max(released);
        state.losses.retain(|loss| loss.end > released);
        drop(state);
        Ok(partition)
    }

    /// Loads one segment and returns the offset after it. `following` is the next segment's base, which proves that
    /// everything below it was once there.
    fn load(&self, base: u64, path: &Path, expected: u64, following: Option<u64>) -> Result<u64, BusError> {
        let file = self.storage.open(path, false).map_err(disk_error("open", path))?;
        let length = file.length().map_err(disk_error("stat", path))?;
        let mut bytes = vec![0; length as usize];
        file.read_at(&mut bytes, 0).map_err(disk_error("read", path))?;
        let mut found = scan(&bytes, base);
        let mut kept = found.end;
        if found.end < length {
            match following {
                Some(following) => {
                    kept = length;
                    let lost = found.next..following.max(found.next);
                    found.damage.push(Damage { bytes: found.end..length, lost });
                }
                None => {
                    tracing::warn!(path = %path.display(), bytes = length - found.end, "cut off a torn tail");
                    self.metrics.torn_bytes.inc_by(length - found.end);
                    file.truncate(found.end).map_err(disk_error("truncate", path))?;
                }
            }
        }
        // A process that died between write and sync leaves whole batches that only the kernel has; from here on they count.
        if following.is_none() {
            file.sync().map_err(disk_error("fsync", path))?;
            self.storage.sync_dir(&self.dir).map_err(disk_error("fsync", &self.dir))?;
        }
        for damage in &found.damage {
            self.set_aside(path, &bytes[damage.bytes.start as usize..damage.bytes.end as usize], damage)?;
        }
        let next = following.map_or(found.next, |following| following.max(found.next));
        let mut state = self.state.lock();
        if base > expected {
            tracing::error!(path = %path.display(), lost_from = expected, lost_to = base, "a segment before this one is missing");
            self.metrics.lost_records.inc_by(base - expected);
            declare(&mut state.losses, expected..base);
        }
        found.damage.iter().for_each(|damage| declare(&mut state.losses, damage.lost.clone()));
        if next > found.next {
            declare(&mut state.losses, found.next..next);
        }
        state.segments.push_back(Segment { base, path: path.to_owned(), file, length: kept, batches: found.batches });
        Ok(next)
    }

    /// Copies damaged bytes beside the segment, once; the segment itself stays as it was found.
    fn set_aside(&self, segment: &Path, bytes: &[u8], damage: &Damage) -> Result<(), BusError> {
        let stem = segment.file_stem().unwrap_or_default().to_string_lossy();
        let path = self.dir.join(format!("{stem}-{}.bad", damage.bytes.start));
        if path.exists() {
            return Ok(());
        }
        tracing::error!(
            path = %path.display(), bytes = bytes.len(), lost_from = damage.lost.start, lost_to = damage.lost.end,
            "the disk log is damaged; set the bytes aside and declared the loss"
        );
        self.metrics.quarantined_bytes.inc_by(bytes.len() as u64);
        self.metrics.lost_records.inc_by(damage.lost.end - damage.lost.start);
        replace(&*self.storage, &path, bytes).map_err(disk_error("write", &path))
    }

    /// Bytes of batches that are not released; a batch released in part counts in proportion.
    pub(crate) fn unreleased_bytes(&self) -> u64 {
        let state = self.state.lock();
        state.unreleased_bytes(state.released)
    }

    /// Bytes from this offset on, as above.
    pub(crate) fn bytes_from(&self, offset: u64) -> u64 {
        self.state.lock().unreleased_bytes(offset)
    }

    /// First offset stored and the next one.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.first(), state.next)
    }

    /// Writes a batch into the last segment, or a new one; it counts only once it is synced and published.
    pub(crate) fn write(&self, segment_bytes: u64, records: Vec<Bytes>) -> Result<Pending, WriteError> {
        let base = self.state.lock().next;
        let bytes = batch::encode(base, &records);
        let (file, path, position) = self.room_for(segment_bytes, base, bytes.len() as u64)?;
        if let Err(error) = file.write_at(&bytes, position) {
            return Err(roll_back(&*file, &path, position, error));
        }
        let head = batch::Head { base, count: records.len() as u32, length: bytes.len() as u32 };
        Ok(Pending { file, path, located: Located { head, position }, records })
    }

    fn room_for(&self, segment_bytes: u64, base: u64, bytes: u64) -> Result<(Arc<dyn SegmentFile>, PathBuf, u64), WriteError> {
        if let Some(last) = self.state.lock().segments.back() {
            let fits = last.length > 0 && last.length + bytes <= segment_bytes;
            if fits || (last.length == 0 && last.base == base) {
                return Ok((last.file.clone(), last.path.clone(), last.length));
            }
        }
        let path = self.dir.join(format!("{base:020}.log"));
        // Whatever keeps a file from being opened (no descriptor, no room, no right) has changed nothing: the next try is like the
        // first, and finds the file empty or not there.
        let not_opened = |error, path: &Path| {
            self.metrics.segment_open_errors.inc();
            WriteError::RolledBack(disk_error("create", path)(error))
        };
        let dir = self.storage.open_dir(&self.dir).map_err(|error| not_opened(error, &self.dir))?;
        let file = self.storage.open(&path, true).map_err(|error| not_opened(error, &path))?;
        dir.sync().map_err(|error| WriteError::Fatal(disk_error("fsync", &self.dir)(error)))?;
        let segment = Segment { base, path: path.clone(), file: file.clone(), length: 0, batches: Vec::new() };
        self.state.lock().segments.push_back(segment);
        Ok((file, path, 0))
    }

    /// Makes a pending batch visible after its sync. Returns its base offset.
    pub(crate) fn publish(&self, pending: Pending) -> u64 {
        let mut state = self.state.lock();
        let head = pending.located.head;
        if let Some(last) = state.segments.back_mut() {
            last.length = pending.located.position + u64::from(head.length);
            last.batches.push(pending.located);
        }
        state.next = head.end();
        state.tail.extend(pending.records, self.cache_bytes);
        head.base
    }

    /// What lies at `offset`, without touching the disk.
    pub(crate) fn lookup(&self, offset: u64) -> Lookup {
        self.state.lock().lookup(offset)
    }

    /// Reads and checks a batch. Blocks.
    pub(crate) fn fetch(&self, wanted: &OnDisk) -> Result<Read, BusError> {
        let OnDisk { file, path, segment, located, offset } = wanted;
        let mut bytes = vec![0; located.head.length as usize];
        file.read_at(&mut bytes, located.position).map_err(disk_error("read", path))?;
        if batch::check(&bytes) != Some(located.head) {
            return self.record_loss(*segment, path, *located, &bytes);
        }
        let records = (located.head.base..).zip(batch::split(&Bytes::from(bytes)));
        Ok(Read::Records(records.skip_while(|(own, _)| own < offset).collect()))
    }

    /// A batch that was whole at start is not any more.
    fn record_loss(&self, base: u64, path: &Path, located: Located, bytes: &[u8]) -> Result<Read, BusError> {
        let position = located.position;
        let damage = Damage { bytes: position..position + bytes.len() as u64, lost: located.head.base..located.head.end() };
        self.set_aside(path, bytes, &damage)?;
        let mut state = self.state.lock();
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) {
            segment.batches.retain(|own| own.position != position);
        }
        declare(&mut state.losses, damage.lost.clone());
        Ok(Read::Absent { first: damage.lost.end, next: state.next })
    }

    /// Persists the released offset and deletes segments wholly below it, but for the last. Returns the bytes of batches
    /// that this set free. Releasing less than before is no error and changes nothing.
    pub(crate) fn release(&self, offset: u64) -> Result<u64, BusError> {
        let _one = self.releasing.lock();
        {
            let state = self.state.lock();
            if offset <= state.released {
                return Ok(0);
            }
            if offset > state.next {
                let place = &self.place;
                let text = format!("release {offset} of {}/{}, which ends at {}", place.topic, place.partition, state.next);
                return Err(BusError::Config(text));
            }
        }
        let path = self.dir.join("released");
        replace(&*self.storage, &path, &released_bytes(offset)).map_err(disk_error("write", &path))?;
        let (freed, gone) = self.forget_below(offset);
        for path in gone {
            fs::remove_file(&path).map_err(disk_error("delete", &path))?;
        }
        Ok(freed)
    }

    fn forget_below(&self, offset: u64) -> (u64, Vec<PathBuf>) {
        let mut state = self.state.lock();
        let freed = state.unreleased_bytes(state.released) - state.unreleased_bytes(offset);
        state.released = offset;
        let mut gone = Vec::new();
        while state.segments.get(1).is_some_and(|second| second.base <= offset) {
            gone.extend(state.segments.pop_front().map(|segment| segment.path));
        }
        let first = state.first();
        state.losses.retain(|loss| loss.end > first);
        (freed, gone)
    }
}

impl Pending {
    /// Makes the batch durable.
    pub(crate) fn sync(&self) -> Result<(), BusError> {
        self.file.sync().map_err(disk_error("fsync", &self.path))
    }

    /// Bytes in the segment.
    pub(crate) fn length(&self) -> u64 {
        u64::from(self.located.head.length)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Nothing of the batch was synced or seen, so cutting it off is as if it had never been; only a full disk is worth going
/// on from. `docs/decisions/0011-disk-log-errors.md`.
fn roll_back(file: &dyn SegmentFile, path: &Path, position: u64, error: io::Error) -> WriteError {
    let full = is_full(&error);
    let error = disk_error("append to", path)(error);
    match file.truncate(position) {
        Ok(()) if full => WriteError::RolledBack(error),
        _ => WriteError::Fatal(error),
    }
}

fn segment_paths(dir: &Path) -> Result<Vec<(u64, PathBuf)>, BusError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(disk_error("list", dir))? {
        let path = entry.map_err(disk_error("list", dir))?.path();
        let base = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        match (path.extension().is_some_and(|extension| extension == "log"), base) {
            (true, Some(base)) => paths.push((base, path)),
            (true, None) => return Err(BusError::Config(format!("{} is not named by an offset", path.display()))),
            (false, _) => {}
        }
    }
    paths.sort();
    Ok(paths)
}
