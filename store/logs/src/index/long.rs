//! Which runs of four bytes occur in the tokens of a chunk that are too long for the index, such as base64: a small filter for each chunk that has one,
//! so that a word which is in none of them leaves it closed.

use roaring::RoaringBitmap;
use weir_blocks::columns::{Reader, put_varint};

const GRAM_BYTES: usize = 4;
/// A chunk of 512 KiB that is mostly base64 has more runs than any filter of use here tells apart.
const BYTES_MAX: usize = 1 << EXPONENT_MAX;
const EXPONENT_MAX: u8 = 10;
/// It is halved while no more than one bit in so many is set: of a word of ten letters, seven runs that are nowhere are taken for its own
/// once in 16,384.
const SPARSE: u32 = 8;
/// A filter with more than this share of its bits set tells too little: one byte, all of whose bits are set, is kept of it.
const FULL: (u32, u32) = (3, 4);

/// Of the long tokens of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LongGrams(Box<[u8]>);

/// The same in the making; it takes its memory with the first token.
#[derive(Default)]
pub(crate) struct LongGramsBuilder(Vec<u8>);

impl LongGramsBuilder {
    /// Takes a folded token.
    pub(crate) fn push(&mut self, token: &[u8]) {
        if self.0.is_empty() {
            self.0 = vec![0; BYTES_MAX];
        }
        for gram in token.windows(GRAM_BYTES) {
            let (byte, bit) = bit_of(gram, BYTES_MAX);
            self.0[byte] |= bit;
        }
    }

    /// `None` when there was no token.
    pub(crate) fn finish(self) -> Option<LongGrams> {
        let mut bits = self.0;
        if bits.is_empty() {
            return None;
        }
        let ones = |bits: &[u8]| bits.iter().map(|byte| byte.count_ones()).sum::<u32>();
        if ones(&bits) * FULL.1 > 8 * bits.len() as u32 * FULL.0 {
            return Some(LongGrams([0xff].into()));
        }
        while bits.len() > 1 && ones(&bits) * SPARSE <= 8 * bits.len() as u32 {
            let upper = bits.split_off(bits.len() / 2);
            bits.iter_mut().zip(upper).for_each(|(lower, upper)| *lower |= upper);
        }
        Some(LongGrams(bits.into()))
    }
}

impl LongGrams {
    /// False when none of the tokens has a folded part.
    pub(crate) fn may_have(&self, part: &[u8]) -> bool {
        may_have(&self.0, part)
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        self.0.len()
    }
}

fn may_have(bits: &[u8], part: &[u8]) -> bool {
    part.windows(GRAM_BYTES).all(|gram| {
        let (byte, bit) = bit_of(gram, bits.len());
        bits[byte] & bit != 0
    })
}

/// Byte and bit of a filter of so many bytes.
fn bit_of(gram: &[u8], bytes: usize) -> (usize, u8) {
    let number = gram.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let bit = (number.wrapping_mul(0x9e37_79b1) >> 13) as usize % (8 * bytes);
    (bit / 8, 1 << (bit % 8))
}

/// The section in the making.
#[derive(Default)]
pub(super) struct LongFiltersBuilder {
    section: Vec<u8>,
    /// The chunk after the last one that has a filter.
    next: u32,
}

impl LongFiltersBuilder {
    /// That of a chunk; chunks ascend.
    pub(super) fn push(&mut self, chunk: u32, grams: &LongGrams) {
        put_varint(&mut self.section, u64::from(chunk - self.next));
        self.section.push(grams.0.len().trailing_zeros() as u8);
        self.section.extend_from_slice(&grams.0);
        self.next = chunk + 1;
    }

    pub(super) fn memory(&self) -> usize {
        self.section.capacity()
    }

    /// The section; empty when no chunk has a long token.
    pub(super) fn finish(self) -> Vec<u8> {
        self.section
    }
}

/// The section, opened.
pub(super) struct LongFilters {
    section: Box<[u8]>,
    /// Each chunk with where its filter begins, and its length as a power of two. Chunks ascend.
    chunks: Vec<(u32, u32, u8)>,
}

