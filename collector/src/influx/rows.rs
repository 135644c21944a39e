//! Points of a request as sections: one of each target, for as long as it has the same series. A target is the database with the tag
//! `host`, by which agents differ.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};

use weir_model::label::{Labels, NAME, normalise_label_name};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::SOURCE;
use super::line::{self, Point};
use crate::admission::Admission;
use crate::bounds::{OutOfTime, TimeBounds};
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

/// Memory of a series in a row beside its labels' texts: its places in a map and two columns that double, its labels' numbers.
const SERIES_BYTES: usize = 112;
/// Memory of a time of a target beside its series, and of its section where that is one of its own.
const ROW_BYTES: usize = 256;
/// Memory of a tag or field while its line is read, which takes three bytes at least.
const PAIR_BYTES: usize = 64;
/// Prometheus' timestamps are milliseconds.
const MILLISECOND: i64 = 1_000_000;

/// What a request came to.
#[derive(Default)]
pub(super) struct Taken {
    pub sections: Vec<Section<MetricBatch>>,
    /// Fields that are not taken, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Points that are refused, and of the first the line and why.
    refused: u64,
    first: Option<(usize, &'static str, String)>,
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit(i64);

impl Unit {
    /// By the parameter `precision`, of either generation.
    pub fn of(precision: &str) -> Result<Self, PushError> {
        let nanos = match precision {
            "" | "n" | "ns" => 1,
            "u" | "us" | "µ" => 1_000,
            "ms" => MILLISECOND,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            other => return Err(PushError::Malformed(format!("invalid precision {other:?} (use n, ns, u, us, ms, s, m or h)"))),
        };
        Ok(Self(nanos))
    }
}

/// One time of a target: of two values of one series the later line's is kept, as in InfluxDB.
#[derive(Default)]
struct Row {
    at: HashMap<Labels, usize>,
    series: Vec<Labels>,
    values: Vec<f64>,
}

impl Row {
    fn put(&mut self, labels: Labels, value: f64) {
        let at = *self.at.entry(labels.clone()).or_insert(self.series.len());
        if at == self.series.len() {
            self.series.push(labels);
            self.values.push(value);
        } else {
            self.values[at] = value;
        }
    }
}

struct Rows<'a> {
    context: &'a PushContext,
    admission: &'a Admission,
    database: &'a str,
    unit: Unit,
    now: UnixNanos,
    bounds: TimeBounds,
    rows: BTreeMap<(Labels, UnixNanos), Row>,
    fields: usize,
    /// Whether a point says no time of its own.
    is_timeless: bool,
    taken: Taken,
}

impl Taken {
    /// What is told of points that are refused: the text, the first one's line, the counter's reason.
    pub fn refusal(self) -> Option<(String, usize, &'static str)> {
        let (line, reason, why) = self.first?;
        Some((format!("partial write: line {line}: {why} dropped={}", self.refused), line, reason))
    }

    fn refuse(&mut self, line: usize, reason: &'static str, fields: u64, why: String) {
        *self.dropped.entry(reason).or_default() += fields;
        self.refused += 1;
        self.first.get_or_insert((line, reason, why));
    }
}

/// Errors where the request as a whole is refused.
pub(super) fn sections(
    context: &PushContext,
    admission: &Admission,
    (database, unit): (&str, Unit),
    body: &[u8],
) -> Result<Taken, PushError> {
    let text = std::str::from_utf8(body).map_err(|error| PushError::Malformed(format!("the body is not UTF-8: {error}")))?;
    let (now, bounds) = ((context.clock)(), context.bounds(Kind::Metrics));
    let (rows, taken) = (BTreeMap::new(), Taken::default());
    let mut rows = Rows { context, admission, database, unit, now, bounds, rows, fields: 0, is_timeless: false, taken };
    let (mut rest, mut number, mut longest) = (text, 1, 0);
    while !rest.is_empty() {
        let (line, after) = line::split(rest);
        let trimmed = line.trim_matches(line::BLANKS);
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            // One line is read at a time.
            admission.charge(trimmed.len().saturating_sub(longest) / 3 * PAIR_BYTES)?;
            longest = longest.max(trimmed.len());
            match line::parse(trimmed) {
                Ok(point) => rows.push(number, &point)?,
                Err(why) => rows.taken.refuse(number, "malformed", 1, why),
            }
        }
        number += 1 + line.bytes().filter(|byte| *byte == b'\n').count();
        rest = after;
    }
    rows.finish(body)
}

