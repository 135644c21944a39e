//! The guest's readings, compared. The loads are those of `tests/guest/measure`.

use super::machine::{FILE_BYTES, Machine};
use super::report::{Answer, Kernel, Report};

const MIB: f64 = 1_048_576.0;
const MICROS: f64 = 1e6;

/// A number of weir's, and where the kernel says it.
struct Reading {
    metric: &'static str,
    only: Option<(&'static str, &'static str)>,
    file: &'static str,
    key: &'static str,
    /// The kernel's units in one of weir's.
    scale: f64,
}

const fn reading(metric: &'static str, file: &'static str, key: &'static str, scale: f64) -> Reading {
    Reading { metric, only: None, file, key, scale }
}

const fn failures(kind: &'static str) -> Reading {
    let only = Some(("failure_type", kind));
    Reading { metric: "container_memory_failures_total", only, file: "memory.stat", key: kind, scale: 1.0 }
}

/// They only grow.
const COUNTERS: [Reading; 20] = [
    reading("container_cpu_usage_seconds_total", "cpu.stat", "usage_usec", MICROS),
    reading("container_cpu_user_seconds_total", "cpu.stat", "user_usec", MICROS),
    reading("container_cpu_system_seconds_total", "cpu.stat", "system_usec", MICROS),
    reading("container_cpu_cfs_periods_total", "cpu.stat", "nr_periods", 1.0),
    reading("container_cpu_cfs_throttled_periods_total", "cpu.stat", "nr_throttled", 1.0),
    reading("container_cpu_cfs_throttled_seconds_total", "cpu.stat", "throttled_usec", MICROS),
    reading("container_memory_failcnt", "memory.events", "max", 1.0),
    reading("container_oom_events_total", "memory.events", "oom_kill", 1.0),
    failures("pgfault"),
    failures("pgmajfault"),
    reading("container_fs_reads_total", "io.stat", "=rios", 1.0),
    reading("container_fs_writes_total", "io.stat", "=wios", 1.0),
    reading("container_fs_reads_bytes_total", "io.stat", "=rbytes", 1.0),
    reading("container_fs_writes_bytes_total", "io.stat", "=wbytes", 1.0),
    reading("container_pressure_cpu_waiting_seconds_total", "cpu.pressure", "some", MICROS),
    reading("container_pressure_cpu_stalled_seconds_total", "cpu.pressure", "full", MICROS),
    reading("container_pressure_memory_waiting_seconds_total", "memory.pressure", "some", MICROS),
    reading("container_pressure_memory_stalled_seconds_total", "memory.pressure", "full", MICROS),
    reading("container_pressure_io_waiting_seconds_total", "io.pressure", "some", MICROS),
    reading("container_pressure_io_stalled_seconds_total", "io.pressure", "full", MICROS),
];

/// They go up and down, or are set.
const GAUGES: [Reading; 18] = [
    reading("container_memory_usage_bytes", "memory.current", "", 1.0),
    reading("container_memory_rss", "memory.stat", "anon", 1.0),
    reading("container_memory_cache", "memory.stat", "file", 1.0),
    reading("container_memory_mapped_file", "memory.stat", "file_mapped", 1.0),
    reading("container_memory_kernel_usage", "memory.stat", "kernel", 1.0),
    reading("container_memory_total_active_file_bytes", "memory.stat", "active_file", 1.0),
    reading("container_memory_total_inactive_file_bytes", "memory.stat", "inactive_file", 1.0),
    reading("container_memory_file_dirty_bytes", "memory.stat", "file_dirty", 1.0),
    reading("container_memory_file_writeback_bytes", "memory.stat", "file_writeback", 1.0),
    reading("container_memory_swap", "memory.swap.current", "", 1.0),
    reading("container_threads", "pids.current", "", 1.0),
    reading("container_processes", "cgroup.procs", "#", 1.0),
    reading("container_memory_max_usage_bytes", "memory.peak", "", 1.0),
    reading("container_spec_memory_limit_bytes", "memory.max", "", 1.0),
    reading("container_spec_memory_reservation_limit_bytes", "memory.low", "", 1.0),
    reading("container_spec_memory_swap_limit_bytes", "memory.swap.max", "", 1.0),
    reading("container_threads_max", "pids.max", "", 1.0),
    reading("container_spec_cpu_period", "cpu.max", "1", 1.0),
];

/// Root's memory is derived, not told; checked by itself.
const ROOT: &str = "/";

/// Three readings: the kernel's, weir's, the kernel's.
struct Readings {
    start: Kernel,
    before: Kernel,
    weir: Answer,
    after: Kernel,
}

