//! A target's answer as metric batches: Prometheus' synthetic series added and vanished series marked stale. Pure but for what it
//! remembers of the target's last scrape.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricRow, STALE_NAN, Schema};
use weir_model::time::UnixNanos;

use super::cache::{LastBody, ScrapeCache};
use super::config::Job;
use super::extras::{KnownExtras, Seen};
use super::fetch::Answer;
use super::read::{Read, ReadRow, read};
use crate::exposition::Format;
use crate::exposition::openmetrics::OpenMetricsError;
use crate::quota::Quota;

/// What is known of one target.
#[derive(Default)]
pub(crate) struct Memory {
    /// Of the last batch: first `live` series of the last scrape without times of their own, then `ended` that were there no more,
    /// then the synthetic ones. Reused while nothing changes.
    schema: Arc<Schema>,
    live: usize,
    ended: usize,
    cache: Option<ScrapeCache>,
    extras: KnownExtras,
}

/// One scrape.
pub(crate) struct Scrape<'a> {
    pub job: &'a Job,
    pub target: &'a Labels,
    pub at: UnixNanos,
    pub seconds: f64,
    /// The reason when it failed.
    pub answer: Result<Answer, String>,
    /// What is above it fails the scrape.
    pub quota: &'a Quota,
}

/// What a scrape gave.
#[derive(Default)]
pub(crate) struct Scraped {
    /// The main one first.
    pub batches: Vec<MetricBatch>,
    /// Why the scrape counts as failed, if it does.
    pub failure: Option<String>,
    /// Whether it failed by the limits of its tenant.
    pub is_limited: bool,
    /// The first rule of OpenMetrics that the target breaks.
    pub broken: Option<OpenMetricsError>,
    /// Exemplars that are left out.
    pub exemplars_too_long: u64,
}

/// Names of the values of [`Counts::values`].
static SYNTHETIC: LazyLock<[Labels; 5]> = LazyLock::new(|| {
    let names = [
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    ];
    names.map(|name| Labels::from_pairs([(NAME, name)]))
});

struct Counts {
    up: bool,
    scraped: usize,
    kept: usize,
    added: usize,
}

impl Counts {
    fn values(&self, seconds: f64) -> [f64; 5] {
        [if self.up { 1.0 } else { 0.0 }, seconds, self.scraped as f64, self.kept as f64, self.added as f64]
    }
}

/// Batches of a scrape.
pub(crate) fn batches(scrape: Scrape<'_>, memory: &mut Memory) -> Scraped {
    let Scrape { job, target, at, seconds, answer, quota } = scrape;
    let bytes = answer.as_ref().map_or(0, |answer| answer.body.len());
    let mut is_limited = false;
    let known = answer.as_ref().ok().and_then(|answer| memory.unchanged(answer));
    let read = match known {
        Some((values, counts)) => match quota.scrape(target, memory.schema.series[..memory.live].iter(), bytes) {
            Ok(()) => {
                let main = memory.batch_unchanged(target, at, values, &counts.values(seconds));
                return Scraped { batches: vec![main], ..Scraped::default() };
            }
            Err(reason) => {
                is_limited = true;
                Err(reason)
            }
        },
        None => answer.and_then(|answer| {
            let read = read(job, target, answer, memory.last_body())?;
            quota.scrape(target, read.series(), bytes).inspect_err(|_| is_limited = true).map(|()| read)
        }),
    };
    match read {
        Ok(mut read) => {
            let (broken, exemplars_too_long, timed) =
                (read.broken.take(), read.exemplars_too_long, std::mem::take(&mut read.timed));
            let mut seen = Seen::default();
            let mut batches = vec![memory.batch(target, at, read, true, seconds, &mut seen)];
            for (at, ReadRow { samples, extras }) in timed {
                let (series, values): (Vec<Labels>, _) = samples.into_iter().unzip();
                let extras = memory.extras.row(extras, at, &series, &mut seen);
                batches.push(batch(target, Schema::shared(series, Vec::new()), MetricRow { timestamp: at, values, extras }));
            }
            memory.extras.learn(seen);
            Scraped { batches, broken, exemplars_too_long, ..Scraped::default() }
        }
        Err(reason) => {
            let batches = vec![memory.batch(target, at, Read::default(), false, seconds, &mut Seen::default())];
            Scraped { batches, failure: Some(reason), is_limited, ..Scraped::default() }
        }
    }
}

