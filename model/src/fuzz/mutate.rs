//! Random numbers and the mutations made with them. Pure: the same numbers make the same input.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, and good enough to choose mutations.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.any() % (end as u64).max(1)) as usize
    }

    /// A number below `end`, small ones as likely as large ones: its count of bits is even.
    pub fn scaled(&mut self, end: usize) -> usize {
        let bits = end.max(1).ilog2() as usize + 1;
        let reach = 1_usize.checked_shl(self.below(bits + 1) as u32).unwrap_or(end);
        self.below(reach.min(end))
    }

    /// One of `items`.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Bytes that decoders stumble over: ends of ranges, signs, continuations of varints.
const BYTES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'\n', b'"', b'\\'];

/// Numbers that parsers stumble over.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e-400",
    "0.1",
    "4294967296",
    "99999999999999999999999999",
];

/// One of `seeds` after one to four mutations.
pub(super) fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut input = random.choose(seeds).cloned().unwrap_or_default();
    for _ in 0..=random.below(4) {
        mutate(random, &mut input, seeds, words, bytes_max);
        input.truncate(bytes_max);
    }
    input
}

fn mutate(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[Vec<u8>], bytes_max: usize) {
    let at = random.below(input.len() + 1);
    let range = {
        let end = input.len().min(at + random.scaled(input.len() + 1));
        at.min(end)..end
    };
    match random.below(12) {
        0 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
        1 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] = random.choose(&BYTES).copied().unwrap_or_default();
        }
        2 => {
            let bytes: Vec<u8> = (0..=random.scaled(32)).map(|_| random.any() as u8).collect();
            input.splice(at..at, bytes);
        }
        3 => drop(input.drain(range)),
        4 => input.truncate(at),
        5 => splice(random, input, at, seeds),
        6 | 7 => {
            // What stands there, many times over: chains.
            let part = input[range.clone()].to_vec();
            repeat(random, input, range.end, &part, bytes_max);
        }
        8 => word(random, input, at, words),
        9 => {
            let part = random.choose(words).cloned().unwrap_or_default();
            repeat(random, input, at, &part, bytes_max);
        }
        10 => {
            // Something many times before and something else as often behind: nesting.
            let (open, close) = (random.choose(words).cloned(), random.choose(words).cloned());
            let (open, close) = (open.unwrap_or_default(), close.unwrap_or_default());
            let room = bytes_max.saturating_sub(input.len()) / (open.len() + close.len()).max(1);
            let times = random.scaled(room + 1);
            input.splice(range.end..range.end, close.repeat(times));
            input.splice(range.start..range.start, open.repeat(times));
        }
        _ => number(random, input, at),
    }
}

/// The rest comes from another seed.
fn splice(random: &mut Random, input: &mut Vec<u8>, at: usize, seeds: &[Vec<u8>]) {
    let Some(other) = random.choose(seeds) else { return };
    let from = random.below(other.len() + 1);
    input.truncate(at);
    input.extend_from_slice(&other[from..]);
}

fn word(random: &mut Random, input: &mut Vec<u8>, at: usize, words: &[Vec<u8>]) {
    if let Some(word) = random.choose(words) {
        input.splice(at..at, word.iter().copied());
    }
}

fn repeat(random: &mut Random, input: &mut Vec<u8>, at: usize, part: &[u8], bytes_max: usize) {
    if part.is_empty() {
        return;
    }
    let room = bytes_max.saturating_sub(input.len()) / part.len();
    let times = random.scaled(room + 1);
    input.splice(at..at, part.repeat(times));
}

/// The first digits from there on become another number.
fn number(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let end = input[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |offset| start + offset);
    let number = random.choose(&NUMBERS).copied().unwrap_or_default();
    input.splice(start..end, number.bytes());
}
