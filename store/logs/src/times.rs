//! The times of a pack's lines as two columns. Drawn in `docs/formats/logs_block.md`.

use weir_model::time::UnixNanos;
use weir_model::varint::{unzigzag, zigzag};

/// A power of ten that all timestamps are multiples of, then a byte a line: the bits of its difference to the line before, zigzag;
/// and these bits without the highest one, lowest first, one line's after the other's.
pub(crate) fn encode_times(timestamps: &[UnixNanos]) -> (Vec<u8>, Vec<u8>) {
    let fits = |power: &u32| timestamps.iter().all(|time| time % 10_i64.pow(*power) == 0);
    let power = (1..=9).take_while(fits).last().unwrap_or(0);
    let scale = 10_i64.pow(power);
    let (mut classes, mut bits) = (Vec::with_capacity(timestamps.len() + 1), Vec::new());
    classes.push(power as u8);
    let (mut before, mut held, mut free) = (0_i64, 0_u128, 0_u32);
    for timestamp in timestamps {
        let time = timestamp / scale;
        let difference = zigzag(time.wrapping_sub(before));
        let length = u64::BITS - difference.leading_zeros();
        classes.push(length as u8);
        let kept = length.saturating_sub(1);
        held |= u128::from(difference & !(u64::MAX.checked_shl(kept).unwrap_or(0))) << free;
        free += kept;
        while free >= 8 {
            bits.push(held as u8);
            held >>= 8;
            free -= 8;
        }
        before = time;
    }
    if free > 0 {
        bits.push(held as u8);
    }
    (classes, bits)
}

/// The inverse; errors are sentences.
pub(crate) fn decode_times(classes: &[u8], bits: &[u8]) -> Result<Vec<UnixNanos>, String> {
    let (power, lengths) = classes.split_first().ok_or("it has no times")?;
    if *power > 9 {
        return Err(format!("times are multiples of 10^{power}"));
    }
    let scale = 10_i64.pow(u32::from(*power));
    let (mut times, mut before) = (Vec::with_capacity(lengths.len()), 0_i64);
    let (mut held, mut count, mut bytes) = (0_u128, 0_u32, bits.iter());
    for length in lengths {
        if *length > 64 {
            return Err(format!("a time of {length} bits"));
        }
        let kept = u32::from(length.saturating_sub(1));
        while count < kept {
            held |= u128::from(*bytes.next().ok_or("bits of times end early")?) << count;
            count += 8;
        }
        let low = held as u64 & !u64::MAX.checked_shl(kept).unwrap_or(0);
        held >>= kept;
        count -= kept;
        let difference = if *length == 0 { 0 } else { 1 << kept | low };
        before = before.wrapping_add(unzigzag(difference));
        times.push(before.wrapping_mul(scale));
    }
    if bytes.next().is_some() { Err("more bits of times than times have".into()) } else { Ok(times) }
}
