//! What holds for any input: windows against a plain count, parsers against hostile text, the JSON scanner against serde's.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use weir_model::label::Labels;
use weir_model::select::NoBudget;

use crate::eval::metric::{MetricOptions, metric};
use crate::eval::{Steps, Value};
use crate::memory::MemoryLogs;
use crate::parse;
use crate::pipeline::labels::LineLabels;
use crate::pipeline::{Lines, Pipeline, json};

/// JSON of some depth.
fn nested() -> impl Strategy<Value = serde_json::Value> {
    let leaf = proptest::prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        ".{0,8}".prop_map(serde_json::Value::from),
        proptest::prelude::Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Differences per instant give what counting each window by hand gives, whatever step, range and offset.
    #[test]
    fn windows_hold_what_a_plain_count_finds(
        times in prop::collection::vec(-50_i64..150, 0..40),
        start in -30_i64..60, step in 1_i64..40, count in 1_usize..12, range in 1_i64..70, offset in -20_i64..40,
    ) {
        let mut store = MemoryLogs::default();
        for at in &times {
            store.push(&[("a", "b")], *at, b"x");
        }
        let offset_text = if offset < 0 { format!("-{}ns", -offset) } else { format!("{offset}ns") };
        let query = format!(r#"count_over_time({{a="b"}}[{range}ns] offset {offset_text})"#);
        let options = MetricOptions { scope: weir_model::scope::Scope::of("t"), steps: Steps { start, step, count }, detected_level: false, series_max: 10 };
        let answer = metric(&store, &query, &parse(&query).unwrap(), &options, &NoBudget).unwrap();
        let Value::Vector(series) = answer.value else { panic!("no vector") };
        let got = series.first().map_or(vec![None; count], |series| series.points.clone());
        let expected: Vec<Option<f64>> = (0..count as i64).map(|i| {
            let end = start + i * step - offset;
            let inside = times.iter().filter(|at| **at > end - range && **at <= end).count();
            (inside > 0).then_some(inside as f64)
        }).collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_text_parses_or_is_refused(text in r#"[a-z{}()\[\]|=!~<>"`,.0-9 +*/^#-]{0,60}"#) {
        if let Ok(expr) = parse(&text) {
            let written = expr.to_string();
            prop_assert!(parse(&written).is_ok(), "{} was written as {}", text, written);
        }
    }

    #[test]
    fn any_line_passes_any_parser(line in prop::collection::vec(any::<u8>(), 0..80)) {
        for stage in ["json_or_logfmt", "json", "json x=\"a[0].b\"", "logfmt", "logfmt --strict --keep-empty", "unpack", "decolorize", "pattern \"<a> <b>=<c>\"",
            "regexp \"(?P<a>.)=(?P<b>.*)\"", "line_format \"{{ trunc -3 (__line__) }}\""] {
            let query = format!(r#"{{a="b"}} | {stage}"#);
            let crate::Expr::Log(log) = parse(&query).unwrap() else { panic!("{query}") };
            let pipeline = Pipeline::compile(&query, &log, Lines::Needed).unwrap();
            let mut labels = LineLabels::default();
            labels.set_stream(&Labels::from_pairs([("a", "b")]));
            prop_assert!(pipeline.run(&line, 0, &mut labels).is_some());
        }
    }

    /// The own scanner takes what serde_json takes and nothing else.
    #[test]
    fn the_json_scanner_agrees_with_serde(value in nested(), cut in any::<prop::sample::Index>(), whole in any::<bool>()) {
        let text = serde_json::json!({"v": value}).to_string();
        let end = if whole { text.len() } else { cut.index(text.len()) };
        let Some(text) = text.get(..end) else { return Ok(()) };
        let mut labels = LineLabels::default();
        json::parse(text, &mut labels);
        prop_assert_eq!(labels.error().is_none(), serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok(), "{}", text);
    }
}