impl Memory {
    fn last_body(&self) -> Option<LastBody<'_>> {
        let cache = self.cache.as_ref()?;
        Some(LastBody { cache, columns: &self.schema.series[..self.live] })
    }

    /// The values of an answer that is like the last one in all but its numbers.
    fn unchanged(&self, answer: &Answer) -> Option<(Vec<f64>, Counts)> {
        let cache = self.cache.as_ref().filter(|_| answer.format == Format::Text)?;
        let values = cache.values(&answer.body)?;
        Some((values, Counts { up: true, scraped: cache.scraped(), kept: cache.kept(), added: 0 }))
    }

    fn batch_unchanged(&mut self, target: &Labels, at: UnixNanos, mut values: Vec<f64>, synthetic: &[f64]) -> MetricBatch {
        if self.ended > 0 {
            let live = self.schema.series[..self.live].iter().cloned();
            self.learn(live.chain(SYNTHETIC.iter().cloned()).collect(), self.schema.families.clone());
            self.ended = 0;
        }
        values.extend(synthetic);
        batch(target, Arc::clone(&self.schema), MetricRow::new(at, values))
    }

    /// The main batch of a scrape, which is remembered.
    fn batch(&mut self, target: &Labels, at: UnixNanos, read: Read, up: bool, seconds: f64, exemplars: &mut Seen) -> MetricBatch {
        let Read { row: ReadRow { samples, extras }, seen, families, scraped, kept, cache, .. } = read;
        let ended: Vec<Labels> = self.vanished(&seen).cloned().collect();
        let added = seen.len() - (self.live - ended.len());
        let counts = Counts { up, scraped, kept, added };
        (self.live, self.ended, self.cache) = (samples.len(), ended.len(), cache);
        let columns = samples.len() + ended.len() + SYNTHETIC.len();
        let (mut series, mut values) = (Vec::with_capacity(columns), Vec::with_capacity(columns));
        for (labels, value) in samples {
            series.push(labels);
            values.push(value);
        }
        values.resize(values.len() + ended.len(), STALE_NAN);
        values.extend(counts.values(seconds));
        series.extend(ended);
        series.extend(SYNTHETIC.iter().cloned());
        self.learn(series, families);
        let extras = self.extras.row(extras, at, &self.schema.series, exemplars);
        batch(target, Arc::clone(&self.schema), MetricRow { timestamp: at, values, extras })
    }

    /// Series of the last scrape that are not among those of this one.
    fn vanished(&self, seen: &HashSet<Labels>) -> impl Iterator<Item = &Labels> {
        self.schema.series[..self.live].iter().filter(|labels| !seen.contains(*labels))
    }

    fn learn(&mut self, series: Vec<Labels>, families: Vec<Family>) {
        if self.schema.series != series || self.schema.families != families {
            self.schema = Arc::new(Schema::new(series, families));
        }
    }
}

fn batch(target: &Labels, schema: Arc<Schema>, row: MetricRow) -> MetricBatch {
    MetricBatch { target: target.clone(), schema, rows: vec![row] }
}

#[cfg(test)]
mod tests {
    use super::super::file::PrometheusConfig;
    use super::*;
    use crate::quota::Quotas;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
    use weir_model::limits::{Limits, OverridesFile};

