//! File contents as real kernels wrote them: v1 and v2 of Linux 6.x, v1 of 4.15, v2 of 5.10.

use super::*;

fn read(file: fn(&str, &mut CgroupSample), text: &str) -> CgroupSample {
    let mut sample = CgroupSample::default();
    file(text, &mut sample);
    sample
}

#[test]
fn cpu_of_v1() {
    let cpu = read(cpu_stat_v1, "nr_periods 12\nnr_throttled 3\nthrottled_time 251000000\nnr_bursts 0\nburst_time 0\n").cpu;
    assert_eq!((cpu.periods, cpu.throttled_periods, cpu.throttled_nanos), (Some(12), Some(3), Some(251_000_000)));
    let cpu = read(cpuacct_stat_v1, "user 49754\nsystem 18157\n").cpu;
    assert_eq!((cpu.user_nanos, cpu.system_nanos), (Some(497_540_000_000), Some(181_570_000_000)));
}

#[test]
fn cpu_of_v2() {
    let text = "usage_usec 679120716\nuser_usec 490291519\nsystem_usec 178922842\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
                nr_periods 20\nnr_throttled 4\nthrottled_usec 1500\nnr_bursts 0\nburst_usec 0\n";
    let cpu = read(cpu_stat_v2, text).cpu;
    assert_eq!((cpu.usage_nanos, cpu.user_nanos), (Some(679_120_716_000), Some(490_291_519_000)));
    assert_eq!((cpu.periods, cpu.throttled_periods, cpu.throttled_nanos), (Some(20), Some(4), Some(1_500_000)));
    let cpu = read(cpu_stat_v2, "usage_usec 0\nuser_usec 0\nsystem_usec 0\n").cpu;
    assert_eq!((cpu.usage_nanos, cpu.throttled_nanos), (Some(0), None));
}

#[test]
fn cpu_limits() {
    let cpu = read(cpu_max_v2, "50000 100000\n").cpu;
    assert_eq!((cpu.quota_micros, cpu.period_micros), (Some(Limit::At(50_000)), Some(100_000)));
    let cpu = read(cpu_max_v2, "max 100000\n").cpu;
    assert_eq!((cpu.quota_micros, cpu.period_micros), (Some(Limit::Unlimited), Some(100_000)));
    let weight = |text| read(cpu_weight_v2, text).cpu.shares;
    assert_eq!((weight("1\n"), weight("100\n"), weight("10000\n")), (Some(2), Some(2597), Some(262_144)));
    assert_eq!((weight("0\n"), weight("x")), (None, None));
}

#[test]
fn limits() {
    let check = |text: &str, expected: Option<Limit>| assert_eq!(limit(text), expected, "{text:?}");
    check("9223372036854771712\n", Some(Limit::Unlimited));
    check("18446744073709551615\n", Some(Limit::Unlimited));
    check("-1\n", Some(Limit::Unlimited));
    check("max\n", Some(Limit::Unlimited));
    check("134217728\n", Some(Limit::At(134_217_728)));
    check("0\n", Some(Limit::At(0)));
    check("", None);
    check("-2\n", None);
}

#[test]
fn memory_of_v1() {
    let text = "cache 167936\nrss 1769472\nmapped_file 0\nswap 0\npgfault 46881\ninactive_file 24576\nactive_file 143360\n\
                hierarchical_memory_limit 9223372036854771712\ntotal_cache 1679360\ntotal_rss 17694720\ntotal_mapped_file 4096\n\
                total_dirty 24576\ntotal_writeback 0\ntotal_swap 8192\ntotal_pgfault 46882\ntotal_pgmajfault 7\n\
                total_inactive_file 24577\ntotal_active_file 143361\n";
    let memory = read(memory_stat_v1, text).memory;
    assert_eq!((memory.cache, memory.rss, memory.mapped_file), (Some(1_679_360), Some(17_694_720), Some(4096)));
    assert_eq!((memory.swap, memory.inactive_file, memory.active_file), (Some(8192), Some(24_577), Some(143_361)));
    assert_eq!((memory.pgfault, memory.pgmajfault, memory.file_dirty), (Some(46_882), Some(7), Some(24_576)));
    let memory = read(memory_stat_v1, "cache 5\nrss 6\n").memory;
    assert_eq!((memory.cache, memory.rss), (Some(5), Some(6)));
    let kills = |text| read(oom_control_v1, text).memory.oom_kills;
    assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), Some(2));
    assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), None, "kernels before 4.13 do not count");
}

#[test]
fn memory_of_v2() {
    let text = "anon 17694720\nfile 1679360\nkernel 700416\nkernel_stack 32768\nfile_mapped 4096\nfile_dirty 1\nfile_writeback 2\n\
                inactive_anon 1\ninactive_file 24576\nactive_file 143360\npgfault 46881\npgmajfault 3\n";
    let memory = read(memory_stat_v2, text).memory;
    assert_eq!((memory.rss, memory.cache, memory.kernel), (Some(17_694_720), Some(1_679_360), Some(700_416)));
    assert_eq!((memory.inactive_file, memory.pgmajfault, memory.swap), (Some(24_576), Some(3), None));
    let memory = read(memory_events_v2, "low 0\nhigh 0\nmax 41\noom 2\noom_kill 1\noom_group_kill 0\n").memory;
    assert_eq!((memory.failcnt, memory.oom_kills), (Some(41), Some(1)));
}

#[test]
fn pressure_files() {
    let text = "some avg10=0.41 avg60=0.68 avg300=0.64 total=16363808\nfull avg10=0.41 avg60=0.67 avg300=0.59 total=15523775\n";
    assert_eq!(pressure(text), Some(Stall { some_nanos: 16_363_808_000, full_nanos: 15_523_775_000 }));
    let old = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
    assert_eq!(pressure(old), Some(Stall { some_nanos: 7000, full_nanos: 0 }));
    assert_eq!(pressure(""), None);
    assert_eq!(pressure("some total=x\n"), None);
    assert_eq!(pressure("some total=18446744073709551615\n"), None, "does not fit in ns");
}

#[test]
fn io_of_v2() {
    let text = "254:0 rbytes=1064960 wbytes=8192 rios=40 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=3 wios=4\n\
                7:0 \nnonsense\n";
    let io = read(io_stat_v2, text).io.expect("there is accounting");
    assert_eq!(io.len(), 3);
    assert_eq!(io[1], DeviceIo { major: 8, minor: 16, read_bytes: 1, write_bytes: 2, reads: 3, writes: 4 });
    assert_eq!((io[2].major, io[2].read_bytes, io[2].writes), (254, 1_064_960, 2));
    assert_eq!(read(io_stat_v2, "").io, Some(Vec::new()));
}

#[test]
fn io_of_v1() {
    let mut sample = CgroupSample::default();
    let bytes = "254:0 Read 1064960\n254:0 Write 8192\n254:0 Sync 1073152\n254:0 Async 0\n254:0 Discard 0\n254:0 Total 1073152\n\
                 8:0 Read 5\n8:0 Write 6\nTotal 1073163\n";
    blkio_bytes_v1(bytes, &mut sample);
    blkio_operations_v1("254:0 Read 40\n254:0 Write 2\n254:0 Total 42\nTotal 42\n", &mut sample);
    let io = sample.io.expect("there is accounting");
    assert_eq!(io[0], DeviceIo { major: 8, minor: 0, read_bytes: 5, write_bytes: 6, reads: 0, writes: 0 });
    assert_eq!(io[1], DeviceIo { major: 254, minor: 0, read_bytes: 1_064_960, write_bytes: 8192, reads: 40, writes: 2 });
}
