//! Every cgroup of the node, merged over the hierarchies. Only finds them; [`super::sampler`] reads them.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mount::Mounts;

/// More cgroups than this are not looked at (and the scan says so): 20 times what a node of 250 pods has.
const CGROUPS_MAX: usize = 50_000;

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the hierarchies' mount points: `/` for the root, else `/a/b`.
    pub path: String,
    /// Bit `i`: it exists in hierarchy `i` of [`Mounts::points`].
    pub hierarchies: u8,
    /// When its directory was made as far as the kernel remembers, Unix seconds: not later than when it was first seen.
    pub created: i64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Ascending by path.
    pub cgroups: Vec<Cgroup>,
    /// Directories that could not be read, and why. A directory that vanished during the walk is none of them.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Whether there are more than a scan looks at.
    pub truncated: bool,
}

/// Walks the hierarchies.
#[derive(Clone, Debug)]
pub struct Tree {
    mounts: Mounts,
}

impl Tree {
    /// Over these mounts.
    pub fn new(mounts: Mounts) -> Self {
        Self { mounts }
    }

    /// Its mounts.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Every cgroup there is. One `stat` a cgroup and hierarchy; only directories with subdirectories are listed.
    pub fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        let mut found: BTreeMap<String, Cgroup> = BTreeMap::new();
        for (i, point) in self.mounts.points().into_iter().enumerate() {
            walk(point, i, &mut found, &mut scan);
        }
        scan.cgroups = found.into_values().collect();
        scan
    }
}

impl Scan {
    /// Whether one walk through one hierarchy (the one that most cgroups are in) finds the same cgroups as this scan did.
    /// Costs a fraction of a scan. What it cannot see: a cgroup that was made or removed in other hierarchies only.
    pub fn is_current(&self, mounts: &Mounts) -> bool {
        let points = mounts.points();
        let inside = |i: usize| self.cgroups.iter().filter(move |cgroup| cgroup.hierarchies & (1 << i) != 0);
        let Some(main) = (0..points.len()).max_by_key(|i| inside(*i).count()) else { return false };
        let (mut found, mut scan) = (BTreeMap::new(), Self::default());
        walk(points[main], main, &mut found, &mut scan);
        !self.truncated && found.keys().eq(inside(main).map(|cgroup| &cgroup.path))
    }
}

fn walk(point: &Path, hierarchy: usize, found: &mut BTreeMap<String, Cgroup>, scan: &mut Scan) {
    let mut open = vec![String::from("/")];
    while let Some(path) = open.pop() {
        let directory = point.join(path.trim_start_matches('/'));
        let metadata = match std::fs::symlink_metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => metadata,
            Ok(_) => continue,
            Err(error) => {
                note(scan, directory, error);
                continue;
            }
        };
        if found.len() >= CGROUPS_MAX && !found.contains_key(&path) {
            scan.truncated = true;
            continue;
        }
        // A directory has one link for itself, one from its parent and one a child: with two it has no children.
        // (File systems that do not count that way say 1.)
        if metadata.nlink() != 2 {
            match children(&directory) {
                Ok(names) => open.extend(names.into_iter().map(|name| format!("{}/{name}", path.trim_end_matches('/')))),
                Err(error) => note(scan, directory, error),
            }
        }
        let created = metadata.mtime();
        let cgroup = found.entry(path).or_insert_with_key(|path| Cgroup { path: path.clone(), hierarchies: 0, created });
        cgroup.hierarchies |= 1 << hierarchy;
        cgroup.created = cgroup.created.min(created);
    }
}

/// Names of the subdirectories. A name that is not UTF-8 is passed over: no engine makes one, and no label could carry it.
fn children(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn note(scan: &mut Scan, path: PathBuf, error: io::Error) {
    if error.kind() != io::ErrorKind::NotFound && error.raw_os_error() != Some(libc::ENODEV) {
        scan.unreadable.push((path, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_merged() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| std::fs::create_dir_all(root.path().join(path)).unwrap();
        make("m/pods/a");
        make("m/pods/b");
        make("u/pods/b/inner");
        make("u/only");
        std::fs::write(root.path().join("u/cgroup.procs"), "").unwrap();
        let mountinfo = "1 0 0:1 / /m rw - cgroup cgroup rw,memory\n2 0 0:2 / /u rw - cgroup2 cgroup2 rw\n";
        let scan = Tree::new(Mounts::from_mountinfo(mountinfo, root.path())).scan();
        let found: Vec<_> = scan.cgroups.iter().map(|cgroup| (cgroup.path.as_str(), cgroup.hierarchies)).collect();
        let expected = [("/", 3), ("/only", 2), ("/pods", 3), ("/pods/a", 1), ("/pods/b", 3), ("/pods/b/inner", 2)];
        assert_eq!(found, expected);
        assert!(scan.unreadable.is_empty() && !scan.truncated);

        let mounts = Mounts::from_mountinfo(mountinfo, root.path());
        assert!(scan.is_current(&mounts));
        make("u/pods/c");
        assert!(!scan.is_current(&mounts));
    }

    #[test]
    fn a_missing_mount_point_is_no_cgroup() {
        let mounts = Mounts::from_mountinfo("2 0 0:2 / /gone rw - cgroup2 cgroup2 rw\n", Path::new("/nowhere"));
        assert!(Tree::new(mounts).scan().cgroups.is_empty());
    }
}
