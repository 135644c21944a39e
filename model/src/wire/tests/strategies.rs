//! Sections of any content, written and read.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::check_round_trip;
use super::golden::Golden;
use crate::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span as BucketSpan};
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::{LogBatch, LogRecord};
use crate::metric::{Exemplar, Family, MetricBatch, MetricKind, MetricRow, RowExtras, STALE_NAN, Schema};
use crate::signal::Signal;
use crate::span::{Attributes, Origin, ScopeSpans, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, StatusCode, Value};
use crate::wire::{Mark, Section, SectionHeader};

fn labels() -> impl Strategy<Value = Labels> {
    vec(("[a-c]{0,2}", "[x-zß]{0,3}"), 0..4).prop_map(Labels::from_pairs)
}

fn value() -> impl Strategy<Value = Value> {
    let json = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!({"i": number, "s": ["t", true]})),
        any::<f64>().prop_map(|number| json!([number])),
    ];
    prop_oneof![
        ".{0,4}".prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        json.prop_map(|json| Value::Json(Box::new(json))),
        vec(any::<u8>(), 0..5).prop_map(Value::Bytes),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    vec(("[a-d]{0,3}", value()), 0..4)
}

fn logs() -> impl Strategy<Value = LogBatch> {
    let ids = (prop_oneof![Just([0; 16]), any::<[u8; 16]>()], prop_oneof![Just([0; 8]), any::<[u8; 8]>()]);
    let line = (any::<i64>(), any::<u64>(), vec(any::<u8>(), 0..20), any::<u8>(), 0..=1_u8, ids, labels());
    (labels(), vec(line, 0..20)).prop_map(|(stream, lines)| {
        let mut batch = LogBatch::new(stream);
        for (timestamp, sequence, body, severity, flags, (trace, span), attributes) in &lines {
            let (trace_id, span_id) = (TraceId(*trace), SpanId(*span));
            let (timestamp, sequence, severity, flags) = (*timestamp, *sequence, *severity, *flags);
            batch.push(LogRecord {
                timestamp,
                sequence,
                body,
                severity,
                flags,
                trace_id,
                span_id,
                attributes: attributes.into(),
            });
        }
        batch
    })
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => any::<u32>().prop_map(f64::from),
        1 => any::<i64>().prop_map(|whole| whole as f64),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(-0.0),
        1 => Just(STALE_NAN),
    ]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let span = (0..1000_i32, 0..4_u32).prop_map(|(offset, length)| BucketSpan { offset, length });
    (vec(span, 0..3), -1000..1000_i32, vec(float(), 8)).prop_map(|(mut spans, first, mut counts)| {
        spans.iter_mut().take(1).for_each(|span| span.offset = first);
        counts.truncate(spans.iter().map(|span| span.length as usize).sum());
        Buckets { spans, counts }
    })
}

fn histogram() -> impl Strategy<Value = Arc<Histogram>> {
    let reset = prop_oneof![Just(ResetHint::Unknown), Just(ResetHint::Reset), Just(ResetHint::NotReset), Just(ResetHint::Gauge)];
    let numbers = (float(), float(), float(), float());
    let exponential =
        (-4..=8_i8, buckets(), buckets()).prop_map(|(schema, positive, negative)| (schema, positive, negative, vec![]));
    let custom = vec(float(), 3).prop_map(|counts| {
        let spans = vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 1, length: 1 }];
        (CUSTOM_BUCKETS_SCHEMA, Buckets { spans, counts }, Buckets::default(), vec![-0.5, 0.1, 7.0])
    });
    (prop_oneof![3 => exponential.boxed(), 1 => custom.boxed()], numbers, reset, any::<bool>()).prop_map(
        |((schema, positive, negative, custom_bounds), (count, sum, zero_threshold, zero_count), reset, is_integer)| {
            let (zero_threshold, zero_count) =
                if schema == CUSTOM_BUCKETS_SCHEMA { (0.0, 0.0) } else { (zero_threshold, zero_count) };
            let (zero, counted) = ((zero_threshold, zero_count), (count, sum));
            Arc::new(Histogram {
                schema,
                reset,
                is_integer,
                count: counted.0,
                sum: counted.1,
                zero_threshold: zero.0,
                zero_count: zero.1,
                positive,
                negative,
                custom_bounds,
            })
        },
    )
}

fn extras(width: usize) -> impl Strategy<Value = Option<Box<RowExtras>>> {
    let columns = width.max(1) as u32;
    let exemplar = (0..columns, labels(), float(), any::<i64>())
        .prop_map(|(column, labels, value, timestamp)| (column, Exemplar { labels, value, timestamp }));
    let histograms = btree_map(0..columns, histogram(), 0..3);
    let starts = proptest::option::of(vec(any::<i64>(), width));
    let all = (histograms, starts, vec(exemplar, 0..3)).prop_map(move |(histograms, starts, mut exemplars)| {
        exemplars.sort_by_key(|(column, _)| *column);
        let histograms = histograms.into_iter().collect();
        let extras = RowExtras { histograms, starts: starts.map(Into::into), exemplars };
        (width > 0).then(|| Box::new(extras))
    });
    prop_oneof![2 => Just(None), 1 => all]
}

