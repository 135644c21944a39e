//! A series counts once, whatever holds it, and only where it may be seen.

use weir_model::select::{MemoryBudget, ReadError};

use super::*;

/// A series of each instance.
fn instances(names: &[&str]) -> MetricBatch {
    let pairs: Vec<[(&str, &str); 2]> = names.iter().map(|name| [(NAME, "up"), ("instance", *name)]).collect();
    let series: Vec<&[(&str, &str)]> = pairs.iter().map(|pairs| &pairs[..]).collect();
    batch(&[("job", "j")], &series, vec![row(1000, &vec![1.0; names.len()])])
}

#[test]
fn a_series_of_head_and_block_counts_once_and_within_its_scope() {
    let engine = MetricsEngine::default();
    let sealed = Arc::new(engine.head());
    insert(&sealed, "t", instances(&["a", "b"]));
    insert(&sealed, "u", instances(&["z"]));
    let blocks = sealed.build().unwrap().iter().map(|built| open(&engine, built)).collect();
    let head = Arc::new(engine.head());
    insert(&head, "t", instances(&["b", "c"]));
    let reader = MetricsReader::new(Arc::new(Fixed { blocks, heads: vec![head] }));
    let count = |select: &MetricSelect| reader.cardinality(select, &NoBudget).unwrap().value;

    let found = count(&all("t", Vec::new()));
    assert_eq!((found.series, found.pairs()), (3, 5));
    assert_eq!(found.labels["instance"], ["a", "b", "c"].map(|name| (name.to_owned(), 1)).into());
    assert_eq!((&found.labels[NAME], &found.tenants), (&[("up".to_owned(), 3)].into(), &[("t".to_owned(), 3)].into()));
    assert_eq!(found.targets[&("j".to_owned(), "b".to_owned())], 1);
    assert_eq!(count(&all("t", vec![Matcher::equal("instance", "b")])).series, 1);
    assert_eq!(count(&all("u", Vec::new())).series, 1);

    let visible = Visible::any_of(vec![vec![Matcher::equal("instance", "c")]]);
    let scope = Scope::from(TenantScope { tenant: "t".into(), visible });
    let part = count(&MetricSelect { scope, ..all("t", Vec::new()) });
    assert_eq!((part.series, part.labels["instance"].keys().map(String::as_str).collect::<Vec<_>>()), (1, vec!["c"]));
    let before = MetricSelect { end_ms: 999, ..all("t", Vec::new()) };
    assert_eq!(count(&before).series, 0);

    let budget = MemoryBudget::new(100);
    assert!(matches!(reader.cardinality(&all("t", Vec::new()), &budget), Err(ReadError::Budget { .. })));
    assert_eq!(budget.held(), 0);
}
