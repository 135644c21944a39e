//! The file operations of the disk log. A trait, so that tests can fill the disk and fail an fsync.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::BusError;

/// What is on the bus is for weir alone, whatever the umask says.
pub(crate) const FILE_MODE: u32 = 0o600;
pub(crate) const DIR_MODE: u32 = 0o700;

pub(crate) fn disk_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BusError {
    let path = path.to_owned();
    move |source| BusError::Disk { operation, path, source }
}

/// Where segments lie.
pub(crate) trait Storage: Send + Sync + 'static {
    /// Opens for reading and writing; `create` makes it anew and empty.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a directory, to make names in it durable later: to open can fail and be tried again, a sync that failed cannot.
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn Directory>>;
    /// Makes names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.open_dir(path)?.sync()
    }
}

/// An open directory.
pub(crate) trait Directory {
    /// Makes its names durable.
    fn sync(&self) -> io::Result<()>;
}

pub(crate) trait SegmentFile: Send + Sync {
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Fills the buffer.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// Makes written bytes and the length durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts off what lies beyond.
    fn truncate(&self, length: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
}

/// The real thing.
pub(crate) struct Files;

impl Storage for Files {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SegmentFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(create).truncate(create).mode(FILE_MODE);
        Ok(Arc::new(options.open(path)?))
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn Directory>> {
        Ok(Box::new(fs::File::open(path)?))
    }
}

impl Directory for fs::File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl SegmentFile for fs::File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A small file written so that it is either the old one or the new one after a crash.
pub(crate) fn replace(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = storage.open(&temporary, true)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs::rename(&temporary, path)?;
    storage.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// A directory and what of its path is missing, each made durable in the one above; closed to others, also when it was there.
pub(crate) fn make_dirs(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    let above = path.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    if !path.is_dir() {
        if let Some(above) = above.filter(|above| !above.is_dir()) {
            make_dirs(storage, above)?;
        }
        fs::DirBuilder::new().mode(DIR_MODE).create(path)?;
        return above.map_or(Ok(()), |above| storage.sync_dir(above));
    }
    if fs::metadata(path)?.permissions().mode() & 0o777 & !DIR_MODE != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}
