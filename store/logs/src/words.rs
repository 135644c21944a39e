//! The distinct variables of a chunk's lines, by what they are: text, numbers, ids in hex.

use std::ops::Range;

use memchr::memmem::Finder;
use weir_blocks::columns::{Reader, put_varint};
use weir_model::intern::Index;

/// What a variable's text is, so that it takes few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Bytes as they are.
    Text,
    /// Decimal without leading zeros, below 10^18.
    Number,
    /// 16, 32 lower-case hex digits.
    Hex8,
    Hex16,
    /// A UUID of lower-case digits.
    Uuid,
}

/// In the order in which they are stored.
pub(crate) const CLASSES: [Class; 5] = [Class::Text, Class::Number, Class::Hex8, Class::Hex16, Class::Uuid];
const NUMBER_DIGITS_MAX: usize = 18;
/// Bytes of a UUID, and where its dashes are.
pub(crate) const UUID_BYTES: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Class {
    /// Of a text. The text is rendered from its class's bytes as it was.
    pub(crate) fn of(text: &[u8]) -> Self {
        let is_hex = || text.iter().all(is_hex_digit);
        match text.len() {
            16 if is_hex() => Self::Hex8,
            32 if is_hex() => Self::Hex16,
            UUID_BYTES if is_uuid(text) => Self::Uuid,
            1..=NUMBER_DIGITS_MAX if text.iter().all(u8::is_ascii_digit) && (text[0] != b'0' || text.len() == 1) => Self::Number,
            _ => Self::Text,
        }
    }

    /// Bytes of the raw id; `None` when it is none.
    pub(crate) fn id_bytes(self) -> Option<usize> {
        match self {
            Self::Text | Self::Number => None,
            Self::Hex8 => Some(8),
            Self::Hex16 | Self::Uuid => Some(16),
        }
    }

    /// As a byte.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    /// From the byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        CLASSES.get(usize::from(byte)).copied()
    }
}

/// Of ids, which are in lower case.
pub(crate) fn is_hex_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether a text is a UUID of lower-case digits.
pub(crate) fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| if DASHES.contains(&at) { *byte == b'-' } else { is_hex_digit(byte) };
    text.len() == UUID_BYTES && text.iter().enumerate().all(fits)
}

/// What a text of class `Number` says.
pub(crate) fn number_of(text: &[u8]) -> u64 {
    text.iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}

/// Appends a number in decimal.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Digits of a number in decimal.
pub(crate) fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Appends the raw bytes of an id in hex, whatever dashes it has.
pub(crate) fn put_id(out: &mut Vec<u8>, text: &[u8]) {
    let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    let mut digits = text.iter().filter(|byte| **byte != b'-').map(|digit| value(*digit));
    while let (Some(high), Some(low)) = (digits.next(), digits.next()) {
        out.push(high << 4 | low);
    }
}

/// Appends the text of a raw id.
pub(crate) fn put_id_text(out: &mut Vec<u8>, id: &[u8], class: Class) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (i, byte) in id.iter().enumerate() {
        if class == Class::Uuid && matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Bytes of the text of a raw id.
pub(crate) fn id_text_bytes(class: Class) -> usize {
    if class == Class::Uuid { UUID_BYTES } else { class.id_bytes().unwrap_or_default() * 2 }
}

/// Distinct texts, numbered in the order of their first use.
#[derive(Default)]
pub(crate) struct Distinct {
    pub(crate) texts: Words,
    index: Index,
}

impl Distinct {
    /// The number of a text, and whether it is new.
    pub(crate) fn add(&mut self, text: &[u8]) -> (u32, bool) {
        let (known, texts) = (self.texts.len() as u32, &self.texts);
        let number = self.index.number(text, |number| texts.get(number) == text);
        if number == known {
            self.texts.push(text);
        }
        (number, number == known)
    }
}

/// Which numbers the chunk at hand has had, of those that a pack gives out.
#[derive(Default)]
pub(crate) struct Seen {
    /// The chunk, counted from one, and of each number the last one that had it.
    chunk: u32,
    last: Vec<u32>,
}

impl Seen {
    /// The next chunk has had none.
    pub(crate) fn begin(&mut self) {
        self.chunk += 1;
    }

    /// Whether the chunk has not had it before.
    pub(crate) fn is_new(&mut self, number: u32) -> bool {
        let number = number as usize;
        if number >= self.last.len() {
            self.last.resize(number + 1, 0);
        }
        std::mem::replace(&mut self.last[number], self.chunk) != self.chunk
    }
}

/// Gathers distinct variables.
#[derive(Default)]
pub(crate) struct WordSet {
    words: Distinct,
    classes: Vec<Class>,
}

impl WordSet {
    /// The number of a variable, and whether it is new.
    pub(crate) fn add(&mut self, text: &[u8]) -> (u32, bool) {
        let (number, is_new) = self.words.add(text);
        if is_new {
            self.classes.push(Class::of(text));
        }
        (number, is_new)
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }

    pub(crate) fn class(&self, number: u32) -> Class {
        self.classes[number as usize]
    }

    pub(crate) fn get(&self, number: u32) -> &[u8] {
        self.words.texts.get(number)
    }

    /// The column of those that are used, by class, and the number of each in it.
    pub(crate) fn encode(&self, used: &[bool]) -> (Vec<u8>, Vec<u32>) {
        let (mut numbers, mut out, mut next) = (vec![0; used.len()], Vec::new(), 0);
        let of_class = |class: Class| (0..used.len() as u32).filter(move |i| used[*i as usize] && self.class(*i) == class);
        for class in CLASSES {
            let before = next;
            for i in of_class(class) {
                numbers[i as usize] = next;
                next += 1;
            }
            put_varint(&mut out, u64::from(next - before));
        }
        of_class(Class::Text).for_each(|i| put_varint(&mut out, self.get(i).len() as u64));
        of_class(Class::Text).for_each(|i| out.extend_from_slice(self.get(i)));
        of_class(Class::Number).for_each(|i| put_varint(&mut out, number_of(self.get(i))));
        for class in [Class::Hex8, Class::Hex16, Class::Uuid] {
            of_class(class).for_each(|i| put_id(&mut out, self.get(i)));
        }
        (out, numbers)
    }
}

/// Texts one after the other.
#[derive(Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    /// Exclusive.
    ends: Vec<u32>,
}

