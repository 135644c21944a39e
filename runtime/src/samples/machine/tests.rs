//! The readers of `/proc` files, and the series of a node whose `/proc` is a directory of ours.

use std::collections::BTreeMap;

use weir_model::label::{Labels, NAME};

use super::super::column::Columns;
use super::*;

#[test]
fn files_of_proc() {
    assert_eq!((cpu_number("cpu0 1 2"), cpu_number("cpu  1 2"), cpu_number("intr 5")), (Some("0"), None, None));
    let memory: Vec<_> = meminfo("MemTotal:       24684096 kB\nActive(anon):  4 kB\nHugePages_Total:  3\nbad\n").collect();
    assert_eq!(memory, [("MemTotal", 24_684_096.0 * 1024.0), ("Active(anon)", 4096.0), ("HugePages_Total", 3.0)]);
}

/// What is written of a node with these files below `proc`, by name and own labels; without what is always there.
fn written(files: &[(&str, &str)]) -> (Machine, BTreeMap<String, f64>) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join("proc").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut machine = Machine::new(root.path());
    let reading = machine.read();
    let mut columns = Columns::default();
    let mut row = columns.row();
    row.entity("", &Labels::EMPTY, |out| reading.emit(0, out));
    let batch = row.finish(Labels::EMPTY, 0);
    let series = batch.schema.series.iter().zip(&batch.rows[0].values).map(|(labels, value)| {
        let own = labels.iter().filter(|(name, _)| *name != NAME).map(|(_, value)| value).collect::<Vec<_>>().join(",");
        (format!("{} {own}", labels.get(NAME)).trim_end().to_owned(), *value)
    });
    let always = ["node_uname_info", "node_time_seconds"];
    let series = series.filter(|(name, _)| !always.iter().any(|own| name.starts_with(own)));
    (machine, series.collect())
}

#[test]
fn a_node_below_a_root_of_its_own() {
    // CPU 1 is offline.
    let stat = "cpu  30 0 0 0 0 0 0 0 0 0\ncpu0 10 1 2 3 4 5 6 7 8 9\ncpu2 20 0 0 0 0 0 0 0 0 0\nintr 77 1 2\nctxt 5\nbtime 9\n\
                processes 6\nprocs_running 2\nprocs_blocked 0\nsoftirq 8 1\n";
    let network = "Inter-|   Receive                                                |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
    // A disk of a kernel of today, a partition of one before 4.18, and what has no medium.
    let disks = " 254 0 vda 1 2 3 4000 5 6 7 8000 9 10000 11000 12 13 14 15000 16 17000\n   8 1 sda1 1 0 0 0 0 0 0 0 0 0 0\n   \
                 7 0 loop0 1 0 0 0 0 0 0 0 0 0 0\n";
    let (machine, series) = written(&[
        ("stat", stat),
        ("meminfo", "MemTotal: 4 kB\nBalloon: 2 kB\nNew: 1 kB\n"),
        ("loadavg", "0.52 0.10 1.07 2/345 6789\n"),
        ("sys/fs/file-nr", "100\t0\t200\n"),
        ("vmstat", "nr_free_pages 5\npgfault 6\noom_kill 1\n"),
        ("diskstats", disks),
        ("1/net/dev", network),
        ("pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=12000000\n"),
    ]);
    let value = |name: &str| series.get(name).copied();
    for (name, expected) in [
        ("node_cpu_seconds_total 0,user", 0.1),
        ("node_cpu_seconds_total 2,user", 0.2),
        ("node_cpu_seconds_total 0,steal", 0.07),
        ("node_cpu_guest_seconds_total 0,nice", 0.09),
        ("node_intr_total", 77.0),
        ("node_boot_time_seconds", 9.0),
        ("node_memory_MemTotal_bytes", 4096.0),
        ("node_load1", 0.52),
        ("node_filefd_maximum", 200.0),
        ("node_vmstat_pgfault", 6.0),
        ("node_disk_read_bytes_total vda", 3.0 * 512.0),
        ("node_disk_read_time_seconds_total vda", 4.0),
        ("node_disk_io_now vda", 9.0),
        ("node_disk_io_time_weighted_seconds_total vda", 11.0),
        ("node_disk_discards_completed_total vda", 12.0),
        ("node_disk_discarded_sectors_total vda", 14.0),
        ("node_disk_flush_requests_time_seconds_total vda", 17.0),
        ("node_disk_reads_completed_total sda1", 1.0),
        ("node_network_receive_bytes_total eth0", 18_446_744_073_709_551_615.0),
        ("node_network_receive_multicast_total lo", 8.0),
        ("node_network_transmit_bytes_total lo", 9.0),
        ("node_network_transmit_colls_total lo", 14.0),
        ("node_network_transmit_compressed_total lo", 16.0),
        ("node_pressure_cpu_waiting_seconds_total", 12.0),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    for name in ["node_cpu_seconds_total 1,user", "node_disk_discards_completed_total sda1", "node_disk_io_now loop0"] {
        assert_eq!(value(name), None, "{name}");
    }
    assert_eq!((machine.cores, machine.memory_total), (2.0, 4096.0));
    assert_eq!((machine.device_name(254, 0), machine.device_name(8, 7)), ("vda".to_owned(), "8:7".to_owned()));
}

#[test]
fn a_line_that_cannot_be_read_hides_no_other_and_is_counted() {
    let device = |name: &str, bytes: &str| format!("  {name}: {bytes} 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
    // A name with a blank, as one interface of a node may have it; a counter that has wrapped; a disk with a number too many digits long.
    let network = format!("Inter-|\n face |\n{}{}{}", device("lo", "1"), device("a b", "2"), device("eth0", "3"));
    let (machine, series) = written(&[
        ("1/net/dev", &network),
        ("vmstat", "nr_dirty 18446744073709551615\npgfault 6\nnr_free_pages many\noom_kill 1\n"),
        ("diskstats", "   8 0 sda 1 0 0 0 0 0 0 0 0 0 0\n   8 1 sda1 18446744073709551616 0 0 0 0 0 0 0 0 0 0\n\n"),
    ]);
    for name in [
        "node_network_receive_bytes_total lo",
        "node_network_receive_bytes_total eth0",
        "node_vmstat_pgfault",
        "node_vmstat_oom_kill",
        "node_disk_reads_completed_total sda",
    ] {
        assert!(series.contains_key(name), "{name} of {series:?}");
    }
    assert_eq!(machine.unreadable_lines(), 3);
}

#[test]
fn files_that_are_not_there_or_no_such_files_write_nothing() {
    assert_eq!(written(&[]).1, BTreeMap::new());
    let nonsense: Vec<_> =
        ["stat", "diskstats", "vmstat", "1/net/dev", "1/mounts", "loadavg", "pressure/io"].map(|path| (path, "x y\n\nz")).into();
    assert_eq!(written(&nonsense).1, BTreeMap::new());
}
