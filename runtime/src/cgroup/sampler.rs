//! Reads the numbers of many cgroups again and again: files stay open and are read with `pread`, which takes a tenth of
//! opening them. What lies where is a table; what it says is [`super::parse`]'s affair.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::mount::{Controller, Mounts};
use super::parse;
use super::sample::{CgroupSample, Limit};

/// Limits and peaks change rarely and cost as much as the rest: they are read on the first [`SETTLING`] and then on every
/// tenth sample of a cgroup, and carried over in between.
const SLOW_EVERY: u64 = 10;
/// The first sample may catch a cgroup between its making and the setting of its limits.
const SETTLING: u64 = 2;
/// No file that we read is longer; a `cgroup.procs` of 100,000 processes has 700 kB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// When a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At each sample.
    Always,
    /// At each sample before which the cgroup used CPU: what it counts does not change while nothing runs. (What changes
    /// a moment later is read with the slow ones.)
    Busy,
    /// When the number of tasks has changed since the last sample.
    Tasks,
    /// With the slow ones only.
    Slow,
}

/// One file of a cgroup.
struct Spec {
    name: &'static str,
    pace: Pace,
    set: fn(&str, &mut CgroupSample),
}

const fn fast(name: &'static str, set: fn(&str, &mut CgroupSample)) -> Spec {
    Spec { name, pace: Pace::Always, set }
}

const fn busy(name: &'static str, set: fn(&str, &mut CgroupSample)) -> Spec {
    Spec { name, pace: Pace::Busy, set }
}

const fn slow(name: &'static str, set: fn(&str, &mut CgroupSample)) -> Spec {
    Spec { name, pace: Pace::Slow, set }
}

/// Comes first: the CPU time decides what else is read.
const CPUACCT_V1: &[Spec] =
    &[fast("cpuacct.usage", |text, to| to.cpu.usage_nanos = parse::number(text)), busy("cpuacct.stat", parse::cpuacct_stat_v1)];
const CPU_V1: &[Spec] = &[
    busy("cpu.stat", parse::cpu_stat_v1),
    slow("cpu.cfs_quota_us", |text, to| to.cpu.quota_micros = parse::limit(text)),
    slow("cpu.cfs_period_us", |text, to| to.cpu.period_micros = parse::number(text)),
    slow("cpu.shares", |text, to| to.cpu.shares = parse::number(text)),
];
const MEMORY_V1: &[Spec] = &[
    fast("memory.usage_in_bytes", |text, to| to.memory.usage = parse::number(text)),
    fast("memory.stat", parse::memory_stat_v1),
    busy("memory.oom_control", parse::oom_control_v1),
    busy("memory.failcnt", |text, to| to.memory.failcnt = parse::number(text)),
    slow("memory.max_usage_in_bytes", |text, to| to.memory.max_usage = parse::number(text)),
    slow("memory.kmem.usage_in_bytes", |text, to| to.memory.kernel = parse::number(text)),
    slow("memory.limit_in_bytes", |text, to| to.memory.limit = parse::limit(text)),
    slow("memory.soft_limit_in_bytes", |text, to| to.memory.reservation = parse::limit(text)),
    slow("memory.memsw.limit_in_bytes", |text, to| to.memory.swap_limit = parse::limit(text)),
];
const BLKIO_V1: &[Spec] = &[
    busy("blkio.throttle.io_service_bytes_recursive", parse::blkio_bytes_v1),
    busy("blkio.throttle.io_serviced_recursive", parse::blkio_operations_v1),
];
const CPU_V2: &[Spec] =
    &[fast("cpu.stat", parse::cpu_stat_v2), slow("cpu.max", parse::cpu_max_v2), slow("cpu.weight", parse::cpu_weight_v2)];
const MEMORY_V2: &[Spec] = &[
    fast("memory.current", |text, to| to.memory.usage = parse::number(text)),
    fast("memory.stat", parse::memory_stat_v2),
    busy("memory.events", parse::memory_events_v2),
    fast("memory.swap.current", |text, to| to.memory.swap = parse::number(text)),
    slow("memory.peak", |text, to| to.memory.max_usage = parse::number(text)),
    slow("memory.max", |text, to| to.memory.limit = parse::limit(text)),
    slow("memory.low", |text, to| to.memory.reservation = parse::limit(text)),
    slow("memory.swap.max", |text, to| to.memory.swap_limit = parse::limit(text)),
];
const IO_V2: &[Spec] = &[busy("io.stat", parse::io_stat_v2)];
/// The same in v1 and v2.
const PIDS: &[Spec] = &[
    busy("pids.current", |text, to| to.pids.current = parse::number(text)),
    slow("pids.max", |text, to| to.pids.limit = parse::limit(text)),
];
const PRESSURE: &[Spec] = &[
    fast("cpu.pressure", |text, to| to.pressure.cpu = parse::pressure(text)),
    fast("memory.pressure", |text, to| to.pressure.memory = parse::pressure(text)),
    fast("io.pressure", |text, to| to.pressure.io = parse::pressure(text)),
];
/// Comes behind the number of tasks, which decides whether it is read.
const PROCESSES: &[Spec] =
    &[Spec { name: "cgroup.procs", pace: Pace::Tasks, set: |text, to| to.pids.processes = Some(text.lines().count() as u64) }];

