//! What fills a block to its limits comes back whole: each limit in small.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::samples::Samples;
use super::schema::{SAMPLES, series_order};
use super::writer::{BlockLimits, BlockWriter, Families};
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Head, Position};
use weir_blocks::packed::Cursor;

const SECTION_BYTES: usize = 2000;
const SERIES_SAMPLES: usize = 20;

type Series = (u8, Labels);
type All = BTreeMap<Series, Vec<(i64, u64)>>;

/// Texts of nothing, of a little, and of as much as a section may have.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]{1,3}", 1 => "[a-c]{200,900}", 1 => "ü{1,5}"]
}

fn series() -> impl Strategy<Value = Series> {
    (0..2_u8, prop::collection::vec((text(), text()), 0..8))
        .prop_map(|(tenant, pairs)| (tenant, Labels::from_pairs(pairs.iter().map(|(name, value)| (name, value)))))
}

fn samples() -> impl Strategy<Value = Vec<(i64, u64)>> {
    let time = prop_oneof![4 => 0..10_000_i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let value = prop_oneof![0..9_u64, any::<u64>(), (0..9_u8).prop_map(|number| f64::from(number).to_bits())];
    prop::collection::btree_map(time, value, 1..60).prop_map(|samples| samples.into_iter().collect())
}

fn families() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    prop::collection::vec((0..2_u8, text(), text()), 0..12)
}

fn write(all: &All, families: &Families) -> Vec<BuiltBlock> {
    let limits = BlockLimits { section_bytes: SECTION_BYTES, series_samples: SERIES_SAMPLES };
    let mut writer = BlockWriter::with_limits(limits);
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.0.cmp(&b.0).then_with(|| series_order(&a.1, &b.1)));
    for ((tenant, labels), samples) in sorted {
        let mut own = Samples::default();
        samples.iter().for_each(|(at, bits)| own.push(*at, f64::from_bits(*bits)));
        writer.push(&format!("t{tenant}"), labels, &own);
    }
    writer.finish(families)
}

/// Sections that are read whole are within their limit, or have one series or family.
fn check_sections(built: &BuiltBlock, block: &MetricsBlock) {
    let series: usize = block.tenants().iter().map(|(_, range)| range.len()).sum();
    let families: usize = block.families().values().map(BTreeMap::len).sum();
    for (name, bytes) in built.data.sections.iter().filter(|(name, _)| *name != SAMPLES) {
        let raw = Cursor::new(bytes).varint().unwrap() as usize;
        let things = if *name == "families.1" { families } else { series };
        assert!(raw <= SECTION_BYTES || things == 1, "{raw} bytes of {name} for {things}");
    }
}

fn read(engine: &MetricsEngine, built: &[BuiltBlock]) -> (All, Families) {
    let (mut all, mut families) = (All::new(), Families::new());
    for built in built {
        let block = engine.open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Metrics)))).unwrap();
        engine.verify(&block, &built.summary).unwrap();
        check_sections(built, &block);
        for (tenant, own) in block.families() {
            families.entry(tenant.clone()).or_default().extend(own.clone());
        }
        for entry in block.groups() {
            let group = block.group(entry).unwrap();
            for at in 0..entry.series {
                let id = entry.series_first + at;
                let (tenant, _) = block.tenants().iter().find(|(_, range)| range.contains(&id)).unwrap();
                let mut samples = Samples::default();
                group.read(at as usize, i64::MIN, i64::MAX, &mut samples).unwrap();
                assert!(samples.timestamps.len() <= SERIES_SAMPLES, "{} samples", samples.timestamps.len());
                let key = (tenant[1..].parse().unwrap(), block.make_labels(id));
                let bits = samples.values.iter().map(|value| value.to_bits());
                all.entry(key).or_default().extend(samples.timestamps.iter().copied().zip(bits));
            }
        }
    }
    (all, families)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_series_comes_back_from_blocks_within_their_limits(
        all in prop::collection::btree_map(series(), samples(), 1..20),
        given in families(),
    ) {
        let mut families = Families::new();
        for (tenant, name, help) in given {
            let family = Family { name: name.clone(), kind: MetricKind::Gauge, help, unit: String::new() };
            families.entry(format!("t{tenant}")).or_default().insert(name, family);
        }
        let engine = MetricsEngine::default();
        assert_eq!(read(&engine, &write(&all, &families)), (all, families));
    }
}

/// The target's labels are said once on the wire, and by each series of a head.
#[test]
fn a_section_whose_labels_would_fill_the_memory_is_refused() {
    let head = MetricsEngine::default().head();
    let series: Vec<Labels> = (0..2000).map(|i| Labels::from_pairs([(NAME, format!("m{i}"))])).collect();
    let row = MetricRow::new(1, vec![0.0; series.len()]);
    let schema = Arc::new(Schema::new(series, Vec::new()));
    let target = Labels::from_pairs([("path", "x".repeat(1 << 20))]);
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let section = Section::new(
        SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 },
        MetricBatch { target, schema, rows: vec![row] },
    );
    let error = head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap_err().to_string();
    assert!(error.starts_with("take metrics: labels of 20") && error.ends_with("are above 268435456"), "{error}");
    assert_eq!(head.records(), 0);
}
