//! Files and directories of the collector's own: for nobody else to read, whatever the umask, and there after a power cut.
//! Used by `tail` and [`crate::epoch`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory and those above it that are not there; durable when it answers.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = path.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync_directory)
}

/// An empty file, to be read and written.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Replaces a file as a whole: written to `beside`, synced, renamed, the directory synced.
pub(crate) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // The parent of a relative name is the empty path.
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_reads_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let (made, path) = (directory.path().join("a/b"), directory.path().join("a/b/file"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let before = rustix::process::umask(rustix::fs::Mode::empty());
        make_directory(&made).unwrap();
        replace(&path, &path.with_extension("new"), b"text").unwrap();
        rustix::process::umask(before);
        assert_eq!((mode(&directory.path().join("a")), mode(&made), mode(&path)), (0o700, 0o700, 0o600));
        assert_eq!(fs::read(&path).unwrap(), b"text");
        make_directory(&made).unwrap();
    }
}
