//! How many series carry what. Label sets are counted one by one and none of them is kept: memory grows with the label pairs that
//! differ, which a budget is told of.

use std::collections::{BTreeMap, HashMap};

use super::{Budget, ReadError, Reservation};
use crate::label::Labels;

/// Counts of series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    pub series: u64,
    /// By label name and value.
    pub labels: BTreeMap<String, BTreeMap<String, u64>>,
    /// By target: the labels `job` and `instance`, "" where one is not there.
    pub targets: BTreeMap<(String, String), u64>,
    /// By tenant.
    pub tenants: BTreeMap<String, u64>,
}

impl Cardinality {
    /// Adds the counts of other series.
    pub fn merge(&mut self, other: Self) {
        self.series += other.series;
        for (name, values) in other.labels {
            let own = self.labels.entry(name).or_default();
            values.into_iter().for_each(|(value, count)| *own.entry(value).or_default() += count);
        }
        other.targets.into_iter().for_each(|(target, count)| *self.targets.entry(target).or_default() += count);
        other.tenants.into_iter().for_each(|(tenant, count)| *self.tenants.entry(tenant).or_default() += count);
    }

    /// Label pairs that differ.
    pub fn pairs(&self) -> usize {
        self.labels.values().map(BTreeMap::len).sum()
    }
}

/// A name or value takes so much beside its text, in the tables here and in [`Cardinality`].
const ENTRY_BYTES: usize = 160;
/// A series without the label.
const NONE: u32 = u32::MAX;

/// Counts label sets that differ from each other.
pub struct CountSeries<'a> {
    series: u64,
    names: Vec<Name>,
    by_name: HashMap<Box<str>, u32>,
    pairs: Vec<Pair>,
    /// The pair in each place of the series before: neighbours share most of theirs, and a comparison is cheaper than a look-up.
    neighbour: Vec<u32>,
    /// By the pairs of `job` and `instance`.
    targets: HashMap<(u32, u32), u64>,
    budget: &'a dyn Budget,
    held: Reservation<'a>,
    bytes: usize,
}

struct Name {
    text: Box<str>,
    by_value: HashMap<Box<str>, u32>,
}

struct Pair {
    name: u32,
    value: Box<str>,
    series: u64,
}

impl<'a> CountSeries<'a> {
    pub fn new(budget: &'a dyn Budget) -> Self {
        Self {
            series: 0,
            names: Vec::new(),
            by_name: HashMap::new(),
            pairs: Vec::new(),
            neighbour: Vec::new(),
            targets: HashMap::new(),
            budget,
            held: Reservation::new(budget),
            bytes: 0,
        }
    }

    /// Counts one more. Errors when the budget has no room for its label pairs.
    pub fn add(&mut self, labels: &Labels) -> Result<(), ReadError> {
        if self.series.is_multiple_of(256) {
            self.budget.check()?;
        }
        self.series += 1;
        let before = self.bytes;
        let mut target = (NONE, NONE);
        for (place, (name, value)) in labels.iter().enumerate() {
            let near = self.neighbour.get(place).copied().filter(|pair| self.is(*pair, name, value));
            let pair = near.unwrap_or_else(|| self.pair(name, value));
            match self.neighbour.get_mut(place) {
                Some(known) => *known = pair,
                None => self.neighbour.push(pair),
            }
            self.pairs[pair as usize].series += 1;
            match name {
                "job" => target.0 = pair,
                "instance" => target.1 = pair,
                _ => {}
            }
        }
        let known = self.targets.len();
        *self.targets.entry(target).or_default() += 1;
        if self.targets.len() > known {
            self.bytes += ENTRY_BYTES;
        }
        if self.bytes > before { self.held.settle(self.bytes as u64) } else { Ok(()) }
    }

    fn is(&self, pair: u32, name: &str, value: &str) -> bool {
        let pair = &self.pairs[pair as usize];
        *pair.value == *value && *self.names[pair.name as usize].text == *name
    }

