//! Which rows of a chunk's ids and attributes have what is looked for. Texts are looked at once each, however many lines have them.

use hex::FromHex;
use memchr::memmem::Finder;
use weir_model::select::Mention;

use super::context::{Contexts, Row};
use super::index::pair_name;
use super::words::{Class, is_hex_digit, put_id_text};

/// Of the text of a trace id, the longer of the two.
const ID_DIGITS: usize = 32;

impl Contexts {
    /// Of each row whether an id or an attribute has a needle.
    pub(crate) fn having(&self, any: &[Finder<'_>]) -> Vec<bool> {
        let has = |text: &[u8]| any.iter().any(|finder| finder.find(text).is_some());
        let mut texts = vec![false; self.sets.texts().len()];
        for finder in any {
            let having = match finder.needle().is_empty() {
                true => vec![true; texts.len()],
                false => self.sets.texts_with(|texts| finder.find(texts).map(|at| at..at + finder.needle().len())),
            };
            texts.iter_mut().zip(having).for_each(|(all, own)| *all |= own);
        }
        let sets: Vec<bool> = (0..self.sets.len() as u32)
            .map(|set| self.sets.numbers(set).iter().any(|(_, value)| texts[*value as usize]))
            .collect();
        // Shorter ids are found in longer ones, and no needle of other letters is in any.
        let is_id = |finder: &Finder<'_>| finder.needle().len() <= ID_DIGITS && finder.needle().iter().all(is_hex_digit);
        let may_be_ids = any.iter().any(is_id);
        // One that is a whole trace id is compared as it is stored.
        let whole = match any {
            [finder] if may_be_ids => <[u8; ID_DIGITS / 2]>::from_hex(finder.needle()).ok(),
            _ => None,
        };
        let mut text = Vec::with_capacity(ID_DIGITS);
        let mut has_id = |id: &[u8], class| {
            text.clear();
            put_id_text(&mut text, id, class);
            has(&text)
        };
        let row = |(trace_id, span_id, set): &Row| {
            if let Some(whole) = &whole {
                return sets[*set as usize] || trace_id.0 == *whole;
            }
            sets[*set as usize] || may_be_ids && (has_id(&trace_id.0, Class::Hex16) || has_id(&span_id.0, Class::Hex8))
        };
        self.rows.iter().map(row).collect()
    }

    /// Of each row whether lines that have it may say this, of a stream whose labels do not say it.
    pub(crate) fn saying(&self, mention: &Mention) -> Vec<bool> {
        let each = |mentions: &[Mention]| mentions.iter().map(|mention| self.saying(mention)).collect::<Vec<_>>();
        let of_rows = |says: &dyn Fn(usize) -> bool| (0..self.rows.len()).map(says).collect();
        match mention {
            Mention::Pattern(_) | Mention::Severity(_) => vec![true; self.rows.len()],
            Mention::All(mentions) => {
                let all = each(mentions);
                of_rows(&|row| all.iter().all(|rows| rows[row]))
            }
            Mention::Any(mentions) => {
                let any = each(mentions);
                of_rows(&|row| any.iter().any(|rows| rows[row]))
            }
            Mention::Value(name, value) => self.having_pair(&pair_name(name), value),
        }
    }

    fn having_pair(&self, name: &[u8], value: &str) -> Vec<bool> {
        let text = (0..).zip(self.sets.texts()).find(|(_, text)| *text == value).map(|(number, _)| number);
        let is_pair = |(own, number): &(u32, u32)| Some(*number) == text && pair_name(self.sets.text(*own)) == name;
        let sets: Vec<bool> = (0..self.sets.len() as u32).map(|set| self.sets.numbers(set).iter().any(is_pair)).collect();
        let (of_trace, of_span) = (name == pair_name("trace_id"), name == pair_name("span_id"));
        let mut text = Vec::with_capacity(ID_DIGITS);
        let mut is_id = |id: &[u8], class| {
            text.clear();
            put_id_text(&mut text, id, class);
            text == value.as_bytes()
        };
        let row = |(trace_id, span_id, set): &Row| {
            sets[*set as usize] || of_trace && is_id(&trace_id.0, Class::Hex16) || of_span && is_id(&span_id.0, Class::Hex8)
        };
        self.rows.iter().map(row).collect()
    }
}
