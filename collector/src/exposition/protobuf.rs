//! Prometheus' protobuf exposition: messages of `io.prometheus.client.MetricFamily`, each after its length, read where they lie. The only
//! format that has native histograms. Pure.
//!
//! Series are named as Prometheus names those of this format: bounds and quantiles always with a point (`le="1.0"`).
//!
//! - [`histogram`]: one histogram, of either sort.

use std::borrow::Cow;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricKind};

use self::histogram::RawHistogram;
use super::{Exemplar, Exposition, Sample};
use crate::proto::{Field, Fields, ProtoError, delimited};
use crate::push_error::PushError;

mod histogram;
#[cfg(test)]
pub(crate) mod tests;

/// How Prometheus asks for it.
pub(crate) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Memory of a sample beside its labels' texts: its places in vectors that double, its labels' numbers.
const SAMPLE_BYTES: usize = 256;
/// Characters of an exemplar's labels, as in OpenMetrics.
const EXEMPLAR_CHARACTERS_MAX: usize = 128;

/// What is read of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    /// Its buckets of the other sort, as series.
    Ignored,
    /// One sample.
    Sample,
    /// One sample, and the series of its buckets of the other sort.
    SampleAndSeries,
}

/// Reads a whole body; what is wrong anywhere fails all of it. `charge` hears of memory before it is taken.
pub(crate) fn parse(
    body: &[u8],
    native: Native,
    charge: &mut dyn FnMut(usize) -> Result<(), PushError>,
) -> Result<Exposition, PushError> {
    let mut reader = Reader { exposition: Exposition::default(), native, charge };
    for family in delimited(body, "a metric family") {
        reader.family(family?)?;
    }
    Ok(reader.exposition)
}

struct Reader<'c> {
    exposition: Exposition,
    native: Native,
    charge: &'c mut dyn FnMut(usize) -> Result<(), PushError>,
}

/// A `Metric`, its value not yet read.
#[derive(Default)]
struct RawMetric<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    value: Option<(MetricKind, &'a [u8])>,
    timestamp: Option<i64>,
}

/// What all samples of a metric have in common.
struct Common<'a> {
    family: &'a str,
    pairs: &'a [(&'a str, &'a str)],
    pairs_bytes: usize,
    timestamp: Option<i64>,
}

