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
    for _ in 1..SETTLING {
        sample(&mut sampler, "/pod/c");
    }
    write(root.path(), &[("cg/pod/c/memory.current", "2000\n"), ("cg/pod/c/memory.max", "7\n")]);
    let next = sample(&mut sampler, "/pod/c");
    assert_eq!((next.memory.usage, next.memory.working_set), (Some(2000), Some(0)));
    assert_eq!(next.memory.limit, Some(Limit::Unlimited));
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

#[test]
fn limits_that_are_set_after_the_first_sample_are_in_the_second() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("cg/c/cpu.stat", "usage_usec 1\n"), ("cg/c/cpu.max", "max 100000\n")]);
    let mut sampler = Sampler::new(Mounts::from_mountinfo(V2, root.path()), 100);
    assert_eq!(sample(&mut sampler, "/c").cpu.quota_micros, Some(Limit::Unlimited));
    write(root.path(), &[("cg/c/cpu.max", "20000 100000\n")]);
    assert_eq!(sample(&mut sampler, "/c").cpu.quota_micros, Some(Limit::At(20_000)));
}

#[test]
fn the_roots_memory_is_derived_anew_each_time() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("cg/memory.stat", "anon 1000\nfile 4000\ninactive_file 3000\n")]);
    let mut sampler = Sampler::new(Mounts::from_mountinfo(V2, root.path()), 100);
    let first = sample(&mut sampler, "/").memory;
    assert_eq!((first.usage, first.working_set), (Some(5000), Some(2000)));
    write(root.path(), &[("cg/memory.stat", "anon 1000\nfile 7000\ninactive_file 3000\n")]);
    let second = sample(&mut sampler, "/").memory;
    assert_eq!((second.usage, second.working_set), (Some(8000), Some(5000)));
}

#[test]
fn controllers_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("cg/c/cpu.stat", "usage_usec 1\n"), ("cg/c/cgroup.procs", "1\n")]);
    for files_max in [0, 100] {
        let mut sampler = Sampler::new(Mounts::from_mountinfo(V2, root.path()), files_max);
        assert_eq!(sample(&mut sampler, "/c").memory, super::super::MemorySample::default());
        write(root.path(), &[("cg/c/memory.current", "5000\n"), ("cg/c/memory.max", "9000\n")]);
        let seen = (1..=SLOW_EVERY).find(|_| sample(&mut sampler, "/c").memory.usage == Some(5000));
        assert!(seen.is_some(), "memory is enabled, {files_max} files");
        assert_eq!(sample(&mut sampler, "/c").memory.limit, Some(Limit::At(9000)));

        // A file that is kept open tells of its end only under a real kernel (tests/src/guest shows that).
        for name in ["memory.current", "memory.max"] {
            std::fs::remove_file(root.path().join("cg/c").join(name)).unwrap();
        }
        if files_max == 0 {
            let last = sample(&mut sampler, "/c");
            assert_eq!((last.memory.usage, last.memory.limit), (None, None), "nothing is carried over");
            assert_eq!((last.cpu.usage_nanos, last.pids.processes), (Some(1000), Some(1)));
        }
        assert_eq!(sampler.errors(), 0);
    }
}

#[test]
fn processes_are_counted_anew_when_the_number_of_tasks_moves() {
    let root = tempfile::tempdir().unwrap();
    let state = |usage: &str, tasks: &str, processes: &str| {
        write(root.path(), &[("cg/c/cpu.stat", usage), ("cg/c/pids.current", tasks), ("cg/c/cgroup.procs", processes)]);
    };
    state("usage_usec 1\n", "1\n", "7\n");
    let mut sampler = Sampler::new(Mounts::from_mountinfo(V2, root.path()), 100);
    for _ in 0..SETTLING {
        assert_eq!(sample(&mut sampler, "/c").pids.processes, Some(1));
    }
    state("usage_usec 2\n", "3\n", "7\n8\n");
    let pids = sample(&mut sampler, "/c").pids;
    assert_eq!((pids.current, pids.processes), (Some(3), Some(2)));
}