/// A file, and where it is. Without a handle (the budget was used up) it is opened for each read.
struct Source {
    spec: &'static Spec,
    path: PathBuf,
    file: Option<File>,
}

struct Open {
    sources: Vec<Source>,
    /// Files that the cgroup did not have when it was opened. Under v2 they come when a parent enables a controller.
    absent: Vec<PathBuf>,
    sample: CgroupSample,
    /// Memory usage was not told but derived.
    usage_derived: bool,
    turn: u64,
    /// Shifts the slow reads of different cgroups to different samples.
    phase: u64,
}

/// What a reading found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The files that were there before.
    Same,
    /// Some of them are gone, or others have come: a controller was disabled or enabled above.
    Others,
    /// None.
    Nothing,
}

/// What became of a reading.
#[derive(Debug)]
pub enum Sampled<'a> {
    /// The numbers.
    Sample(&'a CgroupSample),
    /// The cgroup is no more.
    Gone,
}

/// Reads cgroups. Holds up to `files_max` files open.
pub struct Sampler {
    mounts: Mounts,
    files_max: usize,
    files: usize,
    open: HashMap<String, Open>,
    buffer: Vec<u8>,
    errors: u64,
}

impl Sampler {
    /// Over these mounts, keeping at most `files_max` files open; [`Sampler::files_max_default`] when in doubt.
    pub fn new(mounts: Mounts, files_max: usize) -> Self {
        Self { mounts, files_max, files: 0, open: HashMap::new(), buffer: vec![0; 16 << 10], errors: 0 }
    }

    /// Three quarters of what the process may open, after asking for as much as it may have: the rest is for sockets, logs
    /// and blocks. A node of 500 containers wants 15,000 under v1.
    pub fn files_max_default() -> usize {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).is_ok() {
            limit.current = limit.maximum;
        }
        limit.current.map_or(1 << 20, |limit| usize::try_from(limit / 4 * 3).unwrap_or(1 << 20))
    }

    /// Reads that failed for another reason than a vanished cgroup.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Reads a cgroup by its path in the tree. Opens its files on the first call, and anew when it has others than before;
    /// forgets it when it is gone.
    pub fn sample(&mut self, path: &str) -> Sampled<'_> {
        let mut found = self.read(path);
        if found == Found::Others {
            // Nothing is carried over from a controller that is no longer there.
            self.forget(path);
            found = self.read(path);
        }
        if found == Found::Nothing {
            self.forget(path);
            return Sampled::Gone;
        }
        Sampled::Sample(&self.open[path].sample)
    }

    fn read(&mut self, path: &str) -> Found {
        if !self.open.contains_key(path) {
            let open = self.open(path);
            self.open.insert(path.to_owned(), open);
        }
        match self.open.get_mut(path) {
            Some(open) => read_all(open, &mut self.buffer, &mut self.errors),
            None => Found::Nothing,
        }
    }

    /// Closes a cgroup's files.
    pub fn forget(&mut self, path: &str) {
        if let Some(open) = self.open.remove(path) {
            self.files -= open.sources.iter().filter(|source| source.file.is_some()).count();
        }
    }

    /// Closes the files of all cgroups that `keep` does not name.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.open.keys().filter(|path| !keep(path)).cloned().collect();
        gone.iter().for_each(|path| self.forget(path));
    }

    fn open(&mut self, path: &str) -> Open {
        let (mut sources, mut absent): (Vec<Source>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        for (point, specs) in tables(&self.mounts) {
            let directory = point.join(path.trim_start_matches('/'));
            for spec in specs {
                // A container's processes are in all hierarchies it is in: one list is enough.
                if spec.name == "cgroup.procs" && sources.iter().any(|source| source.spec.name == spec.name) {
                    continue;
                }
                let path = directory.join(spec.name);
                let Ok(file) = File::open(&path) else {
                    absent.push(path);
                    continue;
                };
                let hold = self.files < self.files_max;
                let file = hold.then_some(file);
                self.files += usize::from(file.is_some());
                sources.push(Source { spec, path, file });
            }
        }
        let phase = self.open.len() as u64 % SLOW_EVERY;
        Open { sources, absent, sample: CgroupSample::default(), usage_derived: false, turn: 0, phase }
    }
}