impl Reader<'_> {
    fn family(&mut self, message: &[u8]) -> Result<(), PushError> {
        let (mut family, mut number) = (Family::default(), 0);
        for field in Fields::new(message, "a metric family") {
            match field? {
                (1, field) => family.name = self.text(field)?,
                (2, field) => family.help = self.text(field)?,
                (3, field) => number = field.varint()?,
                (5, field) => family.unit = self.text(field)?,
                _ => {}
            }
        }
        if family.name.is_empty() {
            return Err(PushError::Malformed("a metric family without a name".into()));
        }
        let kinds = [
            MetricKind::Counter,
            MetricKind::Gauge,
            MetricKind::Summary,
            MetricKind::Unknown,
            MetricKind::Histogram,
            MetricKind::GaugeHistogram,
        ];
        let kind = usize::try_from(number).ok().and_then(|number| kinds.get(number));
        family.kind = *kind.ok_or_else(|| wrong(&family.name, &format!("its type is {number}, which is none")))?;
        for field in Fields::new(message, "a metric family") {
            if let (4, field) = field? {
                self.metric(&family, field.bytes()?)?;
            }
        }
        (self.charge)(size_of::<Family>())?;
        self.exposition.families.push(family);
        Ok(())
    }

    fn text(&mut self, field: Field<'_>) -> Result<String, PushError> {
        let text = field.text()?;
        (self.charge)(text.len())?;
        Ok(text.to_owned())
    }

    fn metric(&mut self, family: &Family, message: &[u8]) -> Result<(), PushError> {
        let raw = RawMetric::read(message, self.charge).map_err(|error| error.within(&family.name))?;
        let Some((kind, value)) = raw.value.filter(|(kind, _)| of_kind(family.kind, *kind)) else {
            return Err(wrong(&family.name, &format!("a metric has no {}", family.kind.name())));
        };
        let pairs_bytes = raw.pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let common = Common { family: &family.name, pairs: &raw.pairs, pairs_bytes, timestamp: raw.timestamp };
        match kind {
            MetricKind::Histogram => self.histogram(&common, value, family.kind == MetricKind::GaugeHistogram),
            MetricKind::Summary => self.summary(&common, value),
            _ => self.number(&common, value),
        }
    }

    /// A `Counter`, a `Gauge` or an `Untyped`.
    fn number(&mut self, common: &Common<'_>, message: &[u8]) -> Result<(), PushError> {
        let (mut value, mut exemplar, mut start) = (0.0, None, None);
        for field in Fields::new(message, "a number") {
            match field? {
                (1, field) => value = f64::from_bits(field.fixed64()?),
                (2, field) => exemplar = Some(field.bytes()?),
                (3, field) => start = time(field.bytes()?)?,
                _ => {}
            }
        }
        let at = self.push(common, "", None, value, start)?;
        exemplar.map_or(Ok(()), |exemplar| self.exemplar(at, exemplar))
    }

    fn summary(&mut self, common: &Common<'_>, message: &[u8]) -> Result<(), PushError> {
        let (mut count, mut sum, mut start) = (0, 0.0, None);
        for field in Fields::new(message, "a summary") {
            match field? {
                (1, field) => count = field.varint()?,
                (2, field) => sum = f64::from_bits(field.fixed64()?),
                (4, field) => start = time(field.bytes()?)?,
                _ => {}
            }
        }
        self.push(common, "_count", None, count as f64, start)?;
        self.push(common, "_sum", None, sum, start)?;
        for field in Fields::new(message, "a summary") {
            let (3, field) = field? else { continue };
            let (mut quantile, mut value) = (0.0, 0.0);
            for field in Fields::new(field.bytes()?, "a quantile") {
                match field? {
                    (1, field) => quantile = f64::from_bits(field.fixed64()?),
                    (2, field) => value = f64::from_bits(field.fixed64()?),
                    _ => {}
                }
            }
            self.push(common, "", Some(("quantile", quantile)), value, start)?;
        }
        Ok(())
    }

    fn histogram(&mut self, common: &Common<'_>, message: &[u8], is_gauge: bool) -> Result<(), PushError> {
        let raw = RawHistogram::read(message, self.charge).map_err(|error| error.within(common.family))?;
        let is_native = self.native != Native::Ignored && raw.is_native();
        if is_native {
            let histogram = raw.native(is_gauge).map_err(|reason| wrong(common.family, &reason))?;
            let at = self.push(common, "", None, weir_model::metric::STALE_NAN, raw.start)?;
            self.exposition.samples[at].histogram = Some(histogram.into());
            raw.exemplars.iter().try_for_each(|exemplar| self.exemplar(at, exemplar))?;
        }
        if !is_native || (self.native == Native::SampleAndSeries && !raw.buckets.is_empty()) {
            self.classic(common, &raw)?;
        }
        Ok(())
    }

    fn classic(&mut self, common: &Common<'_>, raw: &RawHistogram<'_>) -> Result<(), PushError> {
        self.push(common, "_count", None, raw.count(), raw.start)?;
        self.push(common, "_sum", None, raw.sum, raw.start)?;
        for bucket in &raw.buckets {
            let at = self.push(common, "_bucket", Some(("le", bucket.bound)), bucket.count, raw.start)?;
            bucket.exemplar.map_or(Ok(()), |exemplar| self.exemplar(at, exemplar))?;
        }
        if raw.buckets.last().is_none_or(|bucket| bucket.bound != f64::INFINITY) {
            self.push(common, "_bucket", Some(("le", f64::INFINITY)), raw.count(), raw.start)?;
        }
        Ok(())
    }

    /// Its place among the samples.
    fn push(
        &mut self,
        common: &Common<'_>,
        suffix: &str,
        own: Option<(&str, f64)>,
        value: f64,
        start: Option<i64>,
    ) -> Result<usize, PushError> {
        (self.charge)(SAMPLE_BYTES + common.pairs_bytes + common.family.len())?;
        let name: Cow<'_, str> =
            if suffix.is_empty() { common.family.into() } else { format!("{}{suffix}", common.family).into() };
        let own = own.map(|(name, number)| (name, number_text(number)));
        let own = own.iter().map(|(name, text)| (*name, text.as_str())).chain([(NAME, &*name)]);
        let labels = Labels::from_pairs(common.pairs.iter().copied().chain(own));
        self.exposition.samples.push(Sample { start, ..Sample::number(labels, value, common.timestamp) });
        Ok(self.exposition.samples.len() - 1)
    }

    /// One whose labels are too long is left out, and counted.
    fn exemplar(&mut self, sample: usize, message: &[u8]) -> Result<(), PushError> {
        let (mut pairs, mut value, mut timestamp) = (Vec::new(), 0.0, None);
        let mut characters = 0;
        for field in Fields::new(message, "an exemplar") {
            match field? {
                (1, field) => {
                    let (name, text) = pair(field.bytes()?)?;
                    characters += name.chars().count() + text.chars().count();
                    if characters <= EXEMPLAR_CHARACTERS_MAX {
                        pairs.push((name, text));
                    }
                }
                (2, field) => value = f64::from_bits(field.fixed64()?),
                (3, field) => timestamp = time(field.bytes()?)?,
                _ => {}
            }
        }
        if characters > EXEMPLAR_CHARACTERS_MAX {
            self.exposition.exemplars_too_long += 1;
            return Ok(());
        }
        (self.charge)(SAMPLE_BYTES + characters)?;
        self.exposition.exemplars.push(Exemplar { sample, labels: Labels::from_pairs(pairs), value, timestamp });
        Ok(())
    }
}

