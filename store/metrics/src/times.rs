//! Timestamps that series of a block share, each list once: neighbours by name are of different targets, and the scrapes of a target
//! have the same for all of its series. Format: `docs/formats/metrics_block.md`.
//!
//! A list is shared from its second series on, so that one that nobody else has stands with its samples alone.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::timestamps;
use weir_blocks::packed::{Cursor, put_varint};

/// Lists of one series that are remembered: those of 400 targets for two hours, 2 MiB.
const REMEMBERED: usize = 1 << 18;
/// Timestamps that are shared: those of 1,000 targets for two hours. 4 MiB while the block is written, less than 1 where it is open.
const SHARED: usize = 1 << 19;
/// A reader takes more than a writer writes.
const SHARED_MAX: usize = 1 << 20;
/// What a list takes beside its timestamps, in timestamps.
const LIST_COST: usize = 32;
/// A timestamp and a list's two numbers, at most.
const TIMESTAMP_BYTES_MAX: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    All(u64),
    /// A series that ends before its target begins with it, and one that begins later ends with it.
    First(i64),
    Last(i64),
}

struct KnownList {
    timestamps: Vec<i64>,
    shared: Option<u32>,
}

/// The lists of a block that is written.
pub(crate) struct TimesWriter {
    bytes_max: usize,
    lists: HashMap<u64, KnownList>,
    /// The latest list of each.
    keys: HashMap<Key, u64>,
    /// Lists of one series, oldest first, among some that are shared since.
    once: VecDeque<u64>,
    once_cost: usize,
    next: u64,
    shared_cost: usize,
    shared: u32,
    out: Vec<u8>,
}

/// Timestamps as a part of a shared list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedTimes {
    pub list: u32,
    /// Place of the first.
    pub first: u32,
}

impl TimesWriter {
    /// Of a section that has at most so many bytes before compression.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            lists: HashMap::new(),
            keys: HashMap::new(),
            once: VecDeque::new(),
            once_cost: 0,
            next: 0,
            shared_cost: 0,
            shared: 0,
            out: Vec::new(),
        }
    }

    /// Where ascending timestamps are shared; else they are remembered for the next that has them.
    pub(crate) fn share(&mut self, timestamps: &[i64]) -> Option<SharedTimes> {
        let keys = keys(timestamps)?;
        let Some((id, first)) = keys.iter().find_map(|key| self.find(*key, timestamps)) else {
            self.remember(keys, timestamps);
            return None;
        };
        let list = match self.lists.get(&id)?.shared {
            Some(list) => list,
            None => self.promote(id)?,
        };
        Some(SharedTimes { list, first: first as u32 })
    }

    /// The list of a key that has all of these, and the place of the first there.
    fn find(&self, key: Key, timestamps: &[i64]) -> Option<(u64, usize)> {
        let id = *self.keys.get(&key)?;
        let list = &self.lists.get(&id)?.timestamps;
        let first = list.partition_point(|own| own < timestamps.first().unwrap_or(&i64::MIN));
        (list.get(first..first + timestamps.len())? == timestamps).then_some((id, first))
    }

    fn remember(&mut self, keys: [Key; 3], timestamps: &[i64]) {
        let cost = timestamps.len() + LIST_COST;
        if cost > REMEMBERED {
            return;
        }
        while self.once_cost + cost > REMEMBERED {
            let Some(oldest) = self.once.pop_front() else { break };
            self.forget(oldest);
        }
        let id = self.next;
        self.next += 1;
        self.once_cost += cost;
        self.once.push_back(id);
        self.keys.extend(keys.map(|key| (key, id)));
        self.lists.insert(id, KnownList { timestamps: timestamps.to_vec(), shared: None });
    }

    fn forget(&mut self, id: u64) {
        if self.lists.get(&id).is_none_or(|list| list.shared.is_some()) {
            return;
        }
        let Some(list) = self.lists.remove(&id) else { return };
        self.once_cost -= list.timestamps.len() + LIST_COST;
        for key in keys(&list.timestamps).into_iter().flatten() {
            if self.keys.get(&key) == Some(&id) {
                self.keys.remove(&key);
            }
        }
    }

    /// Shares a list that was of one series; its number, if there is room.
    fn promote(&mut self, id: u64) -> Option<u32> {
        let list = self.lists.get_mut(&id)?;
        let cost = list.timestamps.len() + LIST_COST;
        let bytes = self.out.len() + (list.timestamps.len() + 2) * TIMESTAMP_BYTES_MAX;
        if self.shared_cost + cost > SHARED || bytes > self.bytes_max {
            return None;
        }
        list.shared = Some(self.shared);
        self.shared += 1;
        (self.shared_cost, self.once_cost) = (self.shared_cost + cost, self.once_cost - cost);
        put_varint(&mut self.out, list.timestamps.len() as u64);
        let mut encoded = Vec::new();
        timestamps::encode(&list.timestamps, &mut encoded);
        put_varint(&mut self.out, encoded.len() as u64);
        self.out.append(&mut encoded);
        list.shared
    }

    /// The section before compression.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.out.len() + TIMESTAMP_BYTES_MAX);
        put_varint(&mut raw, u64::from(self.shared));
        raw.extend(self.out);
        raw
    }
}

