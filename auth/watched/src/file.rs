//! One small file: read within a limit, and told from the version before. Errors do not have what it says.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A service account's token is 1 KiB, a password less.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Why a file cannot be read, and which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub reason: String,
}

impl From<ReadError> for String {
    fn from(error: ReadError) -> Self {
        error.to_string()
    }
}

impl ReadError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Errors where the file is larger than `bytes_max`. Blocks.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| ReadError::new(path, error))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| ReadError::new(path, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::new(path, format!("is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// What was read of `path`, as text.
pub fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ReadError> {
    std::str::from_utf8(bytes).map_err(|_| ReadError::new(path, "is not UTF-8"))
}

/// As [`read`]. Blocks.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, ReadError> {
    let bytes = read(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| ReadError::new(path, "is not UTF-8"))
}

/// A password or token in a file of its own, without the ends of lines after it; at most 64 KiB. Read off the async threads.
pub async fn secret(path: &Path) -> Result<String, ReadError> {
    let own = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_text(&own, SECRET_BYTES_MAX)).await;
    let mut text = read.unwrap_or_else(|error| Err(ReadError::new(path, error)))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// Tells one version of a file from another: written, replaced, or the target of a link that was. The time of change counts beside
/// that of modification, which whoever writes a file may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    place: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            place: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        })
    }

    /// Whether it was changed last before then, by the file system's clock.
    pub fn is_older_than(&self, then: SystemTime) -> bool {
        let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.changed < (since.as_secs() as i64, i64::from(since.subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn limits_hold_and_errors_name_the_file_and_not_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let refused = |error: ReadError, reason: &str| {
            let said = error.to_string();
            assert!(said.contains("/secret: ") && said.contains(reason) && !said.contains("hush"), "{said}");
        };
        refused(secret(&path).await.unwrap_err(), "No such file");
        std::fs::write(&path, " hush \r\n\n").unwrap();
        assert_eq!(secret(&path).await.as_deref(), Ok(" hush "));
        assert_eq!(read_text(&path, 9).as_deref(), Ok(" hush \r\n\n"));
        refused(read_text(&path, 8).unwrap_err(), "larger than 8 bytes");
        std::fs::write(&path, b"hush\xff").unwrap();
        refused(read_text(&path, 9).unwrap_err(), "UTF-8");
        refused(text(&path, b"hush\xff").unwrap_err(), "UTF-8");
        std::fs::write(&path, "hush".repeat(20_000)).unwrap();
        refused(secret(&path).await.unwrap_err(), "larger than 65536 bytes");
    }

    /// As `touch -r` and `cp -p` do.
    #[test]
    fn a_file_that_keeps_its_length_and_time_of_modification_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let (before, modified) = (Stamp::of(&path), std::fs::metadata(&path).unwrap().modified().unwrap());
        assert_eq!(before, Stamp::of(&path));
        let begun = std::time::Instant::now();
        // The clock of a file system may tick as rarely as each 10 ms.
        while Stamp::of(&path) == before {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "a change is not seen");
            std::fs::write(&path, "2").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
    }
}
