//! Texts that are told apart without being kept: by 128 bits of a hash whose secret is drawn at each start and never told. Of a billion
//! texts two have the same one once in 10^21 starts, and nobody outside can make a text that has another's. Pure.
//! Why: docs/decisions/0175-series-are-known-by-fingerprints.md.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_128_with_secret;

/// As long as XXH3's own.
const SECRET_BYTES: usize = 192;

static SECRET: LazyLock<[u8; SECRET_BYTES]> = LazyLock::new(|| {
    let (random, mut secret) = (RandomState::new(), [0; SECRET_BYTES]);
    for (i, word) in secret.chunks_exact_mut(size_of::<u64>()).enumerate() {
        word.copy_from_slice(&random.hash_one(i).to_le_bytes());
    }
    secret
});

/// Good within this process alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u32; 4]);

impl Fingerprint {
    pub fn of(bytes: &[u8]) -> Self {
        let hash = xxh3_128_with_secret(bytes, &*SECRET);
        Self([0, 32, 64, 96].map(|shift| (hash >> shift) as u32))
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
    use std::collections::HashSet;
    use std::hash::BuildHasherDefault;

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
}
