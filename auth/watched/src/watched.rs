//! A value made of files, and made again when they change. Whoever wants it fresh looks at the files, once a second at most, and
//! waits for that: when a line is removed, nobody who comes two seconds later gets a value that has it. Who only reads has the value
//! polled by a task.
//!
//! A file may be written in place, and is not read before it is whole: changed files count when two looks have found them the same, or
//! when a second has passed since the change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::time::MissedTickBehavior;

use crate::file::{ReadError, Stamp, read};

/// Files are looked at this often.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

type Load<T> = dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync;
type Reloaded<T> = dyn Fn(Result<&T, &str>) + Send + Sync;

/// See above.
pub struct Watched<T> {
    files: Vec<PathBuf>,
    bytes_max: u64,
    load: Box<Load<T>>,
    reloaded: Box<Reloaded<T>>,
    current: RwLock<Current<T>>,
    /// Guards what a poll compares with; polls wait for each other.
    seen: Mutex<Seen>,
    /// Held by the one of `get` who polls, so that the others wait without a thread.
    turn: tokio::sync::Mutex<()>,
}

struct Current<T> {
    value: Arc<T>,
    /// When the last look at the files that has ended began.
    polled: Instant,
}

struct Seen {
    /// Of the version that was read last, even where it is wrong; `None` where it could not be read.
    stamps: Option<Vec<Option<Stamp>>>,
    /// Of a version that the last look found, and that may still be being written.
    changing: Option<Vec<Option<Stamp>>>,
    /// What was said last of a version that could not be taken.
    failure: Option<String>,
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Reads `files`, each of at most `bytes_max`. `load` gets their contents in their order. `reloaded` is told of each new value,
    /// and why a change leaves the value as it was: once for each reason, also where versions after each other have the same.
    pub fn open<E: From<ReadError> + std::fmt::Display>(
        files: Vec<PathBuf>,
        bytes_max: u64,
        load: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + Sync + 'static,
        reloaded: impl Fn(Result<&T, &str>) + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before they are read: what is written meanwhile is seen the next time.
        let (polled, stamps) = (Instant::now(), stamps(&files));
        let value = Arc::new(load(&read_all(&files, bytes_max)?)?);
        Ok(Self {
            files,
            bytes_max,
            load: Box::new(move |contents| load(contents).map_err(|error| error.to_string())),
            reloaded: Box::new(reloaded),
            current: RwLock::new(Current { value, polled }),
            seen: Mutex::new(Seen { stamps: Some(stamps), changing: None, failure: None }),
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().value)
    }

    fn unless_due(&self) -> Option<Arc<T>> {
        let current = self.current.read();
        (current.polled.elapsed() < POLL_INTERVAL).then(|| Arc::clone(&current.value))
    }

    /// Looks at the files first, unless that was done within a second. Blocks for as long as that takes: some small local files.
    pub fn fresh(&self) -> Arc<T> {
        if let Some(value) = self.unless_due() {
            return value;
        }
        let mut seen = self.seen.lock();
        if let Some(value) = self.unless_due() {
            return value;
        }
        self.look(&mut seen);
        self.current()
    }

    /// As [`Self::fresh`], but who comes while another looks does not wait for it, and gets the value of before.
    pub fn fresh_or_current(&self) -> Arc<T> {
        if let Some(value) = self.unless_due() {
            return value;
        }
        if let Some(mut seen) = self.seen.try_lock()
            && self.unless_due().is_none()
        {
            self.look(&mut seen);
        }
        self.current()
    }

    /// Looks at the files now. Blocks.
    pub fn poll(&self) {
        self.look(&mut self.seen.lock());
    }

    fn look(&self, seen: &mut Seen) {
        let (polled, found) = (Instant::now(), stamps(&self.files));
        if seen.stamps.as_ref() != Some(&found) {
            let is_whole = seen.changing.as_ref() == Some(&found) || is_settled(&found);
            seen.changing = Some(found);
            if is_whole {
                self.read(seen);
            }
        }
        self.current.write().polled = polled;
    }

    fn read(&self, seen: &mut Seen) {
        let contents = read_all(&self.files, self.bytes_max);
        // Written while it was read: it is looked at again.
        let found = stamps(&self.files);
        if seen.changing.as_ref() == Some(&found) {
            match contents {
                Ok(contents) => {
                    seen.stamps = Some(found);
                    self.take(seen, (self.load)(&contents));
                }
                Err(error) => {
                    // It is read again without a change: the fault may not have been the file's.
                    seen.stamps = None;
                    self.take(seen, Err(error.to_string()));
                }
            }
        }
    }

    fn take(&self, seen: &mut Seen, loaded: Result<T, String>) {
        match loaded {
            Ok(value) => {
                (self.reloaded)(Ok(&value));
                self.current.write().value = Arc::new(value);
                seen.failure = None;
            }
            Err(error) if seen.failure.as_ref() == Some(&error) => {}
            Err(error) => {
                (self.reloaded)(Err(&error));
                seen.failure = Some(error);
            }
        }
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// As [`Self::fresh`], off the async threads.
    pub async fn get(self: &Arc<Self>) -> Arc<T> {
        if let Some(value) = self.unless_due() {
            return value;
        }
        let _turn = self.turn.lock().await;
        let own = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || own.fresh()).await {
            tracing::error!(files = ?self.files, %error, "files could not be looked at, a fault of weir's");
            self.current.write().polled = Instant::now();
        }
        self.current()
    }
}

/// Calls `poll` once a second, on a thread that may block, for as long as somebody holds `held`. Must be called within a tokio runtime.
pub fn keep_polling<W: Send + Sync + 'static>(held: &Arc<W>, poll: fn(&W)) {
    let held = Arc::downgrade(held);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(held) = held.upgrade() else { return };
            if let Err(error) = tokio::task::spawn_blocking(move || poll(&held)).await {
                tracing::error!(%error, "files could not be looked at, a fault of weir's");
            }
        }
    });
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

