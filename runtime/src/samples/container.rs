//! One cgroup under cAdvisor's names (cadvisor `lib/metrics/prometheus.go` is their source), and what we say about a
//! container beyond that. Values the kernel does not tell make no series.

use weir_model::label::{Labels, normalise_label_name};
use weir_model::time::UnixNanos;

use super::column::{Metric, Writer, counter, gauge};
use super::machine::Machine;
use crate::cgroup::{Cgroup, CgroupSample, DeviceIo, Limit, MemorySample, PressureSample};
use crate::containers::{Container, ContainerRecord};

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(static $id: Metric = $kind($name, $help);)*
    };
}

metrics! {
    CPU_USAGE = counter "container_cpu_usage_seconds_total" "Cumulative CPU time consumed, in seconds.";
    CPU_USER = counter "container_cpu_user_seconds_total" "Cumulative user CPU time consumed, in seconds.";
    CPU_SYSTEM = counter "container_cpu_system_seconds_total" "Cumulative system CPU time consumed, in seconds.";
    CFS_PERIODS = counter "container_cpu_cfs_periods_total" "Number of elapsed enforcement periods.";
    CFS_THROTTLED_PERIODS = counter "container_cpu_cfs_throttled_periods_total" "Number of throttled enforcement periods.";
    CFS_THROTTLED = counter "container_cpu_cfs_throttled_seconds_total" "Time the container was throttled, in seconds.";
    MEMORY_USAGE = gauge "container_memory_usage_bytes" "Current memory usage, page cache included, in bytes.";
    MEMORY_WORKING_SET = gauge "container_memory_working_set_bytes" "Memory usage without inactive file pages, in bytes.";
    MEMORY_RSS = gauge "container_memory_rss" "Anonymous memory, in bytes.";
    MEMORY_CACHE = gauge "container_memory_cache" "Page cache, in bytes.";
    MEMORY_MAPPED = gauge "container_memory_mapped_file" "Memory-mapped files, in bytes.";
    MEMORY_SWAP = gauge "container_memory_swap" "Swap usage, in bytes.";
    MEMORY_KERNEL = gauge "container_memory_kernel_usage" "Kernel memory, in bytes.";
    MEMORY_MAX = gauge "container_memory_max_usage_bytes" "Highest memory usage seen, in bytes.";
    MEMORY_FAILCNT = counter "container_memory_failcnt" "Number of times memory usage hit the limit.";
    MEMORY_ACTIVE_FILE = gauge "container_memory_total_active_file_bytes" "File pages on the active list, in bytes.";
    MEMORY_INACTIVE_FILE = gauge "container_memory_total_inactive_file_bytes" "File pages on the inactive list, in bytes.";
    MEMORY_DIRTY = gauge "container_memory_file_dirty_bytes" "Dirty file pages, in bytes.";
    MEMORY_WRITEBACK = gauge "container_memory_file_writeback_bytes" "File pages under write-back, in bytes.";
    MEMORY_FAILURES = counter "container_memory_failures_total" "Page faults by kind.";
    OOM_EVENTS = counter "container_oom_events_total" "Processes killed for lack of memory.";
    SPEC_SHARES = gauge "container_spec_cpu_shares" "CPU shares.";
    SPEC_QUOTA = gauge "container_spec_cpu_quota" "CPU quota in a period, in microseconds.";
    SPEC_PERIOD = gauge "container_spec_cpu_period" "CPU period, in microseconds.";
    SPEC_MEMORY = gauge "container_spec_memory_limit_bytes" "Memory limit, in bytes; 0 for none.";
    SPEC_RESERVATION = gauge "container_spec_memory_reservation_limit_bytes" "Memory reservation, in bytes; 0 for none.";
    SPEC_SWAP = gauge "container_spec_memory_swap_limit_bytes" "Swap limit, in bytes; 0 for none.";
    PROCESSES = gauge "container_processes" "Number of processes.";
    THREADS = gauge "container_threads" "Number of threads.";
    THREADS_MAX = gauge "container_threads_max" "Most threads allowed; 0 for no limit.";
    FS_READS = counter "container_fs_reads_total" "Reads completed.";
    FS_WRITES = counter "container_fs_writes_total" "Writes completed.";
    FS_READ_BYTES = counter "container_fs_reads_bytes_total" "Bytes read.";
    FS_WRITE_BYTES = counter "container_fs_writes_bytes_total" "Bytes written.";
    BLKIO = counter "container_blkio_device_usage_total" "Bytes by block device and operation.";
    PRESSURE_CPU_SOME = counter "container_pressure_cpu_waiting_seconds_total" "Time in which some task waited for CPU, in seconds.";
    PRESSURE_CPU_FULL = counter "container_pressure_cpu_stalled_seconds_total" "Time in which all tasks waited for CPU, in seconds.";
    PRESSURE_MEMORY_SOME = counter "container_pressure_memory_waiting_seconds_total" "Time in which some task waited for memory, in seconds.";
    PRESSURE_MEMORY_FULL = counter "container_pressure_memory_stalled_seconds_total" "Time in which all tasks waited for memory, in seconds.";
    PRESSURE_IO_SOME = counter "container_pressure_io_waiting_seconds_total" "Time in which some task waited for I/O, in seconds.";
    PRESSURE_IO_FULL = counter "container_pressure_io_stalled_seconds_total" "Time in which all tasks waited for I/O, in seconds.";
    LAST_SEEN = gauge "container_last_seen" "When the container was last seen, in Unix seconds.";
    START_TIME = gauge "container_start_time_seconds" "When the container was started, in Unix seconds.";
    INFO = gauge "weir_container_info" "A container, its engine and its state; always 1.";
    RESTARTS = counter "weir_container_restarts_total" "How often the container was started again.";
    OOM_KILLS = counter "weir_container_oom_kills_total" "Processes of the container killed for lack of memory, over all of its runs.";
    EXIT_CODE = gauge "weir_container_exit_code" "How the container's last run ended: 128 + signal when one ended it; no series while that is not known.";
    FINISH_TIME = gauge "weir_container_finish_time_seconds" "When the container's last run ended, in Unix seconds.";
}

