//! The tasks: one finds targets, one a target scrapes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_model::targets::LastScrape;
use weir_model::time::UnixNanos;
use weir_model::wire::{Section, SectionHeader};

use super::batch::{self, Memory, Scrape, Scraped};
use super::config::Job;
use super::fetch::{self, Answer};
use super::file::PrometheusConfig;
use super::registry::TargetRegistry;
use super::target::{self, Target};
use super::tls::Connector;
use crate::epoch::{Epochs, Rows};
use crate::metrics::CollectorMetrics;
use crate::push::Clock;
use crate::quota::Quotas;
use crate::ship::Shipper;

const SOURCE: &str = "scrape";
/// Files of file discovery are read this often.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What scraping is given.
#[derive(Clone)]
pub struct Deps {
    /// Ships sections.
    pub shipper: Shipper,
    /// Whose samples.
    pub tenant: String,
    /// How many.
    pub(crate) quotas: Quotas,
    /// Counts.
    pub metrics: CollectorMetrics,
    /// Timestamps.
    pub clock: Clock,
    /// A target's rows begin anew with each epoch.
    pub epochs: Arc<Epochs>,
    /// Told of targets and scrapes.
    pub(crate) targets: Arc<TargetRegistry>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// Scrapes all targets of all jobs until shutdown.
pub async fn run(config: PrometheusConfig, deps: Deps) {
    // As many answers are read at once as there are processors.
    let readers = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
    let jobs: Vec<(Arc<Job>, Arc<Connector>, Duration, Duration)> = config
        .scrape_configs
        .iter()
        .filter_map(|job| {
            let (interval, timeout) = job.times(&config.global).ok()?;
            let job = Arc::new(job.clone());
            Some((Arc::clone(&job), Arc::new(Connector::new(job)), interval, timeout))
        })
        .collect();
    let mut running: BTreeMap<(usize, Target), CancellationToken> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut polls = tokio::time::interval(POLL_INTERVAL);
    loop {
        tokio::select! {
            () = deps.shutdown.cancelled() => break,
            _ = polls.tick() => {}
        }
        while tasks.try_join_next().is_some() {}
        let mut found = BTreeMap::new();
        for (i, (job, connector, interval, timeout)) in jobs.iter().enumerate() {
            let polled_job = job.clone();
            let Ok(found_now) = tokio::task::spawn_blocking(move || target::discover(&polled_job)).await else { continue };
            deps.targets.found(job, (*interval, *timeout), &found_now);
            for reason in found_now.wrong {
                deps.metrics.event(SOURCE, "discovery_file", 1);
                tracing::warn!(job = job.job_name, reason, "a file of targets cannot be read");
            }
            for (target, _) in found_now.targets {
                let key = (i, target.clone());
                let stop = running.remove(&key).unwrap_or_else(|| {
                    let stop = deps.shutdown.child_token();
                    let (interval, timeout) = (*interval, *timeout);
                    let (job, deps, readers) = (job.clone(), deps.clone(), readers.clone());
                    let scraper = Scraper { job, target, interval, timeout, deps, readers, is_limited: false };
                    tasks.spawn(scraper.run(Arc::clone(connector), stop.clone()));
                    stop
                });
                found.insert(key, stop);
            }
        }
        // What is left has gone: a last scrape marks its series stale.
        std::mem::replace(&mut running, found).into_values().for_each(|stop| stop.cancel());
    }
    while tasks.join_next().await.is_some() {}
}

struct Scraper {
    job: Arc<Job>,
    target: Target,
    interval: Duration,
    timeout: Duration,
    deps: Deps,
    readers: Arc<Semaphore>,
    /// Whether the last answer was above the limits of its tenant.
    is_limited: bool,
}

impl Scraper {
    async fn run(mut self, connector: Arc<Connector>, stop: CancellationToken) {
        let labels = &self.target.labels;
        let source = format!("scrape:{}/{}/{:016x}", labels.get("job"), labels.get("instance"), labels.stable_hash());
        let mut peer = Err(String::new());
        let (mut memory, mut rows) = (Memory::default(), Rows::new(self.deps.epochs.clone()));
        // Targets are spread over the interval, the same target always at the same place.
        let offset =
            Duration::from_nanos(labels.stable_hash() % u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(1));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + offset, self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            // Prometheus' timestamps are milliseconds.
            let at = (self.deps.clock)() / 1_000_000 * 1_000_000;
            let begun = tokio::time::Instant::now();
            // Files that could not be used are tried again with each scrape.
            peer = peer.or_else(|_| connector.target(&self.target.url));
            let fetched = async {
                match &peer {
                    Ok(peer) => fetch::fetch(peer, &self.job).await,
                    Err(error) => Err(error.clone()),
                }
            };
            let answer = tokio::select! {
                () = stop.cancelled() => break,
                answer = tokio::time::timeout(self.timeout, fetched) => answer.unwrap_or_else(|_| Err("timed out".into())),
            };
            let seconds = begun.elapsed().as_secs_f64();
            let scraped = self.batches(at, seconds, answer, &mut memory).await;
            let schema = scraped.batches.first().map(|batch| Arc::clone(&batch.schema)).unwrap_or_default();
            let last = LastScrape { at, seconds, error: scraped.failure.clone(), schema };
            self.deps.targets.scraped(&self.job, &self.target, last);
            self.ship(&source, scraped, &mut rows).await;
        }
        if !self.deps.shutdown.is_cancelled() {
            let at = (self.deps.clock)() / 1_000_000 * 1_000_000;
            let scraped = self.batches(at, 0.0, Err("the target has gone".into()), &mut memory).await;
            self.ship(&source, scraped, &mut rows).await;
        }
    }

