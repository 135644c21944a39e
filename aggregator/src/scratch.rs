//! The directory of files for blocks in the making. Each loses its name as soon as it is made, so that its space is free again when the
//! process ends, however it ends. Engines are given it by whoever puts the process together.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use weir_blocks::scratch::{Scratch, ScratchFile};

/// What a file is called for as long as it has a name.
const PREFIX: &str = "merge-";

/// A directory of the process's own.
#[derive(Debug)]
pub struct ScratchDirectory {
    path: PathBuf,
    made: AtomicU64,
}

impl ScratchDirectory {
    /// One that is made when the first file is.
    pub fn new(path: PathBuf) -> Self {
        Self { path, made: AtomicU64::new(0) }
    }

    /// Makes the directory, and removes what a process left that was killed between two calls: empty files with a name.
    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Another one may have been faster.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Scratch for ScratchDirectory {
    fn create(&self) -> io::Result<Box<dyn ScratchFile>> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        if number == 0 || !self.path.is_dir() {
            self.prepare()?;
        }
        let path = self.path.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        remove(&path)?;
        Ok(Box::new(Unnamed(file)))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct Unnamed(File);

impl ScratchFile for Unnamed {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_no_name_and_what_a_killed_process_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scratch");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("merge-7-1"), b"").unwrap();
        fs::write(path.join("other"), b"").unwrap();
        let directory = ScratchDirectory::new(path.clone());
        let (mut one, mut other) = (directory.create().unwrap(), directory.create().unwrap());
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["other"]);
        one.append(b"hel").unwrap();
        one.append(b"lo").unwrap();
        other.append(b"x").unwrap();
        let mut read = [0; 3];
        one.read_at(&mut read, 2).unwrap();
        assert_eq!(&read, b"llo");
        assert!(one.read_at(&mut read, 3).is_err(), "ends before");
    }
}
