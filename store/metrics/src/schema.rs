//! What a metrics block is made of: section names, limits, the dictionary of label pairs, and the order of series.
//! Format: `docs/formats/metrics_block.md`.
//!
//! Not here: samples (`group.rs`), and who puts the sections together (`writer.rs`) or takes them apart (`block.rs`).

use std::cmp::Ordering;

use weir_model::intern::Index;
use weir_model::label::{Labels, NAME};

use super::head_postings::hash_pair;
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX, packed, put_bytes, put_varint};

/// Nanoseconds of a millisecond, the resolution of Prometheus' APIs.
pub(crate) const MILLISECOND: i64 = 1_000_000;

/// Dictionary of label pairs.
pub(crate) const SYMBOLS: &str = "symbols.1";
/// Tenants and their series.
pub(crate) const SERIES: &str = "series.1";
/// The same of a block that has [`EXTRAS`]: a weir that does not know those does not open it.
pub(crate) const SERIES_EXTRAS: &str = "series.2";
/// The same of a block that is downsampled, with each tenant's resolution; for the same reason.
pub(crate) const SERIES_RESOLUTIONS: &str = "series.3";
/// Directories of the three below.
pub(crate) const EXTRAS: &str = "extras.1";
/// Histograms of samples.
pub(crate) const HISTOGRAMS: &str = "histograms.1";
/// Since when samples count.
pub(crate) const STARTS: &str = "starts.1";
/// Exemplars.
pub(crate) const EXEMPLARS: &str = "exemplars.1";
/// Series ids per label pair.
pub(crate) const POSTINGS: &str = "postings.1";
/// Directory of the groups in [`SAMPLES`].
pub(crate) const GROUPS: &str = "groups.2";
/// Groups of samples.
pub(crate) const SAMPLES: &str = "samples.2";
/// Timestamps that series share.
pub(crate) const TIMES: &str = "times.1";
/// The first two as they were before timestamps were shared and differences split.
pub(crate) const GROUPS_1: &str = "groups.1";
pub(crate) const SAMPLES_1: &str = "samples.1";
/// Metadata of families.
pub(crate) const FAMILIES: &str = "families.1";

/// zstd level of everything: the varints inside leave little for a higher one to find.
pub(crate) const LEVEL: i32 = 3;

/// The order of series of one tenant in a block: by metric name, then by labels.
pub(crate) fn series_order(a: &Labels, b: &Labels) -> Ordering {
    a.get(NAME).cmp(b.get(NAME)).then_with(|| a.cmp(b))
}

/// Labels that are sorted as in a block.
#[derive(PartialEq, Eq)]
pub(crate) struct BlockOrder(pub(crate) Labels);

impl Ord for BlockOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        series_order(&self.0, &other.0)
    }
}

