//! Processor and wall time of this process, and processor time of others. Figures are per core: amount over processor seconds
//! of all threads (kernel included), which a busy machine changes less than wall time. Wall time stands beside it where waiting
//! is part of the matter.

use std::time::{Duration, Instant};

/// Started at the beginning of what is measured.
pub struct Watch {
    begun: Instant,
    cpu: Duration,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Wall time.
    pub wall: Duration,
    /// Processor time of all threads, user and system.
    pub cpu: Duration,
}

impl Watch {
    /// Starts.
    pub fn start() -> Self {
        Self { begun: Instant::now(), cpu: processor_time() }
    }

    /// Since the start; goes on.
    pub fn spent(&self) -> Spent {
        Spent { wall: self.begun.elapsed(), cpu: processor_time().saturating_sub(self.cpu) }
    }
}

impl Spent {
    /// Amount per second of one core.
    pub fn per_core(&self, amount: u64) -> f64 {
        amount as f64 / self.cpu.as_secs_f64().max(1e-9)
    }

    /// Amount per second of wall time.
    pub fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// MB (10⁶ bytes) per second of one core, for people.
    pub fn mb_per_core(&self, bytes: u64) -> String {
        format!("{:.0} MB/s per core", self.per_core(bytes) / 1e6)
    }

    /// MB (10⁶ bytes) per second of wall time, for people.
    pub fn mb_wall(&self, bytes: u64) -> String {
        format!("{:.0} MB/s wall", self.per_second(bytes) / 1e6)
    }
}

/// Measures a piece of work that runs here and now.
pub fn spent<T>(work: impl FnOnce() -> T) -> (Spent, T) {
    let watch = Watch::start();
    let done = work();
    (watch.spent(), done)
}

/// MB (10⁶ bytes), for people.
pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Processor time of another process since its start, all threads and the children that it waited for, user and system; to the
/// kernel's tick (10 ms).
pub fn processor_time_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // Its name, in parentheses, may hold anything; utime, stime, cutime and cstime are the 12th and the next fields after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: u64 = fields.skip(11).take(4).map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
    // SAFETY: reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

fn processor_time() -> Duration {
    // SAFETY: all-zero bytes are a valid `rusage` (plain integers), and the call only writes into it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let part = |time: libc::timeval| {
        let micros = time.tv_sec * 1_000_000 + time.tv_usec;
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    part(usage.ru_utime) + part(usage.ru_stime)
}
