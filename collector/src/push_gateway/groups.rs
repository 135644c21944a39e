//! Which series each group has, so that they can be ended. In memory, of a bounded size: of a group that is not known any more, as after
//! a restart, the series end as those of a target that is scraped no more, when their last sample is too old to be found.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use weir_model::label::{Labels, NAME};
use weir_model::time::UnixNanos;

/// Memory of all groups: some 100,000 series. Beyond it the oldest group of the tenant that has the most is forgotten.
const BYTES_MAX: usize = 64 << 20;
/// Memory of a group beside its labels and series: its places in two maps.
const GROUP_BYTES: usize = 200;
/// Memory of a tenant beside its groups: its maps.
const TENANT_BYTES: usize = 700;

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
    tenants: HashMap<Arc<str>, OfTenant>,
    bytes: usize,
    /// Groups that were put, ever: the age of each.
    puts: u64,
}

#[derive(Default)]
struct OfTenant {
    /// With when each was put last.
    groups: HashMap<Labels, (u64, Group)>,
    by_age: BTreeMap<u64, Labels>,
    /// Of its groups.
    bytes: usize,
}

impl Group {
    fn memory(&self, labels: &Labels) -> usize {
        GROUP_BYTES + labels.memory() + self.series.iter().map(|labels| labels.memory() + size_of::<Labels>()).sum::<usize>()
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
        self.known.lock().get(key).cloned()
    }

    pub(super) fn learn(&self, key: Key, mut series: Vec<Labels>, failed_at: UnixNanos, change: Change) {
        let mut known = self.known.lock();
        if let Some(before) = known.get(&key).filter(|_| change == Change::Metrics) {
            let names: std::collections::HashSet<&str> = series.iter().map(|labels| labels.get(NAME)).collect();
            let others: Vec<Labels> = before.series.iter().filter(|labels| !names.contains(labels.get(NAME))).cloned().collect();
            series.extend(others);
        }
        known.put(key, Group { series, failed_at }, BYTES_MAX);
    }

    pub(super) fn fail(&self, key: Key, at: UnixNanos) {
        let mut known = self.known.lock();
        let group = Group { failed_at: at, ..known.get(&key).cloned().unwrap_or_default() };
        known.put(key, group, BYTES_MAX);
    }

    pub(super) fn forget(&self, key: &Key) {
        self.known.lock().remove(key);
    }
}

impl Known {
    fn get(&self, key: &Key) -> Option<&Group> {
        self.tenants.get(&key.tenant)?.groups.get(&key.group).map(|(_, group)| group)
    }

    fn put(&mut self, key: Key, group: Group, bytes_max: usize) {
        self.remove(&key);
        let Key { tenant, group: labels } = key;
        if !self.tenants.contains_key(&tenant) {
            self.bytes += TENANT_BYTES + tenant.len();
        }
        self.puts += 1;
        let (bytes, age) = (group.memory(&labels), self.puts);
        self.bytes += bytes;
        let of_tenant = self.tenants.entry(tenant).or_default();
        of_tenant.bytes += bytes;
        of_tenant.by_age.insert(age, labels.clone());
        of_tenant.groups.insert(labels, (age, group));
        while self.bytes > bytes_max {
            let Some(oldest) = self.oldest() else { break };
            self.remove(&oldest);
        }
    }

    /// Of the tenant that has the most.
    fn oldest(&self) -> Option<Key> {
        let (tenant, fullest) = self.tenants.iter().max_by_key(|(_, of_tenant)| of_tenant.bytes)?;
        let (_, group) = fullest.by_age.first_key_value()?;
        Some(Key { tenant: Arc::clone(tenant), group: group.clone() })
    }

    fn remove(&mut self, key: &Key) {
        let Some(of_tenant) = self.tenants.get_mut(&key.tenant) else { return };
        let Some((age, group)) = of_tenant.groups.remove(&key.group) else { return };
        of_tenant.by_age.remove(&age);
        let bytes = group.memory(&key.group);
        of_tenant.bytes -= bytes;
        self.bytes -= bytes;
        if of_tenant.groups.is_empty() {
            self.tenants.remove(&key.tenant);
            self.bytes -= TENANT_BYTES + key.tenant.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_tenant_that_has_the_most_is_forgotten() {
        let mut known = Known::default();
        let key = |tenant: &str, job: &str| Key { tenant: tenant.into(), group: Labels::from_pairs([("job", job)]) };
        let group = || Group { series: vec![Labels::from_pairs([(NAME, "a")])], failed_at: 0 };
        let of_group = group().memory(&key("t", "a").group);
        // Two tenants of three groups together.
        let limit = 2 * (TENANT_BYTES + 1) + 3 * of_group;
        for (tenant, job) in [("t", "a"), ("t", "b"), ("u", "a"), ("t", "a"), ("t", "c")] {
            known.put(key(tenant, job), group(), limit);
            assert!(known.bytes <= limit, "{tenant} {job}");
        }
        let seen = [("t", "a"), ("t", "b"), ("t", "c"), ("u", "a")].map(|(tenant, job)| known.get(&key(tenant, job)).is_some());
        assert_eq!(seen, [true, false, true, true], "b was pushed before a was again");
        known.put(key("t", &"x".repeat(limit)), group(), limit);
        assert_eq!((known.get(&key("t", "a")).is_some(), known.get(&key("u", "a")).is_some()), (false, true), "labels count");
        known.remove(&key("u", "a"));
        assert_eq!((known.bytes, known.tenants.len()), (0, 0));
    }
}
