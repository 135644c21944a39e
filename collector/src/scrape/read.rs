//! A target's answer as samples with labels that are the series' own: parsed, conflicts resolved, relabelled, limits held. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_model::histogram::{Histogram, schema_of_factor};
use weir_model::label::{Labels, NAME, is_label_name, is_metric_name};
use weir_model::metric::Family;
use weir_model::panic_guard;
use weir_model::time::UnixNanos;

use super::cache::{CacheBuilder, Fate, KnownSeries, LastBody, ScrapeCache};
use super::config::Job;
use super::extras::{Extras, RawExemplar, SampleExtras};
use super::fetch::Answer;
use super::protocol::NameValidation;
use super::relabel;
use crate::exposition::openmetrics::{self, OpenMetricsError};
use crate::exposition::protobuf::{self, Native};
use crate::exposition::{Exposition, Format, created, custom_buckets, line, text};
use crate::push_error::PushError;

/// What the series of an answer in protobuf may take, as a multiple of its bytes, which say a family's name once for all of them; and
/// what is allowed in any case.
const EXPANSION_MAX: usize = 32;
const EXPANDED_MIN: usize = 16 << 20;

/// Samples of one time.
#[derive(Default)]
pub(crate) struct ReadRow {
    pub samples: Vec<(Labels, f64)>,
    pub extras: Extras,
}

/// What an answer says.
#[derive(Default)]
pub(crate) struct Read {
    /// Samples of the scrape's own time, each series once.
    pub row: ReadRow,
    /// Their series.
    pub seen: HashSet<Labels>,
    /// Samples that say their time.
    pub timed: BTreeMap<UnixNanos, ReadRow>,
    pub families: Vec<Family>,
    /// Samples in the answer, and those that the job's rules left.
    pub scraped: usize,
    pub kept: usize,
    /// For the next answer; only the text format has one.
    pub cache: Option<ScrapeCache>,
    /// The first rule of OpenMetrics that the target breaks.
    pub broken: Option<OpenMetricsError>,
    /// Exemplars that are left out.
    pub exemplars_too_long: u64,
    /// A limit that is exceeded fails the scrape once all of it has been read.
    over: Option<String>,
}

/// The reason when the scrape failed. `last` is of the answer before.
pub(crate) fn read(job: &Job, target: &Labels, answer: Answer, last: Option<LastBody<'_>>) -> Result<Read, String> {
    let read = panic_guard::catch(|| {
        if answer.format == Format::Protobuf {
            return read_protobuf(job, target, &answer.body);
        }
        let body = String::from_utf8(answer.body).map_err(|error| error.to_string())?;
        match answer.format {
            Format::OpenMetrics => read_openmetrics(job, target, &body),
            _ if job.converts_histograms() => {
                let exposition = text::parse(&body).map_err(|error| error.to_string())?;
                read_exposition(job, target, exposition)
            }
            _ => read_text(job, target, &body, last),
        }
    });
    let read = read.flatten()?;
    if let Some(over) = read.over {
        return Err(over);
    }
    if job.sample_limit > 0 && read.kept > job.sample_limit {
        return Err(format!("{} samples are above sample_limit {}", read.kept, job.sample_limit));
    }
    Ok(read)
}

fn read_text(job: &Job, target: &Labels, body: &str, last: Option<LastBody<'_>>) -> Result<Read, String> {
    let (mut read, mut known, mut cache) = (Read::default(), KnownSeries::of(last), CacheBuilder::new(body));
    let families = text::read(body, |line| {
        let (series, labels, (number, time)) = match known.find(line) {
            Some((labels, end)) => (&line[..end], labels.cloned(), line::tail(&line[end..])?),
            None => {
                let raw = line::parse(line)?;
                (raw.series, read.resolve(job, target, raw.labels()), (raw.value, raw.timestamp))
            }
        };
        let (value, time) = (line::number(number)?, text::timestamp(time)?);
        let fate = read.take(labels, value, time.filter(|_| job.honor_timestamps), None);
        cache.push(series, number, fate);
        Ok(())
    });
    read.families = families.map_err(|error| error.to_string())?;
    read.cache = cache.finish();
    Ok(read)
}

fn read_openmetrics(job: &Job, target: &Labels, body: &str) -> Result<Read, String> {
    let (exposition, broken) = openmetrics::read(body).map_err(|error| error.to_string())?;
    if exposition.samples.iter().any(|sample| matches!(sample.timestamp, Some(i64::MAX | i64::MIN))) {
        return Err("a time beyond what nanoseconds can say".into());
    }
    Ok(Read { broken, ..read_exposition(job, target, exposition)? })
}

fn read_protobuf(job: &Job, target: &Labels, body: &[u8]) -> Result<Read, String> {
    let native = match (job.reads_native_histograms(), job.keeps_classic_histograms()) {
        (false, _) => Native::Ignored,
        (true, false) => Native::Sample,
        (true, true) => Native::SampleAndSeries,
    };
    let limit = body.len().saturating_mul(EXPANSION_MAX).max(EXPANDED_MIN);
    let mut left = limit;
    let mut charge = |bytes: usize| {
        left = left.checked_sub(bytes).ok_or(PushError::TooLarge {
            what: "series of an answer",
            limit,
            key: "32 times its body",
        })?;
        Ok(())
    };
    let exposition = protobuf::parse(body, native, &mut charge).map_err(|error| error.to_string())?;
    read_exposition(job, target, exposition)
}