    fn text(body: &str) -> Answer {
        Answer { body: body.into(), format: Format::Text }
    }

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
        let (job, quota) = (config(""), Quotas::none().of("t"));
        let (mut memory, mut last) = (Memory::default(), std::ptr::from_ref(&job));
        let mut scrape = |job: &Job, answer: Result<&str, &str>, expected: &[&str]| {
            if !std::ptr::eq(job, std::mem::replace(&mut last, job)) {
                // What is remembered of a text is what the job made of it.
                memory.cache = None;
            }
            let answer = answer.map(text).map_err(str::to_owned);
            let scraped = batches(Scrape { job, target: &target, at: 1, seconds: 0.5, answer, quota: &quota }, &mut memory);
            assert_eq!(show(&scraped.batches[0]), expected);
            scraped.batches
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

    /// Bodies that are mostly like the one before: series come and go, move, are dropped by a rule, repeat, say a time.
    fn bodies() -> impl Strategy<Value = Vec<String>> {
        let line = (0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(name, pod, wide)| {
            let blank = if wide { "  " } else { "" };
            format!("m{name}{blank}{{pod=\"p}}{pod}\"}}")
        });
        let other = prop_oneof![
            Just("drop 7".to_owned()),
            Just("# HELP m1 help".to_owned()),
            Just("# TYPE m1 counter".to_owned()),
            Just("m9 1 5000".to_owned()),
            Just("m9 NaN".to_owned()),
            Just("m9 -0.5e3 ".to_owned()),
            Just("m8 x".to_owned()),
            Just("m8 {pod=\"p\" 1".to_owned()),
            Just(String::new()),
        ];
        let line = prop_oneof![9 => (line, 0..200_u32).prop_map(|(series, value)| format!("{series} {value}")), 1 => other];
        let edit = (0..12_usize, line, 0..4_u8);
        proptest::collection::vec((edit, any::<bool>()), 1..24).prop_map(|edits| {
            let mut lines: Vec<String> = Vec::new();
            let mut bodies = Vec::new();
            for ((at, line, what), ends) in edits {
                let at = at.min(lines.len());
                match what {
                    0 if at < lines.len() => drop(lines.remove(at)),
                    1 if at < lines.len() => lines[at] = line,
                    2 => lines.iter_mut().filter(|line| line.starts_with('m')).for_each(|line| line.push('1')),
                    _ => lines.insert(at, line),
                }
                bodies.push(lines.join("\n") + if ends { "\n" } else { "" });
            }
            bodies
        })
    }

    proptest! {
        #[test]
        fn what_is_remembered_changes_nothing(bodies in bodies(), honor in any::<bool>()) {
            let rule = "metric_relabel_configs: [{source_labels: [__name__], regex: drop, action: drop}]";
            let yaml = format!("scrape_configs: [{{job_name: j, honor_timestamps: {honor}, {rule}}}]");
            let job = PrometheusConfig::parse(&yaml).unwrap().scrape_configs.remove(0);
            let target = Labels::from_pairs([("job", "j")]);
            let (mut memory, quota) = (Memory::default(), Quotas::none().of("t"));
            for (at, body) in (1..).zip(&bodies) {
                // The same without what is remembered of the text.
                let mut fresh = Memory { schema: memory.schema.clone(), cache: None, extras: KnownExtras::default(), ..memory };
                let scrape = |answer| Scrape { job: &job, target: &target, at, seconds: 0.5, answer, quota: &quota };
                let (seen, expected) = (batches(scrape(Ok(text(body))), &mut memory), batches(scrape(Ok(text(body))), &mut fresh));
                assert_eq!(format!("{:?} {:?}", seen.batches, seen.failure), format!("{:?} {:?}", expected.batches, expected.failure), "{body}");
            }
        }
    }

    #[test]
    fn a_scrape_above_its_tenant_s_limits_fails_and_says_so() {
        let job = PrometheusConfig::parse("scrape_configs: [{job_name: j}]").unwrap().scrape_configs.remove(0);
        let limits = r#"{"defaults": {"metrics": {"series_max": 2, "ingestion": {"records_rate": 1, "records_burst": 5}}}}"#;
        let file: OverridesFile = serde_json::from_str(limits).unwrap();
        let quotas = Quotas::new(Limits::new(file.try_into().unwrap()), Arc::new(|| 0));
        let (mut memory, quota) = (Memory::default(), quotas.of("t"));
        let target = Labels::from_pairs([("job", "j")]);
        let mut scrape = |body: &str, failure: &str, expected: &[&str]| {
            let scrape = Scrape { job: &job, target: &target, at: 1, seconds: 0.5, answer: Ok(text(body)), quota: &quota };
            let scraped = batches(scrape, &mut memory);
            let why = scraped.failure.unwrap_or_default();
            assert_eq!(scraped.is_limited, !failure.is_empty(), "{body}");
            assert!(why.contains(failure) && why.is_empty() == failure.is_empty(), "{body}: {why}");
            assert_eq!(show(&scraped.batches[0]), expected, "{body}");
        };
        let (a, up, down) = (r#"{__name__="a"} 1"#, r#"{__name__="up"} 1"#, r#"{__name__="up"} 0"#);
        scrape("a 1\n", "", &[a, up]);
        // Series that were never taken are not said to have ended.
        let stale = r#"{__name__="a"} stale"#;
        scrape("a 1\nb 1\nc 1\n", "per-user series limit of 2 exceeded", &[stale, down]);
        scrape("a 1\nb 1\n", "", &[a, r#"{__name__="b"} 1"#, up]);
        scrape("a 1\nb 1\n", "", &[a, r#"{__name__="b"} 1"#, up]);
        // In debt from here on. The next is like it in all but its numbers, and above the rate.
        scrape("a 1\nb 1\n", "", &[a, r#"{__name__="b"} 1"#, up]);
        scrape("a 1\nb 1\n", "ingestion rate limit exceeded for user t", &[stale, r#"{__name__="b"} stale"#, down]);
    }

    #[test]
    fn an_answer_of_which_only_numbers_change_is_not_read_again() {
        let job = PrometheusConfig::parse("scrape_configs: [{job_name: j}]").unwrap().scrape_configs.remove(0);
        let target = Labels::from_pairs([("job", "j")]);
        let (mut memory, quota) = (Memory::default(), Quotas::none().of("t"));
        let mut scrape = |body: &str| {
            let known = memory.unchanged(&text(body)).is_some();
            let scrape = Scrape { job: &job, target: &target, at: 1, seconds: 0.5, answer: Ok(text(body)), quota: &quota };
            let schema = Arc::clone(&batches(scrape, &mut memory).batches[0].schema);
            (known, schema)
        };
        let first = scrape("# HELP a x\na 1\nb{c=\"d\"} 2\n").1;
        let (known, second) = scrape("# HELP a x\na 10.5\nb{c=\"d\"} +Inf\n");
        assert!(known && Arc::ptr_eq(&first, &second));
        assert!(!scrape("# HELP a y\na 1\nb{c=\"d\"} 2\n").0, "its metadata has changed");
        assert!(!scrape("# HELP a y\nb{c=\"d\"} 2\n").0, "a series has gone");
        let (known, without) = scrape("# HELP a y\nb{c=\"d\"} 3\n");
        assert!(known && without.series.len() == 6, "one that has gone is marked once");
        assert!(Arc::ptr_eq(&without, &scrape("# HELP a y\nb{c=\"d\"} 4\n").1));
    }
}