impl PartialOrd for BlockOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Texts one after the other.
#[derive(Default)]
pub(crate) struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Where a text lies among `within`, which is sorted.
    fn find(&self, text: &str, within: std::ops::Range<usize>) -> Option<usize> {
        let (mut low, mut high) = (within.start, within.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(text) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

/// Label pairs while a block is written: ids in the order of first sight.
#[derive(Default)]
pub(crate) struct PairBuilder {
    names: Vec<Box<str>>,
    by_name: Index,
    /// Number of the name, and the value.
    pairs: Vec<(u32, Box<str>)>,
    by_pair: Index,
    /// Ids of the series before: most of its labels are those of the next one, in the same places.
    before: Vec<u32>,
    bytes: usize,
}

/// What a name or a value takes in the dictionary beside its text, at most: three varints.
pub(crate) const PAIR_BYTES_MAX: usize = 30;

impl PairBuilder {
    /// Appends the ids of a series' labels.
    pub(crate) fn push(&mut self, labels: &Labels, ids: &mut Vec<u32>) {
        let start = ids.len();
        for (place, (name, value)) in labels.iter().enumerate() {
            let near = self.before.get(place).copied();
            let same = near.filter(|id| *self.pairs[*id as usize].1 == *value && self.has_name(*id, name));
            ids.push(same.unwrap_or_else(|| self.id(near, name, value)));
        }
        self.before.clear();
        self.before.extend_from_slice(&ids[start..]);
    }

    fn has_name(&self, id: u32, name: &str) -> bool {
        *self.names[self.pairs[id as usize].0 as usize] == *name
    }

    /// `near` is one that may have the name.
    fn id(&mut self, near: Option<u32>, name: &str, value: &str) -> u32 {
        let near = near.filter(|id| self.has_name(*id, name)).map(|id| self.pairs[id as usize].0);
        let number = near.unwrap_or_else(|| self.name(name));
        let hash = hash_pair(number, value);
        let is = |id: u32| self.pairs[id as usize].0 == number && *self.pairs[id as usize].1 == *value;
        if let Some(found) = self.by_pair.find(hash, is) {
            return found;
        }
        let id = self.pairs.len() as u32;
        self.by_pair.insert(hash, id);
        self.pairs.push((number, value.into()));
        self.bytes += value.len() + PAIR_BYTES_MAX;
        id
    }

    fn name(&mut self, text: &str) -> u32 {
        let Self { names, by_name, .. } = self;
        let number = by_name.number(text.as_bytes(), |number| *names[number as usize] == *text);
        if number as usize == names.len() {
            names.push(text.into());
            self.bytes += text.len() + PAIR_BYTES_MAX;
        }
        number
    }

    /// Pairs so far.
    pub(crate) fn count(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes of the dictionary before compression, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The `symbols.1` section, and the sorted place of each id given so far.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u32>) {
        let mut names: Vec<(&str, Vec<u32>)> = self.names.iter().map(|name| (&**name, Vec::new())).collect();
        (0..).zip(&self.pairs).for_each(|(id, (name, _))| names[*name as usize].1.push(id));
        names.sort_unstable_by_key(|(name, _)| *name);
        let mut places = vec![0; self.pairs.len()];
        let mut raw = Vec::new();
        let mut next = 0;
        put_varint(&mut raw, names.len() as u64);
        for (name, mut ids) in names {
            put_bytes(&mut raw, name.as_bytes());
            put_varint(&mut raw, ids.len() as u64);
            let value = |id: u32| self.pairs[id as usize].1.as_bytes();
            ids.sort_unstable_by(|a, b| value(*a).cmp(value(*b)));
            let mut before: &[u8] = &[];
            for id in ids {
                let shared = before.iter().zip(value(id)).take_while(|(a, b)| a == b).count();
                put_varint(&mut raw, shared as u64);
                put_bytes(&mut raw, &value(id)[shared..]);
                before = value(id);
                places[id as usize] = next;
                next += 1;
            }
        }
        (packed(&raw, LEVEL), places)
    }
}

/// The dictionary of a block: pairs sorted by name, then value; a pair's place is its id.
pub(crate) struct Symbols {
    names: Texts,
    /// First pair of each name, and the number of pairs at the end.
    firsts: Vec<usize>,
    values: Texts,
}

impl Symbols {
    pub(crate) fn parse(section: &[u8]) -> Result<Self, String> {
        let mut outer = Cursor::new(section);
        let raw = outer.unpacked(UNPACKED_BYTES_MAX)?;
        outer.end()?;
        let mut cursor = Cursor::new(&raw);
        let mut found = Self { names: Texts::default(), firsts: vec![0], values: Texts::default() };
        let mut value = Vec::new();
        for i in 0..cursor.count(2)? {
            let name = cursor.text()?;
            if i > 0 && found.names.get(i - 1) >= name {
                return Err(format!("label name {name:?} is out of order"));
            }
            found.names.push(name);
            value.clear();
            for j in 0..cursor.count(2)? {
                let shared = cursor.varint()?;
                let suffix = cursor.bytes()?;
                if shared > value.len() as u64 || found.values.bytes.len() + value.len() > UNPACKED_BYTES_MAX {
                    return Err(format!("value {j} of label {name:?} shares {shared} bytes"));
                }
                value.truncate(shared as usize);
                value.extend_from_slice(suffix);
                let text = std::str::from_utf8(&value).map_err(|_| format!("value {j} of label {name:?} is not UTF-8"))?;
                if j > 0 && found.values.get(found.values.len() - 1) >= text {
                    return Err(format!("value {text:?} of label {name:?} is out of order"));
                }
                found.values.push(text);
            }
            found.firsts.push(found.values.len());
        }
        cursor.end()?;
        Ok(found)
    }

    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Name and value of a pair, which exists.
    pub(crate) fn pair(&self, id: usize) -> (&str, &str) {
        let name = self.firsts.partition_point(|first| *first <= id) - 1;
        (self.names.get(name), self.values.get(id))
    }

    /// Ids of all pairs of a name.
    pub(crate) fn of_name(&self, name: &str) -> std::ops::Range<usize> {
        self.names.find(name, 0..self.names.len()).map_or(0..0, |at| self.firsts[at]..self.firsts[at + 1])
    }

    /// Id of a pair.
    pub(crate) fn find(&self, name: &str, value: &str) -> Option<usize> {
        self.values.find(value, self.of_name(name))
    }

    pub(crate) fn value(&self, id: usize) -> &str {
        self.values.get(id)
    }
}