/// What is a sample for Prometheus' settings of the job.
fn read_exposition(job: &Job, target: &Labels, mut exposition: Exposition) -> Result<Read, String> {
    if job.created_timestamps {
        created::become_starts(&mut exposition);
    }
    if job.converts_histograms() {
        custom_buckets::convert(&mut exposition, job.keeps_classic_histograms());
    }
    let exemplars_too_long = exposition.exemplars_too_long;
    let mut read = Read { families: exposition.families, exemplars_too_long, ..Read::default() };
    let mut exemplars = exposition.exemplars.into_iter().peekable();
    for (at, sample) in exposition.samples.into_iter().enumerate() {
        let mut extras = SampleExtras {
            histogram: sample.histogram,
            start: sample.start.filter(|_| job.created_timestamps),
            exemplars: Vec::new(),
        };
        while let Some(exemplar) = exemplars.next_if(|exemplar| exemplar.sample == at) {
            let (labels, value, timestamp) = (exemplar.labels, exemplar.value, exemplar.timestamp);
            extras.exemplars.push(RawExemplar { labels, value, timestamp });
        }
        let labels = read.resolve(job, target, sample.labels);
        if let (Some(labels), Some(histogram)) = (&labels, &mut extras.histogram) {
            read.limit_buckets(job, labels, histogram);
        }
        read.take(labels, sample.value, sample.timestamp.filter(|_| job.honor_timestamps), Some(extras));
    }
    Ok(read)
}

impl ReadRow {
    fn push(&mut self, labels: Labels, value: f64, extras: Option<SampleExtras>) {
        if let Some(extras) = extras {
            self.extras.push(self.samples.len(), extras);
        }
        self.samples.push((labels, value));
    }
}

impl Read {
    /// Of the scrape's own time, and of others.
    pub fn series(&self) -> impl Iterator<Item = &Labels> + Clone {
        let timed = self.timed.values().flat_map(|row| &row.samples);
        self.row.samples.iter().chain(timed).map(|(labels, _)| labels)
    }

    /// The series' own labels; `None` when rules drop it.
    fn resolve(&mut self, job: &Job, target: &Labels, own: Labels) -> Option<Labels> {
        let own = if job.honor_labels { own } else { exported(target, own) };
        let own = if job.metric_relabel_configs.is_empty() { own } else { relabelled(job, target, &own)? };
        if self.over.is_none() {
            self.over = check_limits(job, &own, target).and_then(|()| check_names(job, &own)).err();
        }
        Some(own)
    }

    /// As Prometheus: the factor first, then the limit.
    fn limit_buckets(&mut self, job: &Job, labels: &Labels, histogram: &mut Arc<Histogram>) {
        let (limit, schema) = (job.native_histogram_bucket_limit, schema_of_factor(job.native_histogram_min_bucket_factor));
        if histogram.schema > schema {
            Arc::make_mut(histogram).coarsen(schema);
        }
        if limit > 0
            && histogram.buckets() > limit
            && let Err(error) = Arc::make_mut(histogram).fit(limit)
        {
            self.over.get_or_insert_with(|| format!("{labels}: {error} (native_histogram_bucket_limit)"));
        }
    }

    fn take(&mut self, labels: Option<Labels>, value: f64, time: Option<UnixNanos>, extras: Option<SampleExtras>) -> Fate {
        self.scraped += 1;
        let Some(labels) = labels else { return Fate::Dropped };
        self.kept += 1;
        if let Some(time) = time {
            self.timed.entry(time).or_default().push(labels.clone(), value, extras);
            return Fate::Apart(labels);
        }
        // Of two samples of one series the first is kept, as in Prometheus.
        if !self.seen.insert(labels.clone()) {
            return Fate::Apart(labels);
        }
        self.row.push(labels, value, extras);
        Fate::Kept
    }
}

/// A label that the target has, too, is renamed `exported_…`.
fn exported(target: &Labels, own: Labels) -> Labels {
    if own.iter().all(|(name, _)| target.get(name).is_empty()) {
        return own;
    }
    Labels::from_pairs(own.iter().map(|(name, value)| {
        let mut name = name.to_owned();
        while !target.get(&name).is_empty()
            || (name.starts_with("exported_") && !own.get(&name).is_empty() && own.get(&name) != value)
        {
            name.insert_str(0, "exported_");
        }
        (name, value.to_owned())
    }))
}

/// Rules see the whole set. A target's label that a rule removes stays, as it is said once for all series.
fn relabelled(job: &Job, target: &Labels, own: &Labels) -> Option<Labels> {
    let whole = target.merged(own);
    let mut labels: BTreeMap<String, String> = whole.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let kept = relabel::apply(&job.metric_relabel_configs, &mut labels) && labels.contains_key(NAME);
    kept.then(|| Labels::from_pairs(labels.iter().filter(|(name, value)| target.get(name) != value.as_str())))
}

fn check_names(job: &Job, labels: &Labels) -> Result<(), String> {
    let is_plain = |(name, value): (&str, &str)| is_label_name(name) && (name != NAME || is_metric_name(value));
    if job.name_validation() == NameValidation::Utf8 || labels.iter().all(is_plain) {
        return Ok(());
    }
    Err(format!("{labels} has a name that is no identifier (metric_name_validation_scheme is legacy)"))
}

fn check_limits(job: &Job, labels: &Labels, target: &Labels) -> Result<(), String> {
    let count = labels.len() + target.len();
    if job.label_limit > 0 && count > job.label_limit {
        return Err(format!("{labels} has {count} labels, above label_limit {}", job.label_limit));
    }
    let (name_limit, value_limit) = (job.label_name_length_limit, job.label_value_length_limit);
    let long = |(name, value): (&str, &str)| {
        (name_limit > 0 && name.len() > name_limit) || (value_limit > 0 && value.len() > value_limit)
    };
    match labels.iter().find(|pair| long(*pair)) {
        Some((name, _)) => Err(format!("label {name} is above label_name_length_limit or label_value_length_limit")),
        None => Ok(()),
    }
}
