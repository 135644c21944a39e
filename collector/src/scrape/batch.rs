//! A target's answer as metric batches: labels resolved, relabelled, limits held, Prometheus' synthetic series added and
//! vanished series marked stale. Pure but for what it remembers of the target's last scrape.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricRow, STALE_NAN, Schema};
use weir_model::time::UnixNanos;

use super::config::Job;
use super::relabel;
use crate::exposition::{Exposition, Sample};

/// What is known of one target.
#[derive(Default)]
pub(crate) struct Memory {
    /// Series of the last scrape without explicit timestamps.
    last: HashSet<Labels>,
    /// Of the last batch; reused while nothing changes.
    schema: Arc<Schema>,
}

/// One scrape.
pub(crate) struct Scrape<'a> {
    pub job: &'a Job,
    pub target: &'a Labels,
    pub at: UnixNanos,
    pub seconds: f64,
    /// The reason when it failed.
    pub answer: Result<Exposition, String>,
}

/// Batches of a scrape, the main one first; and why the scrape counts as failed, if it does.
pub(crate) fn batches(scrape: Scrape<'_>, memory: &mut Memory) -> (Vec<MetricBatch>, Option<String>) {
    let scraped = scrape.answer.as_ref().map_or(0, |answer| answer.samples.len());
    let resolved = scrape.answer.and_then(|answer| Ok((resolve(scrape.job, scrape.target, answer.samples)?, answer.families)));
    let (samples, families, failure) = match resolved {
        Ok((samples, families)) => (samples, families, None),
        Err(reason) => (Vec::new(), Vec::new(), Some(reason)),
    };
    let kept = samples.len();
    let mut main: Vec<(Labels, f64)> = Vec::with_capacity(kept + 5);
    let mut timed: BTreeMap<UnixNanos, Vec<(Labels, f64)>> = BTreeMap::new();
    let mut seen = HashSet::with_capacity(kept);
    for sample in samples {
        match sample.timestamp.filter(|_| scrape.job.honor_timestamps) {
            Some(at) => timed.entry(at).or_default().push((sample.labels, sample.value)),
            // Of two samples of one series the first is kept, as in Prometheus.
            None if seen.insert(sample.labels.clone()) => main.push((sample.labels, sample.value)),
            None => {}
        }
    }
    let added = seen.difference(&memory.last).count();
    main.extend(memory.last.difference(&seen).map(|gone| (gone.clone(), STALE_NAN)));
    memory.last = seen;
    let synthetic = [
        ("up", if failure.is_none() { 1.0 } else { 0.0 }),
        ("scrape_duration_seconds", scrape.seconds),
        ("scrape_samples_scraped", scraped as f64),
        ("scrape_samples_post_metric_relabeling", kept as f64),
        ("scrape_series_added", added as f64),
    ];
    main.extend(synthetic.map(|(name, value)| (Labels::from_pairs([(NAME, name)]), value)));
    let mut batches = vec![batch(scrape.target, scrape.at, main, families, &mut memory.schema)];
    for (at, series) in timed {
        batches.push(batch(scrape.target, at, series, Vec::new(), &mut Arc::default()));
    }
    (batches, failure)
}

fn batch(
    target: &Labels,
    at: UnixNanos,
    series: Vec<(Labels, f64)>,
    families: Vec<Family>,
    known: &mut Arc<Schema>,
) -> MetricBatch {
    let (series, values): (Vec<Labels>, Vec<f64>) = series.into_iter().unzip();
    let schema = Schema { series, families };
    if **known != schema {
        *known = Arc::new(schema);
    }
    MetricBatch { target: target.clone(), schema: known.clone(), rows: vec![MetricRow { timestamp: at, values }] }
}

