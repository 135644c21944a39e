//! The sample codec: one series' values to bytes and back, every bit kept. Format: `docs/formats/metrics_block.md`.
//!
//! Not here: timestamps (`timestamps.rs`), and the compression around both (`writer.rs`).

use super::split::{Split, SplitBytes};
use weir_blocks::packed::{Cursor, put_varint, put_zigzag, zigzag};

const CONSTANT: u8 = 0;
const DELTA: u8 = 1;
const DELTA_OF_DELTA: u8 = 2;
const XOR: u8 = 3;
const SPLIT: u8 = 4;

/// More digits after the point than this are not worth a try: 10^15 times anything above 9 leaves the 53 bits.
const EXPONENT_MAX: u8 = 15;
/// Integers of larger magnitude are not all doubles.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
/// One exception costs up to 11 bytes, a raw value 8: beyond a quarter of exceptions XOR is never worse.
const EXCEPTIONS_ONE_IN: usize = 4;

const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Where the values of a group go.
#[derive(Default)]
pub(crate) struct Columns {
    pub values: Vec<u8>,
    /// Differences that are split: their upper parts, and their lower ones, which nothing compresses.
    pub highs: Vec<u8>,
    pub lows: Vec<u8>,
}

/// Appends values (at least one) to one run of bytes.
pub(crate) fn encode(values: &[f64], out: &mut Vec<u8>) {
    if put_constant(values, out) {
        return;
    }
    if !Decimals::of(values).is_some_and(|decimals| decimals.encode(&decimals.differences(), out)) {
        encode_xor(values, out);
    }
}

/// The same of one series of a group; how many low bits of its differences stand by themselves, 0 where none do.
pub(crate) fn encode_series(values: &[f64], out: &mut Columns) -> u8 {
    if put_constant(values, &mut out.values) {
        return 0;
    }
    if let Some(decimals) = Decimals::of(values) {
        let differences = decimals.differences();
        if let Some(split) = Split::of(&differences, varints(&differences)) {
            decimals.put_head(SPLIT, &mut out.values);
            split.encode(out);
            return split.low_bits;
        }
        if decimals.encode(&differences, &mut out.values) {
            return 0;
        }
    }
    encode_xor(values, &mut out.values);
    0
}

fn put_constant(values: &[f64], out: &mut Vec<u8>) -> bool {
    let first = values.first().map_or(0, |value| value.to_bits());
    let is_constant = values.iter().all(|value| value.to_bits() == first);
    if is_constant {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
    }
    is_constant
}

/// Appends `count` values, which the caller has bounded; some of them when it errors.
pub(crate) fn decode(cursor: &mut Cursor<'_>, count: usize, values: &mut Vec<f64>) -> Result<(), String> {
    match cursor.byte()? {
        CONSTANT => {
            let value = f64::from_bits(u64::from_le_bytes(cursor.array()?));
            values.resize(values.len() + count, value);
            Ok(())
        }
        mode @ (DELTA | DELTA_OF_DELTA) => decode_decimals(cursor, count, mode == DELTA_OF_DELTA, values),
        XOR => decode_xor(cursor, count, values),
        mode => Err(format!("value encoding {mode} is unknown")),
    }
}

/// The same of a series that [`encode_series`] has split.
pub(crate) fn decode_split(
    cursor: &mut Cursor<'_>,
    split: SplitBytes<'_>,
    count: usize,
    values: &mut Vec<f64>,
) -> Result<(), String> {
    let mode = cursor.byte()?;
    if mode != SPLIT {
        return Err(format!("value encoding {mode} with low bits"));
    }
    let DecimalsHead { power, patches } = decimals_head(cursor, count)?;
    let first = values.len();
    // Each difference has a byte at least among the upper parts.
    values.reserve(count.min(split.highs.len() + 1));
    let mut take = deltas(|integer| values.push(integer as f64 / power));
    take(cursor.zigzag()?);
    split.decode(cursor, count - 1, take)?;
    patches.into_iter().for_each(|(at, value)| values[first + at] = value);
    Ok(())
}