impl Readings {
    fn of(report: &Report) -> Self {
        Self {
            start: report.kernel("start"),
            before: report.kernel("before"),
            weir: report.answer("weir"),
            after: report.kernel("after"),
        }
    }

    fn value(&self, metric: &str, cgroup: &str) -> f64 {
        self.weir.value(metric, cgroup, None).unwrap_or_else(|| panic!("weir has no {metric} of {cgroup}"))
    }

    fn usage(kernel: &Kernel, cgroup: &str) -> Option<u64> {
        kernel.number(cgroup, "cpu.stat", "usage_usec")
    }

    /// Nothing ran in it between the kernel's readings.
    fn is_idle(&self, cgroup: &str) -> bool {
        Self::usage(&self.before, cgroup) == Self::usage(&self.after, cgroup)
    }

    /// Nothing has run in it since weir began.
    fn is_settled(&self, cgroup: &str) -> bool {
        Self::usage(&self.start, cgroup) == Self::usage(&self.after, cgroup)
    }

    fn has_quota(&self, cgroup: &str) -> bool {
        self.after.number(cgroup, "cpu.max", "0").is_some_and(|quota| quota > 0)
    }

    /// How many numbers lie where they must; what does not is put down.
    fn counters(&self, wrong: &mut Vec<String>) -> usize {
        let mut right = 0;
        for cgroup in self.before.cgroups() {
            for reading in &COUNTERS {
                let kernel = |kernel: &Kernel| {
                    let shown = !reading.metric.contains("_cfs_") || self.has_quota(cgroup);
                    kernel.number(cgroup, reading.file, reading.key).filter(|_| shown)
                };
                let weir = self.weir.value(reading.metric, cgroup, reading.only).map(|value| (value * reading.scale).round());
                let (before, after) = (kernel(&self.before), kernel(&self.after));
                let good = match (before, weir, after) {
                    (Some(before), Some(weir), Some(after)) => before as f64 <= weir && weir <= after as f64,
                    // Its first I/O was between the two.
                    (None, None, _) => reading.file == "io.stat" || after.is_none(),
                    (None, Some(weir), Some(after)) => reading.file == "io.stat" && weir <= after as f64,
                    _ => false,
                };
                right += usize::from(good && weir.is_some());
                if !good {
                    wrong.push(format!("{} of {cgroup}: {before:?} ≤ {weir:?} ≤ {after:?}", reading.metric));
                }
            }
        }
        right
    }

    fn gauges(&self, wrong: &mut Vec<String>) -> usize {
        let mut right = 0;
        for cgroup in self.before.cgroups().into_iter().filter(|cgroup| *cgroup != ROOT) {
            for reading in &GAUGES {
                let kernel = |kernel: &Kernel| match (kernel.number(cgroup, reading.file, reading.key), reading.key) {
                    (None, "#") => Some(0),
                    (number, _) => number,
                };
                let (before, after) = (kernel(&self.before), kernel(&self.after));
                // Limits are as they are set; peaks and process lists are read on every tenth sample.
                let comparable = match reading.file {
                    "memory.max" | "memory.low" | "memory.swap.max" | "pids.max" | "cpu.max" => true,
                    "memory.peak" | "cgroup.procs" => self.is_settled(cgroup),
                    _ => self.is_idle(cgroup),
                };
                if !comparable || before != after {
                    continue;
                }
                let weir = self.weir.value(reading.metric, cgroup, reading.only);
                right += usize::from(weir.is_some());
                if weir != after.map(|value| value as f64) {
                    wrong.push(format!("{} of {cgroup}: {weir:?}, and the kernel says {after:?}", reading.metric));
                }
            }
        }
        right
    }
}

fn within(what: &str, value: f64, least: f64, most: f64) {
    assert!((least..=most).contains(&value), "{what} is {value}, not within {least} and {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_v2_kernel_weir_says_what_the_kernel_says() {
    let report = Machine::new().run().await.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.text("controllers").contains("memory"), "this is pure v2: {}", report.text("controllers"));
    let readings = Readings::of(&report);
    let mut wrong = Vec::new();
    let (counters, gauges) = (readings.counters(&mut wrong), readings.gauges(&mut wrong));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{counters} counters lie between the kernel's readings, {gauges} gauges are equal");
    assert!(counters > 200 && gauges > 150, "{counters} counters and {gauges} gauges are too few to say anything");

    cpu(&readings);
    memory(&readings);
    rest(&readings);
    changes(&readings, &report);
    node(&readings, &report);
    container(&readings, &report);
}

