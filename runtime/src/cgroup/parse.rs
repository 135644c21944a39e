//! Pure readers of the contents of cgroup files. Each takes the text of one file and sets what it says in the sample;
//! what it does not say, and what is no number, stays as it was. Called by [`super::sampler`]; no I/O here.

use super::sample::{CgroupSample, DeviceIo, Limit, Stall};

/// Clock ticks a second in `cpuacct.stat`: `USER_HZ`, 100 on every architecture that runs containers.
const TICK_NANOS: u64 = 10_000_000;
/// v1 writes "no limit" as the largest multiple of a page below 2^63; nothing real is within 1 TiB of it.
const V1_UNLIMITED: u64 = (i64::MAX as u64) - (1 << 40);

/// One number.
pub fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// One limit: a number, `max` (v2), -1 or something close to 2^63 (v1).
pub fn limit(text: &str) -> Option<Limit> {
    match text.trim() {
        "max" | "-1" => Some(Limit::Unlimited),
        text => text.parse().ok().map(|value| if value >= V1_UNLIMITED { Limit::Unlimited } else { Limit::At(value) }),
    }
}

/// Lines of `key value`.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// `cpu.stat` of v1: periods, and throttled time in ns.
pub fn cpu_stat_v1(text: &str, sample: &mut CgroupSample) {
    for (key, value) in pairs(text) {
        match key {
            "nr_periods" => sample.cpu.periods = Some(value),
            "nr_throttled" => sample.cpu.throttled_periods = Some(value),
            "throttled_time" => sample.cpu.throttled_nanos = Some(value),
            _ => {}
        }
    }
}

/// `cpuacct.stat` of v1: user and system time in ticks.
pub fn cpuacct_stat_v1(text: &str, sample: &mut CgroupSample) {
    for (key, value) in pairs(text) {
        match key {
            "user" => sample.cpu.user_nanos = value.checked_mul(TICK_NANOS),
            "system" => sample.cpu.system_nanos = value.checked_mul(TICK_NANOS),
            _ => {}
        }
    }
}

/// `cpu.stat` of v2: times in µs. The throttling lines are there only where the cpu controller is enabled.
pub fn cpu_stat_v2(text: &str, sample: &mut CgroupSample) {
    for (key, value) in pairs(text) {
        match key {
            "usage_usec" => sample.cpu.usage_nanos = value.checked_mul(1000),
            "user_usec" => sample.cpu.user_nanos = value.checked_mul(1000),
            "system_usec" => sample.cpu.system_nanos = value.checked_mul(1000),
            "nr_periods" => sample.cpu.periods = Some(value),
            "nr_throttled" => sample.cpu.throttled_periods = Some(value),
            "throttled_usec" => sample.cpu.throttled_nanos = value.checked_mul(1000),
            _ => {}
        }
    }
}

/// `cpu.max` of v2: `quota period`, quota may be `max`.
pub fn cpu_max_v2(text: &str, sample: &mut CgroupSample) {
    if let Some((quota, period)) = text.trim().split_once(' ') {
        sample.cpu.quota_micros = limit(quota);
        sample.cpu.period_micros = number(period);
    }
}

/// `cpu.weight` of v2 as v1 shares: the inverse of `1 + (shares - 2) * 9999 / 262142`, which OCI runtimes write.
pub fn cpu_weight_v2(text: &str, sample: &mut CgroupSample) {
    sample.cpu.shares =
        number(text).filter(|weight| (1..=10_000).contains(weight)).map(|weight| 2 + (weight - 1) * 262_142 / 9999);
}

/// `memory.stat` of v1: the `total_` lines include the descendants; their plain namesakes stand in where they are absent.
pub fn memory_stat_v1(text: &str, sample: &mut CgroupSample) {
    let memory = &mut sample.memory;
    let total = text.lines().any(|line| line.starts_with("total_"));
    for (key, value) in pairs(text) {
        let key = match (key.strip_prefix("total_"), total) {
            (Some(key), true) => key,
            (None, false) => key,
            _ => continue,
        };
        let field = match key {
            "cache" => &mut memory.cache,
            "rss" => &mut memory.rss,
            "mapped_file" => &mut memory.mapped_file,
            "swap" => &mut memory.swap,
            "dirty" => &mut memory.file_dirty,
            "writeback" => &mut memory.file_writeback,
            "active_file" => &mut memory.active_file,
            "inactive_file" => &mut memory.inactive_file,
            "pgfault" => &mut memory.pgfault,
            "pgmajfault" => &mut memory.pgmajfault,
            _ => continue,
        };
        *field = Some(value);
    }
}