/// Samples with labels that are the series' own: conflicts resolved, rules applied, limits held.
fn resolve(job: &Job, target: &Labels, samples: Vec<Sample>) -> Result<Vec<Sample>, String> {
    let mut kept = Vec::with_capacity(samples.len());
    for mut sample in samples {
        if !job.metric_relabel_configs.is_empty() {
            let Some(labels) = relabelled(job, target, &sample.labels) else { continue };
            sample.labels = labels;
        } else if !job.honor_labels {
            sample.labels = exported(target, &sample.labels);
        }
        check_limits(job, &sample.labels, target)?;
        kept.push(sample);
    }
    if job.sample_limit > 0 && kept.len() > job.sample_limit {
        return Err(format!("{} samples are above sample_limit {}", kept.len(), job.sample_limit));
    }
    Ok(kept)
}

/// A label that the target has, too, is renamed `exported_…`.
fn exported(target: &Labels, own: &Labels) -> Labels {
    if own.iter().all(|(name, _)| target.get(name).is_empty()) {
        return own.clone();
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
    let own = if job.honor_labels { own.clone() } else { exported(target, own) };
    let whole = target.merged(&own);
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

#[cfg(test)]
mod tests {
    use super::super::config::PrometheusConfig;
    use super::*;
    use crate::exposition::text;

    fn show(batch: &MetricBatch) -> Vec<String> {
        let values = batch.schema.series.iter().zip(&batch.rows[0].values);
        let shown = values.filter(|(labels, _)| !labels.get(NAME).starts_with("scrape_"));
        shown
            .map(|(labels, value)| format!("{labels} {}", if value.is_nan() { "stale".into() } else { value.to_string() }))
            .collect()
    }

    #[test]
    fn scrapes() {
        let config = |extra: &str| {
            PrometheusConfig::parse(&format!("scrape_configs: [{{job_name: j{extra}}}]")).unwrap().scrape_configs.remove(0)
        };
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        let job = config("");
        let mut memory = Memory::default();
        let mut scrape = |job: &Job, answer: Result<&str, &str>, expected: &[&str]| {
            let answer = answer.map(|body| text::parse(body).unwrap()).map_err(str::to_owned);
            let (batches, _) = batches(Scrape { job, target: &target, at: 1, seconds: 0.5, answer }, &mut memory);
            assert_eq!(show(&batches[0]), expected);
            batches
        };
        let first = scrape(&job, Ok("a 1\nb 2\n"), &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 2"#, r#"{__name__="up"} 1"#]);
        let second = scrape(&job, Ok("a 1\nb 2\n"), &[r#"{__name__="a"} 1"#, r#"{__name__="b"} 2"#, r#"{__name__="up"} 1"#]);
        assert!(Arc::ptr_eq(&first[0].schema, &second[0].schema), "the schema is shared while nothing changes");
        scrape(&job, Ok("a 1\n"), &[r#"{__name__="a"} 1"#, r#"{__name__="b"} stale"#, r#"{__name__="up"} 1"#]);
        scrape(&job, Err("refused"), &[r#"{__name__="a"} stale"#, r#"{__name__="up"} 0"#]);
        scrape(&job, Ok("a{job=\"x\"} 1\n"), &[r#"{__name__="a", exported_job="x"} 1"#, r#"{__name__="up"} 1"#]);
        let honor = config(", honor_labels: true");
        scrape(
            &honor,
            Ok("a{job=\"x\"} 1\n"),
            &[r#"{__name__="a", job="x"} 1"#, r#"{__name__="a", exported_job="x"} stale"#, r#"{__name__="up"} 1"#],
        );
        let limited = config(", sample_limit: 1");
        scrape(&limited, Ok("a 1\nb 1\n"), &[r#"{__name__="a", job="x"} stale"#, r#"{__name__="up"} 0"#]);
        let drop = config(", metric_relabel_configs: [{source_labels: [__name__], regex: a, action: drop}]");
        let timed = scrape(&drop, Ok("a 1\nb 1\nc 1 5\n"), &[r#"{__name__="b"} 1"#, r#"{__name__="up"} 1"#]);
        assert_eq!(timed[1].rows[0].timestamp, 5_000_000);
    }
}
