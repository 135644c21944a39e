//! A histogram of a remote write request, which both versions write alike, as the model has it. Pure.

use std::sync::Arc;

use weir_model::histogram::{BUCKETS_MAX, Buckets, Histogram, ResetHint, Span};
use weir_model::varint::unzigzag;

use super::message::Sample;
use crate::proto::{Field, Fields, ProtoError};

const WHAT: &str = "a histogram";

/// One side: counts as they came.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    /// Of an integer histogram, each less the one before.
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// A histogram with its time, whose value says nothing. Errors with what is wrong with it; the outer error is of the bytes.
pub(super) fn read(bytes: &[u8]) -> Result<(Sample, Result<Arc<Histogram>, String>), ProtoError> {
    let mut at = Sample::default();
    let (mut count, mut zero_count, mut is_integer) = (0.0, 0.0, true);
    let (mut sum, mut schema, mut zero_threshold, mut hint) = (0.0, 0, 0.0, 0);
    let (mut positive, mut negative, mut custom_bounds) = (Side::default(), Side::default(), Vec::new());
    for field in Fields::new(bytes, WHAT) {
        let (number, field) = field?;
        match number {
            1 => (count, is_integer) = (field.varint()? as f64, true),
            2 => (count, is_integer) = (f64::from_bits(field.fixed64()?), false),
            3 => sum = f64::from_bits(field.fixed64()?),
            4 => schema = unzigzag(field.varint()?),
            5 => zero_threshold = f64::from_bits(field.fixed64()?),
            6 => zero_count = field.varint()? as f64,
            7 => zero_count = f64::from_bits(field.fixed64()?),
            8 => put(&mut negative.spans, span(field)?),
            9 => field.each_varint(|delta| put(&mut negative.deltas, unzigzag(delta)))?,
            10 => field.each_fixed64(|count| put(&mut negative.counts, f64::from_bits(count)))?,
            11 => put(&mut positive.spans, span(field)?),
            12 => field.each_varint(|delta| put(&mut positive.deltas, unzigzag(delta)))?,
            13 => field.each_fixed64(|count| put(&mut positive.counts, f64::from_bits(count)))?,
            14 => hint = field.varint()?,
            15 => at.time = field.varint()? as i64,
            16 => field.each_fixed64(|bound| put(&mut custom_bounds, f64::from_bits(bound)))?,
            17 => at.start = field.varint()? as i64,
            _ => {}
        }
    }
    let build = || {
        let schema = i8::try_from(schema).map_err(|_| format!("a histogram of schema {schema}"))?;
        let (positive, negative) = (positive.buckets(is_integer)?, negative.buckets(is_integer)?);
        let reset = reset_hint(hint);
        let histogram =
            Histogram { schema, reset, is_integer, count, sum, zero_threshold, zero_count, positive, negative, custom_bounds };
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(Arc::new(histogram))
    };
    Ok((at, build()))
}

impl Side {
    fn buckets(self, is_integer: bool) -> Result<Buckets, String> {
        if !is_integer {
            return Ok(Buckets { spans: self.spans, counts: self.counts });
        }
        let mut count = 0_i64;
        let counts = self.deltas.into_iter().map(|delta| {
            count = count.checked_add(delta)?;
            Some(count as f64)
        });
        let counts: Option<Vec<f64>> = counts.collect();
        Ok(Buckets { spans: self.spans, counts: counts.ok_or("a bucket of more than 64 bits")? })
    }
}

/// One more than a histogram may have is kept, so that it is refused.
fn put<T>(list: &mut Vec<T>, own: T) {
    if list.len() <= BUCKETS_MAX {
        list.push(own);
    }
}

fn span(field: Field<'_>) -> Result<Span, ProtoError> {
    let mut span = Span { offset: 0, length: 0 };
    for field in Fields::new(field.bytes()?, "a span of buckets") {
        match field? {
            // The upper bits of these numbers say nothing, as everywhere in protobuf.
            (1, field) => span.offset = unzigzag(field.varint()?) as i32,
            (2, field) => span.length = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
