//! Remote write's two messages, read where they lie: `prometheus.WriteRequest` (1.0) and `io.prometheus.write.v2.Request` (2.0).
//! Either gives each series a fingerprint, which [`super::series`] knows it by, and its labels as the label messages of 1.0. Pure.
//! Sources: prompb/{remote,types}.proto and prompb/io/prometheus/write/v2/types.proto of Prometheus.

use std::cell::Cell;

use weir_model::metric::{Family, MetricKind};
use weir_model::varint::put_varint;
use xxhash_rust::xxh3::xxh3_64;

use super::rows::EXEMPLAR_LETTERS_MAX;
use super::symbols::Symbols;
use crate::fingerprint::Fingerprint;
use crate::proto::{Field, Fields, ProtoError};

/// Label bytes that all series of a request of 2.0 may refer to, as a multiple of its body: forty labels take twenty times the series …
const GATHERED_EXPANSION_MAX: usize = 64;
/// … or this much in any case.
const GATHERED_MIN: usize = 16 << 20;
/// A family's name, help or unit: help and unit are cut there, and a family whose name is longer is left out.
pub(super) const FAMILY_TEXT_BYTES_MAX: usize = 1 << 10;

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Times are milliseconds since the Unix epoch.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub time: i64,
    pub value: f64,
    /// Since when it counts, 0 where that is unknown.
    pub start: i64,
}

/// An exemplar: label messages of version 1, value and time.
pub(super) struct RawExemplar {
    pub labels: Vec<u8>,
    pub value: f64,
    pub time: i64,
}

/// Metadata of a series (2.0).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RawMetadata<'a> {
    pub kind: u64,
    pub help: &'a [u8],
    pub unit: &'a [u8],
}

impl RawMetadata<'_> {
    /// Of what it says.
    pub fn hash(&self) -> u64 {
        // Never 0, which says that there was none yet.
        xxh3_64(self.help) ^ xxh3_64(self.unit).rotate_left(17) ^ (self.kind + 1).rotate_left(40) | 1
    }
}

/// One series of a request; its lists are used again for the next one.
#[derive(Default)]
pub(super) struct RawSeries<'a> {
    /// Its label messages, where the request has them one after the other …
    leading: &'a [u8],
    /// … and else, put together.
    gathered: Vec<u8>,
    pub samples: Vec<Sample>,
    pub histograms: Vec<&'a [u8]>,
    pub exemplars: Vec<&'a [u8]>,
    pub metadata: Option<RawMetadata<'a>>,
    /// Of 2.0's labels.
    references: Vec<u32>,
    /// By which the series is known, of one version alone.
    pub fingerprint: Fingerprint,
}

/// A request's parts that its series refer to.
pub(super) struct Request<'a> {
    version: Version,
    body: &'a [u8],
    /// Of 2.0.
    symbols: Symbols<'a>,
    labels_max: usize,
    /// Label bytes that series may still refer to.
    left: Cell<usize>,
}

impl<'a> Request<'a> {
    /// Counts series, and charges for the table of symbols before it is made.
    pub fn begin<E: From<ProtoError>>(
        version: Version,
        body: &'a [u8],
        labels_max: usize,
        charge: impl Fn(usize) -> Result<(), E>,
    ) -> Result<(Self, usize), E> {
        let (mut symbols, mut series) = (0, 0);
        for field in Fields::new(body, version.name()) {
            match (version, field?.0) {
                (Version::One, 1) | (Version::Two, 5) => series += 1,
                (Version::Two, 4) => symbols += 1,
                _ => {}
            }
        }
        charge(Symbols::memory(symbols))?;
        let left = Cell::new(body.len().saturating_mul(GATHERED_EXPANSION_MAX).max(GATHERED_MIN));
        let mut request = Self { version, body, symbols: Symbols::with_capacity(symbols), labels_max, left };
        if version == Version::Two {
            for field in Fields::new(body, version.name()) {
                if let (4, field) = field? {
                    request.symbols.push(field.bytes()?);
                }
            }
        }
        Ok((request, series))
    }

