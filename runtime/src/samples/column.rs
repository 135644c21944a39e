//! Columns of a metric batch that change rarely: entities (a cgroup, a device) write the same series in the same order
//! each time, so labels are made once and the schema is shared. Series that end get one staleness marker.
//! Used by [`super::node`] only.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
use weir_model::time::UnixNanos;

/// A metric family of ours.
#[derive(Debug)]
pub(super) struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

/// A family that only grows.
pub(super) const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, help }
}

/// A family that goes up and down.
pub(super) const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, help }
}

/// What an entity wrote last time.
#[derive(Default)]
struct Entity {
    key: String,
    /// Of metrics and label values, not of sample values: differs when the series differ.
    fingerprint: u64,
    series: Vec<Labels>,
    metrics: Vec<&'static Metric>,
}

/// The columns of one target.
#[derive(Default)]
pub(super) struct Columns {
    entities: Vec<Entity>,
    schema: Arc<Schema>,
    /// The schema still names series that have ended.
    ended: bool,
}

/// A row in the making.
pub(super) struct Row<'a> {
    columns: &'a mut Columns,
    old: std::iter::Peekable<std::vec::IntoIter<Entity>>,
    values: Vec<f64>,
    ended: Vec<Labels>,
    changed: bool,
}

/// Takes the values of one entity.
pub(super) struct Writer<'a> {
    values: &'a mut Vec<f64>,
    hasher: DefaultHasher,
    record: Option<(&'a Labels, &'a mut Entity)>,
}

impl Writer<'_> {
    /// A series without labels of its own.
    pub fn put(&mut self, metric: &'static Metric, value: impl Into<Option<f64>>) {
        self.put_with(metric, &[], value);
    }

    /// A series with labels of its own. No value, no series.
    pub fn put_with(&mut self, metric: &'static Metric, labels: &[(&str, &str)], value: impl Into<Option<f64>>) {
        let Some(value) = value.into() else { return };
        self.values.push(value);
        metric.name.as_ptr().hash(&mut self.hasher);
        labels.hash(&mut self.hasher);
        if let Some((base, entity)) = &mut self.record {
            let all = base.iter().chain(labels.iter().copied()).chain([(NAME, metric.name)]);
            entity.series.push(Labels::from_pairs(all));
            entity.metrics.push(metric);
        }
    }
}

impl Columns {
    /// Begins a row.
    pub fn row(&mut self) -> Row<'_> {
        let old = std::mem::take(&mut self.entities);
        let values = Vec::with_capacity(self.schema.series.len());
        Row { columns: self, old: old.into_iter().peekable(), values, ended: Vec::new(), changed: false }
    }
}

impl Row<'_> {
    /// Adds one entity. Keys must come in ascending order. `base` are labels of all of its series; `emit` must write the
    /// same each time it is called for one row.
    pub fn entity(&mut self, key: &str, base: &Labels, emit: impl Fn(&mut Writer<'_>)) {
        while let Some(gone) = self.old.next_if(|old| old.key.as_str() < key) {
            self.ended.extend(gone.series);
            self.changed = true;
        }
        let known = self.old.next_if(|old| old.key == key);
        let start = self.values.len();
        let mut hasher = DefaultHasher::new();
        base.hash(&mut hasher);
        let mut writer = Writer { values: &mut self.values, hasher, record: None };
        emit(&mut writer);
        let fingerprint = writer.hasher.finish();
        if let Some(known) = known {
            if known.fingerprint == fingerprint {
                self.columns.entities.push(known);
                return;
            }
            self.ended.extend(known.series);
        }
        self.changed = true;
        self.values.truncate(start);
        let mut entity = Entity { key: key.to_owned(), fingerprint, ..Entity::default() };
        emit(&mut Writer { values: &mut self.values, hasher: DefaultHasher::new(), record: Some((base, &mut entity)) });
        self.columns.entities.push(entity);
    }

    /// The batch. Its schema is the previous batch's while the series are the same.
    pub fn finish(mut self, target: Labels, timestamp: UnixNanos) -> MetricBatch {
        for gone in self.old {
            self.ended.extend(gone.series);
            self.changed = true;
        }
        if self.changed || self.columns.ended {
            let entities = &self.columns.entities;
            let mut series: Vec<Labels> = entities.iter().flat_map(|entity| entity.series.iter().cloned()).collect();
            // A series that another entity goes on writing has not ended.
            let live: std::collections::HashSet<&Labels> = series.iter().collect();
            self.ended.retain(|labels| !live.contains(labels));
            drop(live);
            self.columns.ended = !self.ended.is_empty();
            self.values.resize(self.values.len() + self.ended.len(), STALE_NAN);
            series.append(&mut self.ended);
            self.columns.schema = Arc::new(Schema::new(series, families(entities, &self.columns.schema)));
        }
        let schema = self.columns.schema.clone();
        MetricBatch { target, schema, rows: vec![MetricRow::new(timestamp, self.values)] }
    }
}

