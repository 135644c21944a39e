//! What evaluations hold: bounded in bytes, given back on the way and at the end.

use std::sync::Arc;

use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::select::MemoryBudget;

use super::MemoryReader;
use crate::{Engine, Request};

/// 100 series of 100 samples, 15 s apart: a vector over all of their times has 80 KB of values.
fn store() -> MemoryReader {
    let mut store = MemoryReader::default();
    for series in 0..100 {
        let labels = Labels::from_pairs([("__name__", "hits"), ("pod", &format!("{series}"))]);
        (0..100).for_each(|i| store.push(&labels, i * 15_000, i as f64));
    }
    let labels = Labels::from_pairs([("__name__", "sizes")]);
    let positive = Buckets { spans: vec![Span { offset: 0, length: 100 }], counts: vec![1.0; 100] };
    let own = Histogram {
        schema: 3,
        reset: ResetHint::NotReset,
        is_integer: true,
        count: 100.0,
        sum: 100.0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive,
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    };
    (0..100).for_each(|i| store.push_histogram(&labels, i * 15_000, Arc::new(own.clone())));
    store
}

/// What came out, and what was held at the end, before it was given back.
fn ask(query: &str, bytes_max: u64) -> (Result<usize, String>, u64) {
    let (store, budget) = (store(), MemoryBudget::new(bytes_max));
    let request = Request {
        scope: weir_model::scope::Scope::of("t"),
        query: query.into(),
        start_ms: 0,
        end_ms: 99 * 15_000,
        step_ms: 15_000,
        lookback_ms: 300_000,
    };
    let engine = Engine { reader: &store, budget: &budget };
    let answer = engine.query(&request).map_err(|error| error.to_string());
    let rows = answer.map(|answer| match answer.output {
        crate::Output::Matrix(rows) => rows.len(),
        other => panic!("{other:?}"),
    });
    (rows, budget.held())
}

#[test]
fn a_query_holds_its_widest_moment_and_not_the_sum_of_all() {
    let vector = 100 * 100 * 8;
    let (rows, held) = ask("hits", 1 << 20);
    assert_eq!(rows, Ok(100));
    assert!((3 * vector..6 * vector).contains(&held), "{held}: values, and points with their times");
    // 40 vectors one after the other; together they would be six times the limit.
    let chain = vec!["hits"; 40].join(" + ");
    let (rows, _) = ask(&chain, 1 << 20);
    assert_eq!(rows, Ok(100), "what an operator has consumed is given back");
    // The same vectors at once: each waits for all that stand to its right.
    let nested = (0..20).fold("hits".to_owned(), |inner, _| format!("hits + ({inner})"));
    let (rows, held) = ask(&nested, 1 << 20);
    let error = rows.unwrap_err();
    assert!(error.contains("1048576 bytes of memory") && error.contains("query.query_memory_max"), "{error}");
    assert!(held <= 1 << 20, "{held}");
}

#[test]
fn what_would_be_wide_is_refused_before_it_is_made() {
    for query in [
        // 100 series × 1.5 million steps of 1 ms.
        "max_over_time(hits[1500s:1ms])",
        "hits + on (pod) hits",
        "vector(1) + on() group_right() (hits @ 1000)",
        "count_values(\"v\", hits)",
        "sum by (pod) (rate(hits[5m]))",
    ] {
        let (rows, held) = ask(query, 100_000);
        let error = rows.unwrap_err();
        assert!(error.contains("query.query_memory_max"), "{query}: {error}");
        assert!(held <= 100_000, "{query}: {held}");
    }
}

#[test]
fn more_samples_than_a_query_may_hold_are_folded() {
    // 10,000 samples take 160,000 bytes, the vector over them 80,000.
    for (query, rows, bytes_max) in [
        ("count(hits) + count(hits)", 1, 20_000),
        ("sum(rate(hits[5m]))", 1, 20_000),
        ("max(hits * 2) > 1", 1, 20_000),
        ("avg by (pod) (hits{pod=~\"1.\"})", 10, 100_000),
        ("absent(hits)", 0, 20_000),
        ("max(max_over_time(rate(hits[1m])[5m:15s]))", 1, 20_000),
        ("count_values(\"v\", hits > 97)", 2, 20_000),
        ("stddev(-abs(hits @ end()))", 1, 20_000),
    ] {
        let (found, held) = ask(query, bytes_max);
        assert_eq!(found, Ok(rows), "{query}");
        assert!(held <= bytes_max, "{query}: {held}");
    }
}

/// A histogram takes 1 KB, and stands at 15 steps of a second.
#[test]
fn histograms_are_made_once_for_equal_steps_and_within_the_budget() {
    for query in [
        "count_over_time(sizes[1485s:1s])",
        "count_over_time((sizes * 2)[1485s:1s])",
        "count_over_time((2 * sizes / 3)[1485s:1s])",
        "count_over_time((-sizes)[1485s:1s])",
    ] {
        assert_eq!(ask(query, 500_000).0, Ok(1), "{query}: 100 of them");
        let error = ask(query, 100_000).0.unwrap_err();
        assert!(error.contains("query.query_memory_max"), "{query}: {error}");
    }
    // Another one at each of 1485 steps.
    for query in [
        "count_over_time((sizes * time())[1485s:1s])",
        "count_over_time((time() * sizes)[1485s:1s])",
        "count_over_time((sizes smoothed)[1485s:1s])",
    ] {
        let (rows, held) = ask(query, 1 << 20);
        let error = rows.expect_err(query);
        assert!(error.contains("query.query_memory_max") && held <= 1 << 20, "{query}: {error} {held}");
        assert_eq!(ask(query, 4 << 20).0, Ok(1), "{query}");
    }
}