    /// Reads an answer, away from the tasks that wait for others.
    async fn batches(&self, at: UnixNanos, seconds: f64, answer: Result<Answer, String>, memory: &mut Memory) -> Scraped {
        // A closed semaphore cannot be: nobody closes it.
        let _turn = self.readers.acquire().await;
        let (job, target, mut own) = (self.job.clone(), self.target.labels.clone(), std::mem::take(memory));
        let quota = self.deps.quotas.of(&self.deps.tenant);
        let reading = tokio::task::spawn_blocking(move || {
            let scraped = batch::batches(Scrape { job: &job, target: &target, at, seconds, answer, quota: &quota }, &mut own);
            (scraped, own)
        });
        match reading.await {
            Ok((scraped, own)) => {
                *memory = own;
                scraped
            }
            Err(error) => Scraped { failure: Some(error.to_string()), ..Scraped::default() },
        }
    }

    /// Counts what was odd about a scrape.
    fn note(&mut self, scraped: &Scraped) {
        if let Some(broken) = &scraped.broken {
            self.deps.metrics.event(SOURCE, "openmetrics_rule_broken", 1);
            tracing::debug!(url = self.target.url, %broken, "a target breaks a rule of OpenMetrics");
        }
        if scraped.exemplars_too_long > 0 {
            self.deps.metrics.event(SOURCE, "exemplar_too_long", scraped.exemplars_too_long);
        }
        if let Some(reason) = &scraped.failure {
            self.deps.metrics.event(SOURCE, "scrape_failed", 1);
            tracing::debug!(url = self.target.url, reason, "scrape failed");
        }
        // Said once for each change. What failed otherwise tells nothing of it.
        let was_limited = self.is_limited;
        self.is_limited = scraped.is_limited || (was_limited && scraped.failure.is_some());
        match &scraped.failure {
            Some(reason) if self.is_limited && !was_limited => {
                tracing::warn!(url = self.target.url, reason, "a target is above the limits of its tenant: its scrapes fail");
            }
            None if was_limited => tracing::info!(url = self.target.url, "a target is within the limits of its tenant again"),
            _ => {}
        }
    }

    async fn ship(&mut self, source: &str, scraped: Scraped, rows: &mut Rows) {
        self.note(&scraped);
        let batches = scraped.batches;
        let mut sections = Vec::with_capacity(batches.len());
        for batch in batches {
            let mark = match rows.next((self.deps.clock)()).await {
                Ok(mark) => mark,
                Err(_) => {
                    self.deps.metrics.event(SOURCE, "epoch_not_written", 1);
                    return;
                }
            };
            let header = SectionHeader { tenant: self.deps.tenant.clone(), source: source.to_owned(), mark, records: 0 };
            sections.push(Section::new(header, batch));
        }
        if self.deps.shipper.send_and_wait(sections, self.interval).await.is_err() {
            self.deps.metrics.event(SOURCE, "scrape_late", 1);
        }
    }
}
