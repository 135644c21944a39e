//! Series as they are sent: relabelled and encoded once for each schema of a target, not with each sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::memory::allocation;
use weir_model::metric::{Family, MetricBatch, Schema};
use weir_model::varint::put_varint;

use super::config::Message;
use crate::scrape::relabel::{self, Rule};

/// What a shard remembers of series; beyond it all is forgotten, and what is in use is back after one scrape.
pub(super) const SERIES_BYTES_MAX: usize = 16 << 20;

/// Suffixes of series that their family's name does not have.
const SUFFIXES: [&str; 7] = ["_total", "_bucket", "_sum", "_count", "_created", "_gsum", "_gcount"];

/// One column.
pub(super) struct Series {
    pub labels: Labels,
    /// Label fields of a time series of 1.0; 2.0 numbers texts anew in each request.
    pub encoded: Box<[u8]>,
    /// Of the schema's families.
    pub family: Option<u32>,
}

/// All columns of a schema that is no part of another; `None` for what relabelling drops.
pub(super) struct Table {
    /// Its address is the key, so it must not be given to another.
    schema: Arc<Schema>,
    pub series: Vec<Option<Series>>,
}

/// Tables by target and schema.
pub(super) struct KnownSeries {
    rules: Vec<Rule>,
    message: Message,
    tables: HashMap<(Labels, usize), Arc<Table>>,
    bytes: usize,
}

impl KnownSeries {
    pub fn new(rules: Vec<Rule>, message: Message) -> Self {
        Self { rules, message, tables: HashMap::new(), bytes: 0 }
    }

    /// The table of a batch's columns, and which of it is their first.
    pub fn of(&mut self, batch: &MetricBatch) -> (Arc<Table>, usize) {
        let (schema, first) = batch.schema.whole();
        let key = (batch.target.clone(), Arc::as_ptr(schema).addr());
        if let Some(table) = self.tables.get(&key) {
            return (Arc::clone(table), first);
        }
        let families: HashMap<&str, u32> = schema.families.iter().map(|family| family.name.as_str()).zip(0_u32..).collect();
        let series = schema.series.iter().map(|own| self.series(&batch.target, own, &families)).collect();
        let table = Arc::new(Table { schema: Arc::clone(schema), series });
        let bytes = table.memory();
        if self.bytes + bytes > SERIES_BYTES_MAX {
            (self.tables, self.bytes) = (HashMap::new(), 0);
        }
        if bytes <= SERIES_BYTES_MAX {
            self.bytes += bytes;
            self.tables.insert(key, Arc::clone(&table));
        }
        (table, first)
    }

    fn series(&self, target: &Labels, own: &Labels, families: &HashMap<&str, u32>) -> Option<Series> {
        let family = family_of(own.get("__name__"), families);
        let mut labels = target.merged(own);
        if !self.rules.is_empty() {
            let mut pairs: BTreeMap<String, String> = labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
            if !relabel::apply(&self.rules, &mut pairs) {
                return None;
            }
            labels = Labels::from_pairs(pairs);
        }
        if labels.is_empty() {
            return None;
        }
        let mut encoded = Vec::new();
        if self.message == Message::One {
            labels.iter().for_each(|(name, value)| put_label(&mut encoded, name, value));
        }
        Some(Series { labels, encoded: encoded.into(), family })
    }
}

impl Table {
    fn memory(&self) -> usize {
        let own = |series: &Series| series.labels.memory() + allocation(series.encoded.len());
        let series: usize = self.series.iter().flatten().map(own).sum();
        self.schema.memory() + allocation(self.series.len() * size_of::<Option<Series>>()) + series
    }

    pub fn family(&self, series: &Series) -> Option<&Family> {
        self.schema.families.get(series.family? as usize)
    }
}

fn family_of(name: &str, families: &HashMap<&str, u32>) -> Option<u32> {
    let shorter = || SUFFIXES.iter().find_map(|suffix| families.get(name.strip_suffix(suffix)?));
    families.get(name).or_else(shorter).copied()
}

/// A field 1 that is a label.
pub(super) fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let text = |text: &str| 1 + varint_bytes(text.len() as u64) + text.len();
    out.push(1 << 3 | 2);
    put_varint(out, (text(name) + text(value)) as u64);
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

/// A field that has a length.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn varint_bytes(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use weir_model::metric::MetricRow;
    use weir_model::yaml;

    use super::*;

    fn batch(series: usize) -> MetricBatch {
        let own = |i: usize| Labels::from_pairs([("__name__", "hits_total".to_owned()), ("path", format!("/{i}"))]);
        let family = Family { name: "hits".into(), ..Family::default() };
        let schema = Arc::new(Schema::new((0..series).map(own).collect(), vec![family]));
        let target = Labels::from_pairs([("instance", "a:1"), ("job", "shop")]);
        MetricBatch { target, schema, rows: vec![MetricRow::new(0, vec![0.0; series])] }
    }

    #[test]
    fn series_are_relabelled_once() {
        let rules = "[{source_labels: [path], regex: /1, action: drop}, {target_label: site, replacement: b}]";
        let mut known = KnownSeries::new(yaml::parse(rules).unwrap(), Message::One);
        let batch = batch(3);
        let (table, _) = known.of(&batch);
        let text = |at: usize| table.series[at].as_ref().map(|own| own.labels.to_string());
        assert_eq!(text(0).unwrap(), r#"{__name__="hits_total", instance="a:1", job="shop", path="/0", site="b"}"#);
        assert!(text(1).is_none() && text(2).is_some());
        assert_eq!(table.family(table.series[0].as_ref().unwrap()).unwrap().name, "hits");
        assert!(Arc::ptr_eq(&table, &known.of(&batch).0));
        let part = MetricBatch { schema: Arc::new(Schema::part(&batch.schema, 1..3)), ..batch };
        let (of_part, first) = known.of(&part);
        assert!(Arc::ptr_eq(&table, &of_part) && first == 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = KnownSeries::new(Vec::new(), Message::One);
        let mut held = Vec::new();
        for _ in 0..40 {
            let batch = batch(4000);
            known.of(&batch);
            assert!(known.bytes <= SERIES_BYTES_MAX, "{}", known.bytes);
            held.push(batch);
        }
        assert!(known.tables.len() < held.len());
    }
}
