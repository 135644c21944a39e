//! Puts series together into a block. Called by the head when it is sealed, and by merge.
//!
//! Streaming: what it holds is the compressed output and the index, never the samples of more than a group.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use weir_model::label::Labels;
use weir_model::metric::Family;

use super::group::{GroupBuilder, GroupEntry};
use super::postings;
use super::samples::Samples;
use super::schema::{FAMILIES, GROUPS, LEVEL, POSTINGS, PairBuilder, SAMPLES, SERIES, SYMBOLS};
use crate::block::BlockData;
use crate::engine::{BlockSummary, BuiltBlock};
use crate::packed::{packed, put_bytes, put_varint, put_zigzag};

/// Families by tenant and name.
pub(crate) type Families = BTreeMap<String, BTreeMap<String, Family>>;

/// A block in the making.
#[derive(Default)]
pub(crate) struct BlockWriter {
    pairs: PairBuilder,
    tenants: Vec<(String, u32)>,
    /// Pairs of all series, ids of [`PairBuilder`]; `ends` says where each series' pairs end.
    series: Vec<u32>,
    ends: Vec<usize>,
    group: GroupBuilder,
    groups: Vec<GroupEntry>,
    samples: Vec<u8>,
}

impl BlockWriter {
    /// Adds a series with its settled samples; without samples it is left out. Tenants ascend, and the series of each in
    /// [`super::schema::series_order`].
    pub(crate) fn push(&mut self, tenant: &str, labels: &Labels, samples: &Samples) {
        if samples.timestamps.is_empty() {
            return;
        }
        match self.tenants.last_mut() {
            Some((last, count)) if last == tenant => *count += 1,
            _ => self.tenants.push((tenant.to_owned(), 1)),
        }
        self.series.extend(labels.iter().map(|(name, value)| self.pairs.id(name, value)));
        self.ends.push(self.series.len());
        self.group.push(samples);
        if self.group.is_full() {
            self.close_group();
        }
    }

    fn close_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        if group.series == 0 {
            return;
        }
        let start = self.samples.len();
        let (series, samples, first, last) = (group.series, group.samples, group.first, group.last);
        group.finish(&mut self.samples);
        self.groups.push(GroupEntry {
            series_first: self.ends.len() as u32 - series,
            series,
            samples,
            first,
            last,
            bytes: start as u64..self.samples.len() as u64,
            crc: crc32c::crc32c(&self.samples[start..]),
        });
    }

    /// The block; `None` when it has no sample.
    pub(crate) fn finish(mut self, families: &Families) -> Option<BuiltBlock> {
        self.close_group();
        let first = self.groups.iter().map(|group| group.first).min()?;
        let last = self.groups.iter().map(|group| group.last).max()?;
        let records = self.groups.iter().map(|group| group.samples).sum();
        let nanos = |milliseconds: i64| milliseconds.saturating_mul(1_000_000);
        let summary = BlockSummary { first: nanos(first), last: nanos(last), records, raw_bytes: records * 16 };
        let (symbols, places) = self.pairs.finish();
        let lists = sorted_lists(&self.series, &self.ends, &places);
        let sections = vec![
            (SYMBOLS, symbols),
            (SERIES, encode_series(&self.tenants, &lists)),
            (POSTINGS, encode_postings(&lists, places.len())),
            (GROUPS, encode_groups(&self.groups)),
            (FAMILIES, encode_families(families)),
            (SAMPLES, self.samples),
        ];
        Some(BuiltBlock { summary, data: BlockData { sections } })
    }
}

/// The pairs of each series by their places in the dictionary, ascending.
fn sorted_lists(series: &[u32], ends: &[usize], places: &[u32]) -> Vec<Vec<u32>> {
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let mut list: Vec<u32> = series[start..end].iter().map(|id| places[*id as usize]).collect();
            list.sort_unstable();
            start = end;
            list
        })
        .collect()
}

fn encode_series(tenants: &[(String, u32)], lists: &[Vec<u32>]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, tenants.len() as u64);
    for (tenant, count) in tenants {
        put_bytes(&mut raw, tenant.as_bytes());
        put_varint(&mut raw, u64::from(*count));
    }
    for list in lists {
        put_varint(&mut raw, list.len() as u64);
        let mut before = 0;
        for place in list {
            put_varint(&mut raw, u64::from(place - before));
            before = *place;
        }
    }
    packed(&raw, LEVEL)
}

fn encode_postings(lists: &[Vec<u32>], pairs: usize) -> Vec<u8> {
    let mut postings = vec![RoaringBitmap::new(); pairs];
    for (id, list) in (0_u32..).zip(lists) {
        list.iter().for_each(|place| {
            postings[*place as usize].insert(id);
        });
    }
    let mut raw = Vec::new();
    for ids in &mut postings {
        ids.optimize();
        postings::encode(ids, &mut raw);
    }
    packed(&raw, LEVEL)
}

fn encode_groups(groups: &[GroupEntry]) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, groups.len() as u64);
    for group in groups {
        put_varint(&mut raw, u64::from(group.series));
        put_varint(&mut raw, group.samples);
        put_zigzag(&mut raw, group.first);
        put_varint(&mut raw, group.last.wrapping_sub(group.first) as u64);
        put_varint(&mut raw, group.bytes.end - group.bytes.start);
        raw.extend_from_slice(&group.crc.to_le_bytes());
    }
    packed(&raw, LEVEL)
}

fn encode_families(families: &Families) -> Vec<u8> {
    let mut raw = Vec::new();
    put_varint(&mut raw, families.len() as u64);
    for (tenant, families) in families {
        put_bytes(&mut raw, tenant.as_bytes());
        put_varint(&mut raw, families.len() as u64);
        for family in families.values() {
            put_bytes(&mut raw, family.name.as_bytes());
            raw.push(family.kind as u8);
            put_bytes(&mut raw, family.help.as_bytes());
            put_bytes(&mut raw, family.unit.as_bytes());
        }
    }
    packed(&raw, LEVEL)
}
