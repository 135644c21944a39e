//! The pure readers of `/proc` files, and one reading of the machine that the test runs on.

use super::*;

#[test]
fn files_of_proc() {
    assert_eq!((cpu_number("cpu0 1 2"), cpu_number("cpu  1 2"), cpu_number("intr 5")), (Some("0"), None, None));
    let memory: Vec<_> = meminfo("MemTotal:       24684096 kB\nActive(anon):  4 kB\nHugePages_Total:  3\nbad\n").collect();
    assert_eq!(memory, [("MemTotal", 24_684_096.0 * 1024.0), ("Active(anon)", 4096.0), ("HugePages_Total", 3.0)]);
    let disks: Vec<_> = diskstats(" 254       0 vda 106559 15513 11487338 132489\nnonsense\n").collect();
    assert_eq!(disks, [((254, 0), "vda", vec![106_559.0, 15_513.0, 11_487_338.0, 132_489.0])]);
}

#[test]
fn network_and_duplicate_mounts_are_not_asked() {
    let mounts = "/dev/vda / ext4 rw 0 0\nnas:/x /mnt/x nfs4 rw 0 0\n/dev/vda / ext4 ro 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n\
                  overlay /run/containerd/x overlay rw 0 0\n/dev/vdb /data ext4 ro,noatime 0 0\n";
    let systems = filesystems(mounts, Path::new("/nowhere"));
    let found: Vec<_> = systems.iter().map(|system| (system.point.as_str(), system.read_only, system.size.is_some())).collect();
    assert_eq!(found, [("/", false, false), ("/data", true, false)]);
}
