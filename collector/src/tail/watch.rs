//! Directories watched with inotify, so that a log file is opened within microseconds of its birth: a pod may be gone, with
//! its log, before the next listing. Only says *that* there is a file ([`Births`]); which file is which, and in what
//! order, is found by [`super::listing`], and where events are lost or refused, names are listed once a second.
//!
//! The race of every such watcher: a file may be made in a new directory before the directory is watched. So a directory
//! is listed after its watch was added, never before.
//!
//! A thread of its own, because it lists directories and must not wait for a turn on the async threads.

use std::collections::{HashMap, HashSet};
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::admit::Refusals;
use super::births::Births;
use super::discover::Root;
use super::listing::Found;
use crate::metrics::CollectorMetrics;

/// Directories watched at once: the kernel's own default limit a user on small machines.
const WATCHES_MAX: usize = 8192;
/// How often roots that were not there are looked for.
const ROOTS_INTERVAL: Duration = Duration::from_secs(1);
/// Some hundred events.
const BUFFER_BYTES: usize = 16 << 10;

/// The watching thread; ends when this is dropped.
pub(super) struct Watch {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the roots. Without inotify nothing is watched, and that is said and counted.
    pub fn start(roots: Arc<[Root]>, births: Arc<Births>, refusals: Arc<Refusals>, metrics: CollectorMetrics) -> Self {
        let started = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from).and_then(|queue| {
            let (stopped, stop) = io::pipe()?;
            let watcher = Watcher {
                queue,
                roots,
                births,
                refusals,
                metrics: metrics.clone(),
                directories: HashMap::new(),
                watched: HashSet::new(),
                is_short: false,
            };
            let thread = std::thread::Builder::new().name("weir-watch".into()).spawn(move || watcher.run(&stopped))?;
            Ok(Self { stop: Some(stop), thread: Some(thread) })
        });
        started.unwrap_or_else(|error| {
            metrics.event("files", "not_watched", 1);
            tracing::warn!(%error, "log directories cannot be watched; new files are looked for at intervals");
            Self { stop: None, thread: None }
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watcher {
    queue: OwnedFd,
    roots: Arc<[Root]>,
    births: Arc<Births>,
    refusals: Arc<Refusals>,
    metrics: CollectorMetrics,
    /// Watched directories by watch descriptor, and all of them by path.
    directories: HashMap<i32, PathBuf>,
    watched: HashSet<PathBuf>,
    /// A directory could not be watched; said once.
    is_short: bool,
}

/// An event without its buffer.
struct Event {
    watch: i32,
    flags: ReadFlags,
    name: Option<PathBuf>,
}

impl Watcher {
    fn run(mut self, stopped: &PipeReader) {
        self.find_roots();
        let mut polled = Instant::now();
        let timeout = Timespec { tv_sec: ROOTS_INTERVAL.as_secs().cast_signed(), tv_nsec: 0 };
        loop {
            let mut waited = [PollFd::new(&self.queue, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut waited, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return self.give_up(error),
            }
            if !waited[1].revents().is_empty() {
                return;
            }
            while let Some(events) = self.read() {
                events.into_iter().for_each(|event| self.handle(event));
            }
            if polled.elapsed() >= ROOTS_INTERVAL {
                self.find_roots();
                polled = Instant::now();
            }
        }
    }

    fn give_up(&self, error: Errno) {
        self.metrics.event("files", "not_watched", 1);
        tracing::warn!(%error, "log directories are not watched any more; new files are looked for at intervals");
    }

    /// What one read brings; `None` when there is nothing more.
    fn read(&self) -> Option<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.queue, &mut buffer);
        let mut events = Vec::new();
        loop {
            let event = reader.next().ok()?;
            let name = event.file_name().map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())));
            events.push(Event { watch: event.wd(), flags: event.events(), name });
            if reader.is_buffer_empty() {
                return Some(events);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.metrics.event("files", "watch_overflow", 1);
            self.directories.clear();
            self.watched.clear();
            return self.find_roots();
        }
        if event.flags.contains(ReadFlags::IGNORED) {
            if let Some(gone) = self.directories.remove(&event.watch)
                && self.directories.values().all(|other| *other != gone)
            {
                self.watched.remove(&gone);
            }
            return;
        }
        let (Some(directory), Some(name)) = (self.directories.get(&event.watch), event.name) else { return };
        let path = directory.join(name);
        if event.flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            // Its watch may end much later: when nobody has it open any more.
            self.watched.remove(&path);
            return;
        }
        if event.flags.contains(ReadFlags::ISDIR) { self.directory(&path) } else { self.file(&path) }
    }

    /// Watches the roots that are not watched, or what there is of the way to them.
    fn find_roots(&mut self) {
        for root in self.roots.clone().iter() {
            let there = root.directory.ancestors().find(|path| path.is_dir());
            if let Some(there) = there.filter(|there| !self.watched.contains(*there)) {
                self.watch(there, WatchFlags::empty());
            }
        }
    }

    /// A directory below a watched one. One that cannot be listed any more may have held a log.
    fn directory(&mut self, path: &Path) {
        // Found when the one above was listed: the event of its birth says nothing new, and it may have gone since. Its end
        // is told after that event and before the birth of another directory of the name.
        if self.watched.contains(path) {
            return;
        }
        let holder = self.roots.iter().find(|root| root.covers(path));
        let (wanted, is_containers) = (holder.is_some(), holder.is_some_and(|root| root.is_containers));
        if !wanted && !self.roots.iter().any(|root| root.leads_to(path)) {
            return;
        }
        if !self.watch(path, WatchFlags::DONT_FOLLOW) && is_containers {
            self.births.missed(path);
        }
    }

    /// `false` when it has gone.
    fn watch(&mut self, path: &Path, flags: WatchFlags) -> bool {
        if self.directories.len() >= WATCHES_MAX {
            self.fall_short(path, Errno::NOSPC);
            return true;
        }
        let births = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let flags = flags | births | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.queue, path, flags) {
            Ok(watch) => {
                self.directories.insert(watch, path.to_owned());
                self.watched.insert(path.to_owned());
            }
            Err(Errno::NOENT) => return false,
            // A link, or no directory any more: not ours.
            Err(Errno::NOTDIR | Errno::LOOP) => return true,
            Err(error) => self.fall_short(path, error),
        }
        let Ok(entries) = std::fs::read_dir(path) else { return path.exists() };
        for entry in entries.flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory { self.directory(&entry.path()) } else { self.file(&entry.path()) }
        }
        true
    }

    fn fall_short(&mut self, path: &Path, error: Errno) {
        self.metrics.event("files", "not_watched", 1);
        if !std::mem::replace(&mut self.is_short, true) {
            tracing::warn!(directory = %path.display(), %error, "a log directory cannot be watched; its files are looked for at intervals");
        }
    }

    fn file(&self, path: &Path) {
        let Some(root) = self.roots.iter().find(|root| root.is_log(path)) else { return };
        let Some(spec) = (root.spec_of)(path) else { return };
        match Found::open(path.to_owned(), false, &spec.directories, &self.refusals) {
            Ok(Some(found)) => self.births.add(path, found),
            // A log that was rotated at once is there under another name; a link that leads nowhere holds nothing.
            Ok(None) => {
                let rotated = weir_runtime::logs::generations(path).is_ok_and(|files| !files.is_empty());
                if root.is_containers && !rotated && !path.is_symlink() {
                    self.births.missed(path);
                }
            }
            // Discovery meets the same error, and says so.
            Err(_) => {}
        }
    }
}
