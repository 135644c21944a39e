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
use super::ask::RuleLanguage;
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

/// Whose alerts these are: for Mimir's Alertmanager, which has one for each tenant. Others pass over it.
const TENANT_HEADER: &str = "x-scope-orgid";
/// The same as a label, for Alertmanagers that tell no tenants apart.
const TENANT_LABEL: &str = "tenant";

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
    /// `valid_ms`: until when it is to be believed when nothing more is heard; `tenant`: whose it is, where that is to be said.
    pub fn new(
        alert: &Alert,
        (query, language): (&str, RuleLanguage),
        valid_ms: i64,
        (external_url, external_labels): (&str, &BTreeMap<String, String>),
        tenant: Option<&str>,
    ) -> Self {
        let extra = external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Last, so that no rule can speak for another tenant.
        let of_tenant = tenant.map(|tenant| (TENANT_LABEL, tenant));
        let labels = Labels::from_pairs(extra.chain(alert.labels.iter()).chain(of_tenant)).without(|name| name == NAME);
        let base = external_url.trim_end_matches('/');
        let page_of = tenant.map(|tenant| format!("&tenant={}", escape_query(tenant))).unwrap_or_default();
        Self {
            labels,
            annotations: alert.annotations.clone(),
            starts_at: time(Some(alert.fired_ms.unwrap_or(alert.active_ms))),
            ends_at: time(Some(alert.resolved_ms.unwrap_or(valid_ms))),
            generator_url: match language {
                RuleLanguage::PromQl => format!("{base}/graph?g0.expr={}&g0.tab=1{page_of}", escape_query(query)),
                RuleLanguage::LogQl => format!("{base}/logs?q={}{page_of}", escape_query(query)),
            },
        }
    }
}

/// What one request has.
pub(super) struct Batch {
    pub tenant: Arc<str>,
    pub alerts: Vec<Posted>,
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Notifier {
    queues: Vec<mpsc::Sender<Arc<Batch>>>,
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
    pub fn for_test(metrics: &Arc<RuleMetrics>) -> (Self, mpsc::Receiver<Arc<Batch>>) {
        let (tx, rx) = mpsc::channel(QUEUE_BATCHES);
        (Self { queues: vec![tx], metrics: Arc::clone(metrics) }, rx)
    }

    /// Queues a tenant's alerts for every Alertmanager. Never waits: what does not fit is counted as dropped.
    pub fn send(&self, tenant: &Arc<str>, alerts: &[Posted]) {
        for alerts in alerts.chunks(BATCH_ALERTS) {
            let batch = Arc::new(Batch { tenant: Arc::clone(tenant), alerts: alerts.to_vec() });
            for queue in &self.queues {
                if queue.try_send(Arc::clone(&batch)).is_err() {
                    self.metrics.dropped("queue", alerts.len());
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
    mut queue: mpsc::Receiver<Arc<Batch>>,
    metrics: Arc<RuleMetrics>,
    stop: CancellationToken,
) {
    while let Some(batch) = queue.recv().await {
        let mut pause = Duration::from_secs(1);
        for tries in 1..=TRIES {
            match post(&to, &batch).await {
                Ok(()) => {
                    metrics.sent(batch.alerts.len());
                    break;
                }
                Err(Refusal { error, again }) if !again || tries == TRIES || stop.is_cancelled() => {
                    tracing::warn!(url, error, alerts = batch.alerts.len(), "alerts could not be posted");
                    metrics.dropped(if again { "unreachable" } else { "refused" }, batch.alerts.len());
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

async fn post(to: &Endpoint, batch: &Batch) -> Result<(), Refusal> {
    let request = to.request(reqwest::Method::POST).header(TENANT_HEADER, &*batch.tenant);
    let sent = request.json(&batch.alerts).send().await;
    let response = sent.map_err(|error| Refusal { error: why(error), again: true })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body: String = response.text().await.unwrap_or_default().chars().take(256).collect();
    Err(Refusal { error: format!("{status}: {body}"), again: status.is_server_error() || status.as_u16() == 429 })
}
