//! Which triples of bytes occur in the words of a block: small and always in memory, so that a word which is nowhere reads nothing.

use super::super::predicate::Edge;
use super::super::schema::GRAMS;
use super::super::tokens::{SEPARATOR, TOKEN_BYTES_MAX};
use bytes::Bytes;
use weir_blocks::StoreError;

const GRAM_BYTES: usize = 3;
/// A filter has this many bytes at most: the words of a language and its names have some ten thousand triples.
const BYTES_MAX: usize = 64 << 10;
/// It is halved while no more than one in so many bits is set: three triples that are nowhere are taken for one word in 4,096.
const SPARSE: u32 = 16;

/// The section in the making.
pub(super) struct GramsBuilder {
    bits: Vec<u8>,
    long: bool,
}

fn bit_of(gram: &[u8]) -> usize {
    let number = gram.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    (number.wrapping_mul(0x9e37_79b1) >> 13) as usize
}

impl GramsBuilder {
    pub(super) fn new() -> Self {
        Self { bits: vec![0; BYTES_MAX], long: false }
    }

    /// Takes a folded token.
    pub(super) fn push(&mut self, token: &[u8]) {
        let mut text = [SEPARATOR; TOKEN_BYTES_MAX + 2];
        text[1..=token.len()].copy_from_slice(token);
        for gram in text[..token.len() + 2].windows(GRAM_BYTES) {
            let bit = bit_of(gram) % (8 * BYTES_MAX);
            self.bits[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// There is a token that is too long to be pushed.
    pub(super) fn push_long(&mut self) {
        self.long = true;
    }

    pub(super) fn memory(&self) -> usize {
        BYTES_MAX
    }

    /// The section.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bits = self.bits;
        while bits.len() > 1 && bits.iter().map(|byte| byte.count_ones()).sum::<u32>() * SPARSE * 2 <= 8 * bits.len() as u32 {
            let upper = bits.split_off(bits.len() / 2);
            bits.iter_mut().zip(upper).for_each(|(lower, upper)| *lower |= upper);
        }
        bits.insert(0, u8::from(self.long));
        bits
    }
}

/// The section, opened.
pub(crate) struct Grams {
    long: bool,
    bits: Box<[u8]>,
}

impl Grams {
    /// Errors are sentences.
    pub(crate) fn decode(section: &[u8]) -> Result<Self, String> {
        match section.split_first() {
            Some((long @ 0..=1, bits)) if bits.len().is_power_of_two() && bits.len() <= BYTES_MAX => {
                Ok(Self { long: *long == 1, bits: bits.into() })
            }
            _ => Err(format!("{} bytes are no filter", section.len())),
        }
    }

    /// False when no token that is too long to be pushed has a folded part at this edge.
    pub(super) fn may_have_long(&self, edge: Edge, part: &[u8]) -> bool {
        self.long && (edge != Edge::Whole || part.len() > TOKEN_BYTES_MAX)
    }

    /// False when no pushed token has a folded part at this edge.
    pub(super) fn may_have(&self, edge: Edge, part: &[u8]) -> bool {
        let has = |gram: &[u8]| {
            let bit = bit_of(gram) % (8 * self.bits.len());
            self.bits[bit / 8] & 1 << (bit % 8) != 0
        };
        edge.needle(part).windows(GRAM_BYTES).all(has)
    }
}

/// Those of a section that was read. A damaged filter costs time and no lines, so that it is no error here; others are.
pub(crate) fn open_grams(section: Result<Bytes, StoreError>) -> Result<Result<Grams, String>, StoreError> {
    match section {
        Ok(bytes) => Ok(Grams::decode(&bytes).map_err(|detail| format!("section {GRAMS}: {detail}"))),
        Err(StoreError::Corrupt { detail, .. }) => Ok(Err(detail)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_words_are_there_and_most_others_are_not() {
        let words: Vec<String> = (0..4000_u32).map(|i| format!("w{:x}q{}", i.wrapping_mul(2_654_435_761) >> 12, i % 7)).collect();
        let mut builder = GramsBuilder::new();
        words.iter().for_each(|word| builder.push(word.as_bytes()));
        let section = builder.finish();
        let grams = Grams::decode(&section).unwrap();
        for word in &words {
            assert!(grams.may_have(Edge::Whole, word.as_bytes()), "{word}");
            assert!(grams.may_have(Edge::Start, &word.as_bytes()[..3]) && grams.may_have(Edge::End, &word.as_bytes()[2..]));
            assert!(grams.may_have(Edge::Anywhere, &word.as_bytes()[1..word.len() - 1]));
        }
        assert!(!grams.may_have(Edge::Start, b"qqq"), "no word begins with it");
        let wrong = (0..1000).filter(|i| grams.may_have(Edge::Anywhere, format!("zebra{i}").as_bytes())).count();
        assert!(wrong < 10 && section.len() <= (16 << 10) + 1, "{wrong} of 1000 by {} bytes", section.len());
    }

    #[test]
    fn golden_bytes() {
        let mut builder = GramsBuilder::new();
        builder.push(b"ab");
        builder.push_long();
        let section = builder.finish();
        assert_eq!(hex::encode(&section), "0120800000");
        let grams = Grams::decode(&section).unwrap();
        assert!(grams.may_have_long(Edge::Anywhere, b"zebra") && !grams.may_have_long(Edge::Whole, b"zebra"));
        assert!(grams.may_have(Edge::Whole, b"ab") && !grams.may_have(Edge::Anywhere, b"zebra"));
        assert!(Grams::decode(&section[..3]).is_ok() && Grams::decode(&section[..4]).is_err() && Grams::decode(&[]).is_err());
    }
}
