//! A head that goes on with the index of the one before answers, and is sealed, as one that has begun with nothing.

use super::extras::batches_with_extras;
use super::*;

/// Of two heads of the same samples, each with the block that it becomes.
pub(super) fn files(head: &MetricsHead) -> Vec<Vec<u8>> {
    head.build().unwrap().iter().map(|built| built.data.encode(Kind::Metrics).to_vec()).collect()
}

/// What a reader of heads says of a select.
pub(super) fn answers(heads: &[&Arc<MetricsHead>], select: &MetricSelect) -> impl PartialEq + std::fmt::Debug + use<> {
    let reader =
        MetricsReader::new(Arc::new(Fixed { blocks: Vec::new(), heads: heads.iter().map(|head| Arc::clone(head)).collect() }));
    let mut there = Vec::new();
    let mut take = |labels: &Labels| {
        there.push(labels.clone());
        Ok(())
    };
    reader.present(select, &NoBudget, &mut take).unwrap();
    (
        there,
        format!("{:?}", reader.select(select, &NoBudget).unwrap().value),
        reader.series(select, &NoBudget).unwrap().value,
        format!("{:?}", reader.exemplars(select, &NoBudget).unwrap().value),
        reader.families(&Scope::of("t"), &NoBudget).unwrap().value,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_answers_as_one_that_begins_with_nothing(
        batches in batches_with_extras(),
        // Which of the batches each head has, from which of two sources and of which of two tenants.
        rounds in proptest::collection::vec(
            proptest::collection::vec((0..12_usize, any::<bool>(), prop_oneof![5 => Just("t"), 1 => Just("u")]), 0..12),
            2..6,
        ),
        span in (-60_i64..4000, 0..5000_i64),
        matchers in matchers(),
    ) {
        let engine = MetricsEngine::default();
        let select = MetricSelect { start_ms: span.0, end_ms: span.0 + span.1, ..all("t", matchers) };
        let (mut before, mut before_anew) = (Arc::new(engine.head()), Arc::new(engine.head()));
        for (number, round) in rounds.into_iter().enumerate() {
            let (next, anew) = (Arc::new(engine.next_head(&before)), Arc::new(engine.head()));
            for (at, source, tenant) in round {
                let mut batch = batches[at % batches.len()].clone();
                let help = format!("as round {} says", number + at);
                let family = Family { name: "up".into(), kind: MetricKind::Gauge, help, unit: String::new() };
                batch.schema = Arc::new(Schema::new(batch.schema.series.clone(), vec![family]));
                let section = section(tenant, if source { "one" } else { "other" }, batch);
                for head in [&next, &anew] {
                    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
                }
                // The one before goes on being asked while there is more in the index.
                prop_assert_eq!(answers(&[&before, &next], &select), answers(&[&before_anew, &anew], &select));
            }
            prop_assert_eq!(answers(&[&next], &all("t", Vec::new())), answers(&[&anew], &all("t", Vec::new())));
            prop_assert_eq!(answers(&[&next], &all("u", Vec::new())), answers(&[&anew], &all("u", Vec::new())));
            prop_assert_eq!(answers(&[&before], &select), answers(&[&before_anew], &select));
            prop_assert_eq!(files(&before), files(&before_anew));
            prop_assert_eq!(next.records(), anew.records());
            (before, before_anew) = (next, anew);
        }
    }
}

/// A scrape of so many series, of one target each hundred.
fn scrape(head: &MetricsHead, targets: std::ops::Range<usize>) {
    for target in targets {
        let series = (0..100).map(|i| Labels::from_pairs([(NAME, format!("requests_{i}_total")), ("pod", format!("{target}"))]));
        let schema = Schema::shared(series.collect(), Vec::new());
        let rows = vec![row(target as i64, &[1.0; 100])];
        let batch = MetricBatch { target: Labels::EMPTY, schema, rows };
        let section = section("t", &format!("target {target}"), batch);
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    }
}

#[test]
fn the_index_of_the_head_before_is_used_until_a_quarter_of_it_is_gone() {
    let engine = MetricsEngine::default();
    let first = engine.head();
    scrape(&first, 0..20);
    let second = engine.next_head(&first);
    assert!(second.knows_as(&first));
    scrape(&second, 5..20);
    let third = engine.next_head(&second);
    assert!(third.knows_as(&second), "a quarter is gone");
    scrape(&third, 6..20);
    let fourth = engine.next_head(&third);
    assert!(!fourth.knows_as(&third), "more than a quarter is gone");
    // A tenant of whom a head has nothing is not handed on.
    assert!(!engine.next_head(&engine.next_head(&first)).has_tenant("t"));
}

#[test]
fn what_a_head_goes_on_with_is_counted_once() {
    let engine = MetricsEngine::default();
    let first = engine.head();
    scrape(&first, 0..20);
    let second = engine.next_head(&first);
    let empty = second.bytes() + second.handed_on_bytes();
    assert!(empty < first.bytes() / 20, "{empty} of {}", first.bytes());
    scrape(&second, 0..20);
    // The rows, and what each target has of the index.
    let (one, other) = (first.bytes() as f64, second.bytes() as f64);
    assert!((0.9..1.1).contains(&(other / one)), "{other} after {one}");
    // While the one before is there, it counts what it has used.
    let index = second.handed_on_bytes() as f64;
    assert!(index < one / 20.0, "{index} of {one}");
    let third = engine.next_head(&second);
    assert_eq!(third.handed_on_bytes(), 0);
    drop((first, second));
    let all = third.handed_on_bytes();
    assert!(all as f64 > one / 2.0, "{all} of {one}");
    // Each table's share is its own from its first use on.
    scrape(&third, 0..15);
    let left = third.handed_on_bytes();
    assert!((all / 5..all * 3 / 10).contains(&left), "{left} of {all}");
    // What nobody has used since is counted at once.
    let fourth = engine.next_head(&third);
    let at_once = fourth.handed_on_bytes();
    assert!((all / 5..all * 3 / 10).contains(&at_once), "{at_once} of {all}");
    drop(third);
    assert_eq!(fourth.handed_on_bytes(), all);
}

#[test]
fn tables_without_columns_do_not_pile_up() {
    let engine = MetricsEngine::default();
    let (mut head, mut plain) = (engine.head(), engine.head());
    for round in 0..3 {
        for one in 0..50 {
            let target = format!("{round}-{one}");
            let rows = vec![row(1, &[])];
            insert(&head, "t", batch(&[("job", &target)], &[], rows));
        }
        scrape(&head, 0..1);
        scrape(&plain, 0..1);
        assert_eq!(head.records(), plain.records());
        assert_eq!(head.families("t").len(), 1, "its families are told");
        (head, plain) = (engine.next_head(&head), engine.next_head(&plain));
        assert_eq!(head.handed_on_bytes(), plain.handed_on_bytes());
    }
}

#[test]
fn tables_of_few_columns_weigh_more_than_these() {
    let engine = MetricsEngine::default();
    let first = engine.head();
    scrape(&first, 0..1);
    // A third of what is there.
    (0..25).for_each(|one| insert(&first, "t", batch(&[("job", &format!("{one}"))], &[&[(NAME, "up")]], vec![row(1, &[1.0])])));
    let second = engine.next_head(&first);
    assert!(second.knows_as(&first));
    scrape(&second, 0..1);
    assert!(!engine.next_head(&second).knows_as(&second));
}