/// Whether nobody has written for a second. A clock that is not the file system's only makes a second look necessary.
fn is_settled(found: &[Option<Stamp>]) -> bool {
    let before = SystemTime::now().checked_sub(POLL_INTERVAL);
    found.iter().all(|stamp| stamp.as_ref().zip(before).is_some_and(|(stamp, before)| stamp.is_older_than(before)))
}

fn read_all(files: &[PathBuf], bytes_max: u64) -> Result<Vec<Vec<u8>>, ReadError> {
    files.iter().map(|file| read(file, bytes_max)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The sum of numbers in files.
    struct Fixture {
        folder: tempfile::TempDir,
        watched: Arc<Watched<u32>>,
        failures: Arc<AtomicUsize>,
    }

    fn open(files: Vec<PathBuf>, failures: &Arc<AtomicUsize>) -> Result<Watched<u32>, String> {
        let number = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).parse::<u32>().map_err(|error| error.to_string());
        let failures = Arc::clone(failures);
        let reloaded = move |value: Result<&u32, &str>| {
            failures.fetch_add(usize::from(value.is_err()), Ordering::SeqCst);
        };
        Watched::open(files, 8, move |contents| contents.iter().map(number).sum(), reloaded)
    }

    impl Fixture {
        fn new() -> Self {
            let (folder, failures) = (tempfile::tempdir().unwrap(), Arc::default());
            let files: Vec<PathBuf> = ["one", "two"].map(|name| folder.path().join(name)).into();
            std::fs::write(&files[0], "1").unwrap();
            std::fs::write(&files[1], "10").unwrap();
            let watched = Arc::new(open(files, &failures).unwrap());
            Self { folder, watched, failures }
        }

        /// As Kubernetes replaces what a Secret mounts: by a rename.
        fn replace(&self, name: &str, text: &str) {
            let beside = self.folder.path().join("beside");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, self.folder.path().join(name)).unwrap();
        }

        /// The value and the failures after some polls.
        fn polled(&self) -> (u32, usize) {
            for _ in 0..3 {
                self.watched.poll();
            }
            (*self.watched.current(), self.failures.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn a_bad_version_leaves_what_was_and_is_said_once() {
        let fixture = Fixture::new();
        let one = fixture.folder.path().join("one");
        assert_eq!(fixture.polled(), (11, 0));
        fixture.replace("one", "2");
        assert_eq!(fixture.polled(), (12, 0));
        std::fs::write(&one, "many").unwrap();
        assert_eq!(fixture.polled(), (12, 1));
        std::fs::remove_file(&one).unwrap();
        assert_eq!(fixture.polled(), (12, 2));
        // It can be looked at and not be read: it is tried again, though it looks the same.
        std::fs::create_dir(&one).unwrap();
        assert_eq!(fixture.polled(), (12, 3));
        assert_eq!(fixture.watched.seen.lock().stamps, None);
        std::fs::remove_dir(&one).unwrap();
        fixture.replace("one", "123456789");
        assert_eq!(fixture.polled(), (12, 4), "too large");
        fixture.replace("two", "20");
        assert_eq!(fixture.polled(), (12, 4), "for the same reason");
        fixture.replace("one", "3");
        assert_eq!(fixture.polled(), (23, 4));
        let failures = Arc::default();
        let error = open(vec![fixture.folder.path().join("away")], &failures).err().unwrap();
        assert!(error.contains("/away: No such file"), "{error}");
    }

    #[test]
    fn who_does_not_wait_gets_the_value_of_before_while_another_looks() {
        let fixture = Fixture::new();
        fixture.replace("one", "2");
        fixture.watched.current.write().polled -= 2 * POLL_INTERVAL;
        let looking = fixture.watched.seen.lock();
        assert_eq!(*fixture.watched.fresh_or_current(), 11);
        drop(looking);
        fixture.watched.poll();
        fixture.watched.current.write().polled -= 2 * POLL_INTERVAL;
        assert_eq!(*fixture.watched.fresh_or_current(), 12);
    }

    #[tokio::test]
    async fn a_file_counts_when_two_looks_have_found_it_the_same() {
        let fixture = Fixture::new();
        let one = fixture.folder.path().join("one");
        for text in ["3", "34", "345"] {
            std::fs::write(&one, text).unwrap();
            fixture.watched.poll();
            assert_eq!(*fixture.watched.current(), 11, "it may be being written");
        }
        fixture.watched.poll();
        assert_eq!(*fixture.watched.current(), 355);
        // Who comes long after the change gets it at once.
        fixture.replace("two", "20");
        until("a second has passed", async || is_settled(&stamps(&fixture.watched.files))).await;
        assert_eq!(*fixture.watched.fresh(), 365);
    }

    async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
        let waited = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    #[tokio::test]
    async fn who_wants_it_fresh_looks_and_others_have_it_polled_while_they_hold_it() {
        let fixture = Fixture::new();
        fixture.replace("one", "2");
        until("by who gets it", async || *fixture.watched.get().await == 12).await;
        fixture.replace("one", "3");
        until("by who waits on its thread", async || *fixture.watched.fresh() == 13).await;
        keep_polling(&fixture.watched, Watched::poll);
        fixture.replace("one", "4");
        until("by the task", async || *fixture.watched.current() == 14).await;
        let held = Arc::downgrade(&fixture.watched);
        drop(fixture);
        until("let go", async || held.strong_count() == 0).await;
    }
}
