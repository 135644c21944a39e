//! One consistent look at a chain's files: which there are, in which order, each opened. Called by [`super::chain`].
//!
//! A directory cannot be listed in one instant, and a path that was listed may name another file when it is opened. A
//! generation that is missed so is lost, or comes out of order. So: listed twice with the same result, and every opened
//! file is the one that was listed; else all over again.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use weir_runtime::logs::generations;

use super::identity::{self, FileId, Fingerprint};

/// A rotation takes microseconds and comes once in a while: who needs more attempts is looking at something else.
const ATTEMPTS: usize = 1000;

/// A file of the chain, open.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub gzip: bool,
    pub file: File,
    pub id: FileId,
    /// As it lies there, compressed or not.
    pub size: u64,
}

impl Found {
    /// `None` when the file has just gone.
    pub fn open(path: PathBuf, gzip: bool) -> io::Result<Option<Self>> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = identity::of_file(&file)?;
        Ok(Some(Self { path, gzip, file, id: facts.id, size: facts.size }))
    }

    /// The same file once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { path: self.path.clone(), gzip: self.gzip, file: self.file.try_clone()?, id: self.id, size: self.size })
    }

    /// Whether its contents begin with these bytes; of a compressed file no more than them is unpacked.
    pub fn begins_with(&self, fingerprint: &Fingerprint) -> io::Result<bool> {
        if !self.gzip {
            return fingerprint.matches(&self.file);
        }
        let mut first = Vec::new();
        (&self.file).rewind()?;
        let unpacked = flate2::read::MultiGzDecoder::new(&self.file);
        // Half written, or no gzip at all: then it is no copy of anything either.
        let read = unpacked.take(u64::from(fingerprint.bytes)).read_to_end(&mut first);
        Ok(read.is_ok() && Fingerprint::of_bytes(&first) == *fingerprint)
    }
}

/// The files of the chain, oldest first, the current one, when it is there, last. Errors when they never stand still.
pub(super) fn look(current: &Path) -> io::Result<Vec<Found>> {
    for _ in 0..ATTEMPTS {
        if let Some(found) = attempt(current)? {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("the files beside {} change faster than they can be listed", current.display())))
}

fn attempt(current: &Path) -> io::Result<Option<Vec<Found>>> {
    let Some(listed) = list(current)? else { return Ok(None) };
    let mut found = Vec::with_capacity(listed.len());
    for (path, gzip, id) in &listed {
        match Found::open(path.clone(), *gzip)? {
            Some(file) if file.id == *id => found.push(file),
            _ => return Ok(None),
        }
    }
    let again = list(current)?;
    Ok((again.as_ref() == Some(&listed)).then_some(found))
}

/// `None` when a file went away between its name and its facts.
fn list(current: &Path) -> io::Result<Option<Vec<(PathBuf, bool, FileId)>>> {
    let mut listed = Vec::new();
    for file in generations(current)? {
        match identity::of_path(&file.path) {
            Ok(facts) => listed.push((file.path, file.gzip, facts.id)),
            // A link that leads nowhere holds nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.path.is_symlink() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(listed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// Rotates as fast as it can until told to stop; each generation holds its number.
    fn rotate(directory: &Path, stop: &AtomicBool) {
        let (current, mut number) = (directory.join("0.log"), 0_u32);
        while !stop.load(Ordering::Relaxed) {
            fs::write(&current, format!("{number:08}")).unwrap();
            fs::rename(&current, directory.join(format!("0.log.{number:08}"))).unwrap();
            if number >= 5 {
                fs::remove_file(directory.join(format!("0.log.{:08}", number - 5))).unwrap();
            }
            number += 1;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(300) {
                std::hint::spin_loop();
            }
        }
    }

    #[test]
    fn no_generation_is_missed_however_fast_they_rotate() {
        let directory = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| rotate(directory.path(), &stop));
            let mut newest = 0;
            // Until it has seen rotations enough, and files enough at once.
            while newest < 500 {
                let found = look(&directory.path().join("0.log")).unwrap();
                let numbers: Vec<u32> = found
                    .iter()
                    .map(|found| io::read_to_string(&found.file).unwrap())
                    // The current one may be empty still.
                    .filter(|text| !text.is_empty())
                    .map(|text| text.parse().unwrap())
                    .collect();
                let gap = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]);
                if let Some(gap) = gap {
                    stop.store(true, Ordering::Relaxed);
                    panic!("after {} comes {}", gap[0], gap[1]);
                }
                newest = numbers.last().copied().unwrap_or(newest);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
