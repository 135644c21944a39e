//! The symbols of a request of 2.0, and the fingerprints of lists of references to them: label sets are told apart without being put
//! together. A list has the exclusive or of the fingerprints of its texts, each with its place, so that a text which many series have
//! at one place is hashed once a request. Lists that differ do so in a text at a place, whose fingerprint is as good as random: two of
//! them are the same as seldom as two fingerprints are. Pure. Called by [`super::message`].
//! Why: docs/decisions/0182-symbols-are-hashed-once.md.

use std::cell::Cell;

use super::labels::LABEL_BYTES_MAX;
use super::message::put_label;
use crate::fingerprint::Fingerprint;

/// Fingerprints that are kept while a request is read: Prometheus' requests of 2,000 series have some hundred to a few thousand symbols.
/// More texts at more places are hashed again.
const PRINTS_MAX: usize = 1 << 14;
/// Odd, so that places are apart in the table.
const PLACE_STEP: u32 = 0x9E37_79B1;
/// Of no place.
const NONE: u32 = u32::MAX;

/// Of one request.
pub(super) struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
    /// By the last bits of a reference and its place; a power of two.
    prints: Vec<Cell<Print>>,
}

/// The fingerprint of a text at a place.
#[derive(Clone, Copy)]
struct Print {
    reference: u32,
    place: u32,
    /// Of the text.
    bytes: u32,
    fingerprint: Fingerprint,
}

impl<'a> Symbols<'a> {
    /// Memory that so many of them take.
    pub fn memory(count: usize) -> usize {
        count * size_of::<&[u8]>() + prints_of(count) * size_of::<Print>()
    }

    /// Room for so many.
    pub fn with_capacity(count: usize) -> Self {
        let none = Print { reference: NONE, place: NONE, bytes: 0, fingerprint: Fingerprint::default() };
        Self { texts: Vec::with_capacity(count), prints: vec![Cell::new(none); prints_of(count)] }
    }

    pub fn push(&mut self, text: &'a [u8]) {
        self.texts.push(text);
    }

    pub fn get(&self, reference: u32) -> Result<&'a [u8], String> {
        let text = self.texts.get(reference as usize).copied();
        text.ok_or_else(|| format!("a reference to symbol {reference} of {}", self.texts.len()))
    }

    /// Bytes of the names and values that labels refer to, `labels_max` and `bytes_max` of them at most. A long symbol is referred to in
    /// a byte: all are checked before any is hashed or copied.
    fn check(&self, references: &[u32], labels_max: usize, bytes_max: usize) -> Result<usize, String> {
        let (pairs, rest) = references.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(format!("{} references to names and values of labels", references.len()));
        }
        if pairs.len() > labels_max {
            return Err(format!("more labels than push.labels_max, {labels_max}"));
        }
        let mut bytes = 0;
        for [name, value] in pairs {
            let (name, value) = (self.get(*name)?, self.get(*value)?);
            if name.len().max(value.len()) > LABEL_BYTES_MAX {
                let name = String::from_utf8_lossy(&name[..name.len().min(LABEL_BYTES_MAX)]);
                return Err(format!("label {:?} is longer than {LABEL_BYTES_MAX} bytes", weir_model::clip(&name)));
            }
            bytes += name.len() + value.len();
        }
        if bytes > bytes_max {
            return Err(format!("labels of {bytes} bytes, where a request of this size has {bytes_max} left"));
        }
        Ok(bytes)
    }

    /// Appends the label messages of version 1 of what a list refers to; see [`Self::check`].
    pub fn gather(&self, references: &[u32], labels_max: usize, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), String> {
        self.check(references, labels_max, bytes_max)?;
        for [name, value] in references.as_chunks::<2>().0 {
            put_label(out, self.get(*name)?, self.get(*value)?);
        }
        Ok(())
    }

    /// The fingerprint of a list, and the bytes that it refers to; see [`Self::check`].
    #[inline]
    pub fn fingerprint(&self, references: &[u32], labels_max: usize, bytes_max: usize) -> Result<(Fingerprint, usize), String> {
        let (mut whole, mut bytes) = (Fingerprint::default(), 0);
        for (place, reference) in (0..).zip(references) {
            let own = self.print(*reference, place).get();
            if (own.reference, own.place) != (*reference, place) {
                return self.fingerprint_anew(references, labels_max, bytes_max);
            }
            whole ^= own.fingerprint;
            bytes += own.bytes as usize;
        }
        if references.len() % 2 == 1 || references.len() / 2 > labels_max || bytes > bytes_max {
            return self.fingerprint_anew(references, labels_max, bytes_max);
        }
        Ok((whole, bytes))
    }

    /// The same where not all texts have been at their places before, or the list is refused.
    #[inline(never)]
    fn fingerprint_anew(&self, references: &[u32], labels_max: usize, bytes_max: usize) -> Result<(Fingerprint, usize), String> {
        let bytes = self.check(references, labels_max, bytes_max)?;
        let mut whole = Fingerprint::default();
        for (place, reference) in (0..).zip(references) {
            let print = self.print(*reference, place);
            let mut own = print.get();
            if (own.reference, own.place) != (*reference, place) {
                let text = self.get(*reference)?;
                let fingerprint = Fingerprint::at(place, text);
                own = Print { reference: *reference, place, bytes: text.len() as u32, fingerprint };
                print.set(own);
            }
            whole ^= own.fingerprint;
        }
        Ok((whole, bytes))
    }

    /// Where the fingerprint of a symbol at a place is kept. One symbol at many places has as many.
    #[inline]
    fn print(&self, reference: u32, place: u32) -> &Cell<Print> {
        &self.prints[(reference ^ place.wrapping_mul(PLACE_STEP)) as usize & (self.prints.len() - 1)]
    }
}

