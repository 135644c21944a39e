//! Where the cgroup hierarchies are mounted. Reads `mountinfo` and nothing else; [`super::tree`] walks what this finds.

use std::path::{Path, PathBuf};

use procfs::process::MountInfo;

use crate::RuntimeError;

/// A v1 controller that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Throttling, quota, shares.
    Cpu,
    /// CPU time.
    Cpuacct,
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Block I/O.
    Blkio,
}

impl Controller {
    /// All that we read.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuacct, Self::Memory, Self::Pids, Self::Blkio];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        ["cpu", "cpuacct", "memory", "pids", "blkio"][self as usize]
    }
}

/// Which hierarchies the node uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only v1.
    V1,
    /// Only the unified hierarchy.
    V2,
    /// v1 controllers, and a unified hierarchy beside them (it then carries pressure, but few or no controllers).
    Hybrid,
}

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    v1: [Option<PathBuf>; Controller::ALL.len()],
    unified: Option<PathBuf>,
}

impl Mounts {
    /// Reads `root/proc/self/mountinfo`; the mount points found are taken below `root` (`/` on a live node, another
    /// directory in tests or when the host's root is mounted into our container).
    /// Errors when it cannot be read or no cgroup hierarchy is mounted.
    pub fn detect(root: &Path) -> Result<Self, RuntimeError> {
        // A host root mounted into a container: the host's own init sees the host's mounts, we do not.
        let file = root.join(if root == Path::new("/") { "proc/self/mountinfo" } else { "proc/1/mountinfo" });
        let text = std::fs::read_to_string(&file).map_err(RuntimeError::file("read", &file))?;
        let mounts = Self::from_mountinfo(&text, root);
        if mounts == Self::default() { Err(RuntimeError::NoCgroups(file)) } else { Ok(mounts) }
    }

    /// From the text of a `mountinfo` (proc(5)). Of several mounts of a controller the first wins; lines that are no
    /// mount are passed over.
    pub fn from_mountinfo(text: &str, root: &Path) -> Self {
        let mut mounts = Self::default();
        for mount in text.lines().filter_map(|line| MountInfo::from_line(line).ok()) {
            let Some(point) = mount.mount_point.to_str() else { continue };
            let path = root.join(unescape(point).trim_start_matches('/'));
            match mount.fs_type.as_str() {
                "cgroup2" => drop(mounts.unified.get_or_insert(path)),
                "cgroup" => {
                    for controller in Controller::ALL.iter().filter(|own| mount.super_options.contains_key(own.name())) {
                        mounts.v1[*controller as usize].get_or_insert_with(|| path.clone());
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    /// Which hierarchies there are.
    pub fn mode(&self) -> Mode {
        match (self.v1.iter().any(Option::is_some), &self.unified) {
            (true, Some(_)) => Mode::Hybrid,
            (true, None) => Mode::V1,
            (false, _) => Mode::V2,
        }
    }

    /// Mount point of a v1 controller.
    pub fn v1(&self, controller: Controller) -> Option<&Path> {
        self.v1[controller as usize].as_deref()
    }

    /// Mount point of the unified hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// All mount points, each once: the v1 controllers' in the order of [`Controller::ALL`], then the unified one.
    pub fn points(&self) -> Vec<&Path> {
        let mut points: Vec<&Path> = Vec::with_capacity(self.v1.len() + 1);
        for point in self.v1.iter().flatten().chain(&self.unified) {
            if !points.contains(&point.as_path()) {
                points.push(point);
            }
        }
        points
    }
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash, which `procfs` leaves in.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: Mode, memory: Option<&str>, unified: Option<&str>, points: usize) {
        let mounts = Mounts::from_mountinfo(text, Path::new("/"));
        assert_eq!(mounts.mode(), mode, "{text}");
        assert_eq!(mounts.v1(Controller::Memory), memory.map(Path::new), "{text}");
        assert_eq!(mounts.unified(), unified.map(Path::new), "{text}");
        assert_eq!(mounts.points().len(), points, "{text}");
    }

    #[test]
    fn modes() {
        let v2 = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        check(v2, Mode::V2, None, Some("/sys/fs/cgroup"), 1);
        let v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        check(v1, Mode::V1, Some("/sys/fs/cgroup/memory"), None, 2);
        let hybrid = format!("{v1}41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n");
        check(&hybrid, Mode::Hybrid, Some("/sys/fs/cgroup/memory"), Some("/sys/fs/cgroup/uni fied"), 3);
        assert_eq!(Mounts::from_mountinfo("garbage\n - \n1 2 - cgroup\n", Path::new("/")), Mounts::default());
    }

    #[test]
    fn a_missing_mountinfo_is_named() {
        let error = Mounts::detect(Path::new("/nowhere")).expect_err("there is no such root");
        assert!(error.to_string().contains("/nowhere/proc/1/mountinfo"), "{error}");
    }
}