/// Which files to look for where. A controller that v1 holds is not in the unified hierarchy; pressure is only there.
fn tables(mounts: &Mounts) -> Vec<(&Path, &'static [Spec])> {
    let mut tables = Vec::new();
    let v1: [(Controller, &[Spec], &[Spec]); 5] = [
        (Controller::Cpuacct, CPUACCT_V1, &[]),
        (Controller::Cpu, CPU_V1, CPU_V2),
        (Controller::Memory, MEMORY_V1, MEMORY_V2),
        (Controller::Pids, PIDS, PIDS),
        (Controller::Blkio, BLKIO_V1, IO_V2),
    ];
    for (controller, v1, v2) in v1 {
        match (mounts.v1(controller), mounts.unified()) {
            (Some(point), _) => tables.push((point, v1)),
            (None, Some(point)) => tables.push((point, v2)),
            (None, None) => {}
        }
    }
    tables.extend(mounts.unified().map(|point| (point, PRESSURE)));
    tables.extend(mounts.points().into_iter().map(|point| (point, PROCESSES)));
    tables
}

fn read_all(open: &mut Open, buffer: &mut Vec<u8>, errors: &mut u64) -> Found {
    let slow = open.turn < SETTLING || (open.turn + open.phase).is_multiple_of(SLOW_EVERY);
    // The first time they were looked for a moment ago.
    let come = slow && open.turn > 0 && open.absent.iter().any(|path| path.exists());
    open.turn += 1;
    if open.usage_derived {
        open.sample.memory.usage = None;
    }
    let (mut tried, mut gone) = (0, 0);
    let (before, tasks) = (open.sample.cpu.usage_nanos, open.sample.pids.current);
    // v1 tells bytes and operations of a device in two files that add to one list.
    let io = open.sample.io.take();
    let mut io_read = false;
    for source in &open.sources {
        // Where CPU time is not told, nothing tells that a cgroup is idle.
        let usage = open.sample.cpu.usage_nanos;
        let due = match source.spec.pace {
            Pace::Always => true,
            Pace::Busy => usage.is_none() || usage != before,
            Pace::Tasks => open.sample.pids.current != tasks,
            Pace::Slow => false,
        };
        if !slow && !due {
            continue;
        }
        tried += 1;
        match read(source, buffer) {
            Ok(length) => {
                if let Ok(text) = std::str::from_utf8(&buffer[..length]) {
                    (source.spec.set)(text, &mut open.sample);
                }
            }
            Err(error) if is_gone(&error) => gone += 1,
            // PSI can be switched off for a cgroup, and a controller for a subtree: the value is then not said.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(_) => *errors += 1,
        }
        io_read |= open.sample.io.is_some();
    }
    if !io_read {
        open.sample.io = io;
    }
    open.usage_derived = derive(&mut open.sample);
    match (gone == tried, gone > 0 || come) {
        (true, _) => Found::Nothing,
        (false, true) => Found::Others,
        (false, false) => Found::Same,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Reads the whole file to the front of `buffer`, which grows up to [`FILE_BYTES_MAX`].
fn read(source: &Source, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let opened;
    let file = match &source.file {
        Some(file) => file,
        None => {
            opened = File::open(&source.path)?;
            &opened
        }
    };
    let mut length = 0;
    loop {
        let count = file.read_at(&mut buffer[length..], length as u64)?;
        length += count;
        // The kernel shows all but the process lists in one piece: no second read to see the end.
        let whole = source.spec.name != "cgroup.procs" && length < buffer.len();
        if count == 0 || whole {
            return Ok(length);
        }
        if length == buffer.len() {
            if length >= FILE_BYTES_MAX {
                return Ok(length);
            }
            buffer.resize(length * 2, 0);
        }
    }
}

/// What follows from what was read. Whether memory usage does: the root of v2 has no memory.current.
fn derive(sample: &mut CgroupSample) -> bool {
    let memory = &mut sample.memory;
    let derived = memory.usage.is_none();
    if derived {
        memory.usage = memory.rss.zip(memory.cache).and_then(|(rss, cache)| rss.checked_add(cache));
    }
    memory.working_set = memory.usage.map(|usage| usage.saturating_sub(memory.inactive_file.unwrap_or(0)));
    // v1 says "no quota" as -1; a bare period says nothing then.
    if sample.cpu.quota_micros == Some(Limit::At(0)) {
        sample.cpu.quota_micros = Some(Limit::Unlimited);
    }
    derived
}

#[cfg(test)]
mod tests;