impl Words {
    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Reads the column; errors are sentences.
    pub(crate) fn decode(column: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(column);
        let mut counts = [0; CLASSES.len()];
        for (class, count) in CLASSES.iter().zip(&mut counts) {
            *count = reader.count("words", class.id_bytes().unwrap_or(1))?;
        }
        let lengths: Vec<usize> = (0..counts[0]).map(|_| reader.count("length of a word", 1)).collect::<Result<_, _>>()?;
        let mut words = Self::default();
        for length in lengths {
            words.push(reader.take(length, "word")?);
        }
        let mut text = Vec::with_capacity(UUID_BYTES);
        for _ in 0..counts[1] {
            text.clear();
            put_number(&mut text, reader.varint("number")?);
            words.push(&text);
        }
        for class in &CLASSES[2..] {
            for _ in 0..counts[usize::from(class.byte())] {
                text.clear();
                put_id_text(&mut text, reader.take(class.id_bytes().unwrap_or_default(), "id")?, *class);
                words.push(&text);
            }
        }
        reader.finish()?;
        Ok(words)
    }

    /// Where in the column those of class [`Class::Text`] lie, one after the other. Errors are sentences.
    pub(crate) fn texts_in(column: &[u8]) -> Result<Range<usize>, String> {
        let mut reader = Reader::new(column);
        let mut counts = [0; CLASSES.len()];
        for (class, count) in CLASSES.iter().zip(&mut counts) {
            *count = reader.count("words", class.id_bytes().unwrap_or(1))?;
        }
        let mut length = 0;
        for _ in 0..counts[0] {
            length += reader.count("length of a word", 1)?;
        }
        let start = column.len() - reader.left();
        reader.take(length, "words").map(|_| start..start + length)
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, number: u32) -> &[u8] {
        &self.bytes[self.span(number)]
    }

    /// Whether one of them has this. Most often none has, which all at once say sooner than one by one.
    pub(crate) fn have(&self, finder: &Finder<'_>) -> bool {
        finder.find(&self.bytes).is_some() && self.iter().any(|word| finder.find(word).is_some())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).map(|number| self.get(number))
    }

    fn span(&self, number: u32) -> Range<usize> {
        super::filter::span(&self.ends, number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_in_the_order_of_their_classes() {
        let texts: [&[u8]; 12] = [
            b"a1",
            b"0",
            b"007",
            b"42",
            b"999999999999999999",
            b"1000000000000000000",
            b"c10d4db145ee4906",
            b"C10d4db145ee4906",
            b"ffc8ca7e4c8f06c75142c880d5595d96",
            b"f3d4d4ef-693b-4456-8eed-59c0d717dd08",
            b"f3d4d4ef-693b-4456-8eed_59c0d717dd08",
            b"\xff\x001",
        ];
        let mut set = WordSet::default();
        texts.iter().for_each(|text| assert!(set.add(text).1));
        assert_eq!(set.add(texts[3]), (3, false));
        let mut used = vec![true; texts.len()];
        used[0] = false;
        let (column, numbers) = set.encode(&used);
        let words = Words::decode(&column).unwrap();
        assert_eq!(words.len(), texts.len() - 1);
        let of_class: Vec<u8> =
            texts[1..].iter().filter(|text| Class::of(text) == Class::Text).copied().flatten().copied().collect();
        assert_eq!(&column[Words::texts_in(&column).unwrap()], of_class);
        assert!(Words::texts_in(&column[..5]).is_err());
        for i in 1..texts.len() {
            assert_eq!(words.get(numbers[i]), texts[i]);
        }
        for end in 0..column.len() {
            assert!(Words::decode(&column[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn digits_are_those_of_the_text() {
        for number in [0, 9, 10, 99, 100, u64::MAX] {
            let mut text = Vec::new();
            put_number(&mut text, number);
            assert_eq!((String::from_utf8(text.clone()).unwrap(), text.len()), (number.to_string(), digits(number)));
        }
    }
}
