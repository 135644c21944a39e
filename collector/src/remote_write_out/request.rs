//! A request in the making, as 1.0 or 2.0 has it. Labels and numbers are written here, with all of their bits; histograms and metadata are
//! messages of `weir_model::prompb`.

use std::collections::HashMap;

use prost::Message as _;
use weir_model::histogram;
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, Family};
use weir_model::prompb::{self, Metadata2, MetricMetadata};
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
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
    pub metadata: u64,
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
    counts: Counts,
    newest: i64,
    scratch: Vec<u8>,
}

impl RequestBuilder {
    pub fn new(message: Message) -> Self {
        let symbols = Symbols { places: HashMap::new(), bytes: Vec::new() };
        let (series, metadata, scratch) = (Vec::new(), Vec::new(), Vec::new());
        Self { message, series, metadata, symbols, counts: Counts::default(), newest: i64::MIN, scratch }
    }

    /// Whether so many points more are for the next request.
    pub fn is_full(&self, points: usize, points_max: usize) -> bool {
        let bytes = self.series.len() + self.metadata.len() + self.symbols.bytes.len();
        self.counts.points() > 0 && (self.counts.points() as usize + points > points_max || bytes >= REQUEST_BYTES)
    }

    /// Adds a series, and what 2.0 says of its family.
    pub fn push(&mut self, series: &Series, family: Option<&Family>, points: &Points<'_>) {
        let mut own = std::mem::take(&mut self.scratch);
        own.clear();
        match self.message {
            Message::One => self.put_one(&mut own, series, points),
            Message::Two => self.put_two(&mut own, series, family, points),
        }
        put_bytes(&mut self.series, if self.message == Message::One { 1 } else { 5 }, &own);
        self.scratch = own;
        self.counts.samples += points.samples.len() as u64;
        self.counts.histograms += points.histograms.len() as u64;
        self.counts.exemplars += points.exemplars.len() as u64;
        let times = points.samples.iter().map(|sample| sample.time).chain(points.histograms.iter().map(|own| own.0));
        self.newest = times.fold(self.newest, i64::max);
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
        put_bytes(out, 1, &self.symbols.references(&series.labels));
        points.samples.iter().for_each(|sample| put_sample(out, sample, true));
        for (time, start, histogram) in &points.histograms {
            let own = prompb::Histogram { start_timestamp: *start, ..prompb::Histogram::of(histogram, *time) };
            put_bytes(out, 3, &own.encode_to_vec());
        }
        for own in &points.exemplars {
            let mut exemplar = Vec::new();
            put_bytes(&mut exemplar, 1, &self.symbols.references(&own.labels));
            put_value(&mut exemplar, own, 3);
            put_bytes(out, 4, &exemplar);
        }
        if let Some(family) = family {
            let (help_ref, unit_ref) = (self.symbols.place(&family.help), self.symbols.place(&family.unit));
            let own = Metadata2 { r#type: prompb::metric_type(family.kind), help_ref, unit_ref };
            put_bytes(out, 5, &own.encode_to_vec());
            self.counts.metadata += 1;
        }
    }

    /// `None` where there is nothing to send.
    pub fn finish(self) -> Option<Request> {
        if self.counts.points() == 0 {
            return None;
        }
        let symbols = if self.message == Message::Two { [&put_empty()[..], &self.symbols.bytes].concat() } else { Vec::new() };
        let message = [symbols, self.series, self.metadata].concat();
        let body = snap::raw::Encoder::new().compress_vec(&message).expect("invariant: a request is far below 4 GiB");
        Some(Request { body: body.into(), counts: self.counts, newest: self.newest })
    }
}

/// Symbol 0 is the empty text.
fn put_empty() -> [u8; 2] {
    [4 << 3 | 2, 0]
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

/// Texts of 2.0, each once.
struct Symbols {
    places: HashMap<Box<str>, u32>,
    /// Symbol fields, without the empty one that leads them.
    bytes: Vec<u8>,
}

impl Symbols {
    fn place(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.places.len() as u32 + 1;
        self.places.insert(text.into(), place);
        put_bytes(&mut self.bytes, 4, text.as_bytes());
        place
    }

    /// Packed.
    fn references(&mut self, labels: &Labels) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 * labels.len());
        for (name, value) in labels.iter() {
            let places = [self.place(name), self.place(value)];
            places.into_iter().for_each(|place| put_varint(&mut out, u64::from(place)));
        }
        out
    }
}
