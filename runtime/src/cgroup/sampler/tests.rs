//! The sampler over directories that look like a v2 and a hybrid node.

use super::*;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn sample(sampler: &mut Sampler, path: &str) -> CgroupSample {
    match sampler.sample(path) {
        Sampled::Sample(sample) => sample.clone(),
        Sampled::Gone => panic!("{path} is there"),
    }
}

const V2: &str = "24 1 0:22 / /cg rw - cgroup2 cgroup2 rw\n";
const HYBRID: &str = "1 0 0:1 / /cg/cpu rw - cgroup cgroup rw,cpu\n2 0 0:2 / /cg/memory rw - cgroup cgroup rw,memory\n\
                      3 0 0:3 / /cg/blkio rw - cgroup cgroup rw,blkio\n4 0 0:4 / /cg/unified rw - cgroup2 cgroup2 rw\n";

#[test]
fn a_v2_container() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("cg/pod/c/cpu.stat", "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 2\nnr_throttled 1\nthrottled_usec 3\n"),
            ("cg/pod/c/cpu.max", "20000 100000\n"),
            ("cg/pod/c/memory.current", "5000\n"),
            ("cg/pod/c/memory.stat", "anon 1000\nfile 4000\ninactive_file 3000\n"),
            ("cg/pod/c/memory.max", "max\n"),
            ("cg/pod/c/cgroup.procs", "12\n14\n"),
            ("cg/pod/c/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("cg/pod/c/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0 total=8\n"),
        ],
    );
    let mut sampler = Sampler::new(Mounts::from_mountinfo(V2, root.path()), 100);
    let first = sample(&mut sampler, "/pod/c");
    assert_eq!((first.cpu.usage_nanos, first.cpu.throttled_nanos), (Some(10_000), Some(3_000)));
    assert_eq!((first.cpu.quota_micros, first.cpu.period_micros), (Some(Limit::At(20_000)), Some(100_000)));
    assert_eq!((first.memory.usage, first.memory.working_set), (Some(5000), Some(2000)));
    assert_eq!((first.memory.limit, first.memory.max_usage), (Some(Limit::Unlimited), None));
    assert_eq!((first.pids.processes, first.pids.current), (Some(2), None));
    assert_eq!(first.pressure.memory.map(|stall| stall.full_nanos), Some(8000));
    assert_eq!(first.io.as_ref().map(Vec::len), Some(1));

    // Open files follow the content, limits are carried over, and a cgroup without files is gone.
    write(root.path(), &[("cg/pod/c/memory.current", "2000\n"), ("cg/pod/c/memory.max", "7\n")]);
    let second = sample(&mut sampler, "/pod/c");
    assert_eq!((second.memory.usage, second.memory.working_set), (Some(2000), Some(0)));
    assert_eq!(second.memory.limit, Some(Limit::Unlimited));
    assert!((2..=SLOW_EVERY).any(|_| sample(&mut sampler, "/pod/c").memory.limit == Some(Limit::At(7))));
    assert!(matches!(sampler.sample("/pod/none"), Sampled::Gone));
    assert!(sampler.files > 0);
    sampler.retain(|_| false);
    assert_eq!((sampler.files, sampler.errors()), (0, 0));
}

#[test]
fn a_hybrid_container_takes_each_controller_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("cg/cpu/c/cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 251000000\n"),
            ("cg/memory/c/memory.usage_in_bytes", "5000\n"),
            ("cg/memory/c/memory.stat", "total_inactive_file 6000\ntotal_rss 1\n"),
            ("cg/memory/c/cgroup.procs", "1\n"),
            ("cg/unified/c/cgroup.procs", "1\n"),
            ("cg/unified/c/cpu.stat", "usage_usec 10\nuser_usec 6\nsystem_usec 4\n"),
            ("cg/unified/c/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"),
            ("cg/blkio/c/blkio.throttle.io_service_bytes_recursive", "8:0 Read 1\n"),
            ("cg/blkio/c/blkio.throttle.io_serviced_recursive", "8:0 Write 2\n"),
        ],
    );
    for files_max in [0, 100] {
        let mut sampler = Sampler::new(Mounts::from_mountinfo(HYBRID, root.path()), files_max);
        let sample = sample(&mut sampler, "/c");
        assert_eq!((sample.cpu.periods, sample.cpu.throttled_nanos), (Some(5), Some(251_000_000)));
        assert_eq!(sample.memory.working_set, Some(0), "inactive file pages beyond the usage");
        assert_eq!(sample.pressure.cpu, Some(super::super::Stall { some_nanos: 9000, full_nanos: 0 }));
        let io = &sample.io.as_ref().expect("there is accounting")[0];
        assert_eq!((io.read_bytes, io.writes), (1, 2));
        assert_eq!(sample.pids.processes, Some(1));
    }
}
