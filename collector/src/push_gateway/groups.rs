//! Which series each group has, so that they can be ended. In memory, of a bounded size: of a group that is not known any more, as after
//! a restart, the series end as those of a target that is scraped no more, when their last sample is too old to be found.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use weir_model::label::{Labels, NAME};
use weir_model::time::UnixNanos;

/// Memory of all groups: some 100,000 series. Beyond it a group is not remembered.
const BYTES_MAX: usize = 64 << 20;
/// Memory of a group beside its series.
const GROUP_BYTES: usize = 200;

/// Whose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub tenant: Arc<str>,
    pub group: Labels,
}

/// What a push replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// All that the group has.
    Group,
    /// Metrics of the same names.
    Metrics,
}

/// What a group has.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub series: Vec<Labels>,
    /// When a push failed last; 0 for never.
    pub failed_at: UnixNanos,
}

#[derive(Default)]
pub(crate) struct Groups {
    known: Mutex<Known>,
    /// Of pushes.
    numbers: AtomicI64,
}

#[derive(Default)]
struct Known {
    groups: HashMap<Key, Group>,
    bytes: usize,
}

impl Group {
    fn memory(&self) -> usize {
        GROUP_BYTES + self.series.iter().map(|labels| labels.memory() + size_of::<Labels>()).sum::<usize>()
    }

    /// Series that a push of `series` ends.
    pub fn ended<'a>(&'a self, series: &'a [Labels], change: Change) -> impl Iterator<Item = &'a Labels> {
        let names: std::collections::HashSet<&str> = series.iter().map(|labels| labels.get(NAME)).collect();
        let still: std::collections::HashSet<&Labels> = series.iter().collect();
        let replaced = move |labels: &&Labels| change == Change::Group || names.contains(labels.get(NAME));
        self.series.iter().filter(replaced).filter(move |labels| !still.contains(labels))
    }
}

impl Groups {
    pub(super) fn number(&self) -> i64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn of(&self, key: &Key) -> Option<Group> {
        self.known.lock().groups.get(key).cloned()
    }

    pub(super) fn learn(&self, key: Key, mut series: Vec<Labels>, failed_at: UnixNanos, change: Change) {
        let mut known = self.known.lock();
        if let Some(before) = known.groups.get(&key).filter(|_| change == Change::Metrics) {
            let names: std::collections::HashSet<&str> = series.iter().map(|labels| labels.get(NAME)).collect();
            let others: Vec<Labels> = before.series.iter().filter(|labels| !names.contains(labels.get(NAME))).cloned().collect();
            series.extend(others);
        }
        known.put(key, Group { series, failed_at });
    }

    pub(super) fn fail(&self, key: Key, at: UnixNanos) {
        let mut known = self.known.lock();
        let group = Group { failed_at: at, ..known.groups.get(&key).cloned().unwrap_or_default() };
        known.put(key, group);
    }

    pub(super) fn forget(&self, key: &Key) {
        self.known.lock().remove(key);
    }
}

impl Known {
    fn put(&mut self, key: Key, group: Group) {
        self.remove(&key);
        let bytes = group.memory();
        if self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.groups.insert(key, group);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(group) = self.groups.remove(key) {
            self.bytes -= group.memory();
        }
    }
}
