//! Sections and groups of any bytes are refused or read, with right checksums around them.

use weir_model::fuzz::Fuzz;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::metric::{Exemplar, Family, MetricBatch, MetricKind, MetricRow, RowExtras, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::chunks::ChunkGroup;
use super::extras_reader::verify_chunk;
use super::group::Group;
use super::samples::Samples;
use super::schema::{EXEMPLARS, HISTOGRAMS, SAMPLES, STARTS};
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Head, Position};
use weir_blocks::packed::plain;
use weir_blocks::testing::MEMORY;

fn built() -> BuiltBlock {
    let head = MetricsEngine::default().head();
    let series: Vec<Labels> =
        (0..40).map(|i| Labels::from_pairs([(NAME, format!("m{}", i % 3)), ("pod", format!("p{i}"))])).collect();
    let value = |at: i64, i: usize| [at as f64, 0.1 * at as f64, f64::from_bits(at as u64 * 77), 1.0][i % 4];
    let rows = (0..6_i64).map(|at| MetricRow::new(at * at * 1_000_000_000, (0..series.len()).map(|i| value(at, i)).collect()));
    let families = vec![Family { name: "m1".into(), kind: MetricKind::Gauge, help: "help".into(), unit: "s".into() }];
    let side = |at: i64| Buckets { spans: vec![Span { offset: -1, length: 2 }], counts: vec![at as f64, 0.5] };
    let histogram = |at: i64| Histogram {
        schema: 3,
        reset: ResetHint::Unknown,
        is_integer: false,
        count: at as f64 + 2.5,
        sum: at as f64,
        zero_threshold: 0.001,
        zero_count: 2.0,
        positive: side(at),
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    };
    let exemplar = |at: i64| Exemplar { labels: Labels::from_pairs([("trace_id", "7")]), value: 0.5, timestamp: at };
    let extras = |at: i64| RowExtras {
        histograms: vec![(3, Arc::new(histogram(at))), (39, Arc::new(histogram(1)))],
        starts: Some((0..40).map(|i| i * 1_000_000_000).collect()),
        exemplars: vec![(5, exemplar(at)), (5, exemplar(at + 1))],
    };
    let rows =
        rows.enumerate().map(|(i, row)| MetricRow { extras: (i > 1).then(|| Box::new(extras(i as i64))), ..row }).collect();
    let batch = MetricBatch { target: Labels::from_pairs([("job", "j")]), schema: Arc::new(Schema::new(series, families)), rows };
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 };
    let section = Section::new(header, batch);
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    head.build().unwrap().remove(0)
}

#[test]
fn sections_and_groups() {
    let built = built();
    let block = MetricsEngine::default().open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Metrics)))).unwrap();
    let entry = block.groups()[0].clone();
    let extras = block.extras();
    let extras = [(HISTOGRAMS, &extras.histograms), (STARTS, &extras.starts), (EXEMPLARS, &extras.exemplars)];
    let extras = extras.map(|(name, entries)| (name, entries[0].clone()));
    let mut target = Fuzz::new("store-metrics").memory(MEMORY);
    for (which, (_, bytes)) in (0_u8..).zip(&built.data.sections) {
        target = target.seed([&[which], &plain(bytes)[..]].concat());
    }
    target.run(move |input| {
        let Some((which, packed)) = input.split_first() else { return };
        let which = usize::from(*which) % built.data.sections.len();
        if built.data.sections[which].0 == SAMPLES {
            let Ok(group) = Group::parse(packed, &entry, block.layout()) else { return };
            (0..entry.series as usize).for_each(|at| drop(group.read(at, i64::MIN, i64::MAX, &mut Samples::default())));
            return;
        }
        if let Some((name, entry)) = extras.iter().find(|(name, _)| *name == built.data.sections[which].0) {
            let Ok(group) = ChunkGroup::parse(packed, entry) else { return };
            group.all().for_each(|(_, chunk)| drop(verify_chunk(name, chunk, 6)));
            return;
        }
        let mut data = built.data.clone();
        data.sections[which].1 = packed.to_vec();
        let engine = MetricsEngine::default();
        let Ok(block) = engine.open(Arc::new(MemoryBlob::new("fuzz", data.encode(Kind::Metrics)))) else { return };
        let _refused = engine.verify(&block, &built.summary);
        for (tenant, range) in block.tenants() {
            range.clone().for_each(|id| drop(block.make_labels(id).to_string()));
            let matchers =
                [Matcher::new("pod", MatchOp::Regex, "p1.*").unwrap(), Matcher::new("job", MatchOp::Equal, "j").unwrap()];
            drop(block.matching(tenant, &matchers));
        }
    });
}
