//! Snappy's block format, the compressing half: what clients of Loki send. Greedy, as the reference is, in blocks of 64 KiB.
//! Only the benchmark `spine` calls this.

/// Offsets of copies have 16 bits.
const BLOCK: usize = 1 << 16;
const SLOTS_LOG: u32 = 14;
const MATCH_MIN: usize = 4;
const COPY_MAX: usize = 64;
/// Bytes without a match after which every second byte is tried, then every third …
const PATIENCE_LOG: u32 = 5;

/// Compresses as a whole.
pub fn compress(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 2);
    let mut length = input.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    let mut table = vec![0; 1 << SLOTS_LOG];
    input.chunks(BLOCK).for_each(|block| compress_block(block, &mut table, &mut out));
    out
}

fn compress_block(block: &[u8], table: &mut [u16], out: &mut Vec<u8>) {
    table.fill(0);
    let (mut at, mut literal) = (1, 0);
    while at + MATCH_MIN <= block.len() {
        let word = word(block, at);
        let slot = word.wrapping_mul(0x1e35_a7bd) >> (u32::BITS - SLOTS_LOG);
        let candidate = usize::from(std::mem::replace(&mut table[slot as usize], at as u16));
        if candidate < at && self::word(block, candidate) == word {
            let same = block[at..].iter().zip(&block[candidate..]).take_while(|(a, b)| a == b).count();
            put_literal(&block[literal..at], out);
            put_copy(at - candidate, same, out);
            at += same;
            literal = at;
        } else {
            at += 1 + ((at - literal) >> PATIENCE_LOG);
        }
    }
    put_literal(&block[literal..], out);
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn put_literal(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes.len() {
        0 => return,
        length @ 1..=60 => out.push((length as u8 - 1) << 2),
        length => {
            out.push(61 << 2);
            out.extend_from_slice(&((length - 1) as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn put_copy(offset: usize, length: usize, out: &mut Vec<u8>) {
    let mut left = length;
    while left > 0 {
        let length = left.min(COPY_MAX);
        out.push((length as u8 - 1) << 2 | 0b10);
        out.extend_from_slice(&(offset as u16).to_le_bytes());
        left -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::compress;

    /// A decoder of what `compress` writes, after the format's description.
    fn decompress(bytes: &[u8]) -> Vec<u8> {
        let (mut at, mut length, mut shift, mut out) = (0, 0, 0, Vec::new());
        loop {
            length |= usize::from(bytes[at] & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            if bytes[at - 1] < 0x80 {
                break;
            }
        }
        let number = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        while at < bytes.len() {
            let (tag, high) = (bytes[at] & 3, usize::from(bytes[at] >> 2));
            at += 1;
            if tag == 0b10 {
                let from = out.len() - number(at);
                (0..=high).for_each(|i| out.push(out[from + i]));
                at += 2;
            } else {
                let (size, count) = if high == 61 { (number(at) + 1, 2) } else { (high + 1, 0) };
                out.extend_from_slice(&bytes[at + count..at + count + size]);
                at += count + size;
            }
        }
        assert_eq!(out.len(), length, "the declared length");
        out
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let lines: String = (0..5_000).map(|i| format!("INFO order {} of {} took {} ms\n", i * 7919, i % 13, i % 90)).collect();
        let noise: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i).wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        for input in [b"".as_slice(), b"a", b"abcabcabcabcabcabcabcabc", &[7; 70_000], lines.as_bytes(), &noise] {
            let compressed = compress(input);
            assert!(decompress(&compressed) == input, "{} bytes", input.len());
        }
        assert!(compress(lines.as_bytes()).len() * 2 < lines.len(), "lines repeat");
    }
}