fn metrics() -> impl Strategy<Value = MetricBatch> {
    let family = ("[a-z]{0,3}", ".{0,5}", "[a-z]{0,2}", Just(MetricKind::GaugeHistogram));
    let all = (labels(), vec(labels(), 0..5), vec(family, 0..3), 0..5_usize, any::<bool>());
    all.prop_flat_map(|(target, series, families, rows, is_part)| {
        let family = |(name, help, unit, kind)| Family { name, kind, help, unit };
        let mut schema = Arc::new(Schema::new(series, families.into_iter().map(family).collect()));
        if is_part && schema.series.len() > 1 {
            schema = Arc::new(Schema::part(&schema, 1..schema.series.len()));
        }
        let width = schema.series.len();
        let row = (any::<i64>(), vec(any::<u64>(), width), extras(width));
        vec(row, rows).prop_map(move |rows| {
            let row = |(timestamp, values, extras): (i64, Vec<u64>, Option<Box<RowExtras>>)| MetricRow {
                extras,
                ..MetricRow::new(timestamp, values.into_iter().map(f64::from_bits).collect())
            };
            MetricBatch { target: target.clone(), schema: schema.clone(), rows: rows.into_iter().map(row).collect() }
        })
    })
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<i64>(), ".{0,3}", attributes()).prop_map(|(timestamp, name, attributes)| SpanEvent {
        timestamp,
        name,
        attributes,
    });
    let link =
        (any::<[u8; 16]>(), any::<[u8; 8]>(), ".{0,2}", attributes()).prop_map(|(trace, span, trace_state, attributes)| {
            SpanLink { trace_id: TraceId(trace), span_id: SpanId(span), trace_state, attributes }
        });
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<[u8; 8]>());
    let texts = ("[a-b]{0,2}", "[a-b]{0,2}", "[a-b]{0,2}");
    let status = prop_oneof![Just(StatusCode::Unset), Just(StatusCode::Ok), Just(StatusCode::Error)];
    let times = (any::<i64>(), any::<i64>(), 0..6_i32, status);
    (ids, texts, times, attributes(), vec(event, 0..3), vec(link, 0..3)).prop_map(
        |((trace, id, parent), (name, trace_state, status_message), (start, end, kind, status), attributes, events, links)| {
            Span {
                trace_id: TraceId(trace),
                span_id: SpanId(id),
                parent_id: SpanId(parent),
                trace_state,
                name,
                kind: SpanKind::from_number(kind),
                start,
                end,
                status,
                status_message,
                attributes,
                events,
                links,
            }
        },
    )
}

fn spans() -> impl Strategy<Value = SpanBatch> {
    let origin = (attributes(), ".{0,3}", ".{0,3}", attributes());
    (origin, vec(span(), 0..6)).prop_map(|((resource, scope_name, scope_version, scope_attributes), spans)| {
        SpanBatch::new(Origin { resource, scope_name, scope_version, scope_attributes }, &spans)
    })
}

fn mark() -> impl Strategy<Value = Mark> {
    let sequence = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(epoch, a, b)| Mark::Sequence {
        epoch,
        first: a.min(b),
        last: a.max(b),
    });
    prop_oneof![sequence, any::<[u8; 16]>().prop_map(Mark::Digest)]
}

fn sections<S: Signal>(batch: impl Strategy<Value = S> + 'static) -> BoxedStrategy<Vec<Section<S>>> {
    let section = ("[a-z]{1,3}", "\\PC{1,8}", mark(), batch)
        .prop_map(|(tenant, source, mark, batch)| Section::new(SectionHeader { tenant, source, mark, records: 0 }, batch));
    vec(section, 1..4).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_that_are_written_are_read(sections in sections(logs())) {
        check_round_trip(&sections);
    }

    #[test]
    fn samples_that_are_written_are_read(sections in sections(metrics())) {
        check_round_trip(&sections);
    }

    #[test]
    fn spans_that_are_parted_say_the_same(batch in spans(), every in 1..4_usize) {
        let count = batch.spans.len();
        let part = |rows: Vec<usize>| SpanBatch { origin: batch.origin.clone(), spans: Arc::new(batch.spans.select(rows)) };
        let parts = (0..every).map(|from| part((from..count).step_by(every).collect()));
        let spans: Vec<Span> = parts.flat_map(|part| ScopeSpans::from(&part).spans).collect();
        let whole = ScopeSpans::from(&batch).spans;
        let expected: Vec<Span> = (0..every).flat_map(|from| whole[from.min(count)..].iter().step_by(every).cloned()).collect();
        let again = |spans: &[Span]| SpanBatch::new(Origin::default(), spans);
        prop_assert_eq!(again(&spans).bits(), again(&expected).bits());
        // What is charged does not depend on how a batch came to be.
        prop_assert_eq!(batch.spans.select(0..count).extent, batch.spans.extent);
    }

    #[test]
    fn spans_that_are_written_are_read(sections in sections(spans())) {
        check_round_trip(&sections);
    }
}
