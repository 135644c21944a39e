//! A `Histogram` message: its classic buckets, and its native ones as a [`Histogram`]. Pure.

use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};

use super::time;
use crate::proto::{Field, Fields, ProtoError, signed};
use crate::push_error::PushError;

#[derive(Default)]
pub(super) struct RawHistogram<'a> {
    count: u64,
    count_float: f64,
    pub sum: f64,
    pub buckets: Vec<RawBucket<'a>>,
    pub start: Option<i64>,
    schema: i64,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: RawSide,
    positive: RawSide,
    /// Of the native one, as messages.
    pub exemplars: Vec<&'a [u8]>,
}

pub(super) struct RawBucket<'a> {
    pub bound: f64,
    /// Of all observations up to the bound.
    pub count: f64,
    pub exemplar: Option<&'a [u8]>,
}

/// Either deltas or counts: of an integer histogram each count is told by how it differs from the one before.
#[derive(Default)]
struct RawSide {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl<'a> RawHistogram<'a> {
    pub fn read(message: &'a [u8], charge: &mut dyn FnMut(usize) -> Result<(), PushError>) -> Result<Self, PushError> {
        let mut raw = Self::default();
        for field in Fields::new(message, "a histogram") {
            match field? {
                (1, field) => raw.count = field.varint()?,
                (2, field) => raw.sum = f64::from_bits(field.fixed64()?),
                (3, field) => {
                    charge(2 * size_of::<RawBucket<'_>>())?;
                    raw.buckets.push(RawBucket::read(field.bytes()?)?);
                }
                (4, field) => raw.count_float = f64::from_bits(field.fixed64()?),
                (5, field) => raw.schema = signed(field.varint()?),
                (6, field) => raw.zero_threshold = f64::from_bits(field.fixed64()?),
                (7, field) => raw.zero_count = field.varint()?,
                (8, field) => raw.zero_count_float = f64::from_bits(field.fixed64()?),
                (number @ 9..=11, field) => raw.negative.read(number - 9, field, charge)?,
                (number @ 12..=14, field) => raw.positive.read(number - 12, field, charge)?,
                (15, field) => raw.start = time(field.bytes()?)?,
                (16, field) => {
                    charge(2 * size_of::<&[u8]>())?;
                    raw.exemplars.push(field.bytes()?);
                }
                _ => {}
            }
        }
        Ok(raw)
    }

    /// As Prometheus tells them apart.
    pub fn is_native(&self) -> bool {
        !self.positive.spans.is_empty() || !self.negative.spans.is_empty() || self.zero_threshold > 0.0 || self.zero_count > 0
    }

    fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    pub fn count(&self) -> f64 {
        if self.is_float() { self.count_float } else { self.count as f64 }
    }

    /// Errors with what its buckets contradict.
    pub fn native(&self, is_gauge: bool) -> Result<Histogram, String> {
        let is_float = self.is_float();
        let histogram = Histogram {
            schema: i8::try_from(self.schema).map_err(|_| format!("a histogram has the schema {}", self.schema))?,
            reset: if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown },
            is_integer: !is_float,
            count: self.count(),
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count: if is_float { self.zero_count_float } else { self.zero_count as f64 },
            positive: self.positive.buckets(is_float)?,
            negative: self.negative.buckets(is_float)?,
            custom_bounds: Vec::new(),
        };
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }
}

impl<'a> RawBucket<'a> {
    fn read(message: &'a [u8]) -> Result<Self, ProtoError> {
        let (mut count, mut float, mut bound, mut exemplar) = (0, 0.0, 0.0, None);
        for field in Fields::new(message, "a bucket") {
            match field? {
                (1, field) => count = field.varint()?,
                (2, field) => bound = f64::from_bits(field.fixed64()?),
                (3, field) => exemplar = Some(field.bytes()?),
                (4, field) => float = f64::from_bits(field.fixed64()?),
                _ => {}
            }
        }
        Ok(Self { bound, count: if float > 0.0 { float } else { count as f64 }, exemplar })
    }
}

impl RawSide {
    /// `which`: 0 a span, 1 deltas, 2 counts.
    fn read(
        &mut self,
        which: u32,
        field: Field<'_>,
        charge: &mut dyn FnMut(usize) -> Result<(), PushError>,
    ) -> Result<(), PushError> {
        // A number takes a byte at least, and eight bytes here, twice in a vector that doubles.
        charge(16 * field.bytes().map_or(1, <[u8]>::len))?;
        match which {
            0 => {
                let mut span = Span { offset: 0, length: 0 };
                for field in Fields::new(field.bytes()?, "a span") {
                    match field? {
                        (1, field) => span.offset = signed(field.varint()?) as i32,
                        (2, field) => span.length = field.varint()? as u32,
                        _ => {}
                    }
                }
                charge(2 * size_of::<Span>())?;
                self.spans.push(span);
            }
            1 => field.each_varint(|delta| self.deltas.push(signed(delta)))?,
            _ => field.each_fixed64(|count| self.counts.push(f64::from_bits(count)))?,
        }
        Ok(())
    }

    fn buckets(&self, is_float: bool) -> Result<Buckets, String> {
        if is_float {
            return Ok(Buckets { spans: self.spans.clone(), counts: self.counts.clone() });
        }
        let mut count = 0_i64;
        let counts = self.deltas.iter().map(|delta| {
            count = count.checked_add(*delta).ok_or("the counts of a histogram's buckets are beyond 64 bits")?;
            Ok(count as f64)
        });
        Ok(Buckets { spans: self.spans.clone(), counts: counts.collect::<Result<_, String>>()? })
    }
}
