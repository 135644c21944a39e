//! The tokeniser, and the set of distinct tokens of a chunk.
//!
//! A token is a longest run of ASCII letters, digits, `_` and bytes above 127. Two kinds are left out of the set, since
//! they would be most of the dictionary and find little: numbers of fewer than [`NUMBER_BYTES_MIN`] digits, and tokens
//! above [`TOKEN_BYTES_MAX`], in whose place the chunk gets the token [`LONG`]. `plan` knows both rules.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longer runs are mostly base64 and text without spaces.
pub(crate) const TOKEN_BYTES_MAX: usize = 64;
/// Shorter runs of digits are clock times, ports and counts, which occur in every chunk.
pub(crate) const NUMBER_BYTES_MIN: usize = 6;
/// "There is a token above [`TOKEN_BYTES_MAX`]". Not made of token bytes, so that no text gives it.
pub(crate) const LONG: &[u8] = &[0];

const SEPARATOR: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [SEPARATOR; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => LETTER,
            _ => SEPARATOR,
        };
        byte += 1;
    }
    class
};

/// Whether a byte belongs to tokens.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] != SEPARATOR
}

/// Whether every token that contains `part` is in the set (or [`LONG`] is): not so for short numbers.
pub(crate) fn is_indexed(part: &[u8]) -> bool {
    part.len() >= NUMBER_BYTES_MIN || part.iter().any(|byte| CLASS[*byte as usize] == LETTER)
}

/// Distinct tokens, in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// Per token its length as a byte, then its bytes.
    packed: Box<[u8]>,
}

impl Tokens {
    /// One after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.packed[..];
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (token, tail) = tail.split_at(length as usize);
            rest = tail;
            Some(token)
        })
    }

    /// Memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.len()
    }
}

/// Gathers [`Tokens`].
pub(crate) struct TokenSet {
    packed: Vec<u8>,
    /// Open addressing, a power of two, at most half full: hash, and 1 + the token's place in `packed` (0: free).
    slots: Vec<(u32, u32)>,
    count: usize,
    long: bool,
    /// Different in every set, so that nobody can choose tokens that fall into one slot.
    seed: u64,
}

impl TokenSet {
    /// An empty set.
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self { packed: Vec::new(), slots: vec![(0, 0); 4096], count: 0, long: false, seed }
    }

    /// Adds the tokens of a text.
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(start) = rest.iter().position(|byte| is_token_byte(*byte)) {
            rest = &rest[start..];
            let end = rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(rest.len());
            let (token, behind) = rest.split_at(end);
            if is_indexed(token) {
                self.add_token(token);
            }
            rest = behind;
        }
    }

    fn add_token(&mut self, token: &[u8]) {
        if token.len() > TOKEN_BYTES_MAX {
            self.long = true;
            return;
        }
        let hash = xxh3_64_with_seed(token, self.seed) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (theirs, place) = self.slots[slot];
            if place == 0 {
                break;
            }
            let start = place as usize;
            if theirs == hash
                && self.packed[start - 1] as usize == token.len()
                && &self.packed[start..start + token.len()] == token
            {
                return;
            }
            slot = (slot + 1) & mask;
        }
        self.packed.push(token.len() as u8);
        self.slots[slot] = (hash, u32::try_from(self.packed.len()).expect("invariant: a chunk's tokens stay below 4 GiB"));
        self.packed.extend_from_slice(token);
        self.count += 1;
        if self.count * 2 > self.slots.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let mut slots = vec![(0, 0); self.slots.len() * 2];
        let mask = slots.len() - 1;
        for entry in self.slots.iter().filter(|(_, place)| *place != 0) {
            let mut slot = entry.0 as usize & mask;
            while slots[slot].1 != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = *entry;
        }
        self.slots = slots;
    }

    /// The set.
    pub(crate) fn finish(mut self) -> Tokens {
        if self.long {
            self.packed.push(LONG.len() as u8);
            self.packed.extend_from_slice(LONG);
        }
        Tokens { packed: self.packed.into_boxed_slice() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_line() {
        let check = |text: &str, expected: &[&str]| {
            let mut set = TokenSet::new();
            set.add_text(text.as_bytes());
            let tokens = set.finish();
            let found: Vec<String> = tokens.iter().map(|token| String::from_utf8_lossy(token).into_owned()).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("GET /api/v1?x=1 200 GET", &["GET", "api", "v1", "x"]);
        check("16:42:22.383 id=123456 n=12345", &["id", "123456", "n"]);
        check("größe-错误_a", &["größe", "错误_a"]);
        check(&"a".repeat(64), &[&"a".repeat(64)]);
        check(&format!("b {}", "a".repeat(65)), &["b", "\0"]);
    }

    #[test]
    fn many_tokens_stay_distinct() {
        let mut set = TokenSet::new();
        let text: String = (0..20_000).map(|i| format!("t{i} t{} ", i / 2)).collect();
        set.add_text(text.as_bytes());
        assert_eq!(set.finish().iter().count(), 20_000);
    }
}
