//! The numbers of one cgroup at one instant, the same for v1 and v2. `None` wherever the kernel does not say.
//! Filled by [`super::parse`], turned into metrics by [`crate::samples`].

/// A limit as the kernel states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None is set.
    Unlimited,
    /// In the unit of the field.
    At(u64),
}

impl Limit {
    /// The number, when there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::At(value) => Some(value),
        }
    }
}

/// One cgroup, its descendants included (as the kernel accounts).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupSample {
    /// CPU time and throttling.
    pub cpu: CpuSample,
    /// Memory.
    pub memory: MemorySample,
    /// Tasks.
    pub pids: PidsSample,
    /// Block I/O by device, ascending by (major, minor); `None` when there is no accounting.
    pub io: Option<Vec<DeviceIo>>,
    /// Stall times.
    pub pressure: PressureSample,
}

/// CPU time and throttling. Counters since the cgroup was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuSample {
    /// Total time, ns.
    pub usage_nanos: Option<u64>,
    /// In user mode, ns.
    pub user_nanos: Option<u64>,
    /// In kernel mode, ns.
    pub system_nanos: Option<u64>,
    /// Enforcement periods that passed.
    pub periods: Option<u64>,
    /// Of these, throttled ones.
    pub throttled_periods: Option<u64>,
    /// Time throttled, ns, summed over CPUs.
    pub throttled_nanos: Option<u64>,
    /// Quota a period, µs.
    pub quota_micros: Option<Limit>,
    /// Period, µs.
    pub period_micros: Option<u64>,
    /// v1 shares; v2 weights are converted back, 100 ↔ the same fraction of the range, as OCI runtimes do.
    pub shares: Option<u64>,
}

/// Memory, bytes unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemorySample {
    /// Charged in all.
    pub usage: Option<u64>,
    /// `usage` without the file pages that nobody used lately: what the kubelet evicts by.
    pub working_set: Option<u64>,
    /// Anonymous.
    pub rss: Option<u64>,
    /// Page cache.
    pub cache: Option<u64>,
    /// Mapped files.
    pub mapped_file: Option<u64>,
    /// Swapped out.
    pub swap: Option<u64>,
    /// Kernel memory.
    pub kernel: Option<u64>,
    /// File pages on the active list.
    pub active_file: Option<u64>,
    /// File pages on the inactive list.
    pub inactive_file: Option<u64>,
    /// Dirty file pages.
    pub file_dirty: Option<u64>,
    /// File pages under write-back.
    pub file_writeback: Option<u64>,
    /// Peak usage.
    pub max_usage: Option<u64>,
    /// Hard limit.
    pub limit: Option<Limit>,
    /// Soft limit (v1) or protected low (v2).
    pub reservation: Option<Limit>,
    /// Limit of memory and swap together (v1) or of swap (v2).
    pub swap_limit: Option<Limit>,
    /// Times usage hit the limit.
    pub failcnt: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// Page faults.
    pub pgfault: Option<u64>,
    /// Page faults that needed I/O.
    pub pgmajfault: Option<u64>,
}

/// Tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PidsSample {
    /// Tasks (threads) now.
    pub current: Option<u64>,
    /// Most tasks allowed.
    pub limit: Option<Limit>,
    /// Processes in the cgroup itself, descendants not included.
    pub processes: Option<u64>,
}

/// Counters of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Bytes.
    pub read_bytes: u64,
    /// Bytes.
    pub write_bytes: u64,
    /// Operations.
    pub reads: u64,
    /// Operations.
    pub writes: u64,
}

/// Stall times of a resource since the cgroup was made, ns (the kernel counts in µs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// Some task waited.
    pub some_nanos: u64,
    /// All tasks waited.
    pub full_nanos: u64,
}

/// Pressure stall information.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PressureSample {
    /// CPU.
    pub cpu: Option<Stall>,
    /// Memory.
    pub memory: Option<Stall>,
    /// I/O.
    pub io: Option<Stall>,
}
