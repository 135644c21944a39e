//! Processor and wall time of this process. Figures are per core: amount over processor seconds of all threads (kernel
//! included), which a busy machine changes less than wall time. Wall time stands beside it where waiting is part of the matter.

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
