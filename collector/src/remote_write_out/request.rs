//! A request in the making, as 1.0 or 2.0 has it. Labels and numbers are written here, with all of their bits; histograms and metadata are
//! messages of `weir_model::prompb`.

use std::collections::HashSet;

use prost::Message as _;
use weir_model::histogram;
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, Family};
use weir_model::prompb::{self, Metadata2, MetricMetadata, Symbols};
use weir_model::varint::put_varint;

use super::config::Message;
use super::series::{Series, put_bytes, put_label};

/// A request is not begun anew below so many bytes, nor goes on beyond them: an eighth of what Prometheus takes.
const REQUEST_BYTES: usize = 4 << 20;

/// As it is sent, and what it carries.
#[derive(Debug)]
pub(super) struct Request {
    pub body: bytes::Bytes,
    pub counts: Counts,
    /// Of its samples, in milliseconds.
    pub newest: i64,
    /// Bytes of its symbols, before compression.
    pub(super) symbols: usize,
    /// Its series, in order. They stand behind its symbols, and metadata of 1.0 behind them.
    pub(super) parts: Vec<Part>,
}

/// A series of a request, by which it is divided where a receiver does not take all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Before compression.
    pub bytes: u32,
    pub counts: Counts,
    pub newest: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
    pub metadata: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.metadata += other.metadata;
    }
}

impl Counts {
    /// What is dropped or sent again with it.
    pub fn points(self) -> u64 {
        self.samples + self.histograms
    }
}

/// What a series has in one request, in order of time; milliseconds.
#[derive(Default)]
pub(super) struct Points<'a> {
    pub samples: Vec<Sample>,
    /// Each with its time and since when it counts.
    pub histograms: Vec<(i64, i64, &'a histogram::Histogram)>,
    pub exemplars: Vec<&'a Exemplar>,
}

pub(super) struct Sample {
    pub time: i64,
    pub value: f64,
    /// Since when it counts; 0 where that is unknown.
    pub start: i64,
}

pub(super) struct RequestBuilder {
    message: Message,
    /// Time series fields of the message.
    series: Vec<u8>,
    /// Metadata fields of 1.0.
    metadata: Vec<u8>,
    symbols: Symbols,
    /// Families that 2.0's series have told of here: each counts once.
    told: HashSet<String>,
    counts: Counts,
    newest: i64,
    parts: Vec<Part>,
    scratch: Vec<u8>,
}

impl RequestBuilder {
    pub fn new(message: Message) -> Self {
        let (symbols, told, counts) = (Symbols::default(), HashSet::new(), Counts::default());
        let (series, metadata, parts, scratch) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { message, series, metadata, symbols, told, counts, newest: i64::MIN, parts, scratch }
    }

    /// Whether so many points more are for the next request.
    pub fn is_full(&self, points: usize, points_max: usize) -> bool {
        let bytes = self.series.len() + self.metadata.len() + self.symbols.bytes();
        self.counts.points() > 0 && (self.counts.points() as usize + points > points_max || bytes >= REQUEST_BYTES)
    }

    /// Adds a series, and what 2.0 says of its family.
    pub fn push(&mut self, series: &Series, family: Option<&Family>, points: &Points<'_>) {
        let (mut own, before) = (std::mem::take(&mut self.scratch), self.series.len());
        own.clear();
        match self.message {
            Message::One => self.put_one(&mut own, series, points),
            Message::Two => self.put_two(&mut own, series, family, points),
        }
        put_bytes(&mut self.series, if self.message == Message::One { 1 } else { 5 }, &own);
        self.scratch = own;
        let counts = Counts {
            samples: points.samples.len() as u64,
            histograms: points.histograms.len() as u64,
            exemplars: points.exemplars.len() as u64,
            metadata: family.filter(|_| self.message == Message::Two).map_or(0, |family| u64::from(self.is_first(family))),
        };
        let times = points.samples.iter().map(|sample| sample.time).chain(points.histograms.iter().map(|own| own.0));
        let newest = times.fold(i64::MIN, i64::max);
        self.counts += counts;
        self.newest = self.newest.max(newest);
        self.parts.push(Part { bytes: (self.series.len() - before) as u32, counts, newest });
    }

    fn is_first(&mut self, family: &Family) -> bool {
        !self.told.contains(&family.name) && self.told.insert(family.name.clone())
    }