/// `value × 10^exponent` when that is an integer which gives the same bits back.
fn as_integer(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[exponent as usize];
    let scaled = (value * power).round();
    // NaN fails the first comparison; -0.0 fails the second, its integer is 0.
    let fits = scaled.abs() < INTEGER_MAX && ((scaled as i64) as f64 / power).to_bits() == value.to_bits();
    fits.then_some(scaled as i64)
}

/// A series as integers times a power of ten, but for a few exceptions.
struct Decimals {
    exponent: u8,
    /// An exception repeats its predecessor here, so that it costs nothing.
    integers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    fn of(values: &[f64]) -> Option<Self> {
        let limit = values.len() / EXCEPTIONS_ONE_IN;
        let mut exponent = 0;
        let mut misfits = 0;
        for &value in values {
            match (exponent..=EXPONENT_MAX).find(|candidate| as_integer(value, *candidate).is_some()) {
                Some(found) => exponent = found,
                None => misfits += 1,
            }
            if misfits > limit {
                return None;
            }
        }
        let mut found = Self { exponent, integers: Vec::with_capacity(values.len()), exceptions: Vec::new() };
        for (at, &value) in values.iter().enumerate() {
            let integer = as_integer(value, exponent);
            if integer.is_none() {
                found.exceptions.push((at, value.to_bits()));
            }
            found.integers.push(integer.or(found.integers.last().copied()).unwrap_or(0));
        }
        (found.exceptions.len() <= limit).then_some(found)
    }

