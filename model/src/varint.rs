//! Varints as all formats of weir have them: 7 bits a byte, least significant first (LEB128); signed numbers zigzag.
//!
//! Not here: what numbers mean, and protobuf's rules (the collector's). Readers of formats stand on [`read_varint`] and add which field
//! it was.

use thiserror::Error;

/// Most bytes of a number.
const BYTES_MAX: usize = 10;

/// Why there is no number at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VarintError {
    #[error("ends early")]
    Short,
    #[error("a number of more than 64 bits")]
    Long,
}

/// Small magnitudes as small numbers.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number at the front, and what follows it.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    match bytes.split_first() {
        // Most numbers are small.
        Some((&byte, rest)) if byte < 0x80 => Ok((u64::from(byte), rest)),
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(BYTES_MAX) {
        if i == BYTES_MAX - 1 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(if bytes.len() < BYTES_MAX { VarintError::Short } else { VarintError::Long })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(unsigned: u64, bits in 0..64_u32, signed: i64) {
            let (unsigned, signed) = (unsigned >> bits, signed >> bits);
            let mut out = Vec::new();
            put_varint(&mut out, unsigned);
            put_zigzag(&mut out, signed);
            let (first, rest) = read_varint(&out).unwrap();
            let (second, rest) = read_varint(rest).unwrap();
            prop_assert_eq!((first, unzigzag(second), rest), (unsigned, signed, &[][..]));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let ten = |last: u8| [&[0xff; 9][..], &[last, 7]].concat();
        let check = |bytes: &[u8], expected| assert_eq!(read_varint(bytes), expected, "{bytes:x?}");
        check(&[], Err(VarintError::Short));
        check(&[0x80], Err(VarintError::Short));
        check(&[0xff; 9], Err(VarintError::Short));
        check(&ten(1), Ok((u64::MAX, &[7])));
        check(&ten(2), Err(VarintError::Long));
        check(&ten(0x81), Err(VarintError::Long));
    }
}
