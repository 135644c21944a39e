//! Pairs of series over many steps are what each step alone says they are: where a partner changes, is missing, or is there twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert_eq};
use weir_model::label::Labels;
use weir_model::scope::Scope;
use weir_model::select::NoBudget;

use crate::testing::MemoryReader;
use crate::{Engine, Output, Request};

const STEPS: usize = 6;
const STEP_MS: i64 = 60_000;

/// A series and its value at each step.
type Side = BTreeMap<Labels, [Option<f64>; STEPS]>;
/// By labels and step, bit for bit.
type Found = BTreeMap<(Labels, usize), u64>;

struct Join {
    query: &'static str,
    /// Which of the many side's series take part.
    takes: fn(&Labels) -> bool,
    /// Of labels of both.
    labels: fn(&Labels, &Labels) -> Labels,
    value: fn(f64, f64) -> Option<f64>,
}

const JOINS: [Join; 6] = [
    Join {
        query: "m * on (g) group_left (v) o",
        takes: |_| true,
        labels: |m, o| m.without(|name| name == "__name__").with("v", o.get("v")),
        value: |m, o| Some(m * o),
    },
    Join {
        // Takes away what tells the many side's series apart.
        query: "m - on (g) group_left (i) o",
        takes: |_| true,
        labels: |m, _| m.without(|name| name == "__name__" || name == "i"),
        value: |m, o| Some(m - o),
    },
    Join {
        query: "o / on (g) group_right m",
        takes: |_| true,
        labels: |m, _| m.without(|name| name == "__name__"),
        value: |m, o| Some(o / m),
    },
    Join {
        query: "m > ignoring (i, v) group_left o",
        takes: |_| true,
        labels: |m, _| m.clone(),
        value: |m, o| (m > o).then_some(m),
    },
    Join {
        query: "m < bool on (g) group_left (v) o",
        takes: |_| true,
        labels: |m, o| m.without(|name| name == "__name__").with("v", o.get("v")),
        value: |m, o| Some(f64::from(u8::from(m < o))),
    },
    Join {
        query: "m{i=~\"0|1\"} + on (g) o",
        takes: |m| matches!(m.get("i"), "0" | "1"),
        labels: |m, _| Labels::from_pairs([("g", m.get("g"))]),
        value: |m, o| Some(m + o),
    },
];

/// What is found step by step; `None` where a step has no answer.
fn expected(join: &Join, many: &Side, ones: &Side) -> Option<Found> {
    let mut found = Found::new();
    for step in 0..STEPS {
        if !many.iter().any(|(labels, values)| (join.takes)(labels) && values[step].is_some()) {
            // Nothing is asked of the one side.
            continue;
        }
        let mut partners: BTreeMap<&str, (&Labels, f64)> = BTreeMap::new();
        for (labels, values) in ones {
            let Some(value) = values[step] else { continue };
            if partners.insert(labels.get("g"), (labels, value)).is_some() {
                return None;
            }
        }
        let mut seen = BTreeSet::new();
        for (labels, values) in many.iter().filter(|(labels, _)| (join.takes)(labels)) {
            let (Some(value), Some((other, one))) = (values[step], partners.get(labels.get("g"))) else { continue };
            let made = (join.labels)(labels, other);
            if !seen.insert(made.clone()) {
                return None;
            }
            if let Some(result) = (join.value)(value, *one) {
                found.insert((made, step), result.to_bits());
            }
        }
    }
    Some(found)
}

fn answered(reader: &MemoryReader, query: &str) -> Option<Found> {
    let engine = Engine { reader, budget: &NoBudget };
    let end_ms = (STEPS as i64 - 1) * STEP_MS;
    let request =
        Request { scope: Scope::of("t"), query: query.into(), start_ms: 0, end_ms, step_ms: STEP_MS, lookback_ms: STEP_MS / 2 };
    let rows = match engine.query(&request).ok()?.output {
        Output::Matrix(rows) => rows,
        other => panic!("{other:?}"),
    };
    let mut found = Found::new();
    for row in rows {
        for (at, value) in row.points {
            found.insert((row.labels.clone(), (at / STEP_MS) as usize), value.to_bits());
        }
    }
    Some(found)
}

/// Series of a metric: group, number, and a value at some steps.
fn side(name: &'static str, label: &'static str, often: f64) -> impl Strategy<Value = Side> {
    let value = prop_oneof![(1..5_u32).prop_map(f64::from), (1..100_u32).prop_map(|tenths| f64::from(tenths) / 10.0)];
    let series = (0..3_u8, 0..3_u8, any::<bool>(), collection::vec(proptest::option::weighted(often, value), STEPS));
    collection::vec(series, 0..7).prop_map(move |all| {
        let mut side = Side::new();
        for (group, number, always, mut values) in all {
            if always {
                values.iter_mut().for_each(|value| *value = value.or(Some(2.0)));
            }
            let labels = [("__name__", name.to_owned()), ("g", group.to_string()), (label, number.to_string())];
            side.insert(Labels::from_pairs(labels), values.try_into().expect("one a step"));
        }
        side
    })
}

proptest! {
    #[test]
    fn pairs_over_many_steps_are_those_of_each(many in side("m", "i", 0.7), ones in side("o", "v", 0.2)) {
        let mut reader = MemoryReader::default();
        for (labels, values) in many.iter().chain(&ones) {
            for (step, value) in values.iter().enumerate() {
                value.iter().for_each(|value| reader.push(labels, step as i64 * STEP_MS, *value));
            }
        }
        for join in &JOINS {
            prop_assert_eq!(answered(&reader, join.query), expected(join, &many, &ones), "{}", join.query);
        }
    }
}
