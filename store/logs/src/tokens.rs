//! The tokeniser, and the set of distinct tokens of a chunk.
//!
//! A token is a longest run of ASCII letters, digits, `_` and bytes above 127, folded: in lower case, so that whoever asks in any
//! case asks the same. Two kinds are left out of the set, since they would be most of it and find little: numbers of fewer
//! than [`NUMBER_BYTES_MIN`] digits, and tokens above [`TOKEN_BYTES_MAX`], of which the set knows which runs of bytes they have.
//! `predicate` knows both rules.
//!
//! Metadata are no tokens: their names and values are in the set as hashes of pairs.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};

use weir_model::memory::allocation;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::index::{LongGrams, LongGramsBuilder, is_id, pair_hash};

/// Longer runs are mostly base64 and text without spaces.
pub(crate) const TOKEN_BYTES_MAX: usize = 64;
/// Shorter runs of digits are clock times, ports and counts, which occur in every chunk.
pub(crate) const NUMBER_BYTES_MIN: usize = 6;
/// "There is a token above [`TOKEN_BYTES_MAX`]", in an index. Not made of token bytes, so that no text gives it.
pub(crate) const LONG: &[u8] = &[0];
/// Between tokens that lie one after the other.
pub(crate) const SEPARATOR: u8 = b' ';

const NONE: u8 = 0;
const DIGIT: u8 = 1;
const LETTER: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => LETTER,
            _ => NONE,
        };
        byte += 1;
    }
    class
};

/// Whether a byte belongs to tokens.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] != NONE
}

/// Whether every token that contains `part` is in the set, or is long: not so for short numbers.
pub(crate) fn is_indexed(part: &[u8]) -> bool {
    part.len() >= NUMBER_BYTES_MIN || part.iter().any(|byte| CLASS[*byte as usize] == LETTER)
}

/// The only letters beyond ASCII that regular expressions take for one of ASCII in another case: the long s and Kelvin's sign.
const FOLDING: [(&[u8], u8); 2] = [("\u{17f}".as_bytes(), b's'), ("\u{212a}".as_bytes(), b'k')];

/// A text as tokens have it: letters of ASCII in lower case, and what stands for one of them as that one. Of a part of a
/// text that is UTF-8 it gives the same as of the whole.
pub(crate) fn fold(text: &[u8]) -> Cow<'_, [u8]> {
    let special =
        |text: &[u8]| !text.is_ascii() && FOLDING.iter().any(|(letter, _)| memchr::memmem::find(text, letter).is_some());
    if special(text) {
        let (mut folded, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(first) = rest.first() {
            let (byte, length) = match FOLDING.iter().find(|(letter, _)| rest.starts_with(letter)) {
                Some((letter, plain)) => (*plain, letter.len()),
                None => (first.to_ascii_lowercase(), 1),
            };
            folded.push(byte);
            rest = &rest[length..];
        }
        return folded.into();
    }
    if text.iter().any(u8::is_ascii_uppercase) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Distinct tokens, in the order in which they were first seen, and pairs of metadata.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// Each token between separators.
    text: Box<[u8]>,
    long: Option<LongGrams>,
    /// Ascending.
    pairs: Box<[u32]>,
}

impl Tokens {
    /// One after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.text.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let end = memchr::memchr(SEPARATOR, rest)?;
            let token = &rest[..end];
            rest = &rest[end + 1..];
            Some(token)
        })
    }

    /// All tokens, each between [`SEPARATOR`]s.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Of tokens above [`TOKEN_BYTES_MAX`], if there were any.
    pub(crate) fn long(&self) -> Option<&LongGrams> {
        self.long.as_ref()
    }

    /// False when none of those has a folded part.
    pub(crate) fn have_long(&self, part: &[u8]) -> bool {
        self.long.as_ref().is_some_and(|long| long.may_have(part))
    }

    /// Hashes of names with their values, ascending.
    pub(crate) fn pairs(&self) -> &[u32] {
        &self.pairs
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| allocation(long.memory()));
        allocation(self.text.len()) + allocation(size_of_val(&*self.pairs)) + long
    }
}

/// Gathers [`Tokens`].
pub(crate) struct TokenSet {
    text: Vec<u8>,
    /// Open addressing, a power of two, at most half full: hash, and the token's place in `text` (0: free).
    slots: Vec<(u32, u32)>,
    count: usize,
    long: LongGramsBuilder,
    pairs: Vec<u32>,
    /// Different in every set, so that nobody can choose tokens that fall into one slot.
    seed: u64,
}

