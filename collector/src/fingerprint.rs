//! Texts that are told apart without being kept: by 128 bits of HighwayHash under a key that is drawn at each start and never told. Of a
//! billion texts two have the same one once in 10^21 starts. XXH3 would be as good by chance, but texts that share one can be made without
//! knowing its secret. Pure.
//! Why: docs/decisions/0175-series-are-known-by-fingerprints.md.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::BitXorAssign;
use std::sync::LazyLock;

use highway::{HighwayHash, HighwayHasher, Key};

static KEY: LazyLock<[u64; 4]> = LazyLock::new(key);
/// Of texts at places, which are no texts by themselves.
static PLACE_KEY: LazyLock<[u64; 4]> = LazyLock::new(key);

/// Good within this process alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint([u32; 4]);

fn key() -> [u64; 4] {
    let random = RandomState::new();
    [0, 1, 2, 3].map(|i| random.hash_one(i))
}

impl Fingerprint {
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(HighwayHasher::new(Key(*KEY)), bytes)
    }

    /// Of a text at a place of a list: those of all its texts together, by exclusive or, are the list's.
    pub fn at(place: u32, text: &[u8]) -> Self {
        let mut hasher = HighwayHasher::new(Key(*PLACE_KEY));
        hasher.append(&place.to_le_bytes());
        Self::finish(hasher, text)
    }

    fn finish(mut hasher: HighwayHasher, bytes: &[u8]) -> Self {
        hasher.append(bytes);
        let [low, high] = hasher.finalize128();
        Self([low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32])
    }
}

impl BitXorAssign for Fingerprint {
    #[inline]
    fn bitxor_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own ^= other);
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low, high, ..] = self.0;
        state.write_u64(u64::from(high) << 32 | u64::from(low));
    }
}

/// Of keys that are hashes already.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("invariant: keys are u64 or fingerprints")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::hash::BuildHasherDefault;

    use weir_model::fuzz::Random;

    use super::*;

    #[test]
    fn texts_of_every_length_that_differ_in_a_bit_are_told_apart() {
        let mut seen: HashSet<Fingerprint, BuildHasherDefault<Hashed>> = HashSet::default();
        for length in 0..600 {
            let mut text = vec![b'a'; length];
            assert!(seen.insert(Fingerprint::of(&text)), "{length}");
            assert_eq!(Fingerprint::of(&text), Fingerprint::of(&text.clone()));
            for at in 0..length {
                text[at] ^= 1;
                assert!(seen.insert(Fingerprint::of(&text)), "{at} of {length}");
                text[at] ^= 1;
            }
        }
    }

    #[test]
    fn a_text_at_a_place_is_neither_the_text_nor_at_another_place() {
        let mut seen: HashSet<Fingerprint, BuildHasherDefault<Hashed>> = HashSet::default();
        for place in 0..300_u32 {
            for text in ["", "a", "b", "\0\0\0\0"] {
                assert!(seen.insert(Fingerprint::at(place, text.as_bytes())), "{text} at {place}");
            }
            assert!(seen.insert(Fingerprint::of(&[&place.to_le_bytes()[..], b"a"].concat())));
        }
    }

    /// Under XXH3 several of these have the same 128 bits, whatever its secret: one byte of each stripe differs, and their sum does not.
    #[test]
    fn texts_that_are_made_to_be_alike_are_told_apart() {
        let (mut values, mut seen) = ([0x01, 0x21, 0x41, 0x61_u8].repeat(4), HashMap::new());
        let (mut text, mut random) = (vec![b'a'; 1150], Random::new(1));
        for _ in 0..400_000 {
            for at in (1..values.len()).rev() {
                values.swap(at, random.below(at + 1));
            }
            values.iter().enumerate().for_each(|(stripe, value)| text[64 * stripe + 7] = *value);
            let of = seen.entry(Fingerprint::of(&text).0).or_insert_with(|| values.clone());
            assert_eq!(*of, values);
        }
    }
}
