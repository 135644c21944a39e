//! Who wants the newest sample of each series gets the one that reading all of them ends with, and no block is read for one that a
//! head has newer.

use proptest::{prop_assert, prop_assert_eq};
use weir_blocks::hidden::{Hidden, Horizon, Periods};
use weir_model::select::SeriesCursor;

use super::extras::batches_with_extras;
use super::hidden::deletion;
use super::*;

struct Kept(i64);

impl Periods for Kept {
    fn period(&self, _: &str, _: &Labels) -> Option<i64> {
        Some(self.0)
    }

    fn shortest(&self, _: &str) -> Option<i64> {
        Some(self.0)
    }
}

struct Expiring(Fixed, Option<Horizon>);

impl Views<MetricsEngine> for Expiring {
    fn views(&self) -> Vec<PartitionView<MetricsEngine>> {
        self.0.views()
    }

    fn horizon(&self) -> Option<Horizon> {
        self.1.clone()
    }
}

/// Downsampled to so many seconds.
fn coarser(engine: &MetricsEngine, built: &BuiltBlock, resolution: u32) -> BuiltBlock {
    let done = engine.downsample(&open(engine, built).block, &|_: &str| resolution).unwrap();
    done.map_or_else(|| built.clone(), |mut blocks| blocks.remove(0))
}

/// The last sample of each series, bit for bit, and how many were given.
fn last(mut cursor: Box<dyn SeriesCursor + '_>) -> (Plain, usize) {
    let (mut found, mut given, mut series) = (Plain::new(), 0, Series::default());
    while cursor.next(&mut series).unwrap() {
        given += series.timestamps.len();
        let sample = (*series.timestamps.last().unwrap(), series.values.last().unwrap().to_bits());
        assert!(found.insert(series.labels.clone(), vec![sample]).is_none(), "{} twice", series.labels);
    }
    assert_eq!(cursor.coverage().missing, Vec::<String>::new());
    (found, given)
}

