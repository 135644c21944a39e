//! The processes of a cgroup: which, since when, and how many files they hold open. For the few questions that cgroup
//! files do not answer; nothing here runs in the sampler's inner loop.

use std::path::Path;

use procfs::process::Process;
use procfs::{FromReadSI, KernelStats, ProcessCGroup, current_system_info, ticks_per_second};
use weir_model::time::UnixNanos;

use crate::cgroup::{Cgroup, Mounts};

/// Processes in the cgroup itself (descendants not included), ascending, in our pid namespace. A process of another pid
/// namespace that we cannot see reads as 0 and is left out. Empty when the cgroup is gone.
pub fn of(mounts: &Mounts, cgroup: &Cgroup) -> Vec<u32> {
    let points = mounts.points();
    let own = points.iter().enumerate().filter(|(i, _)| cgroup.hierarchies & (1 << i) != 0);
    let mut pids: Vec<u32> = Vec::new();
    for (_, point) in own {
        let text =
            std::fs::read_to_string(point.join(cgroup.path.trim_start_matches('/')).join("cgroup.procs")).unwrap_or_default();
        pids = text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect();
        if !pids.is_empty() {
            break;
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Open files of these processes, those that have ended left out; `None` when none of them may be looked into (another
/// user's process, and we are not root).
pub fn open_files(root: &Path, pids: &[u32]) -> Option<u64> {
    let counts = pids.iter().filter_map(|pid| process(root, *pid)?.fd_count().ok());
    counts.fold(None, |sum, count| Some(sum.unwrap_or(0) + count as u64))
}

/// When a process began.
pub fn started(root: &Path, pid: u32) -> Option<UnixNanos> {
    let ticks = process(root, pid)?.stat().ok()?.starttime;
    let boot = KernelStats::from_file(root.join("proc/stat"), current_system_info()).ok()?.btime;
    let nanos = boot.checked_mul(1_000_000_000)?.checked_add(ticks.checked_mul(1_000_000_000 / ticks_per_second())?)?;
    i64::try_from(nanos).ok()
}

/// The cgroups that a process is in, one a hierarchy; `None` when it is over.
pub fn cgroups(root: &Path, pid: u32) -> Option<Vec<ProcessCGroup>> {
    Some(process(root, pid)?.cgroups().ok()?.0)
}

fn process(root: &Path, pid: u32) -> Option<Process> {
    Process::new_with_root(root.join(format!("proc/{pid}"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let own = std::process::id();
        assert!(open_files(Path::new("/"), &[own]).is_some_and(|count| count >= 3));
        assert_eq!(open_files(Path::new("/"), &[]), None);
        assert!(started(Path::new("/"), own).is_some_and(|at| at > 1_000_000_000_000_000_000));
        assert_eq!(started(Path::new("/nowhere"), own), None);
    }

    #[test]
    fn processes_of_a_cgroup() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("cg/a")).unwrap();
        std::fs::write(root.path().join("cg/a/cgroup.procs"), "12\n0\n7\n").unwrap();
        let mounts = Mounts::from_mountinfo("1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n", root.path());
        let cgroup = |path: &str| Cgroup { path: path.into(), hierarchies: 1, created: 0 };
        assert_eq!(of(&mounts, &cgroup("/a")), [7, 12]);
        assert!(of(&mounts, &cgroup("/gone")).is_empty());
    }
}
