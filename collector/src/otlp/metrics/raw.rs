//! Metrics and their points, borrowed from the bytes that they came in. Pure; what they become is [`super`]'s to say.

use super::super::attributes::RawList;
use super::super::message::messages;
use super::exponential::Dense;
use crate::admission::Admission;
use crate::proto::{Fields, ProtoError, signed};
use crate::push_error::PushError;

/// OTLP's temporality of values that begin anew with each export.
const DELTA: u64 = 1;
const NUMBER: &str = "a number's point";
const HISTOGRAM: &str = "a histogram's point";
const EXPONENTIAL: &str = "an exponential histogram's point";
const SUMMARY: &str = "a summary's point";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

/// A metric, its points not yet read.
#[derive(Default)]
pub(super) struct RawMetric<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub unit: &'a str,
    pub of_type: Option<Type>,
    data: &'a [u8],
    pub is_delta: bool,
    pub is_monotonic: bool,
}

impl<'a> RawMetric<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, ProtoError> {
        let mut metric = Self::default();
        for field in Fields::new(message, "a metric") {
            let (of_type, field) = match field? {
                (1, field) => {
                    metric.name = field.text()?;
                    continue;
                }
                (2, field) => {
                    metric.description = field.text()?;
                    continue;
                }
                (3, field) => {
                    metric.unit = field.text()?;
                    continue;
                }
                (5, field) => (Type::Gauge, field),
                (7, field) => (Type::Sum, field),
                (9, field) => (Type::Histogram, field),
                (10, field) => (Type::ExponentialHistogram, field),
                (11, field) => (Type::Summary, field),
                _ => continue,
            };
            if metric.of_type.is_some() {
                // In pieces: those before would be lost without a word.
                return Err(ProtoError::Repeated("a metric's data"));
            }
            (metric.of_type, metric.data) = (Some(of_type), field.bytes()?);
        }
        if matches!(metric.of_type, Some(Type::Sum | Type::Histogram | Type::ExponentialHistogram)) {
            for field in Fields::new(metric.data, "a metric's data") {
                match field? {
                    (2, field) => metric.is_delta = field.varint()? == DELTA,
                    (3, field) => metric.is_monotonic = field.varint()? != 0,
                    _ => {}
                }
            }
        }
        Ok(metric)
    }

    /// Its points, as messages.
    pub fn points(&self) -> impl Iterator<Item = Result<&'a [u8], ProtoError>> {
        messages(self.data, "a metric's data", 1)
    }

    /// Series that it makes: what the limit counts.
    pub fn count(&self) -> Result<usize, ProtoError> {
        let mut count = 0;
        for point in self.points() {
            count += match self.of_type {
                Some(Type::Histogram) => count_of(point?, HISTOGRAM, 6)?.max(count_of(point?, HISTOGRAM, 7)?) + 3,
                Some(Type::Summary) => messages(point?, SUMMARY, 6).count() + 2,
                _ => point.map(|_| 1)?,
            };
        }
        Ok(count)
    }
}

/// Numbers of a field of eight bytes each.
fn count_of(message: &[u8], name: &'static str, wanted: u32) -> Result<usize, ProtoError> {
    let mut count = 0;
    for field in Fields::new(message, name) {
        match field? {
            (number, field) if number == wanted => field.each_fixed64(|_| count += 1)?,
            _ => {}
        }
    }
    Ok(count)
}

/// A point of any type; used for one after another.
#[derive(Default)]
pub(super) struct RawPoint<'a> {
    pub attributes: RawList<'a>,
    /// Unix nanoseconds, 0 where it does not say.
    pub start: u64,
    pub time: u64,
    pub flags: u64,
    /// Of a gauge or a sum.
    pub value: Option<f64>,
    pub count: u64,
    pub sum: Option<f64>,
    pub buckets: Vec<u64>,
    pub bounds: Vec<f64>,
    /// With their values.
    pub quantiles: Vec<(f64, f64)>,
    /// As messages.
    pub exemplars: Vec<&'a [u8]>,
    /// Of an exponential histogram.
    pub scale: i32,
    pub zero_count: u64,
    pub zero_threshold: f64,
    pub positive: Dense,
    pub negative: Dense,
}

impl<'a> RawPoint<'a> {
    pub fn read(&mut self, of_type: Type, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        self.clear();
        match of_type {
            Type::Gauge | Type::Sum => self.read_number(message, labels_max, admission),
            Type::Histogram => self.read_histogram(message, labels_max, admission),
            Type::Summary => self.read_summary(message, labels_max, admission),
            Type::ExponentialHistogram => self.read_exponential(message, labels_max, admission),
        }
    }