impl TokenSet {
    /// An empty set.
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self {
            text: vec![SEPARATOR],
            slots: vec![(0, 0); 4096],
            count: 0,
            long: LongGramsBuilder::default(),
            pairs: Vec::new(),
            seed,
        }
    }

    /// Adds the tokens of a text.
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        let text = fold(text);
        let (mut begun, mut before) = (None, 0);
        for (base, block) in (0..).step_by(BLOCK).zip(text.chunks(BLOCK)) {
            let mask = token_mask(block);
            // Where a run begins or ends.
            let mut edges = mask ^ (mask << 1 | before);
            before = mask >> 63;
            while edges != 0 {
                let at = base + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                match begun.take() {
                    None => begun = Some(at),
                    Some(start) => self.add_run(&text[start..at]),
                }
            }
        }
        if let Some(start) = begun {
            self.add_run(&text[start..]);
        }
    }

    /// Adds a name with a value. An id that is among the tokens already is found there.
    pub(crate) fn add_pair(&mut self, name: &str, value: &[u8]) {
        let is_there = lone_id(value).is_some_and(|id| self.find(&id).is_ok());
        if !is_there {
            self.pairs.push(pair_hash(name, value));
        }
    }

    fn add_run(&mut self, token: &[u8]) {
        if !is_indexed(token) {
            return;
        }
        if token.len() > TOKEN_BYTES_MAX {
            return self.long.push(token);
        }
        if let Err((hash, slot)) = self.find(token) {
            let place = u32::try_from(self.text.len()).expect("invariant: a chunk's tokens stay below 4 GiB");
            self.slots[slot] = (hash, place);
            self.text.extend_from_slice(token);
            self.text.push(SEPARATOR);
            self.count += 1;
            if self.count * 2 > self.slots.len() {
                self.grow();
            }
        }
    }

    /// Errors with its hash and the slot for it when it is not there.
    fn find(&self, token: &[u8]) -> Result<(), (u32, usize)> {
        let hash = xxh3_64_with_seed(token, self.seed) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (theirs, place) = self.slots[slot];
            if place == 0 {
                return Err((hash, slot));
            }
            let (own, behind) = self.text[place as usize..].split_at_checked(token.len()).unwrap_or_default();
            if theirs == hash && own == token && behind.first() == Some(&SEPARATOR) {
                return Ok(());
            }
            slot = (slot + 1) & mask;
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
        self.pairs.sort_unstable();
        self.pairs.dedup();
        Tokens { text: self.text.into_boxed_slice(), long: self.long.finish(), pairs: self.pairs.into_boxed_slice() }
    }
}

/// The value as the one token that it is, if that is an id: such a pair is looked for among the tokens too.
pub(crate) fn lone_id(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_token = (NUMBER_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&value.len()) && value.iter().all(|byte| is_token_byte(*byte));
    Some(value).filter(|_| is_token).map(fold).filter(|token| is_id(token))
}

/// Bytes that are told apart at once.
const BLOCK: usize = 64;

/// A bit for each byte of at most [`BLOCK`]: whether it belongs to tokens.
fn token_mask(block: &[u8]) -> u64 {
    let mut bytes = [0; BLOCK];
    bytes[..block.len()].copy_from_slice(block);
    // Without branches and tables, so that the compiler makes vectors of it.
    let flags = bytes.map(|byte| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit = byte.wrapping_sub(b'0') < 10;
        u8::from(letter | digit | (byte == b'_') | (byte >= 0x80))
    });
    // Eight flags, each the lowest bit of a byte, side by side in the highest byte of the product.
    let bits = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let (eights, _) = flags.as_chunks::<8>();
    (0..).zip(eights).fold(0, |mask, (i, eight)| mask | bits(eight) << (8 * i))
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
        check("GET /api/v1?x=1 200 get", &["get", "api", "v1", "x"]);
        check("16:42:22.383 id=123456 n=12345", &["id", "123456", "n"]);
        check("größe-错误_a", &["größe", "错误_a"]);
        check(&"a".repeat(64), &[&"a".repeat(64)]);
        check(&format!("b {}", "a".repeat(65)), &["b"]);
        check("Di\u{17f}\u{212a} ÄÖ", &["disk", "ÄÖ"]);
    }

    #[test]
    fn tokens_are_runs_wherever_blocks_end() {
        let text: Vec<u8> = (0..400_u32).map(|i| b"aZ_0\xc3\xbf- \n9"[(i * i / 7 % 10) as usize]).collect();
        for start in 0..130 {
            for text in [&text[start..], &text[start..start + 64], &text[start..start + 128]] {
                let mut set = TokenSet::new();
                set.add_text(text);
                let folded = fold(text);
                let runs =
                    folded.split(|byte| !is_token_byte(*byte)).filter(|run| is_indexed(run) && run.len() <= TOKEN_BYTES_MAX);
                let mut expected = Vec::new();
                runs.for_each(|run| {
                    if !expected.contains(&run) {
                        expected.push(run)
                    }
                });
                assert_eq!(set.finish().iter().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn long_tokens_are_said_to_be_there() {
        let long = |text: &str| {
            let mut set = TokenSet::new();
            set.add_text(text.as_bytes());
            set.finish().long().is_some()
        };
        assert!(long(&"a".repeat(65)) && !long(&"a".repeat(64)) && !long(&"a ".repeat(65)));
    }

    #[test]
    fn pairs_are_there_once_unless_the_text_says_their_id() {
        let mut set = TokenSet::new();
        set.add_text(b"span 439bc949a9eeb0cc of user7");
        for (name, value) in [("span_id", "439bc949a9eeb0cc"), ("user", "user7"), ("user", "user7"), ("id", "539bc949a9eeb0cc")] {
            set.add_pair(name, value.as_bytes());
        }
        let mut expected = [pair_hash("user", b"user7"), pair_hash("id", b"539bc949a9eeb0cc")];
        expected.sort_unstable();
        assert_eq!(set.finish().pairs(), expected);
    }

    #[test]
    fn many_tokens_stay_distinct() {
        let mut set = TokenSet::new();
        let text: String = (0..20_000).map(|i| format!("t{i} t{} ", i / 2)).collect();
        set.add_text(text.as_bytes());
        assert_eq!(set.finish().iter().count(), 20_000);
    }
}
