//! The node's file systems, from the text of `mounts`. Only those on local disks are asked for their size: a dead network mount
//! would hang the sampler.

use std::path::Path;

/// File systems whose size is asked for.
const LOCAL: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "bcachefs", "erofs", "tmpfs", "squashfs"];

/// A mounted file system. `size`: bytes, free, available, inodes, free inodes; `None` when it could not be learned.
pub(super) struct FileSystem {
    pub device: String,
    pub kind: String,
    pub point: String,
    pub read_only: bool,
    pub size: Option<[f64; 5]>,
}

/// Mounted local file systems, each (device, mount point) once.
pub(super) fn mounted(mounts: &str, root: &Path) -> Vec<FileSystem> {
    let mut found: Vec<FileSystem> = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) = (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let hidden =
            ["/dev", "/proc", "/sys", "/run/containerd/", "/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/pods"];
        let is_hidden = hidden.iter().any(|prefix| {
            point.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
        });
        let known = found.iter().any(|system| system.point == point);
        if !LOCAL.contains(&kind) || is_hidden || known {
            continue;
        }
        let size = rustix::fs::statvfs(root.join(point.trim_start_matches('/'))).ok().map(|stat| {
            let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
            [bytes(stat.f_blocks), bytes(stat.f_bfree), bytes(stat.f_bavail), stat.f_files as f64, stat.f_ffree as f64]
        });
        found.push(FileSystem {
            device: device.to_owned(),
            kind: kind.to_owned(),
            point: point.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
            size,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_duplicate_mounts_are_not_asked() {
        let mounts = "/dev/vda / ext4 rw 0 0\nnas:/x /mnt/x nfs4 rw 0 0\n/dev/vda / ext4 ro 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n\
                      overlay /run/containerd/x overlay rw 0 0\n/dev/vdb /data ext4 ro,noatime 0 0\n";
        let systems = mounted(mounts, Path::new("/nowhere"));
        let found: Vec<_> =
            systems.iter().map(|system| (system.point.as_str(), system.read_only, system.size.is_some())).collect();
        assert_eq!(found, [("/", false, false), ("/data", true, false)]);
    }
}