    fn differences(&self) -> Vec<i64> {
        self.integers.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Whether that is shorter than raw; nothing is appended otherwise.
    fn encode(&self, deltas: &[i64], out: &mut Vec<u8>) -> bool {
        let seconds: Vec<i64> = deltas.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (flat, bent) = (varints(deltas), varints(&deltas[..deltas.len().min(1)]) + varints(&seconds));
        // 15 digits after the point fit many a measured value, and then take more bytes than its bits do.
        if flat.min(bent) > deltas.len() * 7 {
            return false;
        }
        let curved = bent < flat;
        self.put_head(if curved { DELTA_OF_DELTA } else { DELTA }, out);
        if curved {
            deltas.first().iter().for_each(|delta| put_zigzag(out, **delta));
            seconds.iter().for_each(|second| put_zigzag(out, *second));
        } else {
            deltas.iter().for_each(|delta| put_zigzag(out, *delta));
        }
        true
    }

    /// All but the differences.
    fn put_head(&self, mode: u8, out: &mut Vec<u8>) {
        out.extend([mode, self.exponent]);
        put_varint(out, self.exceptions.len() as u64);
        let mut next = 0;
        for (at, bits) in &self.exceptions {
            put_varint(out, (at - next) as u64);
            out.extend_from_slice(&bits.to_le_bytes());
            next = at + 1;
        }
        put_zigzag(out, self.integers.first().copied().unwrap_or(0));
    }
}

/// Bytes of numbers as varints.
fn varints(numbers: &[i64]) -> usize {
    numbers.iter().map(|number| varint_bytes(zigzag(*number))).sum()
}

fn varint_bytes(value: u64) -> usize {
    (64 - value.leading_zeros()).div_ceil(7).max(1) as usize
}

/// What stands before the integers.
struct DecimalsHead {
    power: f64,
    patches: Vec<(usize, f64)>,
}

fn decimals_head(cursor: &mut Cursor<'_>, count: usize) -> Result<DecimalsHead, String> {
    let exponent = cursor.byte()?;
    let power = *POWERS.get(exponent as usize).ok_or_else(|| format!("exponent {exponent} is unknown"))?;
    let exceptions = cursor.count(9)?;
    let mut patches = Vec::with_capacity(exceptions);
    let mut next = 0_u64;
    for _ in 0..exceptions {
        let at = cursor.varint()?.checked_add(next).filter(|at| *at < count as u64).ok_or("an exception past the end")?;
        patches.push((at as usize, f64::from_bits(u64::from_le_bytes(cursor.array()?))));
        next = at + 1;
    }
    Ok(DecimalsHead { power, patches })
}

fn decode_decimals(cursor: &mut Cursor<'_>, count: usize, curved: bool, values: &mut Vec<f64>) -> Result<(), String> {
    let DecimalsHead { power, patches } = decimals_head(cursor, count)?;
    let first = values.len();
    values.reserve(count.min(cursor.left()));
    match (curved, power == 1.0) {
        (false, true) => cursor.zigzags(count, deltas(|integer| values.push(integer as f64)))?,
        (false, _) => cursor.zigzags(count, deltas(|integer| values.push(integer as f64 / power)))?,
        (true, _) => {
            let mut take = deltas(|integer| values.push(integer as f64 / power));
            let (mut i, mut delta) = (0, 0_i64);
            // The first number is absolute, and the second a plain delta: both follow from zeros.
            cursor.zigzags(count, |read| {
                delta = if i > 1 { delta.wrapping_add(read) } else { read };
                i += 1;
                take(delta);
            })?;
        }
    }
    patches.into_iter().for_each(|(at, value)| values[first + at] = value);
    Ok(())
}

/// Gives the integers that follow from differences; the first is absolute.
fn deltas(mut take: impl FnMut(i64)) -> impl FnMut(i64) {
    let mut integer = 0_i64;
    move |delta| {
        integer = integer.wrapping_add(delta);
        take(integer);
    }
}

/// XOR with the predecessor, as eight planes of bytes, most significant first: equal high bytes become runs of zeros.
fn encode_xor(values: &[f64], out: &mut Vec<u8>) {
    out.push(XOR);
    let mut before = 0;
    let mixed: Vec<u64> = values.iter().map(|value| value.to_bits() ^ std::mem::replace(&mut before, value.to_bits())).collect();
    for plane in (0..8).rev() {
        out.extend(mixed.iter().map(|bits| (bits >> (8 * plane)) as u8));
    }
}

fn decode_xor(cursor: &mut Cursor<'_>, count: usize, values: &mut Vec<f64>) -> Result<(), String> {
    let planes = cursor.take(count.checked_mul(8).ok_or("too many values")?)?;
    let mut before = 0_u64;
    values.extend((0..count).map(|i| {
        let bits = (0..8).fold(0_u64, |bits, plane| bits << 8 | u64::from(planes[plane * count + i]));
        before ^= bits;
        f64::from_bits(before)
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::*;

    fn check(values: &[f64]) -> usize {
        let mut out = Vec::new();
        encode(values, &mut out);
        let mut cursor = Cursor::new(&out);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let mut read = vec![7.0];
        decode(&mut cursor, values.len(), &mut read).unwrap();
        assert_eq!(bits(&read[1..]), bits(values));
        assert_eq!(cursor.end(), Ok(()));
        check_series(values, bits(values));
        out.len()
    }

    /// As a series of a group that is not the last of it; bytes of all columns.
    fn check_series(values: &[f64], bits: Vec<u64>) -> usize {
        let mut out = Columns::default();
        let low_bits = encode_series(values, &mut out);
        let bytes = out.values.len() + out.highs.len() + out.lows.len();
        let lows = [0, 8].map(|padding| [&out.lows[..], &vec![0xff; padding]].concat());
        for lows in lows {
            let (mut read, mut cursor) = (Vec::new(), Cursor::new(&out.values));
            if low_bits == 0 {
                decode(&mut cursor, values.len(), &mut read).unwrap();
            } else {
                decode_split(&mut cursor, SplitBytes { highs: &out.highs, lows: &lows, low_bits }, values.len(), &mut read)
                    .unwrap();
            }
            assert_eq!(read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
            assert_eq!(cursor.end(), Ok(()));
        }
        bytes
    }

    #[test]
    fn sizes_of_the_usual_shapes() {
        assert_eq!(check(&[1.0; 480]), 9);
        // A counter of whole numbers with an even slope: a byte a sample.
        assert!(check(&(0..480).map(|i| 1e6 + f64::from(i) * 1500.0).collect::<Vec<_>>()) < 500);
        // Seconds from nanoseconds, and a staleness marker at the end, stay decimal.
        let mut seconds: Vec<f64> = (0..100).map(|i| f64::from(i) * 1_000_000_001.0 / 1e9).collect();
        seconds.push(weir_model::metric::STALE_NAN);
        assert!(check(&seconds) < 500);
    }

    #[test]
    fn noise_takes_its_bits_and_little_more() {
        // Microseconds of processor time: eleven bits of noise on a slope, a reset, and a staleness marker at the end.
        let mut random = 1_u64;
        let (mut ticks, mut values) = (1_u64 << 40, Vec::new());
        for i in 0..320 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ticks = if i == 200 { 0 } else { ticks + 1_500_000 + (random >> 53) };
            values.push(ticks as f64 / 1e6);
        }
        values.push(weir_model::metric::STALE_NAN);
        let mut out = Columns::default();
        let low_bits = encode_series(&values, &mut out);
        assert_eq!((low_bits, out.lows.len()), (6, 320 * 6 / 8));
        assert!(out.values.len() < 32 && out.highs.len() < 320 + 10, "{} {}", out.values.len(), out.highs.len());
        check(&values);
        // Far apart, in one series.
        check(&[values, vec![1e300, 1e-300, f64::INFINITY, -0.0]].concat());
    }

    #[test]
    fn the_bytes_are_what_the_format_says() {
        let encoded = |values: &[f64]| {
            let mut out = Vec::new();
            encode(values, &mut out);
            hex::encode(out)
        };
        assert_eq!(encoded(&[2.5, 2.5]), "000000000000000440");
        assert_eq!(encoded(&[0.5, 0.7, 0.6, 0.9]), "010100".to_owned() + "0a" + "04" + "01" + "06");
        assert_eq!(encoded(&[10.0, 110.0, 210.0, 310.0]), "020000".to_owned() + "14" + "c801" + "00" + "00");
        assert_eq!(encoded(&[1.0, 2.0, 3.0, f64::NAN]), "010001".to_owned() + "03000000000000f87f" + "02" + "02" + "02" + "00");
        assert_eq!(encoded(&[std::f64::consts::PI, 0.0]), format!("03{}", "40400909212 1fbfb54544444 2d2d1818".replace(' ', "")));
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<i32>().prop_map(f64::from),
            (any::<i64>(), 0..20_i32).prop_map(|(integer, power)| integer as f64 / 10_f64.powi(power)),
            any::<u64>().prop_map(f64::from_bits),
            Just(0.0),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(weir_model::metric::STALE_NAN),
            Just(f64::from_bits(0x7ff8_dead_beef_0001)),
            Just(INTEGER_MAX),
            Just(-INTEGER_MAX),
            Just(f64::MIN_POSITIVE),
            Just(5e-324),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(values in proptest::collection::vec(value(), 1..200)) {
            check(&values);
        }

        #[test]
        fn decimals_come_back(start in 0..1_000_000_000_i64, steps in proptest::collection::vec(0..5000_i64, 1..300), power in 0..10_i32) {
            let mut sum = start;
            check(&steps.iter().map(|step| { sum += step; sum as f64 / 10_f64.powi(power) }).collect::<Vec<_>>());
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100), count in 0_usize..1000) {
            let _ = decode(&mut Cursor::new(&bytes), count, &mut Vec::new());
        }

        #[test]
        fn hostile_splits_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), highs in proptest::collection::vec(any::<u8>(), 0..40), low_bits in 1..=56_u8) {
            let lows = vec![0x5a; 300];
            let split = SplitBytes { highs: &highs, lows: &lows, low_bits };
            for count in [1, 17, highs.len() + 1] {
                let mut values = Vec::new();
                let _ = decode_split(&mut Cursor::new(&[&[SPLIT, 3, 0], &bytes[..]].concat()), split, count, &mut values);
                assert!(values.len() <= count && values.capacity() <= 2 * (highs.len() + 2));
            }
        }
    }
}