/// The labels of all series of a cgroup: its path, and the container's names when one is known to be in it.
pub(super) fn labels(path: &str, container: Option<&Container>) -> Labels {
    let Some(container) = container else { return Labels::from_pairs([("id", path)]) };
    // In a pod, kubelet's cAdvisor says the engine's id as `name` and leaves `container` out for the sandbox.
    let name = if container.pod.is_empty() { &container.name } else { &container.id };
    let own = if container.sandbox { "" } else { container.name.as_str() };
    Labels::from_pairs([
        ("id", path),
        ("name", name),
        ("image", &container.image),
        ("container", own),
        ("pod", &container.pod),
        ("namespace", &container.namespace),
    ])
}

/// Numbers of a cgroup, but for [`oom_events`].
pub(super) fn numbers(sample: &CgroupSample, machine: &Machine, out: &mut Writer<'_>) {
    let cpu = &sample.cpu;
    out.put_with(&CPU_USAGE, &[("cpu", "total")], seconds(cpu.usage_nanos));
    out.put(&CPU_USER, seconds(cpu.user_nanos));
    out.put(&CPU_SYSTEM, seconds(cpu.system_nanos));
    out.put(&SPEC_SHARES, count(cpu.shares));
    out.put(&SPEC_PERIOD, count(cpu.period_micros));
    // As cAdvisor: throttling only where there is a quota. A container without one cannot be throttled itself.
    if let Some(Limit::At(quota)) = cpu.quota_micros {
        out.put(&SPEC_QUOTA, quota as f64);
        out.put(&CFS_PERIODS, count(cpu.periods));
        out.put(&CFS_THROTTLED_PERIODS, count(cpu.throttled_periods));
        out.put(&CFS_THROTTLED, seconds(cpu.throttled_nanos));
    }
    memory(&sample.memory, out);
    out.put(&PROCESSES, count(sample.pids.processes));
    out.put(&THREADS, count(sample.pids.current));
    out.put(&THREADS_MAX, limit(sample.pids.limit));
    sample.io.iter().flatten().for_each(|io| device(io, machine, out));
    pressure(&sample.pressure, out);
}

fn memory(memory: &MemorySample, out: &mut Writer<'_>) {
    let gauges = [
        (&MEMORY_USAGE, memory.usage),
        (&MEMORY_WORKING_SET, memory.working_set),
        (&MEMORY_RSS, memory.rss),
        (&MEMORY_CACHE, memory.cache),
        (&MEMORY_MAPPED, memory.mapped_file),
        (&MEMORY_SWAP, memory.swap),
        (&MEMORY_KERNEL, memory.kernel),
        (&MEMORY_MAX, memory.max_usage),
        (&MEMORY_FAILCNT, memory.failcnt),
        (&MEMORY_ACTIVE_FILE, memory.active_file),
        (&MEMORY_INACTIVE_FILE, memory.inactive_file),
        (&MEMORY_DIRTY, memory.file_dirty),
        (&MEMORY_WRITEBACK, memory.file_writeback),
    ];
    for (metric, value) in gauges {
        out.put(metric, count(value));
    }
    let faults = [("pgfault", memory.pgfault), ("pgmajfault", memory.pgmajfault)];
    for (kind, value) in faults {
        out.put_with(&MEMORY_FAILURES, &[("failure_type", kind), ("scope", "hierarchy")], count(value));
    }
    out.put(&SPEC_MEMORY, limit(memory.limit));
    out.put(&SPEC_RESERVATION, limit(memory.reservation));
    out.put(&SPEC_SWAP, limit(memory.swap_limit));
}

