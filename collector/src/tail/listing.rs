//! A log's files as of one moment: which there are, in which order, each opened. Called by [`super::file_set`].
//!
//! A directory cannot be listed in one instant, and a path that was listed may name another file when it is opened. A
//! file that is missed so is lost, or comes out of order. So: listed twice with the same result, and every opened
//! file is the one that was listed; else all over again. What may not be read ([`super::admit`]) is left out.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use weir_runtime::logs::generations;

use super::admit::{Admitted, Refusals, admit};
use super::identity::{self, FileId, Fingerprint};

/// A rotation takes microseconds and comes once in a while: where more attempts are needed, it is no rotation.
const ATTEMPTS: usize = 1000;

/// One of the files of a log, open.
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
    /// A file below these directories; `None` when it has just gone, or is refused.
    pub fn open(path: PathBuf, gzip: bool, directories: &[PathBuf], refusals: &Refusals) -> io::Result<Option<Self>> {
        match admit(&path, directories) {
            Ok(Ok(admitted)) => Self::of(path, gzip, &admitted).map(Some),
            Ok(Err(refusal)) => {
                refusals.note(&path, refusal);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(path: PathBuf, gzip: bool, admitted: &Admitted) -> io::Result<Self> {
        let file = admitted.open()?;
        let stat = identity::of_file(&file)?;
        Ok(Self { path, gzip, file, id: stat.id, size: stat.size })
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

/// The files of the log, oldest first, the current one, when it is there, last. Those that may not be read are noted and
/// left out. Errors when they never stand still.
pub(super) fn list_stable(current: &Path, directories: &[PathBuf], refusals: &Refusals) -> io::Result<Vec<Found>> {
    for _ in 0..ATTEMPTS {
        if let Some(found) = attempt(current, directories, refusals)? {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!("the files beside {} change faster than they can be listed", current.display())))
}

fn attempt(current: &Path, directories: &[PathBuf], refusals: &Refusals) -> io::Result<Option<Vec<Found>>> {
    let Some(listed) = list(current, directories, refusals)? else { return Ok(None) };
    let open = |listed: &Listed| Found::of(listed.path.clone(), listed.gzip, &listed.admitted);
    let found = listed.iter().map(open).collect::<io::Result<_>>()?;
    let Some(again) = list(current, directories, refusals)? else { return Ok(None) };
    let is_same = again.iter().map(Listed::key).eq(listed.iter().map(Listed::key));
    Ok(is_same.then_some(found))
}

/// A name and the file that it named. Resolved once: what is opened later is this file, whatever the name means by then.
struct Listed {
    path: PathBuf,
    gzip: bool,
    id: FileId,
    admitted: Admitted,
}

impl Listed {
    fn key(&self) -> (&Path, bool, FileId) {
        (&self.path, self.gzip, self.id)
    }
}

/// `None` when a file went away between its name and its stat.
fn list(current: &Path, directories: &[PathBuf], refusals: &Refusals) -> io::Result<Option<Vec<Listed>>> {
    let mut listed = Vec::new();
    for file in generations(current)? {
        match admit(&file.path, directories) {
            Ok(Ok(admitted)) => {
                let id = identity::of_file(admitted.descriptor())?.id;
                listed.push(Listed { path: file.path, gzip: file.gzip, id, admitted });
            }
            Ok(Err(refusal)) => refusals.note(&file.path, refusal),
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

    /// Rotates as fast as it can until told to stop; each file holds its number.
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
        let refusals = Refusals::new(crate::metrics::CollectorMetrics::default());
        std::thread::scope(|scope| {
            scope.spawn(|| rotate(directory.path(), &stop));
            let mut newest = 0;
            // Until it has seen rotations enough, and files enough at once.
            while newest < 500 {
                let found = list_stable(&directory.path().join("0.log"), &[directory.path().to_owned()], &refusals).unwrap();
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
