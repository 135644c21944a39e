//! Posting alerts to Alertmanager's API v2: one bounded queue and one task a URL, retried with growing pauses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_model::label::{Labels, NAME};
use weir_template::escape_query;
use weir_tls::{ClientTls, Endpoint, why};

use super::alert::Alert;
use super::metrics::RuleMetrics;
use super::state::time;

/// Batches that wait for one Alertmanager. Alerts are sent anew every minute, so older ones are the ones to lose.
const QUEUE_BATCHES: usize = 1024;
/// Alerts in one request: Prometheus' default.
const BATCH_ALERTS: usize = 64;
/// Tries of one batch, with pauses of 1, 2, 4 and 8 s between them: then the next resend is due anyway.
const TRIES: u32 = 5;
/// One request may take this long: Prometheus' default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An alert as `POST /api/v2/alerts` takes it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Posted {
    labels: Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

impl Posted {
    /// `valid_ms`: until when it is to be believed when nothing more is heard.
    pub fn new(
        alert: &Alert,
        query: &str,
        valid_ms: i64,
        external_url: &str,
        external_labels: &BTreeMap<String, String>,
    ) -> Self {
        let extra = external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::from_pairs(extra.chain(alert.labels.iter())).without(|name| name == NAME);
        let base = external_url.trim_end_matches('/');
        Self {
            labels,
            annotations: alert.annotations.clone(),
            starts_at: time(Some(alert.fired_ms.unwrap_or(alert.active_ms))),
            ends_at: time(Some(alert.resolved_ms.unwrap_or(valid_ms))),
            generator_url: format!("{base}/graph?g0.expr={}&g0.tab=1", escape_query(query)),
        }
    }
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Notifier {
    queues: Vec<mpsc::Sender<Arc<Vec<Posted>>>>,
    metrics: Arc<RuleMetrics>,
}

impl Notifier {
    /// One queue a URL, each emptied by a task of `tasks` until the notifier is dropped or `stop` fires. Errors name the key.
    pub fn start(
        (urls, tls): (&[String], &ClientTls),
        metrics: &Arc<RuleMetrics>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Self, String> {
        let mut queues = Vec::new();
        for url in urls {
            let (tx, rx) = mpsc::channel(QUEUE_BATCHES);
            queues.push(tx);
            let to = Endpoint::new(&alerts_url(url), tls, |builder| builder.timeout(TIMEOUT));
            let to = to.map_err(|error| format!("rules.alertmanagers: {url:?}: {error}"))?;
            tasks.spawn(post_all((url.clone(), to), rx, Arc::clone(metrics), stop.clone()));
        }
        Ok(Self { queues, metrics: Arc::clone(metrics) })
    }

    /// One queue that the caller reads.
    #[cfg(test)]
    pub fn for_test(metrics: &Arc<RuleMetrics>) -> (Self, mpsc::Receiver<Arc<Vec<Posted>>>) {
        let (tx, rx) = mpsc::channel(QUEUE_BATCHES);
        (Self { queues: vec![tx], metrics: Arc::clone(metrics) }, rx)
    }

    /// Queues alerts for every Alertmanager. Never waits: what does not fit is counted as dropped.
    pub fn send(&self, alerts: &[Posted]) {
        for batch in alerts.chunks(BATCH_ALERTS) {
            let batch = Arc::new(batch.to_vec());
            for queue in &self.queues {
                if queue.try_send(Arc::clone(&batch)).is_err() {
                    self.metrics.dropped("queue", batch.len());
                }
            }
        }
    }
}

fn alerts_url(url: &str) -> String {
    let base = url.trim_end_matches('/');
    if base.ends_with("/api/v2/alerts") { base.to_owned() } else { format!("{base}/api/v2/alerts") }
}

async fn post_all(
    (url, to): (String, Endpoint),
    mut queue: mpsc::Receiver<Arc<Vec<Posted>>>,
    metrics: Arc<RuleMetrics>,
    stop: CancellationToken,
) {
    while let Some(batch) = queue.recv().await {
        let mut pause = Duration::from_secs(1);
        for tries in 1..=TRIES {
            match post(&to, &batch).await {
                Ok(()) => {
                    metrics.sent(batch.len());
                    break;
                }
                Err(Refusal { error, again }) if !again || tries == TRIES || stop.is_cancelled() => {
                    tracing::warn!(url, error, alerts = batch.len(), "alerts could not be posted");
                    metrics.dropped(if again { "unreachable" } else { "refused" }, batch.len());
                    break;
                }
                Err(_) => metrics.retried(),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause *= 2;
        }
    }
}

struct Refusal {
    error: String,
    /// Whether another try may help.
    again: bool,
}

async fn post(to: &Endpoint, batch: &[Posted]) -> Result<(), Refusal> {
    let sent = to.request(reqwest::Method::POST).json(batch).send().await;
    let response = sent.map_err(|error| Refusal { error: why(error), again: true })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body: String = response.text().await.unwrap_or_default().chars().take(256).collect();
    Err(Refusal { error: format!("{status}: {body}"), again: status.is_server_error() || status.as_u16() == 429 })
}
