//! Blocks that are downsampled: what they leave, what readers get of them, and that it stays through merges.

use std::time::Duration;

use weir_model::metric::{Aggregate, is_stale};

use super::*;

const MINUTE: i64 = 60_000;

/// Two tenants with a series each, a sample every half a minute from a minute on, numbers of which every seventh is a reset.
fn built(first: i64, count: i64) -> BuiltBlock {
    let head = MetricsEngine::default().head();
    for tenant in ["bank", "shop"] {
        let schema = Arc::new(Schema::new(vec![Labels::from_pairs([("__name__", "m")])], Vec::new()));
        let value = |i: i64| if i == first + count - 1 { STALE_NAN } else { (i % 7) as f64 };
        let rows = (first..first + count).map(|i| MetricRow::new(i * 30_000_000_000, vec![value(i)])).collect();
        insert(&head, tenant, MetricBatch { target: Labels::EMPTY, schema, rows });
    }
    head.build().unwrap().remove(0)
}

fn downsampled(view: &BlockView<MetricsEngine>, resolution: u32) -> Option<Vec<BuiltBlock>> {
    let of = move |tenant: &str| if tenant == "shop" { resolution } else { 0 };
    MetricsEngine::default().downsample(&view.block, &of).unwrap()
}

fn read(views: &[BlockView<MetricsEngine>], tenant: &str, (start_ms, end_ms): (i64, i64)) -> Series {
    let reader = MetricsReader::new(Arc::new(Fixed { blocks: views.to_vec(), heads: Vec::new() }));
    let select = MetricSelect { start_ms, end_ms, ..all(tenant, Vec::new()) };
    reader.select(&select, &NoBudget).unwrap().value.pop().unwrap_or_default()
}

#[test]
fn one_tenant_is_downsampled_and_the_other_is_not() {
    let engine = MetricsEngine::default();
    let raw = open(&engine, &built(1, 40));
    assert_eq!(raw.summary.resolution, 0);
    let fine = downsampled(&raw, 300).unwrap().remove(0);
    assert_eq!((fine.summary.resolution, fine.summary.records, fine.summary.last), (300, 40 + 4 + 1, raw.summary.last));
    let view = open(&engine, &fine);
    engine.verify(&view.block, &fine.summary).unwrap();
    assert!(downsampled(&view, 300).is_none() && downsampled(&view, 0).is_none(), "its directory says that it is as coarse");
    let bank = read(std::slice::from_ref(&view), "bank", (i64::MIN, i64::MAX));
    assert!(bank.timestamps.len() == 40 && bank.aggregates.is_empty());
    let shop = read(std::slice::from_ref(&view), "shop", (i64::MIN, i64::MAX));
    assert_eq!(shop.timestamps, [5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 19 * MINUTE + 30_000, 20 * MINUTE]);
    assert!(is_stale(shop.values[4]) && shop.histograms.is_empty() && shop.aggregates.len() == 4);
    let values: Vec<f64> = (1..=10).map(|i| f64::from(i % 7)).collect();
    let own = &shop.aggregates[0];
    assert_eq!((own.count, own.sum, own.min, own.max), (10.0, values.iter().sum(), 0.0, 6.0));
    assert_eq!((own.first_ms, own.first, own.last, own.lost, own.resolution_ms), (30_000, 1.0, 3.0, 6.0, 300_000));
    // The last one before a time may be a resolution older, and comes with the range.
    assert_eq!(read(std::slice::from_ref(&view), "shop", (12 * MINUTE, 13 * MINUTE)).timestamps, [10 * MINUTE]);
    assert_eq!(read(std::slice::from_ref(&view), "bank", (12 * MINUTE, 13 * MINUTE)).timestamps.len(), 3);
    // An hour, made of five minutes.
    let coarse = downsampled(&view, 3600).unwrap().remove(0);
    assert_eq!((coarse.summary.resolution, coarse.summary.records), (3600, 42));
    let shop = read(&[open(&engine, &coarse)], "shop", (i64::MIN, i64::MAX));
    let values: Vec<f64> = (1..=39).map(|i| f64::from(i % 7)).collect();
    let own = &shop.aggregates[0];
    assert_eq!((own.count, own.sum, own.lost, own.first_ms), (39.0, values.iter().sum(), 30.0, 30_000));
}