/// Families that occur now or did a moment ago, ascending by name.
fn families(entities: &[Entity], previous: &Schema) -> Vec<Family> {
    let mut families: BTreeMap<&str, Family> =
        previous.families.iter().map(|family| (family.name.as_str(), family.clone())).collect();
    for metric in entities.iter().flat_map(|entity| &entity.metrics) {
        families.entry(metric.name).or_insert_with(|| Family {
            name: metric.name.to_owned(),
            kind: metric.kind,
            help: metric.help.to_owned(),
            unit: String::new(),
        });
    }
    families.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::metric::is_stale;

    static A: Metric = counter("a_total", "A.");
    static B: Metric = gauge("b", "B.");

    fn row(columns: &mut Columns, entities: &[(&str, &[(&'static Metric, f64)])]) -> MetricBatch {
        let mut row = columns.row();
        for (key, values) in entities {
            let base = Labels::from_pairs([("id", key)]);
            row.entity(key, &base, |writer| values.iter().for_each(|(metric, value)| writer.put(metric, *value)));
        }
        row.finish(Labels::EMPTY, 7)
    }

    fn shown(batch: &MetricBatch) -> Vec<String> {
        let values = &batch.rows[0].values;
        assert_eq!(values.len(), batch.schema.series.len());
        let show = |value: f64| if is_stale(value) { "stale".to_owned() } else { value.to_string() };
        let pair = |(labels, value): (&Labels, &f64)| format!("{}/{} {}", labels.get("id"), labels.get(NAME), show(*value));
        batch.schema.series.iter().zip(values).map(pair).collect()
    }

    #[test]
    fn the_schema_is_shared_while_series_stay() {
        let mut columns = Columns::default();
        let first = row(&mut columns, &[("x", &[(&A, 1.0), (&B, 2.0)]), ("y", &[(&A, 3.0)])]);
        let second = row(&mut columns, &[("x", &[(&A, 4.0), (&B, 5.0)]), ("y", &[(&A, 6.0)])]);
        assert!(Arc::ptr_eq(&first.schema, &second.schema));
        assert_eq!(shown(&second), ["x/a_total 4", "x/b 5", "y/a_total 6"]);
        assert_eq!(second.schema.families.len(), 2);
    }

    #[test]
    fn what_ends_is_marked_once() {
        let mut columns = Columns::default();
        row(&mut columns, &[("x", &[(&A, 1.0), (&B, 2.0)]), ("y", &[(&A, 3.0)])]);
        let gone = row(&mut columns, &[("w", &[(&A, 0.0)]), ("x", &[(&A, 1.0)])]);
        assert_eq!(shown(&gone), ["w/a_total 0", "x/a_total 1", "x/b stale", "y/a_total stale"]);
        let after = row(&mut columns, &[("w", &[(&A, 0.0)]), ("x", &[(&A, 1.0)])]);
        assert_eq!(shown(&after), ["w/a_total 0", "x/a_total 1"]);
        let still = row(&mut columns, &[("w", &[(&A, 0.0)]), ("x", &[(&A, 1.0)])]);
        assert!(Arc::ptr_eq(&after.schema, &still.schema));
        assert!(shown(&row(&mut columns, &[])).iter().all(|line| line.ends_with("stale")));
    }
}
