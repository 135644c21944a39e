//! Whatever the kernel or an engine writes into a file that is read here: a value or none, and never a panic.

use std::path::Path;

use procfs::{FromBufRead, ProcessCGroups};
use weir_model::fuzz::{CountingAllocator, Fuzz, MemoryLimit};

use crate::cgroup::parse;
use crate::cgroup::{CgroupSample, Mounts};
use crate::containers::paths;
use crate::logs::is_rotated_suffix;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Numbers by device and paths of mounts: some hundred bytes for each line of a few.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 10, per_input_byte: 64 };

#[test]
fn files_of_a_cgroup() {
    type Reader = fn(&str, &mut CgroupSample);
    const READERS: [Reader; 14] = [
        parse::cpu_stat_v1,
        parse::cpuacct_stat_v1,
        parse::cpu_stat_v2,
        parse::cpu_max_v2,
        parse::cpu_weight_v2,
        parse::memory_stat_v1,
        parse::memory_stat_v2,
        parse::oom_control_v1,
        parse::memory_events_v2,
        parse::io_stat_v2,
        parse::blkio_bytes_v1,
        parse::blkio_operations_v1,
        |text, _| _ = parse::pressure(text),
        |text, _| _ = (parse::number(text), parse::limit(text)),
    ];
    let seeds = [
        "usage_usec 12\nuser_usec 7\nnr_periods 3\nthrottled_usec 18446744073709551615\n",
        "max 100000\n",
        "rss 4096\ntotal_inactive_file 8\nanon 1\nfile 2\ninactive_file 3\n",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n8:16 Read 5\n8:16 Write 6\nTotal 11\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 total=18446744073709551615\n",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 2\nmax 3\n",
    ];
    let words = ["max", "total", " ", "\n", ":", "=", "18446744073709551615", "-1", "Read", "Write"];
    let fuzz = seeds.iter().fold(Fuzz::new("cgroup").text().words(&words), |fuzz, seed| fuzz.seed(seed));
    fuzz.memory(MEMORY).run(|input| {
        let text = std::str::from_utf8(input).unwrap();
        let mut sample = CgroupSample::default();
        for read in READERS {
            read(text, &mut sample);
            // A kernel says the same twice.
            let before = sample.clone();
            read(text, &mut sample);
            assert_eq!(sample, before);
        }
    });
}

#[test]
fn mounts_paths_and_names() {
    let id = "0123456789abcdef".repeat(4);
    let seeds = [
        "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n24 1 0:22 / /sys\\040x rw - cgroup2 c rw\n"
            .to_owned(),
        "9:name=systemd:/\n4:memory:/m/x\n1:cpu:/c\n0::/u\n".to_owned(),
        format!("/kubepods.slice/kubepods-burstable-pod1b2c_3d.slice/cri-containerd-{id}.scope"),
        format!("/kubepods/besteffort/pod1b2c/{id}"),
        ".20260131-120000.gz".to_owned(),
    ];
    let words = ["/kubepods", "-pod", ".slice", ".scope", "docker-", "/weir/", " - ", "cgroup", "\\134", ":", ".gz", "é"];
    let fuzz = seeds.iter().fold(Fuzz::new("node-files").text().words(&words), |fuzz, seed| fuzz.seed(seed));
    fuzz.memory(MEMORY).run(|input| {
        let text = std::str::from_utf8(input).unwrap();
        let mounts = Mounts::from_mountinfo(text, Path::new("/root"));
        assert!(mounts.points().iter().all(|point| point.starts_with("/root")));
        if let Some(claim) = paths::claim(text) {
            assert!(!claim.id.is_empty() && text.contains(&claim.id));
        }
        if let Ok(cgroups) = ProcessCGroups::from_buf_read(input) {
            assert!(paths::of_process(&cgroups.0).is_none_or(|path| text.contains(&path)));
        }
        let _ = is_rotated_suffix(text);
    });
}