/// A loop under a fifth of a core.
fn cpu(readings: &Readings) {
    let burn = |metric: &str| readings.value(&format!("container_cpu_{metric}"), "/burn");
    let (periods, usage) = (burn("cfs_periods_total"), burn("usage_seconds_total"));
    within("periods", periods, 50.0, 1e5);
    // The quota is 20 ms a period. That these are the kernel's numbers stands above; here they have the size of such a loop, on an emulated
    // core that may have a small part of a busy host's.
    within("ms of CPU a period", usage * 1e3 / periods, 4.0, 30.0);
    within("throttled periods of all", burn("cfs_throttled_periods_total") / periods, 0.2, 1.0);
    within("throttled of the time", burn("cfs_throttled_seconds_total") / (periods * 0.1), 0.05, 1.0);
    assert_eq!(readings.value("container_spec_cpu_quota", "/burn"), 20_000.0);
    let waiting = readings.value("container_pressure_cpu_waiting_seconds_total", "/burn");
    within("seconds in which it waited for CPU", waiting, 1.0, 1e5);
    assert_eq!(readings.weir.value("container_cpu_cfs_periods_total", "/held", None), None, "there is no quota");
    let inner = readings.value("container_cpu_usage_seconds_total", "/pod/inner");
    assert!(inner > 0.0);
    assert_eq!(readings.value("container_cpu_usage_seconds_total", "/pod"), inner, "what is below counts above");
    // 50 of 1 to 10,000, on the scale of 2 to 262,144.
    assert_eq!(readings.value("container_spec_cpu_shares", "/held"), 1286.0);
}

/// 24 MiB held, 16 MiB cached, one process killed that wanted more than 16 MiB.
fn memory(readings: &Readings) {
    let value = |metric: &str, cgroup: &str| readings.value(&format!("container_memory_{metric}"), cgroup);
    assert_eq!(value("cache", "/held"), 24.0 * MIB);
    within("memory held", value("usage_bytes", "/held"), 24.0 * MIB, 25.0 * MIB);
    assert_eq!(value("working_set_bytes", "/held"), value("usage_bytes", "/held"), "memory in tmpfs is no file page");
    within("inactive file pages", value("total_inactive_file_bytes", "/cached"), FILE_BYTES as f64, FILE_BYTES as f64 + MIB);
    within("the rest of the working set", value("working_set_bytes", "/cached"), 0.0, MIB);
    assert_eq!(value("max_usage_bytes", "/killed"), 16.0 * MIB);
    assert!(value("failcnt", "/killed") >= 1.0);
    assert_eq!(readings.value("container_oom_events_total", "/killed"), 1.0);
    assert_eq!(readings.value("container_oom_events_total", "/held"), 0.0);
    let stalled = readings.value("container_pressure_memory_waiting_seconds_total", "/killed");
    assert!(stalled > 0.0, "it was reclaimed from before it was killed");

    // The root has no memory.current: what is anonymous and what is cached. It has grown since weir began.
    let told = |kernel: &Kernel| ["anon", "file"].map(|key| kernel.number(ROOT, "memory.stat", key).unwrap() as f64).iter().sum();
    let (start, before, after): (f64, f64, f64) = (told(&readings.start), told(&readings.before), told(&readings.after));
    assert!(before > start + 24.0 * MIB, "{start} {before}");
    // Others use memory in between, weir itself among them.
    let slack = 8.0 * MIB;
    within("the node's memory", value("usage_bytes", ROOT), before.min(after) - slack, before.max(after) + slack);
    assert!(value("working_set_bytes", ROOT) < value("usage_bytes", ROOT));
}

/// Tasks and I/O.
fn rest(readings: &Readings) {
    assert_eq!(readings.value("container_threads", "/forks"), 6.0, "a shell and five sleepers");
    assert_eq!(readings.value("container_processes", "/forks"), 6.0);
    assert_eq!(readings.value("container_threads_max", "/forks"), 20.0);
    assert_eq!(readings.value("container_processes", "/observer"), 1.0);
    within("weir's threads", readings.value("container_threads", "/observer"), 3.0, 1000.0);
    let disk = |metric: &str| readings.weir.value(&format!("container_fs_{metric}"), "/disk", Some(("device", "/dev/nvme1n1")));
    assert_eq!((disk("writes_bytes_total"), disk("writes_total")), (Some(4.0 * MIB), Some(64.0)));
    assert_eq!((disk("reads_bytes_total"), disk("reads_total")), (Some(MIB), Some(32.0)));
    assert!(readings.value("container_pressure_io_waiting_seconds_total", "/disk") > 0.0, "it waited for the disk");
    assert_eq!(readings.value("weir_runtime_read_errors_total", ""), 0.0);
    assert_eq!(readings.value("weir_runtime_unreadable_directories", ""), 0.0);
}