/// Series that are there, and those whose newest of all samples says so.
fn there(reader: &MetricsReader, select: &MetricSelect) -> (Vec<Labels>, Vec<Labels>) {
    let (mut given, mut expected, mut series) = (Vec::new(), Vec::new(), Series::default());
    let coverage = reader.present(select, &NoBudget, &mut |labels| {
        given.push(labels.clone());
        Ok(())
    });
    let mut cursor = reader.cursor(select, &NoBudget).unwrap();
    while cursor.next(&mut series).unwrap() {
        expected.extend(series.is_present().then(|| series.labels.clone()));
    }
    assert_eq!(coverage.unwrap(), cursor.coverage());
    (given, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_there_is_what_the_newest_of_all_says(
        batches in batches_with_extras(),
        parts in (0..12_usize, 0..12_usize),
        coarse in 0..3_u32,
        span in (-60_i64..4000, 0..5000_i64),
        matchers in matchers(),
    ) {
        let engine = MetricsEngine::default();
        let (first, second) = (parts.0.min(parts.1).min(batches.len()), parts.0.max(parts.1).min(batches.len()));
        let head = |batches: &[MetricBatch]| {
            let head = engine.head();
            batches.iter().for_each(|batch| insert(&head, "t", batch.clone()));
            head
        };
        let mut blocks = Vec::new();
        for (batches, coarse) in [(&batches[..first], coarse), (&batches[first..second], 0)] {
            blocks.extend(head(batches).build().unwrap().iter().map(|built| open(&engine, &coarser(&engine, built, coarse))));
        }
        let reader = MetricsReader::new(Arc::new(Fixed { blocks, heads: vec![Arc::new(head(&batches[second..]))] }));
        let select = MetricSelect { start_ms: span.0, end_ms: span.0 + span.1, ..all("t", matchers) };
        let (given, expected) = there(&reader, &select);
        prop_assert_eq!(given, expected);
    }

    #[test]
    fn the_newest_is_the_last_of_all(
        batches in batches(),
        parts in (0..12_usize, 0..12_usize),
        coarse in 0..3_u32,
        span in (-60_i64..4000, 0..5000_i64),
        deleted in proptest::option::of((-60_i64..4000, 1..3000_i64)),
        now in proptest::option::of(0..6000_i64),
    ) {
        let engine = MetricsEngine::default();
        let (first, second) = (parts.0.min(parts.1).min(batches.len()), parts.0.max(parts.1).min(batches.len()));
        let head = |batches: &[MetricBatch]| {
            let head = engine.head();
            batches.iter().for_each(|batch| insert(&head, "t", batch.clone()));
            head
        };
        let pod = vec![Matcher::new("pod", MatchOp::Regex, "a|").unwrap()];
        let hidden = deleted.map_or_else(Hidden::default, |(start, length)| Hidden::by(vec![deletion("t", vec![pod], start, start + length)]));
        let mut blocks = Vec::new();
        for (batches, coarse) in [(&batches[..first], coarse), (&batches[first..second], 0)] {
            blocks.extend(head(batches).build().unwrap().iter().map(|built| BlockView { hidden: hidden.clone(), ..open(&engine, &coarser(&engine, built, coarse)) }));
        }
        let horizon = now.map(|now| Horizon { now: now * 1_000_000, periods: Arc::new(Kept(1_000_000_000)) });
        let fixed = Fixed { blocks, heads: vec![Arc::new(head(&batches[second..]))] };
        let reader = MetricsReader::new(Arc::new(Expiring(fixed, horizon)));
        let select = MetricSelect { start_ms: span.0, end_ms: span.0 + span.1, ..all("t", Vec::new()) };
        let (expected, whole) = last(reader.cursor(&select, &NoBudget).unwrap());
        let (found, given) = last(reader.newest(&select, &NoBudget).unwrap());
        prop_assert_eq!(&found, &expected);
        // Of an older row of a head, which is not read, none knows that it follows an aggregate that reaches into the range.
        let reaching = if coarse > 0 { found.len() } else { 0 };
        prop_assert!(given <= whole + reaching, "{} of {}", given, whole);
        let (given, expected) = there(&reader, &select);
        prop_assert_eq!(given, expected);
    }
}

/// Adds up what is read.
#[derive(Default)]
struct Read {
    samples: AtomicU64,
    bytes: AtomicU64,
}

impl Budget for Read {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.samples.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, bytes: u64) -> Result<(), ReadError> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_block_is_not_read_for_what_a_head_has_newer() {
    let engine = MetricsEngine::default();
    let scrapes = |from: i64| {
        let head = engine.head();
        for at in from..from + 10 {
            insert(&head, "t", batch(&[], &[&[(NAME, "up")], &[(NAME, "cpu")]], vec![row(at, &[at as f64, 2.0])]));
        }
        head
    };
    let sealed = scrapes(0);
    let built = sealed.build().unwrap();
    let read = |heads: Vec<Arc<MetricsHead>>| {
        let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![open(&engine, &built[0])], heads }));
        let budget = Read::default();
        let (found, _) = last(reader.newest(&all("t", Vec::new()), &budget).unwrap());
        let newest: Vec<i64> = found.values().map(|samples| samples[0].0).collect();
        let counting = Read::default();
        let mut there = 0;
        let mut take = |_: &Labels| {
            there += 1;
            Ok(())
        };
        reader.present(&all("t", Vec::new()), &counting, &mut take).unwrap();
        assert_eq!(
            (there, counting.bytes.into_inner()),
            (newest.len(), budget.bytes.load(Ordering::Relaxed)),
            "the same is read"
        );
        (newest, budget.samples.into_inner(), budget.bytes.into_inner() > 0)
    };
    assert_eq!(read(vec![Arc::new(scrapes(10))]), (vec![19, 19], 2, false));
    assert_eq!(read(Vec::new()), (vec![9, 9], 20, true));
    // The same millisecond in both: the block's stays.
    assert!(read(vec![Arc::new(scrapes(0))]).2);
}
