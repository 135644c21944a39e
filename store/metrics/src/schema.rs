//! What a metrics block is made of: section names, limits, the dictionary of label pairs, and the order of series.
//! Format: `docs/formats/metrics_block.md`.
//!
//! Not here: samples (`group.rs`), and who puts the sections together (`writer.rs`) or takes them apart (`block.rs`).

use std::cmp::Ordering;
use std::collections::HashMap;

use weir_model::label::{Labels, NAME};

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
    ids: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    count: u32,
    bytes: usize,
}

/// What a name or a value takes in the dictionary beside its text, at most: three varints.
pub(crate) const PAIR_BYTES_MAX: usize = 30;

impl PairBuilder {
    pub(crate) fn id(&mut self, name: &str, value: &str) -> u32 {
        if let Some(id) = self.ids.get(name).and_then(|values| values.get(value)) {
            return *id;
        }
        let id = self.count;
        self.count += 1;
        let new_name = if self.ids.contains_key(name) { 0 } else { name.len() + PAIR_BYTES_MAX };
        self.bytes += new_name + value.len() + PAIR_BYTES_MAX;
        self.ids.entry(name.into()).or_default().insert(value.into(), id);
        id
    }

    /// Pairs so far.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the dictionary before compression, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The `symbols.1` section, and the sorted place of each id given so far.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u32>) {
        let mut places = vec![0; self.count as usize];
        let mut raw = Vec::new();
        let mut next = 0;
        let mut names: Vec<_> = self.ids.into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        put_varint(&mut raw, names.len() as u64);
        for (name, values) in names {
            put_bytes(&mut raw, name.as_bytes());
            put_varint(&mut raw, values.len() as u64);
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_by(|a, b| a.0.cmp(&b.0));
            let mut before: &[u8] = &[];
            for (value, id) in &values {
                let shared = before.iter().zip(value.as_bytes()).take_while(|(a, b)| a == b).count();
                put_varint(&mut raw, shared as u64);
                put_bytes(&mut raw, &value.as_bytes()[shared..]);
                before = value.as_bytes();
                places[*id as usize] = next;
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
