//! The file operations of the disk log. A trait, so that tests can fill the disk and fail an fsync.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Where segments lie.
pub(crate) trait Storage: Send + Sync + 'static {
    /// Opens for reading and writing; `create` makes it anew and empty.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SegmentFile>>;
    /// Makes names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// One segment.
pub(crate) trait SegmentFile: Send + Sync {
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Fills the buffer.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// Makes written bytes and the length durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts off what lies beyond.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Its length.
    fn length(&self) -> io::Result<u64>;
}

/// The real thing.
pub(crate) struct Files;

impl Storage for Files {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(fs::OpenOptions::new().read(true).write(true).create(create).truncate(create).open(path)?))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
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