    /// 1.0 says it beside the series.
    pub fn put_metadata(&mut self, family: &Family) {
        let own = MetricMetadata {
            r#type: prompb::metric_type(family.kind),
            metric_family_name: family.name.clone(),
            help: family.help.clone(),
            unit: family.unit.clone(),
        };
        put_bytes(&mut self.metadata, 3, &own.encode_to_vec());
        self.counts.metadata += 1;
    }

    fn put_one(&self, out: &mut Vec<u8>, series: &Series, points: &Points<'_>) {
        out.extend_from_slice(&series.encoded);
        points.samples.iter().for_each(|sample| put_sample(out, sample, false));
        for own in &points.exemplars {
            let mut exemplar = Vec::new();
            own.labels.iter().for_each(|(name, value)| put_label(&mut exemplar, name, value));
            put_value(&mut exemplar, own, 3);
            put_bytes(out, 3, &exemplar);
        }
        for (time, _, histogram) in &points.histograms {
            put_bytes(out, 4, &prompb::Histogram::of(histogram, *time).encode_to_vec());
        }
    }

    fn put_two(&mut self, out: &mut Vec<u8>, series: &Series, family: Option<&Family>, points: &Points<'_>) {
        put_bytes(out, 1, &references(&mut self.symbols, &series.labels));
        points.samples.iter().for_each(|sample| put_sample(out, sample, true));
        for (time, start, histogram) in &points.histograms {
            let own = prompb::Histogram { start_timestamp: *start, ..prompb::Histogram::of(histogram, *time) };
            put_bytes(out, 3, &own.encode_to_vec());
        }
        for own in &points.exemplars {
            let mut exemplar = Vec::new();
            put_bytes(&mut exemplar, 1, &references(&mut self.symbols, &own.labels));
            put_value(&mut exemplar, own, 3);
            put_bytes(out, 4, &exemplar);
        }
        if let Some(family) = family {
            let (help_ref, unit_ref) = (self.symbols.place(family.help.as_bytes()), self.symbols.place(family.unit.as_bytes()));
            let own = Metadata2 { r#type: prompb::metric_type(family.kind), help_ref, unit_ref };
            put_bytes(out, 5, &own.encode_to_vec());
        }
    }

    /// `None` where there is nothing to send.
    pub fn finish(self) -> Option<Request> {
        if self.counts.points() == 0 {
            return None;
        }
        let symbols = if self.message == Message::Two { put_symbols(&self.symbols) } else { Vec::new() };
        let body = compressed(&[&symbols, &self.series, &self.metadata]);
        Some(Request { body, counts: self.counts, newest: self.newest, symbols: symbols.len(), parts: self.parts })
    }
}

/// A message of these bytes, one behind the other.
pub(super) fn compressed(pieces: &[&[u8]]) -> bytes::Bytes {
    snap::raw::Encoder::new().compress_vec(&pieces.concat()).expect("invariant: a request is far below 4 GiB").into()
}

/// Every value is written but for that of no bits at all, which is what is read where there is none.
fn put_double(out: &mut Vec<u8>, number: u8, value: f64) {
    if value.to_bits() != 0 {
        out.push(number << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, number: u8, value: i64) {
    if value != 0 {
        out.push(number << 3);
        put_varint(out, value as u64);
    }
}

fn put_sample(out: &mut Vec<u8>, sample: &Sample, has_start: bool) {
    let mut own = Vec::with_capacity(32);
    put_double(&mut own, 1, sample.value);
    put_number(&mut own, 2, sample.time);
    if has_start {
        put_number(&mut own, 3, sample.start);
    }
    put_bytes(out, 2, &own);
}

fn put_value(out: &mut Vec<u8>, exemplar: &Exemplar, time: u8) {
    put_double(out, 2, exemplar.value);
    put_number(out, time, exemplar.timestamp.div_euclid(super::encoder::MILLISECOND));
}

/// Packed.
fn references(symbols: &mut Symbols, labels: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 * labels.len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        put_varint(&mut out, u64::from(symbols.place(text.as_bytes())));
    }
    out
}

/// Fields of 2.0.
fn put_symbols(symbols: &Symbols) -> Vec<u8> {
    let mut out = Vec::with_capacity(symbols.bytes() + 3 * symbols.texts().len());
    symbols.texts().for_each(|text| put_bytes(&mut out, 4, text));
    out
}