    fn pair(&mut self, name: &str, value: &str) -> u32 {
        let number = match self.by_name.get(name) {
            Some(number) => *number,
            None => {
                let number = self.names.len() as u32;
                self.names.push(Name { text: name.into(), by_value: HashMap::new() });
                self.by_name.insert(name.into(), number);
                self.bytes += 2 * name.len() + ENTRY_BYTES;
                number
            }
        };
        let values = &mut self.names[number as usize].by_value;
        if let Some(pair) = values.get(value) {
            return *pair;
        }
        let pair = self.pairs.len() as u32;
        values.insert(value.into(), pair);
        self.pairs.push(Pair { name: number, value: value.into(), series: 0 });
        // The text stands in both tables.
        self.bytes += 2 * value.len() + ENTRY_BYTES;
        pair
    }

    /// What was counted, as one tenant's. What it takes stays reserved until the request ends.
    pub fn finish(self, tenant: &str) -> Result<Cardinality, ReadError> {
        let value = |pair: u32| self.pairs.get(pair as usize).map_or(String::new(), |pair| pair.value.to_string());
        let texts = |pair: u32| self.pairs.get(pair as usize).map_or(0, |pair| pair.value.len());
        let of_targets: usize = self.targets.keys().map(|(job, instance)| texts(*job) + texts(*instance) + ENTRY_BYTES).sum();
        let of_names: usize = self.names.iter().map(|name| name.text.len() + ENTRY_BYTES).sum();
        let of_pairs: usize = self.pairs.iter().map(|pair| pair.value.len() + ENTRY_BYTES / 2).sum();
        self.budget.reserve((of_targets + of_names + of_pairs) as u64)?;
        let mut targets = BTreeMap::new();
        for ((job, instance), series) in &self.targets {
            *targets.entry((value(*job), value(*instance))).or_default() += series;
        }
        let mut labels: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for pair in &self.pairs {
            let name = self.names[pair.name as usize].text.to_string();
            labels.entry(name).or_default().insert(pair.value.to_string(), pair.series);
        }
        Ok(Cardinality { series: self.series, labels, targets, tenants: [(tenant.to_owned(), self.series)].into() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryBudget, NoBudget};
    use super::*;

    #[test]
    fn series_are_counted_by_pair_and_target() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let sets = [
            set(&[("__name__", "a"), ("job", "j"), ("instance", "1")]),
            set(&[("__name__", "a"), ("job", "j"), ("instance", "2")]),
            set(&[("__name__", "b"), ("job", "j"), ("instance", "2"), ("x", "1")]),
            set(&[("__name__", "c"), ("x", "1")]),
        ];
        let mut count = CountSeries::new(&NoBudget);
        sets.iter().for_each(|labels| count.add(labels).unwrap());
        let mut found = count.finish("t").unwrap();
        let values = |found: &Cardinality, name: &str| {
            found.labels[name].iter().map(|(value, series)| format!("{value}={series}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!((found.series, found.pairs()), (4, 7));
        assert_eq!(values(&found, "__name__"), "a=2 b=1 c=1");
        assert_eq!((values(&found, "instance"), values(&found, "x")), ("1=1 2=2".into(), "1=2".into()));
        let targets: Vec<_> = found.targets.iter().map(|((job, instance), n)| format!("{job}/{instance}={n}")).collect();
        assert_eq!(targets, ["/=1", "j/1=1", "j/2=2"]);
        let mut other = CountSeries::new(&NoBudget);
        other.add(&sets[0]).unwrap();
        found.merge(other.finish("u").unwrap());
        assert_eq!((found.series, values(&found, "__name__").as_str()), (5, "a=3 b=1 c=1"));
        assert_eq!(found.tenants, [("t".to_owned(), 4), ("u".to_owned(), 1)].into());
    }

    #[test]
    fn what_differs_is_held_and_given_back() {
        let budget = MemoryBudget::new(10_000);
        let mut count = CountSeries::new(&budget);
        let add = |count: &mut CountSeries<'_>, i: usize| count.add(&Labels::from_pairs([("a", format!("{i:0100}"))]));
        for _ in 0..1000 {
            add(&mut count, 1).unwrap();
        }
        let refused = (0..1000).find_map(|i| add(&mut count, i).err()).expect("a thousand values are more than fit");
        assert!(matches!(refused, ReadError::Budget { .. }), "{refused}");
        drop(count);
        assert_eq!(budget.held(), 0);
        let mut count = CountSeries::new(&budget);
        (0..5).for_each(|i| add(&mut count, i).unwrap());
        let found = count.finish("t").unwrap();
        assert!(found.pairs() == 5 && budget.held() >= 5 * 100, "{} bytes are held of what stays", budget.held());
    }
}
