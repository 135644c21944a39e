//! The labels of a packed set, one after the other, and those of two sets as one.

use std::cmp::Ordering;
use std::iter::Peekable;

/// What is left of a packed set.
#[derive(Clone)]
pub(crate) struct Pairs<'a> {
    pub(super) rest: &'a str,
    pub(super) left: usize,
}

impl Pairs<'_> {
    /// Passes over the labels that both begin with.
    pub(super) fn skip_same(&mut self, other: &mut Self) {
        let same = same_bytes(self.rest.as_bytes(), other.rest.as_bytes());
        let (mut at, mut labels) = (0, 0);
        while labels < self.left {
            let (name, texts) = number_at(self.rest.as_bytes(), at);
            let (value, texts) = number_at(self.rest.as_bytes(), texts);
            let end = texts + name + value;
            if end > same {
                break;
            }
            (at, labels) = (end, labels + 1);
        }
        for pairs in [self, other] {
            pairs.rest = &pairs.rest[at..];
            pairs.left -= labels;
        }
    }
}

/// How many bytes two texts begin with in common.
fn same_bytes(one: &[u8], other: &[u8]) -> usize {
    const WORD: usize = size_of::<u128>();
    let words = one.chunks_exact(WORD).zip(other.chunks_exact(WORD)).take_while(|(one, other)| one == other);
    let start = WORD * words.count();
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name, value) = (take_number(&mut self.rest), take_number(&mut self.rest));
        let (texts, rest) = self.rest.split_at(name + value);
        self.rest = rest;
        Some(texts.split_at(name))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// Those of two sets; of one name that of `other`.
#[derive(Clone)]
pub(super) struct MergedPairs<'a> {
    one: Peekable<Pairs<'a>>,
    other: Peekable<Pairs<'a>>,
}

impl<'a> MergedPairs<'a> {
    pub(super) fn new(one: Pairs<'a>, other: Pairs<'a>) -> Self {
        Self { one: one.peekable(), other: other.peekable() }
    }
}

impl<'a> Iterator for MergedPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.one.peek(), self.other.peek()) {
            (Some((own, _)), Some((name, _))) => own.cmp(name),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => self.one.next(),
            Ordering::Equal => {
                self.one.next();
                self.other.next()
            }
            Ordering::Greater => self.other.next(),
        }
    }
}

/// Six bits a letter, the lowest first; 0x40 says that more follow.
pub(super) fn put_number(out: &mut String, mut number: usize) {
    while number >= 0x40 {
        out.push((number as u8 & 0x3f | 0x40) as char);
        number >>= 6;
    }
    out.push(number as u8 as char);
}

#[inline]
pub(super) fn take_number(text: &mut &str) -> usize {
    let (number, end) = number_at(text.as_bytes(), 0);
    *text = &text[end..];
    number
}

/// A number at a place, and where it ends.
#[inline]
fn number_at(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let mut number = usize::from(bytes[at] & 0x3f);
    let mut shift = 6;
    // Most texts are short.
    while bytes[at] & 0x40 != 0 {
        at += 1;
        number |= usize::from(bytes[at] & 0x3f) << shift;
        shift += 6;
    }
    (number, at + 1)
}
