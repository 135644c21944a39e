//! How far a shard is: everything below `begin` is sent, and what lies from there to `end` is being sent. After a restart exactly these
//! records are sent first, by themselves: a receiver that has taken some of them refuses those as a whole, and would refuse what is new
//! with them if it were in the same request.
//! Format: `docs/formats/remote_write_queue.md`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::private;

const MAGIC: [u8; 4] = *b"WRP1";
/// Magic, begin, end, checksum of what is before it.
const BYTES: usize = 24;

/// Offsets of a shard's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub begin: u64,
    pub end: u64,
}

impl Position {
    /// As found in a log with these bounds. One that lies behind the log's end is of another log, as when the directory was deleted
    /// but for it: then everything that is stored is sent.
    pub fn within(found: Option<Self>, (first, next): (u64, u64)) -> Self {
        found
            .filter(|found| found.begin <= next)
            .map_or(Self { begin: first, end: first }, |found| Self { begin: found.begin, end: found.end.min(next) })
    }
}

/// Where it is kept, written in place. What was sent behind an older `end` than the newest would be sent again together with what is new,
/// and refused with it: so an `end` is on disk before anything below it is sent. A `begin` may be older than it was after a power cut, which
/// makes that more is sent again.
pub(super) struct PositionFile(File);

impl PositionFile {
    /// `None` where none was written, or half of one.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Position>)> {
        let is_new = !path.exists();
        let file = if is_new { private::create(path)? } else { File::options().read(true).write(true).open(path)? };
        if let Some(directory) = path.parent().filter(|_| is_new) {
            File::open(directory)?.sync_all()?;
        }
        let mut bytes = [0; BYTES];
        let read = file.read_at(&mut bytes, 0)?;
        Ok((Self(file), decode(&bytes[..read])))
    }

    /// Survives the process.
    pub fn write(&self, position: Position) -> io::Result<()> {
        self.0.write_all_at(&encode(position), 0)
    }

    /// What was written survives a power cut as well.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn encode(position: Position) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..12].copy_from_slice(&position.begin.to_le_bytes());
    bytes[12..20].copy_from_slice(&position.end.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let position = Position { begin: number(4), end: number(12) };
    (*bytes == encode(position) && position.begin <= position.end).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_another_log_is_none() {
        let of = |begin, end| Position { begin, end };
        for (found, expected) in [
            (None, of(5, 5)),
            (Some(of(7, 9)), of(7, 9)),
            (Some(of(7, 30)), of(7, 20)),
            (Some(of(20, 20)), of(20, 20)),
            // Released behind it: what is gone was given up.
            (Some(of(2, 3)), of(2, 3)),
            (Some(of(21, 21)), of(5, 5)),
        ] {
            assert_eq!(Position::within(found, (5, 20)), expected, "{found:?}");
        }
    }

    #[test]
    fn half_of_a_position_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        let (file, position) = PositionFile::open(&path).unwrap();
        assert_eq!(position, None);
        let own = Position { begin: 7, end: 258 };
        file.write(own).unwrap();
        assert_eq!(PositionFile::open(&path).unwrap().1, Some(own));
        let bytes = std::fs::read(&path).unwrap();
        let golden = [b'W', b'R', b'P', b'1', 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[..20], golden, "as docs/formats/remote_write_queue.md draws it");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None);
            let mut flipped = bytes.clone();
            flipped[cut] ^= 1;
            assert_eq!(decode(&flipped), None);
        }
    }
}