    fn clear(&mut self) {
        self.attributes.clear();
        (self.start, self.time, self.flags, self.value, self.count, self.sum) = (0, 0, 0, None, 0, None);
        (self.scale, self.zero_count, self.zero_threshold) = (0, 0, 0.0);
        for side in [&mut self.positive, &mut self.negative] {
            side.offset = 0;
            side.counts.clear();
        }
        self.exemplars.clear();
        self.buckets.clear();
        self.bounds.clear();
        self.quantiles.clear();
    }

    fn push_exemplar(&mut self, message: &'a [u8], admission: &Admission) -> Result<(), PushError> {
        // The places double.
        admission.charge(2 * size_of::<&[u8]>())?;
        self.exemplars.push(message);
        Ok(())
    }

    fn read_number(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        for field in Fields::new(message, NUMBER) {
            match field? {
                (2, field) => self.start = field.fixed64()?,
                (3, field) => self.time = field.fixed64()?,
                (4, field) => self.value = Some(f64::from_bits(field.fixed64()?)),
                (5, field) => self.push_exemplar(field.bytes()?, admission)?,
                (6, field) => self.value = Some(field.fixed64()? as i64 as f64),
                (7, field) => self.attributes.push(field, labels_max, admission)?,
                (8, field) => self.flags = field.varint()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_histogram(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        for field in Fields::new(message, HISTOGRAM) {
            match field? {
                (2, field) => self.start = field.fixed64()?,
                (3, field) => self.time = field.fixed64()?,
                (4, field) => self.count = field.fixed64()?,
                (5, field) => self.sum = Some(f64::from_bits(field.fixed64()?)),
                (6, field) => field.each_fixed64(|count| self.buckets.push(count))?,
                (7, field) => field.each_fixed64(|bound| self.bounds.push(f64::from_bits(bound)))?,
                (8, field) => self.push_exemplar(field.bytes()?, admission)?,
                (9, field) => self.attributes.push(field, labels_max, admission)?,
                (10, field) => self.flags = field.varint()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_exponential(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        for field in Fields::new(message, EXPONENTIAL) {
            match field? {
                (1, field) => self.attributes.push(field, labels_max, admission)?,
                (2, field) => self.start = field.fixed64()?,
                (3, field) => self.time = field.fixed64()?,
                (4, field) => self.count = field.fixed64()?,
                (5, field) => self.sum = Some(f64::from_bits(field.fixed64()?)),
                (6, field) => self.scale = signed(field.varint()?) as i32,
                (7, field) => self.zero_count = field.fixed64()?,
                (8, field) => read_buckets(&mut self.positive, field.bytes()?, admission)?,
                (9, field) => read_buckets(&mut self.negative, field.bytes()?, admission)?,
                (10, field) => self.flags = field.varint()?,
                (11, field) => self.push_exemplar(field.bytes()?, admission)?,
                (14, field) => self.zero_threshold = f64::from_bits(field.fixed64()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_summary(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        for field in Fields::new(message, SUMMARY) {
            match field? {
                (2, field) => self.start = field.fixed64()?,
                (3, field) => self.time = field.fixed64()?,
                (4, field) => self.count = field.fixed64()?,
                (5, field) => self.sum = Some(f64::from_bits(field.fixed64()?)),
                (6, field) => self.quantiles.push(read_quantile(field.bytes()?)?),
                (7, field) => self.attributes.push(field, labels_max, admission)?,
                (8, field) => self.flags = field.varint()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_buckets(side: &mut Dense, message: &[u8], admission: &Admission) -> Result<(), PushError> {
    // A count is a byte at least, and eight bytes here and in the histogram that it becomes.
    admission.charge(16 * message.len())?;
    for field in Fields::new(message, "buckets") {
        match field? {
            (1, field) => side.offset = signed(field.varint()?) as i32,
            (2, field) => field.each_varint(|count| side.counts.push(count))?,
            _ => {}
        }
    }
    Ok(())
}

fn read_quantile(message: &[u8]) -> Result<(f64, f64), ProtoError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields::new(message, "a quantile") {
        match field? {
            (1, field) => quantile = f64::from_bits(field.fixed64()?),
            (2, field) => value = f64::from_bits(field.fixed64()?),
            _ => {}
        }
    }
    Ok((quantile, value))
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::admission::Inflight;

    #[test]
    fn exemplars_are_counted_before_they_are_read() {
        for (of_type, number) in [(Type::Sum, 5), (Type::Histogram, 8), (Type::ExponentialHistogram, 11)] {
            let read = |count| {
                let admission = Inflight::new(1 << 20, Gauge::default()).admit(&"t".into());
                let message = [number << 3 | 2, 0].repeat(count);
                let mut point = RawPoint::default();
                point.read(of_type, &message, 10, &admission)
            };
            assert_eq!(read(1000), Ok(()));
            assert!(matches!(read(40_000), Err(PushError::TooLarge { .. })), "{of_type:?}");
        }
    }
}