    /// The message of each series.
    pub fn series(&self) -> impl Iterator<Item = Result<&'a [u8], ProtoError>> + use<'a> {
        let wanted = if self.version == Version::One { 1 } else { 5 };
        let fields = Fields::new(self.body, self.version.name());
        fields.filter_map(move |field| match field {
            Ok((number, field)) if number == wanted => Some(field.bytes()),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Families of 1.0's metadata; `None` for one whose name is too long.
    pub fn families(&self) -> impl Iterator<Item = Result<Option<Family>, ProtoError>> + use<'a> {
        let body = if self.version == Version::One { self.body } else { &[] };
        Fields::new(body, self.version.name()).filter_map(move |field| match field {
            Ok((3, field)) => Some(field.bytes().and_then(family)),
            _ => None,
        })
    }

    /// What the lists of a series take that is read.
    pub fn list_bytes(&self, bytes: &[u8]) -> Result<usize, ProtoError> {
        let of = |field: Result<(u32, Field<'_>), ProtoError>| match (self.version, field?) {
            (Version::One, (1, _)) => Ok(0),
            // Numbers of a byte each.
            (Version::Two, (1, field)) => Ok(field.bytes().map_or(1, <[u8]>::len) * size_of::<u32>()),
            _ => Ok(size_of::<Sample>()),
        };
        // Lists double.
        Fields::new(bytes, "a time series").map(of).sum::<Result<usize, ProtoError>>().map(|bytes| 2 * bytes)
    }

    /// Reads one series. The inner error is of its references to symbols.
    pub fn read(&self, bytes: &'a [u8], into: &mut RawSeries<'a>) -> Result<Result<(), String>, ProtoError> {
        into.leading = &[];
        into.gathered.clear();
        into.samples.clear();
        into.histograms.clear();
        into.exemplars.clear();
        into.metadata = None;
        into.references.clear();
        if self.version == Version::Two {
            return self.read_2(bytes, into);
        }
        into.read_1(bytes)?;
        into.fingerprint = Fingerprint::of(into.labels());
        Ok(Ok(()))
    }

    fn read_2(&self, bytes: &'a [u8], into: &mut RawSeries<'a>) -> Result<Result<(), String>, ProtoError> {
        let mut fault = Ok(());
        for field in Fields::new(bytes, "a time series") {
            match field? {
                (1, field) => {
                    field.each_varint(|reference| into.references.push(u32::try_from(reference).unwrap_or(u32::MAX)))?
                }
                (2, field) => into.samples.push(sample(field)?),
                (3, field) => into.histograms.push(field.bytes()?),
                (4, field) => into.exemplars.push(field.bytes()?),
                (5, field) => match self.metadata(field)? {
                    Ok(metadata) => into.metadata = Some(metadata),
                    Err(error) => fault = Err(error),
                },
                _ => {}
            }
        }
        let left = self.left.get();
        let read = self.symbols.fingerprint(&into.references, self.labels_max, left).map(|(fingerprint, bytes)| {
            into.fingerprint = fingerprint;
            self.left.set(left - bytes);
        });
        Ok(read.and(fault))
    }

    /// Puts a series' label messages together, where it has references.
    pub fn gather(&self, series: &mut RawSeries<'a>) -> Result<(), String> {
        if self.version == Version::One {
            return Ok(());
        }
        // What it refers to was counted when it was read.
        self.symbols.gather(&series.references, self.labels_max, usize::MAX, &mut series.gathered)
    }

    fn metadata(&self, field: Field<'a>) -> Result<Result<RawMetadata<'a>, String>, ProtoError> {
        let (mut metadata, mut fault) = (RawMetadata::default(), Ok(()));
        for field in Fields::new(field.bytes()?, "metadata") {
            let (number, field) = field?;
            let reference = u32::try_from(field.varint()?).unwrap_or(u32::MAX);
            match number {
                1 => metadata.kind = u64::from(reference),
                3 | 4 => match self.symbols.get(reference) {
                    Ok(text) if number == 3 => metadata.help = cut(text),
                    Ok(text) => metadata.unit = cut(text),
                    Err(error) => fault = Err(error),
                },
                _ => {}
            }
        }
        Ok(fault.map(|()| metadata))
    }

    /// An exemplar. The inner error is of its references to symbols.
    pub fn exemplar(&self, bytes: &[u8]) -> Result<Result<RawExemplar, String>, ProtoError> {
        let (mut exemplar, mut references) = (RawExemplar { labels: Vec::new(), value: 0.0, time: 0 }, Vec::new());
        for field in Fields::new(bytes, "an exemplar") {
            match field? {
                (1, field) if self.version == Version::One => put_field(&mut exemplar.labels, 1, field.bytes()?),
                (1, field) => field.each_varint(|reference| references.push(u32::try_from(reference).unwrap_or(u32::MAX)))?,
                (2, field) => exemplar.value = f64::from_bits(field.fixed64()?),
                (3, field) => exemplar.time = field.varint()? as i64,
                _ => {}
            }
        }
        // A letter has four bytes at most.
        let bytes_max = 4 * EXEMPLAR_LETTERS_MAX;
        Ok(self.symbols.gather(&references, self.labels_max, bytes_max, &mut exemplar.labels).map(|()| exemplar))
    }
}

impl Version {
    /// As errors call the message.
    fn name(self) -> &'static str {
        if self == Self::One { "a write request" } else { "a write request 2.0" }
    }
}

impl<'a> RawSeries<'a> {
    /// Bytes of labels that do not lie together in the request.
    pub fn labels_copied(&self) -> usize {
        self.gathered.len()
    }

    /// Label messages of version 1; of a series of 2.0 once they are gathered.
    pub fn labels(&self) -> &[u8] {
        if self.gathered.is_empty() { self.leading } else { &self.gathered }
    }

    fn read_1(&mut self, bytes: &'a [u8]) -> Result<(), ProtoError> {
        let (leading, rest) = bytes.split_at(leading_labels(bytes));
        self.leading = leading;
        let mut fields = Fields::new(rest, "a time series");
        let mut is_leading = true;
        while let Some(field) = fields.next() {
            match field? {
                (1, field) => {
                    let label = field.bytes()?;
                    if is_leading {
                        self.leading = &bytes[..bytes.len() - fields.remaining()];
                        continue;
                    }
                    if self.gathered.is_empty() {
                        self.gathered.extend_from_slice(self.leading);
                    }
                    put_field(&mut self.gathered, 1, label);
                }
                (number, field) => {
                    is_leading = false;
                    match number {
                        2 => self.samples.push(sample(field)?),
                        3 => self.exemplars.push(field.bytes()?),
                        4 => self.histograms.push(field.bytes()?),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// How far label messages reach that stand first: those of less than 128 bytes, whose length is one byte, up to the first that is longer.
fn leading_labels(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let [0x0a, length @ ..0x80, rest @ ..] = &bytes[end..]
        && usize::from(*length) <= rest.len()
    {
        end += 2 + usize::from(*length);
    }
    end
}

fn sample(field: Field<'_>) -> Result<Sample, ProtoError> {
    let mut sample = Sample::default();
    for field in Fields::new(field.bytes()?, "a sample") {
        match field? {
            (1, field) => sample.value = f64::from_bits(field.fixed64()?),
            (2, field) => sample.time = field.varint()? as i64,
            (3, field) => sample.start = field.varint()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

fn family(bytes: &[u8]) -> Result<Option<Family>, ProtoError> {
    let (mut family, mut is_short) = (Family::default(), true);
    for field in Fields::new(bytes, "metadata") {
        match field? {
            (1, field) => family.kind = kind(field.varint()?),
            (2, field) => {
                let name = field.text()?;
                is_short = name.len() <= FAMILY_TEXT_BYTES_MAX;
                family.name = short(name);
            }
            (4, field) => family.help = short(field.text()?),
            (5, field) => family.unit = short(field.text()?),
            _ => {}
        }
    }
    Ok(is_short.then_some(family))
}

/// As much of a family's text as is kept, in whole letters.
fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(FAMILY_TEXT_BYTES_MAX);
    while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    &text[..end]
}

fn short(text: &str) -> String {
    text[..cut(text.as_bytes()).len()].to_owned()
}

/// Both versions number types alike.
pub(super) fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// Appends a label message.
pub(super) fn put_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let length = |text: &[u8]| 1 + varint_bytes(text.len()) + text.len();
    out.push(0x0a);
    put_varint(out, (length(name) + length(value)) as u64);
    put_field(out, 1, name);
    put_field(out, 2, value);
}

fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint_bytes(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}
