//! Samples as Prometheus' XOR chunks, after Gorilla (VLDB 2015) §4.1. Pure. Source: tsdb/chunkenc/xor.go of Prometheus.

use weir_model::varint::zigzag;

use super::bits::{Bits, Window};
use super::prompb::Chunk;

/// Samples of a chunk, as Prometheus has them.
pub(super) const SAMPLES: usize = 120;
/// Of [`Chunk`].
const XOR: i32 = 1;

/// Times in milliseconds, strictly ascending, and as many values.
pub(super) fn chunks<'a>(timestamps: &'a [i64], values: &'a [f64]) -> impl Iterator<Item = Chunk> + 'a {
    timestamps.chunks(SAMPLES).zip(values.chunks(SAMPLES)).map(|(timestamps, values)| Chunk {
        min_time_ms: timestamps.first().copied().unwrap_or_default(),
        max_time_ms: timestamps.last().copied().unwrap_or_default(),
        r#type: XOR,
        data: encode(timestamps, values),
    })
}

fn encode(timestamps: &[i64], values: &[f64]) -> Vec<u8> {
    let mut bits = Bits::after(&(timestamps.len() as u16).to_be_bytes());
    let (mut time, mut delta, mut value) = (0_i64, 0_i64, 0_u64);
    let mut window = Window::default();
    for (i, (next, number)) in timestamps.iter().zip(values).enumerate() {
        let number = number.to_bits();
        let own = next.wrapping_sub(time);
        match i {
            0 => {
                bits.put_varint(zigzag(*next));
                bits.put(number, 64);
            }
            1 => bits.put_varint(own as u64),
            _ => put_delta(&mut bits, own.wrapping_sub(delta)),
        }
        if i > 0 {
            bits.put_xor(number ^ value, &mut window);
            delta = own;
        }
        (time, value) = (*next, number);
    }
    bits.into_bytes()
}

/// The difference of two differences of times.
fn put_delta(bits: &mut Bits, delta: i64) {
    // Two's complement, but that the number above the largest of so many bits has room as well.
    let fits = |count: u32| (-((1 << (count - 1)) - 1)..=1 << (count - 1)).contains(&delta);
    let mut put = |prefix, prefix_bits, count| {
        bits.put(prefix, prefix_bits);
        bits.put(delta as u64, count);
    };
    match () {
        () if delta == 0 => put(0, 1, 0),
        () if fits(14) => put(0b10, 2, 14),
        () if fits(17) => put(0b110, 3, 17),
        () if fits(20) => put(0b1110, 4, 20),
        () => put(0b1111, 4, 64),
    }
}

#[cfg(test)]
mod tests {
    use weir_model::metric::STALE_NAN;

    use super::*;

    #[test]
    fn a_chunk_has_the_bits_that_are_drawn_in_the_paper() {
        // By hand: count; zigzag varint of 1000 (2000 = 0xd0 0x0f); 64 bits of 1.0; uvarint 15000 (0x98 0x75); XOR 0: one bit 0.
        let two = encode(&[1000, 16_000], &[1.0, 1.0]);
        assert_eq!(two, [0, 2, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x98, 0x75, 0]);
        // The third: delta of delta 0 is one bit 0; 1.0 XOR 2.0 is 0x7ff0 << 48, 1 bit leads, 52 trail: 11, 00001, 001011, eleven ones.
        // After the bit of the second value: 0 0 11 00001 001011 11111111111.
        let three = encode(&[1000, 16_000, 31_000], &[1.0, 1.0, 2.0]);
        assert_eq!(three[..14], [0, 3, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x98, 0x75]);
        assert_eq!(three[14..], [0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000]);
    }

    /// By another hand: what [`encode`] writes, read bit by bit.
    fn decode(bytes: &[u8]) -> Vec<(i64, u64)> {
        let mut at = 16;
        let mut take = |count: u32| {
            let mut number = 0_u64;
            for _ in 0..count {
                number = number << 1 | u64::from(bytes[at / 8] >> (7 - at % 8) & 1);
                at += 1;
            }
            number
        };
        let varint = |take: &mut dyn FnMut(u32) -> u64| {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = take(8);
                number |= (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return number;
                }
            }
        };
        let count = u16::from_be_bytes([bytes[0], bytes[1]]);
        let (mut samples, mut delta, mut window) = (Vec::new(), 0_i64, (0, 0));
        for i in 0..count {
            let Some((time, value)) = samples.last().copied() else {
                let time = weir_model::varint::unzigzag(varint(&mut take));
                samples.push((time, take(64)));
                continue;
            };
            delta = if i == 1 {
                varint(&mut take) as i64
            } else {
                let ones = (0..4).take_while(|_| take(1) == 1).count();
                let change = match [0, 14, 17, 20, 64][ones] {
                    0 => 0,
                    64 => take(64) as i64,
                    size => {
                        let number = take(size) as i64;
                        if number > 1 << (size - 1) { number - (1 << size) } else { number }
                    }
                };
                delta.wrapping_add(change)
            };
            let xor = match take(1) {
                0 => 0,
                _ => {
                    if take(1) == 1 {
                        let leading = take(5) as u32;
                        let size = match take(6) as u32 {
                            0 => 64,
                            size => size,
                        };
                        window = (size, 64 - leading - size);
                    }
                    take(window.0) << window.1
                }
            };
            samples.push((time.wrapping_add(delta), value ^ xor));
        }
        samples
    }

    #[test]
    fn every_sample_is_read_back_to_the_bit() {
        let steps = [0, 1, 8191, 8192, 8193, -8191, -8192, 65_536, 65_537, -65_535, 524_288, 524_289, -524_287, 1 << 40];
        let mut times = vec![-5_i64];
        for step in steps.iter().cycle().take(300) {
            let last = times[times.len() - 1];
            times.push(last + (15_000_000 + step).max(1));
        }
        let odd = [0.0, -0.0, 1.5, f64::NAN, STALE_NAN, f64::INFINITY, f64::MIN_POSITIVE, -1.0, f64::from_bits(1), f64::MAX];
        let values: Vec<f64> = odd.into_iter().cycle().take(times.len()).collect();
        let chunks: Vec<Chunk> = chunks(&times, &values).collect();
        assert_eq!(chunks.len(), 3);
        let read: Vec<(i64, u64)> = chunks.iter().flat_map(|chunk| decode(&chunk.data)).collect();
        let expected: Vec<(i64, u64)> = times.iter().copied().zip(values.iter().map(|value| value.to_bits())).collect();
        assert_eq!(read, expected);
        assert_eq!((chunks[1].min_time_ms, chunks[1].max_time_ms), (times[120], times[239]));
    }
}