fn device(io: &DeviceIo, machine: &Machine, out: &mut Writer<'_>) {
    let name = machine.device_name(io.major, io.minor);
    let path = format!("/dev/{name}");
    let device = [("device", path.as_str())];
    out.put_with(&FS_READS, &device, io.reads as f64);
    out.put_with(&FS_WRITES, &device, io.writes as f64);
    out.put_with(&FS_READ_BYTES, &device, io.read_bytes as f64);
    out.put_with(&FS_WRITE_BYTES, &device, io.write_bytes as f64);
    let (major, minor) = (io.major.to_string(), io.minor.to_string());
    for (operation, value) in [("Read", io.read_bytes), ("Write", io.write_bytes)] {
        let labels = [("device", path.as_str()), ("major", &major), ("minor", &minor), ("operation", operation)];
        out.put_with(&BLKIO, &labels, value as f64);
    }
}

fn pressure(pressure: &PressureSample, out: &mut Writer<'_>) {
    let resources = [
        (pressure.cpu, &PRESSURE_CPU_SOME, &PRESSURE_CPU_FULL),
        (pressure.memory, &PRESSURE_MEMORY_SOME, &PRESSURE_MEMORY_FULL),
        (pressure.io, &PRESSURE_IO_SOME, &PRESSURE_IO_FULL),
    ];
    for (stall, some, full) in resources {
        out.put(some, seconds(stall.map(|stall| stall.some_nanos)));
        out.put(full, seconds(stall.map(|stall| stall.full_nanos)));
    }
}

/// When it was seen and since when it is.
pub(super) fn times(cgroup: &Cgroup, container: Option<&Container>, now: UnixNanos, out: &mut Writer<'_>) {
    out.put(&LAST_SEEN, now.div_euclid(1_000_000_000) as f64);
    let started = container.and_then(|container| container.started).map(|started| started as f64 / 1e9);
    out.put(&START_TIME, started.unwrap_or(cgroup.created as f64));
}

/// What we say about a container beyond cAdvisor: id, engine, state, labels (as cAdvisor prefixes them).
pub(super) fn about(container: &Container, out: &mut Writer<'_>) {
    let own: Vec<(String, &str)> = container
        .labels
        .iter()
        .map(|(name, value)| (format!("container_label_{}", normalise_label_name(name)), value.as_str()))
        .collect();
    let mut labels =
        vec![("container_id", container.id.as_str()), ("runtime", container.engine.name()), ("state", container.state.name())];
    labels.extend(own.iter().map(|(name, value)| (name.as_str(), *value)));
    out.put_with(&INFO, &labels, 1.0);
}

/// How often it was started again.
pub(super) fn restarts(container: &Container, out: &mut Writer<'_>) {
    out.put(&RESTARTS, count(container.restarts));
}

/// Kills in a cgroup. Those of a container are counted over its runs, each of which has a cgroup of its own as a rule.
pub(super) fn oom_events(kills: Option<u64>, out: &mut Writer<'_>) {
    out.put(&OOM_EVENTS, count(kills));
}

/// Kills of a container, and how its last run ended.
pub(super) fn ends(record: &ContainerRecord, counter: Option<u64>, out: &mut Writer<'_>) {
    let id = [("container_id", record.container.id.as_str())];
    out.put_with(&OOM_KILLS, &id, record.oom_kills(counter) as f64);
    let Some(end) = record.last_end() else { return };
    out.put_with(&EXIT_CODE, &id, end.exit_code.map(f64::from));
    out.put_with(&FINISH_TIME, &id, end.at as f64 / 1e9);
}

fn count(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

/// cAdvisor's spelling: 0 for no limit.
fn limit(limit: Option<Limit>) -> Option<f64> {
    limit.map(|limit| limit.value().unwrap_or(0) as f64)
}