impl LongFilters {
    /// Of a block with so many chunks. Errors are sentences.
    pub(super) fn decode(section: &[u8], chunks: u32) -> Result<Self, String> {
        let (mut reader, mut found, mut next) = (Reader::new(section), Vec::new(), 0_u64);
        while reader.left() > 0 {
            let chunk = next.saturating_add(reader.varint("chunk with a filter")?);
            if chunk >= u64::from(chunks) {
                return Err(format!("a filter is of chunk {chunk} of {chunks}"));
            }
            let [exponent] = reader.array("length of a filter")?;
            if exponent > EXPONENT_MAX {
                return Err(format!("a filter of 2^{exponent} bytes is above 2^{EXPONENT_MAX}"));
            }
            let at = u32::try_from(section.len() - reader.left()).map_err(|_| "filters are longer than 4 GiB together")?;
            reader.take(1 << exponent, "filter")?;
            found.push((chunk as u32, at, exponent));
            next = chunk + 1;
        }
        Ok(Self { section: section.into(), chunks: found })
    }

    /// Adds the chunks with a long token that may have a folded part.
    pub(super) fn add_chunks_with(&self, part: &[u8], found: &mut RoaringBitmap) {
        let filter = |at: u32, exponent: u8| &self.section[at as usize..at as usize + (1 << exponent)];
        let having = self.chunks.iter().filter(|(_, at, exponent)| may_have(filter(*at, *exponent), part));
        found.extend(having.map(|(chunk, ..)| *chunk));
    }

    pub(super) fn memory(&self) -> usize {
        self.section.len() + size_of_val(&*self.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grams_of(tokens: &[&str]) -> LongGrams {
        let mut builder = LongGramsBuilder::default();
        tokens.iter().for_each(|token| builder.push(token.as_bytes()));
        builder.finish().unwrap()
    }

    /// So many bytes of base64, in lower case.
    fn noise(seed: u64, bytes: usize) -> String {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b"abcdefghijklmnopqrstuvwxyz0123456789"[(state >> 33) as usize % 36] as char
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn parts_of_long_tokens_are_there_and_most_others_are_not() {
        for count in [1, 3, 10] {
            let tokens: Vec<String> = (0..count).map(|seed| noise(seed, 200)).collect();
            let grams = grams_of(&tokens.iter().map(String::as_str).collect::<Vec<_>>());
            for (token, at) in tokens.iter().zip([0, 7, 150]) {
                assert!(grams.may_have(token.as_bytes()) && grams.may_have(&token.as_bytes()[at..at + 12]));
            }
            assert!(grams.may_have(b"xyz"), "three bytes have no run of four");
            let wrong = (0..1000).filter(|seed| grams.may_have(noise(1000 + seed, 10).as_bytes())).count();
            assert!(wrong < 20, "{wrong} of 1000, {count} tokens, {} bytes", grams.memory());
        }
        let full = grams_of(&[&noise(5, 100_000)]);
        assert!(full.memory() == 1 && full.may_have(b"whatever"));
        assert_eq!(LongGramsBuilder::default().finish(), None);
    }

    #[test]
    fn golden_bytes() {
        let mut builder = LongFiltersBuilder::default();
        builder.push(2, &grams_of(&["abcd"]));
        builder.push(5, &LongGrams([0xff].into()));
        let section = builder.finish();
        assert_eq!(hex::encode(&section), "0200800200ff");
        let filters = LongFilters::decode(&section, 6).unwrap();
        let having = |part: &[u8]| {
            let mut found = RoaringBitmap::new();
            filters.add_chunks_with(part, &mut found);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!((having(b"abcd"), having(b"wxyz1")), (vec![2, 5], vec![5]));
        for (wrong, chunks) in [(&section[..], 5), (&section[..5], 6), (&section[..1], 6), (&[0, 11, 0][..], 6)] {
            assert!(LongFilters::decode(wrong, chunks).is_err(), "{wrong:?}");
        }
        assert!(LongFilters::decode(&[], 0).is_ok());
    }
}