impl Rows<'_> {
    fn push(&mut self, line: usize, point: &Point<'_>) -> Result<(), PushError> {
        let Some(time) = self.time(line, point) else { return Ok(()) };
        if point.tags.len() > self.context.config.labels_max {
            let why = format!("{} tags (limit push.labels_max is {})", point.tags.len(), self.context.config.labels_max);
            self.taken.refuse(line, "malformed", point.fields.len() as u64, why);
            return Ok(());
        }
        let host = point.tags.iter().find(|(name, _)| name == "host").map_or("", |(_, host)| &**host);
        let target = Labels::from_pairs([("db", self.database), ("host", host)]);
        let series = self.series(point)?;
        self.fields += series.len();
        let limit = self.context.config.records_max;
        if self.fields > limit {
            return Err(PushError::Malformed(format!("more than {limit} fields in one request (limit push.records_max)")));
        }
        let quota = &self.context.quota;
        let admitted = quota.target(&target).and_then(|()| quota.series(&target, series.iter().map(|(labels, _)| labels)));
        if let Err(excess) = admitted {
            self.taken.refuse(line, excess.reason, series.len() as u64, excess.text);
            return Ok(());
        }
        if series.is_empty() {
            return Ok(());
        }
        let row = match self.rows.entry((target, time / MILLISECOND * MILLISECOND)) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) => {
                self.admission.charge(ROW_BYTES)?;
                place.insert(Row::default())
            }
        };
        series.into_iter().for_each(|(labels, value)| row.put(labels, value));
        Ok(())
    }

    /// When the point was, in nanoseconds; `None` when it is refused for that.
    fn time(&mut self, line: usize, point: &Point<'_>) -> Option<i64> {
        let fields = point.fields.len() as u64;
        let time = match point.timestamp {
            Some(time) => time.checked_mul(self.unit.0),
            None => {
                self.is_timeless = true;
                Some(self.now)
            }
        };
        let Some(time) = time else {
            self.taken.refuse(line, "malformed", fields, "a timestamp that nanoseconds of 64 bits cannot say".into());
            return None;
        };
        if let Err(error) = self.bounds.check(time) {
            let reason = if matches!(error, OutOfTime::Old { .. }) { "too_old" } else { "too_new" };
            self.taken.refuse(line, reason, fields, format!("the point {error}"));
            return None;
        }
        Some(time)
    }

    /// A series of each field that is a number, with its value; texts are counted.
    fn series(&mut self, point: &Point<'_>) -> Result<Vec<(Labels, f64)>, PushError> {
        let tags = point.tags.iter().filter(|(name, _)| name != "host");
        let tags: Vec<(Cow<'_, str>, &str)> = tags.map(|(name, value)| (normalise_label_name(name), &**value)).collect();
        let tags_bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        let (mut series, mut texts) = (Vec::new(), 0);
        for (field, value) in &point.fields {
            let Some(value) = value else {
                texts += 1;
                continue;
            };
            let name = metric_name(&point.measurement, field);
            self.admission.charge(SERIES_BYTES + tags_bytes + name.len())?;
            let pairs = tags.iter().map(|(name, value)| (&**name, *value)).chain([(NAME, name.as_str())]);
            series.push((Labels::from_pairs(pairs), *value));
        }
        if texts > 0 {
            *self.taken.dropped.entry("text_field").or_default() += texts;
        }
        Ok(series)
    }

    fn finish(self, body: &[u8]) -> Result<Taken, PushError> {
        let mut whole = Digest::new(&self.context.tenant, SOURCE);
        whole.field(self.database.as_bytes());
        whole.number(self.unit.0);
        whole.field(body);
        // What says no time is another point each time that it comes; what was refused may be taken another time.
        whole.number(if self.is_timeless { self.now } else { 0 });
        self.taken.dropped.iter().for_each(|(reason, count)| {
            whole.field(reason.as_bytes());
            whole.number(*count as i64);
        });
        let whole = whole.finish();
        let mut batches: Vec<MetricBatch> = Vec::new();
        for ((target, time), Row { series, values, .. }) in self.rows {
            let row = MetricRow::new(time, values);
            match batches.last_mut().filter(|batch| batch.target == target && batch.schema.series == series) {
                Some(batch) => batch.rows.push(row),
                None => batches.push(MetricBatch { target, schema: Schema::shared(series, Vec::new()), rows: vec![row] }),
            }
        }
        let section = |(i, batch): (u32, MetricBatch)| {
            let source = format!("{SOURCE}/{}/{}", batch.target.get("db"), batch.target.get("host"));
            self.context.section(source, weir_model::signal::derive_digest(&whole, i), batch)
        };
        let sections = (0..).zip(batches).map(section).collect();
        Ok(Taken { sections, ..self.taken })
    }
}

/// `measurement_field`, in the letters of a classic name.
fn metric_name(measurement: &str, field: &str) -> String {
    let classic = |letter: char| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' };
    let name: String = measurement.chars().chain(['_']).chain(field.chars()).map(classic).collect();
    if name.as_bytes()[0].is_ascii_digit() { format!("_{name}") } else { name }
}
