//! A target's answer as samples with labels that are the series' own: parsed, conflicts resolved, relabelled, limits held. Pure.

use std::collections::{BTreeMap, HashSet};

use weir_model::label::{Labels, NAME};
use weir_model::metric::Family;
use weir_model::panic_guard;
use weir_model::time::UnixNanos;

use super::cache::{CachedLine, Fate, KnownSeries, ScrapeCache};
use super::config::Job;
use super::fetch::Answer;
use super::relabel;
use crate::exposition::openmetrics::{self, OpenMetricsError};
use crate::exposition::{line, text};

/// What an answer says.
#[derive(Default)]
pub(crate) struct Read {
    /// Samples of the scrape's own time, each series once.
    pub samples: Vec<(Labels, f64)>,
    /// Their series.
    pub seen: HashSet<Labels>,
    /// Samples that say their time.
    pub timed: BTreeMap<UnixNanos, Vec<(Labels, f64)>>,
    pub families: Vec<Family>,
    /// Samples in the answer, and those that the job's rules left.
    pub scraped: usize,
    pub kept: usize,
    /// For the next answer; only the text format has one.
    pub cache: Option<ScrapeCache>,
    /// The first rule of OpenMetrics that the target breaks.
    pub broken: Option<OpenMetricsError>,
    /// Not kept.
    pub exemplars: u64,
    /// A limit that is exceeded fails the scrape once all of it has been read.
    over: Option<String>,
}

/// The reason when the scrape failed. `cache` is of the answer before.
pub(crate) fn read(job: &Job, target: &Labels, answer: Answer, cache: Option<&ScrapeCache>) -> Result<Read, String> {
    let read = panic_guard::catch(|| {
        let body = String::from_utf8(answer.body).map_err(|error| error.to_string())?;
        if answer.is_openmetrics { read_openmetrics(job, target, &body) } else { read_text(job, target, body, cache) }
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

fn read_text(job: &Job, target: &Labels, body: String, cache: Option<&ScrapeCache>) -> Result<Read, String> {
    let (mut read, mut known, mut lines) = (Read::default(), KnownSeries::of(cache), Vec::new());
    let families = text::read(&body, |line| {
        let (series, labels, (number, time)) = match known.find(line) {
            Some((labels, end)) => (&line[..end], labels.cloned(), line::tail(&line[end..])?),
            None => {
                let raw = line::parse(line)?;
                (raw.series, read.resolve(job, target, raw.labels()), (raw.value, raw.timestamp))
            }
        };
        let (value, time) = (line::number(number)?, text::timestamp(time)?);
        let fate = read.take(labels, value, time.filter(|_| job.honor_timestamps));
        lines.push(CachedLine::new(&body, series, number, fate));
        Ok(())
    });
    read.families = families.map_err(|error| error.to_string())?;
    read.cache = ScrapeCache::new(body, lines);
    Ok(read)
}

fn read_openmetrics(job: &Job, target: &Labels, body: &str) -> Result<Read, String> {
    let (exposition, broken) = openmetrics::read(body).map_err(|error| error.to_string())?;
    if exposition.samples.iter().any(|sample| matches!(sample.timestamp, Some(i64::MAX | i64::MIN))) {
        return Err("a time beyond what nanoseconds can say".into());
    }
    let exemplars = exposition.exemplars.len() as u64;
    let mut read = Read { families: exposition.families, broken, exemplars, ..Read::default() };
    for sample in exposition.samples {
        let labels = read.resolve(job, target, sample.labels);
        read.take(labels, sample.value, sample.timestamp.filter(|_| job.honor_timestamps));
    }
    Ok(read)
}

impl Read {
    /// Of the scrape's own time, and of others.
    pub fn series(&self) -> impl Iterator<Item = &Labels> + Clone {
        let timed = self.timed.values().flatten();
        self.samples.iter().chain(timed).map(|(labels, _)| labels)
    }

    /// The series' own labels; `None` when rules drop it.
    fn resolve(&mut self, job: &Job, target: &Labels, own: Labels) -> Option<Labels> {
        let own = if job.honor_labels { own } else { exported(target, own) };
        let own = if job.metric_relabel_configs.is_empty() { own } else { relabelled(job, target, &own)? };
        if self.over.is_none() {
            self.over = check_limits(job, &own, target).err();
        }
        Some(own)
    }

    fn take(&mut self, labels: Option<Labels>, value: f64, time: Option<UnixNanos>) -> Fate {
        self.scraped += 1;
        let Some(labels) = labels else { return Fate::Dropped };
        self.kept += 1;
        if let Some(time) = time {
            self.timed.entry(time).or_default().push((labels.clone(), value));
            return Fate::Apart(labels);
        }
        // Of two samples of one series the first is kept, as in Prometheus.
        if !self.seen.insert(labels.clone()) {
            return Fate::Apart(labels);
        }
        self.samples.push((labels.clone(), value));
        Fate::Kept(labels)
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
