//! Merges and rewrites of series that take more memory than they may: what comes of them, and what counts.

use std::sync::Arc;

use weir_blocks::StoreError;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine};
use weir_blocks::hidden::Hidden;
use weir_model::histogram::{Buckets, Histogram, Span};
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::metric::{Exemplar, Family, MetricKind};
use weir_model::select::{NoBudget, Series, read_series};
use weir_model::wire::Kind;

use super::memory_tests::{all, block, reader};
use super::samples::Samples;
use super::writer::{BlockWriter, Families};
use super::{MetricsBlock, MetricsEngine};

/// Half of them histograms of 1.6 kB where `is_wide`; a start and an exemplar each.
fn long(first: i64, count: i64, is_wide: bool) -> Arc<MetricsBlock> {
    let histogram = |at: i64| Histogram {
        count: at as f64,
        positive: Buckets { spans: vec![Span { offset: 0, length: 200 }], counts: vec![at as f64; 200] },
        ..Histogram::empty(0)
    };
    let wide = |i: usize| {
        let of = |at: i64| (at as u32, Arc::new(histogram(first + at + i as i64)));
        (0..count).step_by(2).map(of).collect()
    };
    let exemplar = |at: i64| Exemplar { labels: Labels::EMPTY, value: at as f64, timestamp: at * 1_000_000 };
    block(3, |i| Samples {
        timestamps: (first..first + count).collect(),
        values: (first..first + count).map(|at| (at as f64).sqrt()).collect(),
        histograms: if is_wide { wide(i) } else { Vec::new() },
        starts: vec![first - 1; count as usize],
        exemplars: vec![exemplar(first), exemplar(first + count - 1)],
        decoded: 0,
    })
}

/// All series of some blocks, each series of each as it is there.
fn contents(blocks: &[Arc<MetricsBlock>]) -> Vec<Vec<Series>> {
    let of = |block: &Arc<MetricsBlock>| {
        read_series(&reader(vec![Arc::clone(block)], Vec::new()), &all(i64::MIN, i64::MAX), &NoBudget)
    };
    blocks.iter().map(|block| of(block).unwrap().0.value).collect()
}

fn opened(built: &[BuiltBlock]) -> Vec<Arc<MetricsBlock>> {
    let open = |built: &BuiltBlock| {
        let block = MetricsEngine::default().open(Arc::new(MemoryBlob::new("b", built.data.encode(Kind::Metrics)))).unwrap();
        MetricsEngine::default().verify(&block, &built.summary).unwrap();
        Arc::new(block)
    };
    built.iter().map(open).collect()
}

fn merged(blocks: &[Arc<MetricsBlock>], without: &Hidden, bytes_max: u64) -> Result<Vec<BuiltBlock>, StoreError> {
    super::merge::merge_without(
        blocks,
        (without, &mut 0),
        super::writer::Resolutions::new(),
        (&super::MetricsCounters::default(), bytes_max),
    )
}

#[test]
fn a_series_that_a_merge_may_not_hold_goes_on_in_the_next_block() {
    for (is_wide, count, bytes_max) in [(true, 200, 256 << 10), (false, 20_000, 1 << 20)] {
        let blocks = [long(0, count, is_wide), long(count, count, is_wide)];
        let whole = opened(&merged(&blocks, &Hidden::default(), 1 << 30).unwrap());
        let built = merged(&blocks, &Hidden::default(), bytes_max).unwrap();
        let pieces = opened(&built);
        assert!(whole.len() == 1 && (2..=16).contains(&pieces.len()), "{} pieces", pieces.len());
        let mut together: Vec<Series> = Vec::new();
        for series in contents(&pieces).into_iter().flatten() {
            let Some(own) = together.iter_mut().find(|own| own.labels == series.labels) else {
                together.push(series);
                continue;
            };
            assert!(own.timestamps.last() < series.timestamps.first(), "pieces ascend");
            let before = own.timestamps.len() as u32;
            own.timestamps.extend(series.timestamps);
            own.values.extend(series.values);
            own.histograms.extend(series.histograms.into_iter().map(|(at, histogram)| (at + before, histogram)));
            own.starts.extend(series.starts);
        }
        assert_eq!(together, contents(&whole)[0]);
        let exemplars = |blocks: &[Arc<MetricsBlock>]| {
            blocks.iter().flat_map(|block| block.extras().exemplars.clone()).map(|entry| entry.records).sum::<u64>()
        };
        assert_eq!((exemplars(&pieces), exemplars(&whole)), (12, 12));

        // The same less what is deleted of it.
        let hidden = Hidden::by(vec![super::tests::hidden::deletion("t", Vec::new(), count / 2, count * 3 / 2)]);
        let left = merged(&blocks, &hidden, bytes_max).unwrap();
        assert_eq!(left.iter().map(|built| built.summary.records).sum::<u64>(), 3 * count as u64);
    }
    // Less than one block's samples take of themselves.
    let error = merged(&[long(0, 20_000, false)], &Hidden::default(), 100 << 10).err().unwrap().to_string();
    assert!(error.contains("may take 102400: raise aggregator.compaction_memory_max"), "{error}");
}