/// Controllers that are not there, that came, that went; and a cgroup that went.
fn changes(readings: &Readings, report: &Report) {
    let has = |metric: &str, cgroup: &str| readings.weir.value(metric, cgroup, None).is_some();
    assert!(has("container_cpu_usage_seconds_total", "/bare/leaf"), "v2 counts CPU time everywhere");
    assert!(!has("container_memory_usage_bytes", "/bare/leaf") && !has("container_threads", "/bare/leaf"));
    assert!(has("container_memory_usage_bytes", "/late/leaf"), "its controller was enabled after weir had seen it");
    assert!(has("container_memory_usage_bytes", "/pod/inner"));
    assert!(!has("container_threads", "/pod/inner"), "its controller was disabled after weir had seen it");
    assert!(has("container_last_seen", "/gone"));
    assert!(report.answer("weir-gone").series.is_empty(), "its series end with it");
}

/// The node's own pressure.
fn node(readings: &Readings, report: &Report) {
    let answer = report.answer("weir-node");
    let pressures =
        [("cpu", "waiting", "some"), ("memory", "waiting", "some"), ("memory", "stalled", "full"), ("io", "waiting", "some")];
    for (file, kind, key) in pressures {
        let metric = format!("node_pressure_{file}_{kind}_seconds_total");
        let weir = answer.value(&metric, "", None).map(|value| (value * MICROS).round());
        let kernel = |kernel: &Kernel| kernel.number("/proc/pressure", file, key).map(|total| total as f64);
        let (before, after) = (kernel(&readings.before), kernel(&readings.after));
        assert!(before.is_some() && before <= weir && weir <= after, "{metric}: {before:?} ≤ {weir:?} ≤ {after:?}");
    }
    let release = answer.series.iter().find(|series| series["metric"]["__name__"] == "node_uname_info");
    let release = release.map_or("", |series| series["metric"]["release"].as_str().unwrap_or_default());
    assert!(release.ends_with("-cloud-amd64"), "{release}");
}

/// `weir run` under runc: its limits are set and seen, its line is found.
fn container(readings: &Readings, report: &Report) {
    let list = report.json("weir-ps");
    let own = &list[0];
    assert_eq!(
        (&own["name"], &own["state"], &own["id"]),
        (&"capped".into(), &"running".into(), &report.text("container").into())
    );
    let cgroup = own["cgroup"].as_str().unwrap();
    let kernel = |file: &str, key: &str| readings.after.number(cgroup, file, key);
    assert_eq!((kernel("cpu.max", "0"), kernel("cpu.max", "1")), (Some(25_000), Some(100_000)));
    assert_eq!((kernel("memory.max", ""), kernel("pids.max", "")), (Some(32 << 20), Some(16)));
    let value = |metric: &str| {
        let value = readings.weir.value(&format!("container_{metric}"), cgroup, Some(("name", "capped")));
        value.unwrap_or_else(|| panic!("weir has no {metric} of the container"))
    };
    assert_eq!((value("spec_cpu_quota"), value("spec_memory_limit_bytes"), value("threads_max")), (25_000.0, 32.0 * MIB, 16.0));
    assert_eq!((value("threads"), value("processes")), (2.0, 2.0), "the shell and its sleeper");
    within("ms of CPU a period", value("cpu_usage_seconds_total") * 1e3 / value("cpu_cfs_periods_total"), 1.0, 50.0);
    assert!(report.text("weir-logs").contains("hello from v2"), "{}", report.text("weir-logs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_does_not_come_up_says_so_with_its_console() {
    let machine = Machine::new();
    std::fs::remove_file(machine.disk().join("sbin/measure")).unwrap();
    let Err(error) = machine.run().await else { panic!("there is nothing that it could have run") };
    assert!(error.contains("did not come to its end") && error.contains("Kernel panic"), "{error}");
}

#[test]
fn a_guest_that_gives_up_is_an_error() {
    let parse = |text: &str| Report::parse(text).map(|_| ()).unwrap_err();
    assert_eq!(parse("@@ start\r\nx\n@@ failed weir is not ready\n@@ end\n"), "the guest failed: weir is not ready");
    assert_eq!(parse("@@ start\n"), "the guest did not come to its end");
}
