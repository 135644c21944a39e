//! The kill counters of cgroups v2, read in the moment in which they change: the kernel tells inotify of each change of
//! `memory.events`, and a counter that is read with the next sample may be gone with its cgroup by then. Under v1, which
//! tells nobody, there is nothing to watch: [`super::kernel_log`] tells there.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::mount::{Controller, Mounts};
use super::parse;
use super::sample::CgroupSample;

/// Cgroups watched at once; the kernel grants a user 65,536 watches or more. Further ones are sampled only.
const WATCHES_MAX: usize = 10_000;
/// Changes that wait to be taken; the kernel keeps 16,384 more.
const COUNTS_MAX: usize = 1024;
/// The watching thread looks so often whether anybody listens, in nanoseconds.
const IDLE_NANOS: i64 = 500_000_000;
/// Fits some hundred events without a name.
const BUFFER_BYTES: usize = 4096;

/// A counter that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomCount {
    /// The cgroup.
    pub cgroup: String,
    /// Processes killed in it since it was made.
    pub kills: u64,
}

/// Watches `memory.events` of cgroups, until the receiver of what it sees is dropped.
pub struct OomWatch(Arc<Watched>);

struct Watched {
    queue: OwnedFd,
    unified: PathBuf,
    /// Both directions change together, under one lock: the watching thread forgets what the other one added.
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    by_path: HashMap<String, i32>,
    by_watch: HashMap<i32, String>,
}

impl OomWatch {
    /// `None` where the memory controller is not in the unified hierarchy. Errors when there is no inotify, or no thread.
    pub fn start(mounts: &Mounts) -> io::Result<Option<(Self, mpsc::Receiver<OomCount>)>> {
        let Some(watched) = Watched::new(mounts)? else { return Ok(None) };
        let (tx, counts) = mpsc::channel(COUNTS_MAX);
        let watched = Arc::new(watched);
        let own = watched.clone();
        std::thread::Builder::new().name("oom-watch".into()).spawn(move || own.run(&tx))?;
        Ok(Some((Self(watched), counts)))
    }

    /// Watches these cgroups and no others. One that is gone, or has no such file, is left out.
    pub fn watch<'a>(&self, cgroups: impl Iterator<Item = &'a str>) {
        self.0.watch(cgroups);
    }
}

impl Watched {
    fn new(mounts: &Mounts) -> io::Result<Option<Self>> {
        let (Some(unified), None) = (mounts.unified(), mounts.v1(Controller::Memory)) else { return Ok(None) };
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Some(Self { queue, unified: unified.to_owned(), watches: Mutex::default() }))
    }

    fn run(&self, tx: &mpsc::Sender<OomCount>) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: IDLE_NANOS };
        while !tx.is_closed() {
            match poll(&mut [PollFd::new(&self.queue, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                // The kernel has no memory, as a rule; the counters are still sampled.
                Err(_) => return,
            }
            for count in self.read() {
                let _nobody_listens = tx.blocking_send(count);
            }
        }
    }

    fn watch<'a>(&self, cgroups: impl Iterator<Item = &'a str>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut watches.by_path);
        for path in cgroups.take(WATCHES_MAX) {
            let known = gone.remove(path);
            let watched = known.or_else(|| inotify::add_watch(&self.queue, self.file(path), WatchFlags::MODIFY).ok());
            if let Some(watch) = watched {
                watches.by_watch.insert(watch, path.to_owned());
                watches.by_path.insert(path.to_owned(), watch);
            }
        }
        for watch in gone.into_values() {
            watches.by_watch.remove(&watch);
            // It went with its file, as a rule.
            let _ = inotify::remove_watch(&self.queue, watch);
        }
    }

    fn file(&self, cgroup: &str) -> PathBuf {
        self.unified.join(cgroup.trim_start_matches('/')).join("memory.events")
    }

    /// The counters that have changed since the last call and can still be read.
    fn read(&self) -> Vec<OomCount> {
        let mut changed = self.changed();
        changed.sort_unstable();
        changed.dedup();
        let counted = changed.into_iter().filter_map(|cgroup| {
            let mut sample = CgroupSample::default();
            parse::memory_events_v2(&std::fs::read_to_string(self.file(&cgroup)).ok()?, &mut sample);
            Some(OomCount { kills: sample.memory.oom_kills?, cgroup })
        });
        counted.collect()
    }

    fn changed(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
        let mut changed: Vec<String> = Vec::new();
        while let Ok(event) = reader.next() {
            let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            if event.events().contains(ReadFlags::IGNORED) {
                // The cgroup is gone; one of the same path that is made later has another file.
                if let Some(path) = watches.by_watch.remove(&event.wd()) {
                    watches.by_path.remove(&path);
                }
            } else if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.extend(watches.by_path.keys().cloned());
            } else if let Some(path) = watches.by_watch.get(&event.wd()) {
                changed.push(path.clone());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_counter_is_read_when_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("v2/weir/a/memory.events");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "low 0\noom 0\noom_kill 0\n").unwrap();
        let mounts = Mounts::from_mountinfo("2 0 0:2 / /v2 rw - cgroup2 cgroup2 rw\n", root.path());
        let watch = Watched::new(&mounts).unwrap().unwrap();
        watch.watch(["/weir/a", "/weir/none"].into_iter());
        assert!(watch.read().is_empty());
        let count = |kills| OomCount { cgroup: "/weir/a".into(), kills };
        std::fs::write(&file, "low 0\noom 2\noom_kill 2\n").unwrap();
        assert_eq!(watch.read(), [count(2)]);
        assert!(watch.read().is_empty(), "told once");

        // A cgroup that is made anew under the same path.
        std::fs::remove_file(&file).unwrap();
        watch.read();
        std::fs::write(&file, "oom_kill 0\n").unwrap();
        watch.watch(["/weir/a"].into_iter());
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        assert_eq!(watch.read(), [count(1)]);

        watch.watch([].into_iter());
        std::fs::write(&file, "oom_kill 3\n").unwrap();
        assert!(watch.read().is_empty(), "it is not watched any more");
    }

    #[test]
    fn changes_are_told_by_themselves() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("v2/a/memory.events");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "oom_kill 0\n").unwrap();
        let mounts = Mounts::from_mountinfo("2 0 0:2 / /v2 rw - cgroup2 cgroup2 rw\n", root.path());
        let (watch, mut counts) = OomWatch::start(&mounts).unwrap().unwrap();
        watch.watch(["/a"].into_iter());
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        // The file may be read while it is being written.
        while counts.blocking_recv().unwrap().kills != 1 {}
    }

    #[test]
    fn v1_has_nothing_to_watch() {
        let hybrid = "1 0 0:1 / /m rw - cgroup cgroup rw,memory\n2 0 0:2 / /u rw - cgroup2 cgroup2 rw\n";
        assert!(Watched::new(&Mounts::from_mountinfo(hybrid, Path::new("/"))).unwrap().is_none());
        assert!(
            Watched::new(&Mounts::from_mountinfo("2 0 0:2 / /u rw - cgroup2 cgroup2 rw\n", Path::new("/"))).unwrap().is_some()
        );
    }
}
