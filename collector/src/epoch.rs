//! Epochs of sources that number their own rows or lines: they grow whatever the clock does. Not what an epoch means; that
//! is [`Mark::Sequence`], and an owner drops everything of an epoch below the newest it has seen of that source.
//!
//! One counter a data directory: the next epoch is `max(now, last + 1)`. What may have been given is on disk before it is
//! given, a minute's worth at a time, so that a source that begins costs no write of its own as a rule.
//! Format of the file: docs/formats/epochs.md.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_model::outage::{Outages, Target};
use weir_model::time::UnixNanos;
use weir_model::wire::Mark;

use crate::error::CollectorError;
use crate::private;

/// Below the collector's data directory.
const FILE: &str = "epochs";
const VERSION: u32 = 1;
/// Epochs that one write makes good for: a minute, in nanoseconds. A restart skips what is left of it.
const RESERVED: u64 = 60_000_000_000;

/// The epochs of one data directory.
#[derive(Debug)]
pub struct Epochs {
    path: PathBuf,
    /// Guards the file as well: it is written under the lock.
    state: Mutex<State>,
    outages: Outages,
    /// Whether the last write failed.
    is_failing: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// The least epoch that was not given yet.
    next: u64,
    /// Everything below it is on disk as possibly given.
    ceiling: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    weir_epochs: u32,
    given_below: u64,
}

#[derive(Serialize, Deserialize)]
struct Foot {
    crc32c: u32,
}

impl Epochs {
    /// Reads what was given before. A file that is missing counts as empty, and so does a damaged one, which is said: then
    /// the clock alone decides. Makes the directory. Blocks.
    pub fn open(directory: &Path) -> Result<Self, CollectorError> {
        let path = directory.join(FILE);
        let failed = |operation| {
            let path = path.clone();
            move |source| CollectorError::File { operation, path, source }
        };
        private::make_directory(directory).map_err(failed("make the directory of"))?;
        let given_below = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).unwrap_or_else(|reason| {
                tracing::warn!(path = %path.display(), reason, "the file of epochs cannot be read; the clock decides");
                0
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed("read")(error)),
        };
        Ok(Self {
            path,
            state: Mutex::new(State { next: given_below, ceiling: given_below }),
            outages: Outages::default(),
            is_failing: AtomicBool::new(false),
        })
    }

    /// Tells them whether the file can be written.
    pub(crate) fn with_outages(self, outages: Outages) -> Self {
        Self { outages, ..self }
    }

    /// An epoch above all that were ever given here, and not below `now`. Errors when that cannot be made durable; the
    /// epoch is then not given. Blocks for one write at most.
    pub fn next(&self, now: UnixNanos) -> Result<u64, CollectorError> {
        let mut state = self.state.lock();
        let epoch = u64::try_from(now).unwrap_or(0).max(state.next);
        if epoch >= state.ceiling {
            let ceiling = epoch.saturating_add(RESERVED);
            private::replace(&self.path, &self.path.with_extension("new"), &encode(ceiling))
                .map_err(|source| CollectorError::File { operation: "write", path: self.path.clone(), source })?;
            state.ceiling = ceiling;
        }
        state.next = epoch.saturating_add(1);
        Ok(epoch)
    }

    /// [`Self::next`], off the async threads.
    pub async fn draw(self: &Arc<Self>, now: UnixNanos) -> Result<u64, CollectorError> {
        let epochs = Arc::clone(self);
        let drawn = tokio::task::spawn_blocking(move || epochs.next(now)).await;
        let drawn = drawn.unwrap_or_else(|error| {
            let source = io::Error::other(error);
            Err(CollectorError::File { operation: "write", path: self.path.clone(), source })
        });
        self.is_failing.store(drawn.is_err(), Ordering::Relaxed);
        match &drawn {
            Ok(_) => self.outages.ended(Target::CollectorFiles, FILE),
            Err(error) => self.outages.failed(Target::CollectorFiles, FILE, error),
        }
        drawn
    }
}

/// The marks of a source that numbers its rows from 0 within an epoch of its own, drawn with the first row.
pub(crate) struct Rows {
    epochs: Arc<Epochs>,
    epoch: Option<u64>,
    row: u64,
}

impl Rows {
    pub fn new(epochs: Arc<Epochs>) -> Self {
        Self { epochs, epoch: None, row: 0 }
    }

    /// Whether the file can be written again is known by writing it: those who wanted an epoch may have gone.
    pub async fn try_again(&self, now: UnixNanos) {
        if self.epochs.is_failing.load(Ordering::Relaxed) {
            let _told_to_the_outages = self.epochs.draw(now).await;
        }
    }

