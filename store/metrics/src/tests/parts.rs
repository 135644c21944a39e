//! Rows of some columns of a schema answer, are sealed and are read as those of a schema that has these columns alone.

use weir_model::metric::ChosenColumns;

use super::extras::batches_with_extras;
use super::next_head::{answers, files};
use super::*;

/// Neighbouring columns of a batch, as a part of its schema and as a schema of their own.
fn some(batch: &MetricBatch, (first, count): (usize, usize)) -> [MetricBatch; 2] {
    let width = batch.schema.series.len();
    let first = first % width;
    let columns = first..width.min(first + 1 + count);
    let mut chosen = ChosenColumns::new(columns.start as u32..columns.end as u32);
    let row = |row: &MetricRow| MetricRow {
        extras: row.extras.as_ref().and_then(|extras| chosen.of(extras)),
        ..MetricRow::new(row.timestamp, row.values[columns.clone()].to_vec())
    };
    let rows: Vec<MetricRow> = batch.rows.iter().map(row).collect();
    let own = Schema::new(batch.schema.series[columns.clone()].to_vec(), batch.schema.families.clone());
    [Schema::part(&batch.schema, columns), own].map(|schema| {
        let (target, schema) = (batch.target.clone(), Arc::new(schema));
        MetricBatch { target, schema, rows: rows.clone() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_part_of_a_schema_is_as_a_schema_of_its_own(
        batches in batches_with_extras(),
        // Which columns of which batch.
        sent in proptest::collection::vec((0..12_usize, (0..5_usize, 0..5_usize)), 1..16),
        span in (-60_i64..4000, 0..5000_i64),
        matchers in matchers(),
    ) {
        let engine = MetricsEngine::default();
        let select = MetricSelect { start_ms: span.0, end_ms: span.0 + span.1, ..all("t", matchers) };
        let [mut parts, mut alone] = [(); 2].map(|()| Arc::new(engine.head()));
        for round in sent.chunks(6) {
            [parts, alone] = [parts, alone].map(|before| Arc::new(engine.next_head(&before)));
            for (at, columns) in round {
                let [part, own] = some(&batches[at % batches.len()], *columns);
                insert(&parts, "t", part);
                insert(&alone, "t", own);
            }
            for select in [&select, &all("t", Vec::new())] {
                prop_assert_eq!(answers(&[&parts], select), answers(&[&alone], select));
            }
            prop_assert_eq!(files(&parts), files(&alone));
            prop_assert_eq!(parts.records(), alone.records());
        }
    }
}

#[test]
fn parts_make_no_tables() {
    let series: Vec<Labels> = (0..100).map(|i| Labels::from_pairs([(NAME, "up"), ("i", &*i.to_string())])).collect();
    let whole = Arc::new(Schema::new(series, Vec::new()));
    let engine = MetricsEngine::default();
    let head = engine.head();
    let part = |first: usize, at: i64| {
        let rows = vec![row(at, &vec![at as f64; 100 - first])];
        MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::part(&whole, first..100)), rows }
    };
    insert(&head, "t", part(1, 0));
    let before = head.bytes();
    (1..90).for_each(|at| insert(&head, "t", part(at, at as i64)));
    let each = (head.bytes() - before) / 89;
    assert!(each < 100 * 8 + 200, "{each} bytes a row");
    // The first column has none of these rows.
    let select = all("t", Vec::new());
    let found = head.select(&select).unwrap();
    assert_eq!(found.iter().count(), 99);
    let next = engine.next_head(&head);
    assert!(next.knows_as(&head));
}
