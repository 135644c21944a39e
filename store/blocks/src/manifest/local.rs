//! A local directory as an object store that loses nothing acknowledged, by `kill -9` or by power loss.
//!
//! `object_store` writes to a staged file, fsyncs it, links it into place and fsyncs the parent (`with_fsync`). Two things
//! are left for us, both done when the directory is opened: directories that a killed process had created but not yet
//! fsynced are taken for durable by everybody after it, and staged files that it left behind are seen by nobody.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use object_store::local::LocalFileSystem;

use crate::StoreError;

/// A staged file that was not written to for so long belongs to a process that is gone.
const STAGED_AGE_MAX: Duration = Duration::from_secs(3600);

/// Opens (and creates) a directory. `now` is the wall clock, for telling staged files that nobody writes any more.
/// Blocks; call it off the async threads.
pub fn durable_local(root: &Path, now: SystemTime) -> Result<LocalFileSystem, StoreError> {
    let failed = |error: io::Error| StoreError::Engine {
        operation: "open the data directory",
        detail: format!("{}: {error}", root.display()),
    };
    fs::create_dir_all(root).map_err(failed)?;
    sync_tree(root, now).map_err(failed)?;
    for parent in root.canonicalize().map_err(failed)?.ancestors().skip(1) {
        match File::open(parent).and_then(|directory| directory.sync_all()) {
            Ok(()) => {}
            // A parent that may not be opened was not made by us either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            // Some file systems (overlays, network mounts) refuse to sync a directory that was mounted.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::ReadOnlyFilesystem) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    let opened = LocalFileSystem::new_with_prefix(root).map_err(|source| StoreError::object("open", root.display(), source))?;
    Ok(opened.with_fsync(true))
}

/// What another process takes away meanwhile (a staged file that got its name, an emptied directory) needs no sync.
fn sync_tree(directory: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        match sync_entry(&entry?, now) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    File::open(directory)?.sync_all()
}

fn sync_entry(entry: &DirEntry, now: SystemTime) -> io::Result<()> {
    if entry.file_type()?.is_dir() {
        return sync_tree(&entry.path(), now);
    }
    if is_staged(&entry.file_name().to_string_lossy()) {
        let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age > STAGED_AGE_MAX {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `object_store` stages `name` as `name#1`, `name#2`, …; it refuses such names for objects.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