impl<'a> RawMetric<'a> {
    fn read(message: &'a [u8], charge: &mut dyn FnMut(usize) -> Result<(), PushError>) -> Result<Self, PushError> {
        let mut metric = Self::default();
        for field in Fields::new(message, "a metric") {
            let (kind, field) = match field? {
                (1, field) => {
                    charge(2 * size_of::<(&str, &str)>())?;
                    metric.pairs.push(pair(field.bytes()?)?);
                    continue;
                }
                (6, field) => {
                    let millis = Some(field.varint()? as i64).filter(|millis| *millis != 0);
                    let nanos = millis.map(|millis| millis.checked_mul(1_000_000));
                    metric.timestamp = nanos
                        .map(|nanos| nanos.ok_or_else(|| PushError::Malformed("a time beyond the year 2262".into())))
                        .transpose()?;
                    continue;
                }
                (2, field) => (MetricKind::Gauge, field),
                (3, field) => (MetricKind::Counter, field),
                (4, field) => (MetricKind::Summary, field),
                (5, field) => (MetricKind::Unknown, field),
                (7, field) => (MetricKind::Histogram, field),
                _ => continue,
            };
            if metric.value.is_some() {
                return Err(ProtoError::Repeated("a metric's value").into());
            }
            metric.value = Some((kind, field.bytes()?));
        }
        metric.pairs.sort_unstable();
        if let Some(twice) = metric.pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PushError::Malformed(format!("label {:?} appears twice", super::line::clip(twice[0].0))));
        }
        Ok(metric)
    }
}

/// Whether a family may have such a value.
fn of_kind(family: MetricKind, value: MetricKind) -> bool {
    family == value || (family == MetricKind::GaugeHistogram && value == MetricKind::Histogram)
}

fn pair(message: &[u8]) -> Result<(&str, &str), PushError> {
    let (mut name, mut value) = ("", "");
    for field in Fields::new(message, "a label") {
        match field? {
            (1, field) => name = field.text()?,
            (2, field) => value = field.text()?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(PushError::Malformed("a label without a name".into()));
    }
    Ok((name, value))
}

/// A `google.protobuf.Timestamp` in Unix nanoseconds; `None` for the epoch, and beyond what these can say.
fn time(message: &[u8]) -> Result<Option<i64>, ProtoError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields::new(message, "a time") {
        match field? {
            (1, field) => seconds = field.varint()? as i64,
            (2, field) => nanos = field.varint()? as i64,
            _ => {}
        }
    }
    let whole = seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos));
    Ok(whole.filter(|time| *time != 0))
}

fn wrong(family: &str, reason: &str) -> PushError {
    PushError::Malformed(format!("{}: {reason}", super::line::clip(family)))
}

impl PushError {
    /// A malformed message, with whose it is.
    fn within(self, family: &str) -> Self {
        match self {
            Self::Malformed(reason) => wrong(family, &reason),
            other => other,
        }
    }
}

/// As OpenMetrics has bounds: shortest, with a point or an exponent; from 10^6 up and below 10^-4 with an exponent, as Go writes them.
fn number_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