#[test]
fn stretches_that_two_blocks_have_parts_of_become_one_when_they_are_merged() {
    let engine = MetricsEngine::default();
    let views = [(1, 13), (14, 26)].map(|(first, count)| {
        let raw = open(&engine, &built(first, count));
        open(&engine, &downsampled(&raw, 300).unwrap()[0])
    });
    let parts = read(&views, "shop", (i64::MIN, i64::MAX));
    assert_eq!(parts.aggregates.iter().map(|own| own.count).sum::<f64>(), 37.0);
    let merged = engine.merge(&views.clone().map(|view| view.block)).unwrap().remove(0);
    assert_eq!(merged.summary.resolution, 300);
    let whole = read(&[open(&engine, &merged)], "shop", (i64::MIN, i64::MAX));
    assert_eq!(whole.aggregates.iter().map(|own| own.count).sum::<f64>(), 37.0);
    assert!(whole.timestamps.len() <= parts.timestamps.len());
    // With a block that is as it came each sample stays as it is.
    let raw = open(&engine, &built(40, 10));
    let merged = engine.merge(&[Arc::clone(&views[0].block), raw.block]).unwrap().remove(0);
    let mixed = read(&[open(&engine, &merged)], "shop", (i64::MIN, i64::MAX));
    assert_eq!((merged.summary.resolution, mixed.aggregates.len(), mixed.timestamps.len()), (300, 2, 13));
    assert!(downsampled(&open(&engine, &merged), 300).is_some(), "not all of it is as coarse");
}

#[test]
fn a_series_that_ended_in_a_finer_block_is_not_there() {
    let engine = MetricsEngine::default();
    let values = |samples: &[(i64, f64)]| {
        let head = engine.head();
        let schema = Arc::new(Schema::new(vec![Labels::from_pairs([("__name__", "m")])], Vec::new()));
        let rows = samples.iter().map(|(at, value)| MetricRow::new(at * 1_000_000_000, vec![*value])).collect();
        insert(&head, "shop", MetricBatch { target: Labels::EMPTY, schema, rows });
        open(&engine, &head.build().unwrap()[0])
    };
    let coarse = open(&engine, &downsampled(&values(&[(10, 1.0), (200, 2.0)]), 300).unwrap()[0]);
    let at = |views: &[BlockView<MetricsEngine>], seconds: i64| {
        let reader = MetricsReader::new(Arc::new(Fixed { blocks: views.to_vec(), heads: Vec::new() }));
        let select = MetricSelect { start_ms: seconds * 1000, end_ms: 600_000, ..all("shop", Vec::new()) };
        let (mut present, mut newest) = (0, Series::default());
        let counted = reader.present(&select, &NoBudget, &mut |_| {
            present += 1;
            Ok(())
        });
        counted.unwrap();
        let mut cursor = reader.newest(&select, &NoBudget).unwrap();
        let found = cursor.next(&mut newest).unwrap();
        assert_eq!(found && newest.is_present(), present == 1);
        (read(views, "shop", (seconds * 1000, 600_000)).timestamps, present)
    };
    assert_eq!(at(std::slice::from_ref(&coarse), 210), (vec![200_000], 1));
    assert_eq!(at(std::slice::from_ref(&coarse), 500), (vec![200_000], 1), "the next may come a resolution later");
    assert_eq!(at(std::slice::from_ref(&coarse), 501), (vec![], 0));
    for end in [STALE_NAN, 3.0] {
        let views = [coarse.clone(), values(&[(320, end)])];
        assert_eq!(at(&views, 210).0, [200_000, 320_000]);
        assert_eq!(at(&views, 320).0, [200_000, 320_000]);
        assert_eq!(at(&views, 321), (vec![], 0), "what came after it is out of reach");
    }
}

#[test]
fn golden_bytes_of_a_downsampled_block_are_read() {
    let engine = MetricsEngine::default();
    let made = downsampled(&open(&engine, &built(1, 40)), 300).unwrap().remove(0);
    let text: String = made.data.sections.iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    assert_eq!(text, include_str!("../golden_downsampled.txt"), "{text}");
    assert!(text.contains("series.3 ") && !text.contains("series.2 "), "a weir of before does not open it");
}

#[test]
fn what_is_deleted_or_past_its_period_goes_by_the_last_sample_of_a_stretch() {
    use weir_blocks::hidden::{Hidden, Horizon, Periods};
    #[derive(Debug)]
    struct Fixed(i64);
    impl Periods for Fixed {
        fn period(&self, _: &str, _: &Labels) -> Option<i64> {
            Some(self.0)
        }
        fn shortest(&self, _: &str) -> Option<i64> {
            Some(self.0)
        }
    }
    let engine = MetricsEngine::default();
    let view = open(&engine, &downsampled(&open(&engine, &built(1, 40)), 300).unwrap()[0]);
    let nanos = Duration::from_secs(600).as_nanos() as i64;
    let horizon = Horizon { now: 20 * MINUTE * 1_000_000, periods: Arc::new(Fixed(nanos)) };
    let left = engine.rewrite(&view.block, &Hidden::default().with(Some(&horizon))).unwrap().unwrap().remove(0);
    assert_eq!(left.summary.resolution, 300);
    let shop = read(&[open(&engine, &left)], "shop", (i64::MIN, i64::MAX));
    let of = |own: &Aggregate| own.last_ms / MINUTE;
    assert_eq!(shop.aggregates.iter().map(of).collect::<Vec<_>>(), [10, 15, 19]);
}
