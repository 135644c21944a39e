//! Opens what is to be read as a log, and nothing else: a regular file below the directories of its log. Whoever may write
//! into a log directory may put a link to `/etc/shadow` there, or a FIFO on which a reader waits for ever.
//!
//! A path is resolved once, without opening what it names (`O_PATH`), and checked by the descriptor: what it is, and where the
//! kernel says that it lies. Only then is the same inode opened for reading. A link as the last component is followed when
//! its target lies below the directories, as those of `/var/log/containers` do. Called by [`super::listing`].

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

use crate::metrics::CollectorMetrics;

/// Paths remembered as named; whoever makes more of them in a log directory has them named again.
const NAMED_MAX: usize = 4096;

/// Why something is not read. The name is the counter's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// A link that leads out of the log's directories, or a path through a directory that is one.
    LinkOutside,
    /// A FIFO, socket, device or directory.
    NotRegular,
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Self::LinkOutside => "link_outside",
            Self::NotRegular => "not_regular",
        }
    }
}

/// What was refused: each path is counted and named once.
pub(super) struct Refusals {
    /// Guards the set alone.
    named: Mutex<HashSet<PathBuf>>,
    metrics: CollectorMetrics,
}

impl Refusals {
    pub fn new(metrics: CollectorMetrics) -> Self {
        Self { named: Mutex::default(), metrics }
    }

    pub fn note(&self, path: &Path, refusal: Refusal) {
        let mut named = self.named.lock();
        if named.len() >= NAMED_MAX {
            named.clear();
        }
        if named.insert(path.to_owned()) {
            self.metrics.event("files", refusal.reason(), 1);
            tracing::warn!(file = %path.display(), reason = refusal.reason(), "this is not read as a log");
        }
    }
}

/// A regular file, resolved and not opened.
#[derive(Debug)]
pub(super) struct Admitted(OwnedFd);

/// Resolves a path of a log whose files lie below `directories`.
pub(super) fn admit(path: &Path, directories: &[PathBuf]) -> io::Result<Result<Admitted, Refusal>> {
    let resolved = resolve(path)?;
    match kind(&resolved)? {
        FileType::RegularFile => check_place(resolved, directories),
        FileType::Symlink => {
            let target = std::fs::canonicalize(path)?;
            if !is_below(&target, directories) {
                return Ok(Err(Refusal::LinkOutside));
            }
            let resolved = resolve(&target)?;
            match kind(&resolved)? {
                FileType::RegularFile => check_place(resolved, directories),
                // Exchanged since it was resolved.
                FileType::Symlink => Ok(Err(Refusal::LinkOutside)),
                _ => Ok(Err(Refusal::NotRegular)),
            }
        }
        _ => Ok(Err(Refusal::NotRegular)),
    }
}

impl Admitted {
    /// For reading; never waits.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(File::from(openat(CWD, self.link(), flags, Mode::empty())?))
    }

    /// For `fstat` and the like, not for reading.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

fn resolve(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn kind(resolved: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(resolved)?.st_mode))
}

/// By where the kernel says that it lies: a directory on the way may have been a link.
fn check_place(resolved: OwnedFd, directories: &[PathBuf]) -> io::Result<Result<Admitted, Refusal>> {
    use std::os::unix::ffi::OsStrExt;
    let admitted = Admitted(resolved);
    let place = readlinkat(CWD, admitted.link(), Vec::new())?;
    let place = Path::new(std::ffi::OsStr::from_bytes(place.to_bytes()));
    Ok(if is_below(place, directories) { Ok(admitted) } else { Err(Refusal::LinkOutside) })
}

fn is_below(place: &Path, directories: &[PathBuf]) -> bool {
    let is_in = |directory: &PathBuf| std::fs::canonicalize(directory).is_ok_and(|directory| place.starts_with(directory));
    // A file without a name lies where it lay; its directory may have gone with it.
    directories.iter().any(|directory| place.starts_with(directory) || is_in(directory))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_out_and_fifos_are_refused_and_nobody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let (logs, other) = (directory.path().join("logs"), directory.path().join("other"));
        fs::create_dir_all(logs.join("deep")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("secret"), "secret").unwrap();
        fs::write(logs.join("deep/a.log"), "text").unwrap();
        let path = |name: &str| logs.join(name);
        symlink(other.join("secret"), path("out")).unwrap();
        symlink("deep/a.log", path("in")).unwrap();
        symlink("in", path("twice")).unwrap();
        symlink("../other", path("way")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        fs::hard_link(path("deep/a.log"), path("hard")).unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("fifo", path("to-fifo")).unwrap();
        let check = |name: &str, expected: Result<&str, Refusal>| {
            let admitted = admit(&path(name), std::slice::from_ref(&logs)).unwrap();
            let text = admitted.map(|admitted| {
                let mut text = String::new();
                admitted.open().unwrap().read_to_string(&mut text).unwrap();
                text
            });
            assert_eq!(text.as_deref().map_err(|refusal| *refusal), expected, "{name}");
        };
        for name in ["deep/a.log", "in", "twice", "hard"] {
            check(name, Ok("text"));
        }
        check("out", Err(Refusal::LinkOutside));
        check("way/secret", Err(Refusal::LinkOutside));
        check("fifo", Err(Refusal::NotRegular));
        check("to-fifo", Err(Refusal::NotRegular));
        check("deep", Err(Refusal::NotRegular));
        for gone in ["dangling", "none"] {
            let error = admit(&path(gone), std::slice::from_ref(&logs)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{gone}");
        }
        // The directory itself may be reached through a link.
        symlink(&logs, directory.path().join("linked")).unwrap();
        let linked = directory.path().join("linked");
        assert!(admit(&linked.join("deep/a.log"), &[linked]).unwrap().is_ok());
    }
}