/// Blocks of which a series has more samples than a merge may hold at once.
const SPLIT: (i64, u64) = (20_000, 1 << 20);

#[test]
fn metadata_goes_with_what_it_tells_of_where_a_merge_was_split() {
    let (count, bytes_max) = SPLIT;
    let told = |first: i64, help: &str| {
        let mut writer = BlockWriter::default();
        let of = |count: i64| Samples {
            timestamps: (first..first + count).collect(),
            values: (first..first + count).map(|at| (at as f64).sqrt()).collect(),
            ..Samples::default()
        };
        writer.push("t", &Labels::from_pairs([(NAME, "long")]), &of(count));
        writer.push("t", &Labels::from_pairs([(NAME, "short")]), &of(10));
        let family = |name: &str| {
            (name.to_owned(), Family { name: name.into(), kind: MetricKind::Gauge, help: help.into(), ..Family::default() })
        };
        let families = Families::from([("t".to_owned(), ["long", "short"].map(family).into())]);
        opened(&writer.finish(&families)).remove(0)
    };
    let merged = opened(&merged(&[told(0, "old"), told(count, "new")], &Hidden::default(), bytes_max).unwrap());
    assert!(merged.len() > 1, "it is split");
    let matcher = Matcher::new(NAME, MatchOp::Equal, "short").unwrap();
    let hidden = Hidden::by(vec![super::tests::hidden::deletion("t", vec![vec![matcher]], 0, 10 * count)]);
    let rewritten = |block: &Arc<MetricsBlock>| {
        let limits = (&super::MetricsCounters::default(), 1 << 30);
        super::merge::rewrite(block, &hidden, limits).unwrap().map_or_else(|| vec![Arc::clone(block)], |built| opened(&built))
    };
    let left: Vec<Family> = merged
        .iter()
        .flat_map(rewritten)
        .flat_map(|block| block.families().get("t").cloned().unwrap_or_default().into_values())
        .collect();
    let names: Vec<_> = left.iter().map(|own| (own.name.as_str(), own.help.as_str())).collect();
    assert_eq!(names, [("long", "new")]);
}

#[test]
fn a_merge_that_is_not_kept_dropped_nothing() {
    let (count, bytes_max) = SPLIT;
    let counters = super::MetricsCounters::default();
    let blocks = [long(0, count, false), long(0, count, false)];
    let built = super::merge::merge(&blocks, (&counters, bytes_max)).unwrap();
    assert!(built.len() >= blocks.len() && counters.repeated.get() == 0);
    let built = super::merge::merge(&blocks, (&counters, 1 << 30)).unwrap();
    assert_eq!((built.len(), counters.repeated.get()), (1, 3 * count as u64));
}

/// Two series; how many blocks a rewrite makes that may hold so much of one.
fn pieces_of(counts: [i64; 2], bytes_max: u64) -> usize {
    let block = block(2, |i| Samples {
        timestamps: (0..counts[i]).collect(),
        values: (0..counts[i]).map(|at| (at as f64).sqrt()).collect(),
        ..Samples::default()
    });
    merged(&[block], &Hidden::default(), bytes_max).unwrap().len()
}

#[test]
fn room_of_the_series_before_makes_no_pieces() {
    const BYTES_MAX: u64 = 990_000;
    assert_eq!(pieces_of([10, 15_000], BYTES_MAX), 1);
    assert_eq!(pieces_of([10_000, 15_000], BYTES_MAX), 1);
    assert_eq!(pieces_of([10_000, 20_000], BYTES_MAX), 2);
}

#[test]
fn aggregates_count_for_the_memory_of_a_series() {
    const STEP_MS: i64 = 300_000;
    let block = block(1, |_| Samples {
        timestamps: (0..10_000).map(|at| at * STEP_MS).collect(),
        values: (0..10_000).map(|at| (at as f64).sqrt()).collect(),
        ..Samples::default()
    });
    let downsampled = |seconds: u32| {
        let limits = (&super::MetricsCounters::default(), 1 << 20);
        super::merge::downsample(&block, &|_| seconds, limits).unwrap().unwrap()
    };
    // 10,000 aggregates, of some 300 bytes each.
    let pieces = downsampled(300);
    assert!(pieces.len() > 1, "{} pieces", pieces.len());
    assert_eq!(pieces.iter().map(|built| built.summary.records).sum::<u64>(), 10_000);
    assert_eq!(downsampled(86_400).len(), 1);
}
