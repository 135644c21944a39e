//! The log file of a container and its rotation. Takes whole log lines, never drops one: on a full disk it waits, counts,
//! and goes on where it stopped. Used by [`super::process`].
//!
//! `0.log` is written; at the size limit it becomes `0.log.<time>`, whose text sorts as the time does. The time is later than
//! that of every file rotated before, whatever the clock does: names are in the order of rotation. The oldest beyond the
//! wanted number are removed: that is the retention that was asked for, and a reader that is behind holds them by a hard
//! link of its own.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_model::time::UnixNanos;

use crate::private::{self, append_to};

/// How long to wait before a full disk is tried again.
pub(super) const WAIT: Duration = Duration::from_millis(200);

/// What went wrong so far without a line being lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Writes that had to wait for the disk to have room again.
    pub waits: u64,
    /// Rotations that failed; the file went on growing.
    pub rotation_errors: u64,
}

/// How large and how many.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// A file is rotated when it has reached this size.
    pub bytes_max: u64,
    /// Files kept, the present one included.
    pub files_max: usize,
}

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
    /// Time in the name of the newest rotated file.
    rotated: UnixNanos,
    troubles: Troubles,
}

impl LogFile {
    /// Opens for appending; makes the file and its directory if need be.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            private::make_directory(directory)?;
        }
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        let mut log =
            Self { path: path.to_owned(), file, bytes, rotation, rotated: UnixNanos::MIN, troubles: Troubles::default() };
        log.rotated = log.names()?.iter().filter_map(|name| time_of(name)).max().unwrap_or(UnixNanos::MIN);
        Ok(log)
    }

    /// Troubles so far.
    pub fn troubles(&self) -> Troubles {
        self.troubles
    }

    /// Appends whole lines, and rotates afterwards if the file is full. Returns only when all is written; `on_wait` is
    /// called each time it has to wait. Errors only when the file is broken for good (not for want of room).
    pub fn append(&mut self, lines: &[u8], at: UnixNanos, on_wait: impl FnMut(Troubles)) -> io::Result<()> {
        write_all(&mut self.file, lines, &mut self.troubles, on_wait)?;
        self.bytes += lines.len() as u64;
        if self.bytes >= self.rotation.bytes_max && self.rotate(at).is_err() {
            self.troubles.rotation_errors += 1;
        }
        Ok(())
    }

    fn rotate(&mut self, at: UnixNanos) -> io::Result<()> {
        let at = at.max(self.rotated.saturating_add(1));
        let time = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let suffix = format!("{time:.9}").replace(['-', ':', 'Z'], "").replace('T', "-");
        let rotated = self.path.with_file_name(format!("{}.{suffix}", name(&self.path)));
        // The new file is made before the old one is let go: a failure leaves us with the old one.
        if rotated.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(&self.path, &rotated)?;
        match append_to(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                std::fs::rename(&rotated, &self.path)?;
                return Err(error);
            }
        }
        (self.bytes, self.rotated) = (0, at);
        self.prune()
    }

    /// Removes the oldest files beyond the wanted number.
    fn prune(&self) -> io::Result<()> {
        let rotated = self.names()?;
        let surplus = (rotated.len() + 1).saturating_sub(self.rotation.files_max);
        rotated.iter().take(surplus).try_for_each(|name| std::fs::remove_file(self.path.with_file_name(name)))
    }

    /// Of rotated files, oldest first.
    fn names(&self) -> io::Result<Vec<String>> {
        let Some(directory) = self.path.parent() else { return Ok(Vec::new()) };
        let prefix = format!("{}.", name(&self.path));
        let mut rotated: Vec<String> = std::fs::read_dir(directory)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit())))
            .collect();
        rotated.sort();
        Ok(rotated)
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The time in a rotated file's name, `0.log.20220822-051842.908318007`.
fn time_of(name: &str) -> Option<UnixNanos> {
    let (_, suffix) = name.split_once(".log.")?;
    let (date, time) = suffix.split_once('-')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let time: jiff::Timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()?;
    UnixNanos::try_from(time.as_nanosecond()).ok()
}

/// Whether it is for want of room that something could not be written.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes everything, waiting as long as there is no room. A write that got in half is continued, not repeated.
fn write_all(
    out: &mut impl Write,
    mut bytes: &[u8],
    troubles: &mut Troubles,
    mut on_wait: impl FnMut(Troubles),
) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_full(&error) => {
                troubles.waits += 1;
                on_wait(*troubles);
                std::thread::park_timeout(WAIT);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixNanos = 1_661_145_522_908_318_000;

    #[test]
    fn rotation_keeps_the_newest_and_loses_no_line_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/0.log");
        let mut log = LogFile::open(&path, Rotation { bytes_max: 20, files_max: 3 }).unwrap();
        for i in 0..10 {
            log.append(format!("line {i:04}\n").as_bytes(), AT + i, |_| ()).unwrap();
        }
        let mut files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["0.log", "0.log.20220822-051842.908318007", "0.log.20220822-051842.908318009"]);
        assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), "");
        assert_eq!(std::fs::read_to_string(&files[1]).unwrap(), "line 0006\nline 0007\n");
        assert_eq!(std::fs::read_to_string(&files[2]).unwrap(), "line 0008\nline 0009\n");
        let order: Vec<_> = crate::logs::generations(&path).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(order, [files[1].clone(), files[2].clone(), files[0].clone()]);
    }

    #[test]
    fn a_clock_set_back_prunes_the_oldest_even_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let rotation = Rotation { bytes_max: 1, files_max: 3 };
        let mut at = AT;
        for i in 0..10 {
            // Every other line by another monitor, which knows the names alone.
            let mut log = LogFile::open(&path, rotation).unwrap();
            for line in [2 * i, 2 * i + 1] {
                at -= 3_600_000_000_000;
                log.append(format!("line {line:02}\n").as_bytes(), at, |_| ()).unwrap();
                let files = crate::logs::generations(&path).unwrap();
                let text: String = files.iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect();
                let expected: String =
                    ((line + 1_i32).saturating_sub(2).max(0)..=line).map(|i| format!("line {i:02}\n")).collect();
                assert_eq!(text, expected);
                assert_eq!(log.troubles(), Troubles::default());
            }
        }
    }

    #[test]
    fn a_rotation_that_cannot_be_done_is_counted_and_the_lines_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = LogFile::open(&path, Rotation { bytes_max: 5, files_max: 2 }).unwrap();
        std::fs::write(directory.path().join("0.log.20220822-051842.908318000"), "in the way").unwrap();
        log.append(b"hello\n", AT, |_| ()).unwrap();
        assert_eq!(log.troubles().rotation_errors, 1);
        log.append(b"world\n", AT + 1, |_| ()).unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("0.log.20220822-051842.908318001")).unwrap(), "hello\nworld\n");
    }

    struct FullDisk {
        taken: Vec<u8>,
        turn: usize,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(2) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(&bytes[..bytes.len().min(3)]);
            Ok(bytes.len().min(3))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        let mut disk = FullDisk { taken: Vec::new(), turn: 0 };
        let mut troubles = Troubles::default();
        // The waiting itself is cut short, as a spurious wake-up would.
        let me = std::thread::current();
        write_all(&mut disk, b"0123456789", &mut troubles, |_| me.unpark()).unwrap();
        assert_eq!((disk.taken.as_slice(), troubles.waits), (&b"0123456789"[..], 3));
    }
}
