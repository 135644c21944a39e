//! Limits: the least that anybody would have to do with the same bytes, measured in the same run on one thread.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::watch::{Spent, spent};

/// As much as the collector compresses at once, roughly.
const PIECE: usize = 1 << 20;

/// Reads files from the page cache, looks for line ends and compresses with zstd 1. Also says how many bytes came out.
pub fn read_split_compress(paths: &[PathBuf]) -> (Spent, u64) {
    spent(|| {
        let (mut lines, mut compressed) = (0, 0);
        let mut piece = vec![0; PIECE];
        for path in paths {
            let mut file = File::open(path).expect("open");
            loop {
                let length = file.read(&mut piece).expect("read");
                if length == 0 {
                    break;
                }
                lines += memchr::memchr_iter(b'\n', &piece[..length]).count();
                compressed += zstd::bulk::compress(&piece[..length], 1).expect("compress").len() as u64;
            }
        }
        assert!(lines > 0, "there are lines");
        compressed
    })
}

/// Writes these bytes one after the other into one file and syncs it once.
pub fn write_sync(folder: &Path, values: &[bytes::Bytes]) -> Spent {
    spent(|| {
        let mut file = File::create(folder.join("limit")).expect("create");
        values.iter().for_each(|value| file.write_all(value).expect("write"));
        file.sync_data().expect("sync");
    })
    .0
}

/// Decompresses with zstd what zstd 1 made of these texts, in pieces of about a megabyte; compressing is not measured.
pub fn decompress<'a>(texts: impl Iterator<Item = &'a str>) -> Spent {
    let (mut pieces, mut piece) = (Vec::new(), Vec::with_capacity(PIECE));
    for text in texts {
        piece.extend_from_slice(text.as_bytes());
        if piece.len() >= PIECE {
            pieces.push((piece.len(), zstd::bulk::compress(&piece, 1).expect("compress")));
            piece.clear();
        }
    }
    pieces.push((piece.len(), zstd::bulk::compress(&piece, 1).expect("compress")));
    spent(|| {
        for (length, piece) in &pieces {
            assert_eq!(zstd::bulk::decompress(piece, *length).expect("decompress").len(), *length);
        }
    })
    .0
}

/// Bytes that `zstd -19 --long` makes of these texts, a line each: what storage without any index or access to parts could be.
pub fn zstd_19_long<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut file = WholeFile::new(19);
    texts.for_each(|text| file.push(text.as_bytes()));
    file.finish()
}

/// Lines in one piece as zstd leaves them with a window of 128 MiB, counted as they come.
pub struct WholeFile(zstd::Encoder<'static, Counter>);

impl WholeFile {
    pub fn new(level: i32) -> Self {
        let mut encoder = zstd::Encoder::new(Counter(0), level).expect("a level of zstd's");
        encoder.long_distance_matching(true).expect("zstd takes it");
        encoder.window_log(27).expect("zstd takes it");
        Self(encoder)
    }

    pub fn push(&mut self, line: &[u8]) {
        self.0.write_all(line).and_then(|()| self.0.write_all(b"\n")).expect("memory takes it");
    }

    /// Bytes of it.
    pub fn finish(self) -> u64 {
        self.0.finish().expect("memory takes it").0
    }
}

/// Counts what is written.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