/// At least one.
fn prints_of(count: usize) -> usize {
    count.next_power_of_two().min(PRINTS_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use weir_model::fuzz::Random;

    use super::*;

    fn symbols<'a>(texts: &[&'a [u8]]) -> Symbols<'a> {
        let mut own = Symbols::with_capacity(texts.len());
        texts.iter().for_each(|text| own.push(text));
        own
    }

    fn fingerprint(symbols: &Symbols<'_>, references: &[u32]) -> Fingerprint {
        symbols.fingerprint(references, 1000, usize::MAX).unwrap().0
    }

    #[test]
    fn lists_of_the_same_texts_are_alike_whatever_their_numbers() {
        let (one, other) = (symbols(&[b"", b"name", b"value"]), symbols(&[b"value", b"x", b"name", b"", b"name"]));
        assert_eq!(fingerprint(&one, &[1, 2, 1, 0]), fingerprint(&other, &[2, 0, 4, 3]));
        assert_eq!(one.fingerprint(&[1, 2, 1, 0], 2, 13).unwrap().1, 13, "bytes");
    }

    /// Texts of which many begin or end alike, some of them of more than one number: other lists have other fingerprints, and the same
    /// ones the same, whether or not their texts were hashed before.
    #[test]
    fn no_list_has_the_fingerprint_of_another() {
        let texts: Vec<Vec<u8>> = (0..40_usize).map(|i| b"ab"[i % 2..][..1].repeat(i / 4)).collect();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let (mut random, mut seen, kept) = (Random::new(3), HashMap::new(), symbols(&texts));
        for _ in 0..200_000 {
            let list: Vec<u32> = (0..2 * random.below(4)).map(|_| random.below(texts.len()) as u32).collect();
            let own = fingerprint(&kept, &list);
            let of_texts: Vec<&[u8]> = list.iter().map(|reference| texts[*reference as usize]).collect();
            let first = seen.entry(format!("{own:?}")).or_insert_with(|| of_texts.clone());
            assert_eq!(*first, of_texts);
            if random.below(100) == 0 {
                assert_eq!(fingerprint(&symbols(&texts), &list), own, "{list:?}");
            }
        }
        let distinct: std::collections::HashSet<&Vec<&[u8]>> = seen.values().collect();
        assert_eq!(distinct.len(), seen.len(), "a list has one fingerprint");
    }

    #[test]
    fn symbols_that_share_a_place_in_the_table_are_told_apart() {
        let texts: Vec<Vec<u8>> = (0..1_000_000_u32).map(|i| i.to_le_bytes().to_vec()).collect();
        let many = symbols(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(many.prints.len(), PRINTS_MAX);
        // In the second place those fall where one of the same number less the step of a place does in the first.
        let shares =
            |slot: u32, place: u32, turn: u32| (slot ^ (place * PLACE_STEP)) % PRINTS_MAX as u32 + turn * PRINTS_MAX as u32;
        for list in [[shares(5, 0, 0), shares(5, 1, 1)], [shares(5, 0, 1), shares(5, 1, 0)], [shares(5, 0, 2), shares(5, 1, 2)]] {
            assert!(std::ptr::eq(many.print(list[0], 0), many.print(list[1], 1)));
            let few = list.map(|reference| texts[reference as usize].as_slice());
            let expected = fingerprint(&symbols(&few), &[0, 1]);
            (0..2).for_each(|_| assert_eq!(fingerprint(&many, &list), expected));
        }
    }

    #[test]
    fn what_is_refused_is_refused_the_second_time_as_well() {
        let long = vec![b'x'; LABEL_BYTES_MAX + 1];
        let own = symbols(&[b"name", b"value", &long]);
        let check = |references: &[u32], (labels_max, bytes_max), expected: &str| {
            // All that may be kept is.
            fingerprint(&own, &[0, 1, 0, 1]);
            for _ in 0..2 {
                let refused = own.fingerprint(references, labels_max, bytes_max).unwrap_err();
                assert!(refused.starts_with(expected), "{refused}");
                assert_eq!(own.gather(references, labels_max, bytes_max, &mut Vec::new()), Err(refused));
            }
        };
        check(&[0, 1, 0], (9, 99), "3 references to names and values of labels");
        check(&[0, 1, 0, 1], (1, 99), "more labels than push.labels_max, 1");
        check(&[0, 1, 0, 1], (2, 17), "labels of 18 bytes, where a request of this size has 17 left");
        check(&[0, 3], (9, 99), "a reference to symbol 3 of 3");
        check(&[u32::MAX, 0], (9, 99), "a reference to symbol 4294967295 of 3");
        check(&[0, 2], (9, usize::MAX), "label \"name\" is longer than 65536 bytes");
        assert!(symbols(&[]).fingerprint(&[0, 0], 9, 99).is_err(), "of a table without symbols");
        assert!(symbols(&[]).fingerprint(&[], 9, 99).is_ok());
    }
}
