//! Differences of noisy integers in two parts: low bits, which are noise and stand as they are, and the rest, which zstd may find
//! something in. Format: `docs/formats/metrics_block.md`.
//!
//! Not here: which values are integers, and how (`values.rs`).

use weir_blocks::packed::{Cursor, put_varint, put_zigzag, unzigzag, zigzag};

use super::values::Columns;

/// Shorter ones have too little for what is said of the series.
const DIFFERENCES_MIN: usize = 15;
/// Bits of most differences that stay above the low ones: with 4 to 6 the bytes of an 80 minutes' load of counters differ by 0.4%.
const HIGH_BITS: u32 = 5;
/// So many in sixteen differences have no more than those.
const FITTING: usize = 15;
/// Where more are low, raw bits are shorter.
const LOW_BITS: u32 = 48;
/// A reader takes as many as one word has from any bit of its first byte on.
pub(crate) const LOW_BITS_MAX: u8 = 56;

/// How a series' differences are parted: each is `unit × (base + n)`, n zigzag.
pub(crate) struct Split {
    unit: u64,
    base: i64,
    numbers: Vec<u64>,
    pub low_bits: u8,
}

impl Split {
    /// Of integers below 2^53; `varints` is how many bytes their differences would take. `None` where those are as good.
    pub(crate) fn of(differences: &[i64], varints: usize) -> Option<Self> {
        let count = differences.len();
        // Differences of one byte are zstd's already.
        if count < DIFFERENCES_MIN || varints <= count + count / 8 {
            return None;
        }
        let mut sorted = differences.to_vec();
        sorted.sort_unstable();
        let distinct = 1 + sorted.windows(2).filter(|pair| pair[0] != pair[1]).count();
        if distinct * 4 <= count {
            return None;
        }
        let unit = differences.iter().fold(0, |unit, difference| common(difference.unsigned_abs(), unit)).max(1);
        let base = sorted[count / 2] / unit as i64;
        let numbers: Vec<u64> = differences.iter().map(|difference| zigzag(difference / unit as i64 - base)).collect();
        let mut bits: Vec<u32> = numbers.iter().map(|number| u64::BITS - number.leading_zeros()).collect();
        let (_, fitting, _) = bits.select_nth_unstable(count * FITTING / 16);
        let low_bits = fitting.saturating_sub(HIGH_BITS);
        (1..=LOW_BITS).contains(&low_bits).then_some(Self { unit, base, numbers, low_bits: low_bits as u8 })
    }

    pub(crate) fn encode(&self, out: &mut Columns) {
        put_varint(&mut out.values, self.unit);
        put_zigzag(&mut out.values, self.base);
        let mask = (1 << self.low_bits) - 1;
        let (mut word, mut bits) = (0_u128, 0);
        for number in &self.numbers {
            put_varint(&mut out.highs, number >> self.low_bits);
            word |= u128::from(number & mask) << bits;
            bits += u32::from(self.low_bits);
            while bits >= 8 {
                out.lows.push(word as u8);
                word >>= 8;
                bits -= 8;
            }
        }
        if bits > 0 {
            out.lows.push(word as u8);
        }
    }
}

/// The greatest common divisor; of 0 and another that one.
fn common(mut a: u64, mut b: u64) -> u64 {
    if b == 1 {
        return 1;
    }
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}

/// Bytes of the low bits of so many differences.
pub(crate) fn low_bytes(differences: usize, low_bits: u8) -> Option<usize> {
    Some(differences.checked_mul(usize::from(low_bits))?.div_ceil(8))
}

/// Both parts of a series' differences. `lows` may go on behind them, and is at least as long as [`low_bytes`] says.
#[derive(Clone, Copy)]
pub(crate) struct SplitBytes<'a> {
    pub highs: &'a [u8],
    pub lows: &'a [u8],
    /// At most [`LOW_BITS_MAX`].
    pub low_bits: u8,
}

impl SplitBytes<'_> {
    /// Gives so many differences in order; unit and base are read from `cursor`. Errors with a sentence.
    pub(crate) fn decode(&self, cursor: &mut Cursor<'_>, count: usize, mut give: impl FnMut(i64)) -> Result<(), String> {
        let (unit, base) = (cursor.varint()? as i64, cursor.zigzag()?);
        let (low_bits, mask) = (usize::from(self.low_bits), (1_u64 << self.low_bits) - 1);
        let mut bit = 0;
        let mut take = |high: u64| {
            let low = word(self.lows, bit / 8) >> (bit % 8) & mask;
            bit += low_bits;
            give(unit.wrapping_mul(base.wrapping_add(unzigzag(high << low_bits | low))));
        };
        if self.highs.len() == count && self.highs.iter().fold(0, |all, high| all | high) < 0x80 {
            self.highs.iter().for_each(|high| take(u64::from(*high)));
            return Ok(());
        }
        let mut highs = Cursor::new(self.highs);
        highs.zigzags(count, |high| take(zigzag(high)))?;
        highs.end()
    }
}

/// Eight bytes from a place on, zeros behind the last.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        return u64::from_le_bytes(*word);
    }
    let mut word = [0; 8];
    let rest = bytes.get(at..).unwrap_or_default();
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_unit_takes_no_bits() {
        assert_eq!([common(0, 0), common(0, 6), common(6, 0), common(4, 6), common(9, 1)], [0, 6, 6, 2, 1]);
        let differences: Vec<i64> = (0..64).map(|i| (i * 37 % 64 + 1000) * 4096).collect();
        let split = Split::of(&differences, 64 * 4).unwrap();
        assert_eq!((split.unit, split.base, split.low_bits), (4096, 1032, 1));
        let few: Vec<i64> = (0..64).map(|i| (i % 16) * 1_000_000).collect();
        assert!(Split::of(&few, 64 * 4).is_none(), "sixteen numbers are zstd's");
        assert!(Split::of(&differences[..14], 14 * 4).is_none());
    }
}
