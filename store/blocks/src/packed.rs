//! What the blocks of metrics and traces are made of beyond [`crate::columns`]: packed (zstd) runs, and a cursor that
//! believes nothing it has not counted.
//!
//! Not here: what columns mean (the engines' codecs) and the block file around them ([`crate::block`]). Errors are texts;
//! whoever knows the object's path turns them into `Corrupt`.

use weir_model::compression;
use weir_model::varint::read_varint;
pub use weir_model::varint::{put_bytes, put_varint, put_zigzag, unzigzag, zigzag};

pub use crate::limits::UNPACKED_BYTES_MAX;

/// Up to here a buffer is allocated at once on the word of a header; larger ones grow as bytes really come out.
const TRUSTED_BYTES: usize = 4 << 20;

/// Appends a run of bytes, compressed when that helps: `raw length varint, stored length varint, bytes`; raw when the
/// lengths are equal.
pub fn put_packed(out: &mut Vec<u8>, raw: &[u8], level: i32) {
    let packed = compression::compress(raw, level).ok().filter(|packed| packed.len() < raw.len());
    put_varint(out, raw.len() as u64);
    put_bytes(out, packed.as_deref().unwrap_or(raw));
}

/// A run of bytes as a section of its own.
pub fn packed(raw: &[u8], level: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() / 2 + 16);
    put_packed(&mut out, raw, level);
    out
}

/// Reads what the functions above wrote, from the front. Every error is a sentence without the object's name.
#[derive(Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

/// The varint at the front of eight bytes and how many it has, if it ends within them.
#[inline]
fn varint_of_word(word: u64) -> Option<(u64, usize)> {
    const MORE: u64 = 0x8080_8080_8080_8080;
    let last_bit = (!word & MORE).trailing_zeros();
    let own = word & u64::MAX.checked_shr(63_u32.checked_sub(last_bit)?)?;
    // Groups of 7 bits next to each other, then of 14, then of 28.
    let sevens = own & !MORE;
    let pairs = sevens & 0x007f_007f_007f_007f | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    Some((fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4, last_bit as usize / 8 + 1))
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    pub fn byte(&mut self) -> Result<u8, String> {
        let (&first, rest) = self.rest.split_first().ok_or("ends early")?;
        self.rest = rest;
        Ok(first)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| format!("ends early: {count} of {} bytes", self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or("ends early")?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn varint(&mut self) -> Result<u64, String> {
        let (value, rest) = read_varint(self.rest).map_err(|error| error.to_string())?;
        self.rest = rest;
        Ok(value)
    }

    pub fn zigzag(&mut self) -> Result<i64, String> {
        self.varint().map(unzigzag)
    }

    /// So many numbers, one after the other.
    #[inline]
    pub fn zigzags(&mut self, count: usize, mut take: impl FnMut(i64)) -> Result<(), String> {
        for _ in 0..count {
            let value = match self.rest.first_chunk::<8>().and_then(|word| varint_of_word(u64::from_le_bytes(*word))) {
                Some((value, bytes)) => {
                    self.rest = &self.rest[bytes..];
                    value
                }
                None => self.varint()?,
            };
            take(unzigzag(value));
        }
        Ok(())
    }

    /// A number that fits `u32`.
    pub fn small(&mut self) -> Result<u32, String> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| format!("{value} where a 32-bit number is expected"))
    }

    /// A count of things that take at least `bytes_each` (one or more) of what is left: so it bounds an allocation.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, String> {
        let count = self.varint()?;
        let room = self.rest.len() / bytes_each.max(1);
        if count > room as u64 { Err(format!("{count} things in {} bytes", self.rest.len())) } else { Ok(count as usize) }
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.count(1)?;
        self.take(length)
    }

    pub fn text(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    /// A packed run, unpacked; at most `bytes_max` long.
    pub fn unpacked(&mut self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let raw = self.varint()?;
        let stored = self.bytes()?;
        if raw > bytes_max as u64 {
            return Err(format!("a run of {raw} bytes where at most {bytes_max} are expected"));
        }
        let raw = raw as usize;
        if stored.len() == raw {
            return Ok(stored.to_vec());
        }
        let bytes = unzstd(stored, raw).map_err(|error| format!("zstd: {error}"))?;
        if bytes.len() == raw { Ok(bytes) } else { Err(format!("a run of {} bytes where {raw} are expected", bytes.len())) }
    }

    /// Errors when something is left.
    pub fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("{} bytes are left over", self.rest.len())) }
    }
}

/// At most `raw` bytes and one: the caller tells by their number whether the header lied.
pub fn unzstd(stored: &[u8], raw: usize) -> std::io::Result<Vec<u8>> {
    if raw <= TRUSTED_BYTES {
        return compression::decompress(stored, raw);
    }
    let mut bytes = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(stored)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, raw as u64 + 1), &mut bytes)?;
    Ok(bytes)
}

/// Packed runs with their bytes as they are, so that a flip reaches what is in them and not zstd alone.
#[doc(hidden)]
pub fn plain(packed: &[u8]) -> Vec<u8> {
    let (mut cursor, mut out) = (Cursor::new(packed), Vec::new());
    while cursor.left() > 0 {
        let raw = cursor.unpacked(UNPACKED_BYTES_MAX).expect("what was packed");
        put_varint(&mut out, raw.len() as u64);
        put_bytes(&mut out, &raw);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, -1, 63, 64, -65, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            put_varint(&mut out, value as u64);
            let mut cursor = Cursor::new(&out);
            assert_eq!((cursor.zigzag(), cursor.varint(), cursor.end()), (Ok(value), Ok(value as u64), Ok(())));
        }
        assert!(Cursor::new(&[0xff; 11]).varint().is_err());
        assert!(Cursor::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn many_numbers_are_read_as_one_by_one() {
        let numbers: Vec<i64> =
            (0..64).flat_map(|bits| [1, -1, 5].map(|sign: i64| sign.wrapping_shl(bits))).chain([0; 9]).collect();
        let mut out = Vec::new();
        numbers.iter().for_each(|number| put_zigzag(&mut out, *number));
        let (mut cursor, mut read) = (Cursor::new(&out), Vec::new());
        assert_eq!((cursor.zigzags(numbers.len(), |number| read.push(number)), cursor.end()), (Ok(()), Ok(())));
        assert_eq!(read, numbers);
        assert!(Cursor::new(&out).zigzags(numbers.len() + 1, |_| {}).is_err());
        assert!(Cursor::new(&[0xff; 16]).zigzags(1, |_| {}).is_err());
    }

    #[test]
    fn packed_runs_round_trip_and_lies_are_refused() {
        for raw in [vec![], vec![7; 5 << 20], (0..=255).collect::<Vec<u8>>()] {
            let packed = packed(&raw, 3);
            assert_eq!(Cursor::new(&packed).unpacked(UNPACKED_BYTES_MAX), Ok(raw.clone()));
            assert!(raw.is_empty() || Cursor::new(&packed).unpacked(raw.len() - 1).is_err());
        }
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0x7f, 1, 0]).unpacked(UNPACKED_BYTES_MAX).is_err());
        assert!(Cursor::new(&[200, 1, 2, 3]).bytes().is_err());
    }
}