/// `memory.stat` of v2. The root has no `memory.current`; for it, usage is what is anonymous and what is cached.
pub fn memory_stat_v2(text: &str, sample: &mut CgroupSample) {
    let memory = &mut sample.memory;
    for (key, value) in pairs(text) {
        let field = match key {
            "anon" => &mut memory.rss,
            "file" => &mut memory.cache,
            "kernel" => &mut memory.kernel,
            "file_mapped" => &mut memory.mapped_file,
            "file_dirty" => &mut memory.file_dirty,
            "file_writeback" => &mut memory.file_writeback,
            "active_file" => &mut memory.active_file,
            "inactive_file" => &mut memory.inactive_file,
            "pgfault" => &mut memory.pgfault,
            "pgmajfault" => &mut memory.pgmajfault,
            _ => continue,
        };
        *field = Some(value);
    }
}

/// `memory.oom_control` of v1.
pub fn oom_control_v1(text: &str, sample: &mut CgroupSample) {
    if let Some((_, kills)) = pairs(text).find(|(key, _)| *key == "oom_kill") {
        sample.memory.oom_kills = Some(kills);
    }
}

/// `memory.events` of v2: how often the limit was hit, and who died of it.
pub fn memory_events_v2(text: &str, sample: &mut CgroupSample) {
    for (key, value) in pairs(text) {
        match key {
            "max" => sample.memory.failcnt = Some(value),
            "oom_kill" => sample.memory.oom_kills = Some(value),
            _ => {}
        }
    }
}

/// A `*.pressure` file; `None` when it has no `some` line (PSI is off).
pub fn pressure(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split(' ').find_map(|word| word.strip_prefix("total="))?.parse::<u64>().ok()?.checked_mul(1000)
    };
    // Before Linux 5.13 cpu.pressure had no `full` line.
    Some(Stall { some_nanos: total("some ")?, full_nanos: total("full ").unwrap_or(0) })
}

/// `io.stat` of v2: `major:minor rbytes= wbytes= rios= wios= …`.
pub fn io_stat_v2(text: &str, sample: &mut CgroupSample) {
    let mut devices: Vec<DeviceIo> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let mut io = DeviceIo { major, minor, ..DeviceIo::default() };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let field = match key {
                "rbytes" => &mut io.read_bytes,
                "wbytes" => &mut io.write_bytes,
                "rios" => &mut io.reads,
                "wios" => &mut io.writes,
                _ => continue,
            };
            *field = value.parse().unwrap_or(0);
        }
        devices.push(io);
    }
    devices.sort_by_key(|io| (io.major, io.minor));
    sample.io = Some(devices);
}

/// `blkio.throttle.io_service_bytes_recursive` of v1.
pub fn blkio_bytes_v1(text: &str, sample: &mut CgroupSample) {
    blkio_v1(text, sample, |io, read, value| if read { io.read_bytes = value } else { io.write_bytes = value });
}

/// `blkio.throttle.io_serviced_recursive` of v1.
pub fn blkio_operations_v1(text: &str, sample: &mut CgroupSample) {
    blkio_v1(text, sample, |io, read, value| if read { io.reads = value } else { io.writes = value });
}

/// Lines of `major:minor Read|Write|… value`, and a last line `Total value`.
fn blkio_v1(text: &str, sample: &mut CgroupSample, set: impl Fn(&mut DeviceIo, bool, u64)) {
    let devices = sample.io.get_or_insert_default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(number), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
        let (Some((major, minor)), Ok(value)) = (device(number), value.parse()) else { continue };
        if !matches!(kind, "Read" | "Write") {
            continue;
        }
        let at = devices.binary_search_by_key(&(major, minor), |io| (io.major, io.minor)).unwrap_or_else(|at| {
            devices.insert(at, DeviceIo { major, minor, ..DeviceIo::default() });
            at
        });
        set(&mut devices[at], kind == "Read", value);
    }
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests;
