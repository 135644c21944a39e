//! tantivy's files one after the other in a section, as a directory that tantivy can read and nobody can write.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::Directory;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{FileHandle, OwnedBytes, WatchCallback, WatchHandle, WritePtr};
use weir_blocks::columns::{Reader, put_bytes, put_varint};

/// The section, piece by piece: count of files, per file its name and length, then their bytes.
pub(super) fn encode<E>(files: &[(PathBuf, OwnedBytes)], mut append: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut names = Vec::new();
    put_varint(&mut names, files.len() as u64);
    for (path, bytes) in files {
        put_bytes(&mut names, path.to_string_lossy().as_bytes());
        put_varint(&mut names, bytes.len() as u64);
    }
    append(&names)?;
    files.iter().try_for_each(|(_, bytes)| append(bytes))
}

/// The section's files.
#[derive(Clone, Debug)]
pub(super) struct SectionDirectory(Arc<HashMap<PathBuf, OwnedBytes>>);

impl SectionDirectory {
    /// Copies them; errors are sentences.
    pub(super) fn parse(section: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(section);
        let mut entries = Vec::new();
        for _ in 0..reader.count("files", 2)? {
            entries.push((PathBuf::from(reader.text("file name")?), reader.varint("file length")?));
        }
        let mut files = HashMap::new();
        for (path, length) in entries {
            let bytes = reader.take(usize::try_from(length).map_err(|_| "a file is too long")?, "file")?;
            files.insert(path, OwnedBytes::new(bytes.to_vec()));
        }
        reader.finish()?;
        Ok(Self(Arc::new(files)))
    }

    fn get(&self, path: &Path) -> Result<&OwnedBytes, OpenReadError> {
        self.0.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.into()))
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a sealed block is never written to")
}

impl Directory for SectionDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.get(path)?.clone()))
    }
    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.into() })
    }
    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.0.contains_key(path))
    }
    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.into()))
    }
    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.get(path).map(|bytes| bytes.to_vec())
    }
    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }
    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