    /// The next row's mark. After an error the row is to be left out; the next call tries again.
    pub async fn next(&mut self, now: UnixNanos) -> Result<Mark, CollectorError> {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => *self.epoch.insert(self.epochs.draw(now).await?),
        };
        let first = self.row;
        self.row += 1;
        Ok(Mark::Sequence { epoch, first, last: self.row })
    }
}

fn encode(given_below: u64) -> Vec<u8> {
    let json = "invariant: plain data is JSON";
    let mut bytes = serde_json::to_vec(&Line { weir_epochs: VERSION, given_below }).expect(json);
    bytes.push(b'\n');
    let foot = Foot { crc32c: crc32c::crc32c(&bytes) };
    bytes.extend(serde_json::to_vec(&foot).expect(json));
    bytes.push(b'\n');
    bytes
}

fn decode(bytes: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (line, foot) = text.trim_end_matches('\n').split_once('\n').ok_or("ends early")?;
    let foot: Foot = serde_json::from_str(foot).map_err(|_| "the last line is no checksum")?;
    let computed = crc32c::crc32c(&bytes[..=line.len()]);
    if foot.crc32c != computed {
        return Err(format!("checksum mismatch: stored {:08x}, computed {computed:08x}", foot.crc32c));
    }
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.weir_epochs != VERSION {
        return Err(format!("version {} is not known", line.weir_epochs));
    }
    Ok(line.given_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_whatever_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Epochs::open(&folder.path().join("collector")).unwrap();
        let epochs = open();
        let mut last = 0;
        for now in [1_000, 1_000, 5, -7, i64::MIN, 2_000, 90 * RESERVED as i64, 3_000] {
            let epoch = epochs.next(now).unwrap();
            assert!(epoch > last && i64::try_from(epoch).unwrap() >= now, "{epoch} after {last} at {now}");
            last = epoch;
        }
        // Each start, an abrupt one as well, goes on above what any earlier one can have given.
        for now in [0, 1, 90 * RESERVED as i64] {
            let epoch = open().next(now).unwrap();
            assert!(epoch > last, "{epoch} after {last}");
            last = epoch;
        }
        assert!(open().next(i64::MAX).unwrap() >= i64::MAX as u64);
    }

    #[test]
    fn nothing_is_given_that_is_not_durable() {
        let folder = tempfile::tempdir().unwrap();
        let epochs = Epochs::open(folder.path()).unwrap();
        let first = epochs.next(10).unwrap();
        let written = decode(&fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        assert_eq!((first, written), (10, 10 + RESERVED));
        // Where the new file would be, something else lies: no write, no epoch; what was made good before is still given.
        fs::create_dir(folder.path().join("epochs.new")).unwrap();
        assert!(epochs.next(written as i64).is_err());
        assert_eq!(epochs.next(10).unwrap(), 11);
        fs::remove_dir(folder.path().join("epochs.new")).unwrap();
        assert_eq!(epochs.next(written as i64).unwrap(), written);
    }

    #[test]
    fn the_file_is_as_documented_and_a_damaged_one_counts_as_none() {
        let golden = "{\"weir_epochs\":1,\"given_below\":1700000000000000000}\n{\"crc32c\":1007492183}\n";
        assert_eq!(String::from_utf8(encode(1_700_000_000_000_000_000)).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()), Ok(1_700_000_000_000_000_000));
        for wrong in ["", "\n", "{}\n{}\n", &golden.replace("17", "18"), &golden[..golden.len() - 4], "\u{0}\n\n\n"] {
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert_eq!(Epochs::open(folder.path()).unwrap().next(5).unwrap(), 5);
    }

    #[tokio::test]
    async fn rows_are_numbered_within_an_epoch_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let epochs = Arc::new(Epochs::open(folder.path()).unwrap());
        let (mut a, mut b) = (Rows::new(epochs.clone()), Rows::new(epochs));
        let mark = |epoch, first| Mark::Sequence { epoch, first, last: first + 1 };
        assert_eq!(a.next(7).await.unwrap(), mark(7, 0));
        assert_eq!(a.next(3).await.unwrap(), mark(7, 1));
        assert_eq!(b.next(3).await.unwrap(), mark(8, 0));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_outage_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let outages = Outages::default();
        let epochs = Arc::new(Epochs::open(folder.path()).unwrap().with_outages(outages.clone()));
        // In the way of the file that is written beside.
        let beside = folder.path().join(FILE).with_extension("new");
        fs::create_dir(&beside).unwrap();
        Rows::new(epochs.clone()).next(5).await.unwrap_err();
        let other = Rows::new(epochs);
        other.try_again(5).await;
        assert_eq!(
            outages.now().iter().map(|outage| (outage.target, outage.refused)).collect::<Vec<_>>(),
            [(Target::CollectorFiles, 2)]
        );
        fs::remove_dir(&beside).unwrap();
        other.try_again(5).await;
        assert_eq!(outages.now(), []);
    }
}