fn keys(timestamps: &[i64]) -> Option<[Key; 3]> {
    let hash = |timestamps: &[i64]| {
        timestamps.iter().fold(0_u64, |hash, own| (hash.rotate_left(23) ^ *own as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    };
    Some([Key::All(hash(timestamps)), Key::First(*timestamps.first()?), Key::Last(*timestamps.last()?)])
}

/// The lists of a block that is read, as they are stored: whoever reads one has it reserved.
#[derive(Default)]
pub(crate) struct Times {
    raw: Vec<u8>,
    lists: Vec<List>,
}

struct List {
    count: usize,
    bytes: Range<usize>,
}

impl Times {
    /// Errors with a sentence.
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Self, String> {
        let mut cursor = Cursor::new(&raw);
        let (mut lists, mut all) = (Vec::new(), 0_u64);
        for _ in 0..cursor.count(2)? {
            let count = cursor.varint()?;
            let bytes = cursor.bytes()?;
            let end = raw.len() - cursor.left();
            all = all.saturating_add(count);
            if all > SHARED_MAX as u64 || count == 0 {
                return Err(format!("a list of {count} timestamps, {all} with those before"));
            }
            lists.push(List { count: count as usize, bytes: end - bytes.len()..end });
        }
        cursor.end()?;
        Ok(Self { raw, lists })
    }

    /// Timestamps of a list; 0 when it is not there.
    pub(crate) fn count(&self, list: u32) -> usize {
        self.lists.get(list as usize).map_or(0, |list| list.count)
    }

    /// A whole list. Errors with a sentence.
    pub(crate) fn decode(&self, list: u32) -> Result<Vec<i64>, String> {
        let wrong = || format!("list {list} of {} lists of timestamps", self.lists.len());
        let List { count, bytes } = self.lists.get(list as usize).ok_or_else(wrong)?;
        let mut cursor = Cursor::new(&self.raw[bytes.clone()]);
        let decoded = timestamps::decode(&mut cursor, *count)?;
        cursor.end().map(|()| decoded)
    }

    /// Reads all lists. Errors with a sentence.
    pub(crate) fn verify(&self) -> Result<(), String> {
        (0..self.lists.len() as u32).try_for_each(|list| self.decode(list).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrapes(offset: i64) -> Vec<i64> {
        (0..100).map(|i| offset + i * 15_000 + i * i % 7).collect()
    }

    #[test]
    fn a_list_is_shared_from_its_second_series_on_whole_or_in_part() {
        let mut writer = TimesWriter::new(1 << 20);
        let (a, b) = (scrapes(5), scrapes(900));
        assert_eq!([&a, &b].map(|list| writer.share(list)), [None, None]);
        let whole = |list| Some(SharedTimes { list, first: 0 });
        assert_eq!([&b, &a, &b].map(|list| writer.share(list)), [whole(0), whole(1), whole(0)]);
        assert_eq!(writer.share(&a[..40]), whole(1), "of a pod that ended");
        assert_eq!(writer.share(&a[40..]), Some(SharedTimes { list: 1, first: 40 }), "of one that began");
        let other: Vec<i64> = a.iter().enumerate().map(|(i, at)| at + i64::from(i == 50)).collect();
        assert_eq!(writer.share(&other), None);
        assert_eq!(writer.share(&[]), None);
        let times = Times::parse(writer.finish()).unwrap();
        times.verify().unwrap();
        assert_eq!([0, 1].map(|list| times.decode(list)), [Ok(b), Ok(a)]);
        assert_eq!([0, 1, 2].map(|list| times.count(list)), [100, 100, 0]);
        assert_eq!(times.decode(2), Err("list 2 of 2 lists of timestamps".into()));
    }

    #[test]
    fn what_is_remembered_and_shared_is_bounded() {
        let mut writer = TimesWriter::new(1 << 30);
        let list = |i: i64| (0..1000).map(|at| i * 1_000_000 + at).collect::<Vec<_>>();
        (0..400).for_each(|i| assert_eq!(writer.share(&list(i)), None));
        assert!(writer.once_cost <= REMEMBERED && writer.lists.len() == REMEMBERED / (1000 + LIST_COST));
        assert_eq!(writer.keys.len(), 3 * writer.lists.len());
        assert_eq!(writer.share(&list(0)), None, "long forgotten");
        for i in 1000..3000 {
            writer.share(&list(i));
            writer.share(&list(i));
        }
        assert!(writer.shared_cost <= SHARED && writer.shared as usize == SHARED / (1000 + LIST_COST), "{}", writer.shared);
        assert!(writer.once_cost <= REMEMBERED);
        let mut narrow = TimesWriter::new(100);
        assert_eq!([narrow.share(&list(1)), narrow.share(&list(1))], [None, None]);
        assert_eq!(narrow.finish(), [0]);
    }

    #[test]
    fn hostile_lists_are_refused() {
        assert!(Times::parse(vec![1, 0, 0]).is_err(), "of nothing");
        assert!(Times::parse(vec![1, 0x81, 0x80, 0x40, 1, 0]).is_err(), "more than are shared");
        assert!(Times::parse(vec![1, 2, 2, 0, 0]).unwrap().verify().is_err(), "a millisecond twice");
    }
}
