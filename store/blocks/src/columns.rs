//! Varints and counted bytes, as manifests and the logs engine write them.
//!
//! Not a format of its own: which fields follow each other is said where they are written.

use weir_model::varint::{VarintError, read_varint, unzigzag};
pub use weir_model::varint::{put_bytes, put_varint, put_zigzag};

/// Reads what these write. Errors are sentences that say which field and where.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// An unsigned number.
    pub fn varint(&mut self, what: &str) -> Result<u64, String> {
        match read_varint(&self.bytes[self.at..]) {
            Ok((value, rest)) => {
                self.at = self.bytes.len() - rest.len();
                Ok(value)
            }
            Err(VarintError::Short) => {
                self.at = self.bytes.len();
                Err(self.early(what))
            }
            Err(VarintError::Long) => Err(format!("{what} at byte {} is longer than 64 bits", self.at)),
        }
    }

    /// An unsigned number that has to fit 32 bits.
    pub fn varint_u32(&mut self, what: &str) -> Result<u32, String> {
        let value = self.varint(what)?;
        u32::try_from(value).map_err(|_| format!("{what} before byte {} is {value}, above 32 bits", self.at))
    }

    /// A signed number.
    pub fn zigzag(&mut self, what: &str) -> Result<i64, String> {
        self.varint(what).map(unzigzag)
    }

    /// How many things follow, each of at least `bytes_min` (> 0) bytes: never more than the rest can hold.
    pub fn count(&mut self, what: &str, bytes_min: usize) -> Result<usize, String> {
        let value = self.varint(what)?;
        let room = (self.bytes.len() - self.at) / bytes_min;
        usize::try_from(value)
            .ok()
            .filter(|count| *count <= room)
            .ok_or_else(|| format!("{what} before byte {} is {value}, but only {room} fit", self.at))
    }

    /// So many bytes.
    pub fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let taken = self.bytes[self.at..].get(..count).ok_or_else(|| self.early(what))?;
        self.at += count;
        Ok(taken)
    }

    /// So many bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// A length and the bytes.
    pub fn bytes(&mut self, what: &str) -> Result<&'a [u8], String> {
        let count = self.count(what, 1)?;
        self.take(count, what)
    }

    /// A length and UTF-8.
    pub fn text(&mut self, what: &str) -> Result<&'a str, String> {
        let at = self.at;
        std::str::from_utf8(self.bytes(what)?).map_err(|_| format!("{what} at byte {at} is not UTF-8"))
    }

    /// Bytes that are not read yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), String> {
        let left = self.bytes.len() - self.at;
        if left == 0 { Ok(()) } else { Err(format!("{left} bytes are left over at byte {}", self.at)) }
    }

    fn early(&self, what: &str) -> String {
        format!("{what} at byte {} ends early", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_say_where_they_are_wrong() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|number| put_varint(&mut out, *number));
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        signed.iter().for_each(|number| put_zigzag(&mut out, *number));
        put_bytes(&mut out, b"end");
        let mut reader = Reader::new(&out);
        numbers.iter().for_each(|number| assert_eq!(reader.varint("n"), Ok(*number)));
        signed.iter().for_each(|number| assert_eq!(reader.zigzag("s"), Ok(*number)));
        assert_eq!(reader.text("text"), Ok("end"));
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(Reader::new(&[0x80]).varint("n"), Err("n at byte 1 ends early".into()));
        assert_eq!(Reader::new(&[0xff; 11]).varint("n"), Err("n at byte 0 is longer than 64 bits".into()));
        assert_eq!(Reader::new(&[9, 0]).count("n", 1), Err("n before byte 1 is 9, but only 1 fit".into()));
    }
}
