//! Decisions by a service that answers Kubernetes' `SubjectAccessReview`. Equal questions that come together are asked once, and
//! answers hold for a while.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use weir_model::clip;

use super::abac::forbidden;
use super::config::OnFailure;
use super::metrics::AccessMetrics;
use super::{Denied, Needs, Principal, Verb, WebhookConfig};

/// Reviews on their way; others wait, for no longer than the timeout again.
const IN_FLIGHT_MAX: usize = 64;
/// A webhook that failed is asked the same again after this long.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Of a cached answer besides its texts: measured by nobody, larger than what the cache says of itself.
const ENTRY_BYTES: usize = 128;
/// Answers that the cache makes room for at once.
const ENTRIES_EXPECTED: usize = 1_024;
const API_VERSION: &str = "authorization.k8s.io/v1";
const KIND: &str = "SubjectAccessReview";

/// Sends a review and returns the answer's body. The error says for people what failed, without credentials.
#[async_trait]
pub trait Reviewer: Debug + Send + Sync {
    async fn review(&self, body: String) -> Result<Vec<u8>, String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    /// With the webhook's reason, shortened; may be empty.
    Denied(String),
    Failed,
}

#[derive(Clone, Debug)]
struct Answer {
    verdict: Verdict,
    until: Instant,
}

#[derive(Clone, Debug)]
struct AnswerBytes;

impl Weighter<String, Answer> for AnswerBytes {
    fn weight(&self, question: &String, answer: &Answer) -> u64 {
        let reason = if let Verdict::Denied(reason) = &answer.verdict { reason.len() } else { 0 };
        (question.len() + reason + ENTRY_BYTES) as u64
    }
}

#[derive(Debug)]
pub(crate) struct Webhook {
    config: WebhookConfig,
    reviewer: Arc<dyn Reviewer>,
    /// By the review that was sent.
    answers: Cache<String, Answer, AnswerBytes>,
    in_flight: Semaphore,
    /// Whether the last review failed, so that an outage is said once.
    is_failing: AtomicBool,
    metrics: AccessMetrics,
}

impl Webhook {
    pub fn new(config: WebhookConfig, reviewer: Arc<dyn Reviewer>, metrics: AccessMetrics) -> Self {
        let answers = Cache::with_weighter(ENTRIES_EXPECTED, config.cache_max.to_u64(), AnswerBytes);
        let in_flight = Semaphore::new(IN_FLIGHT_MAX);
        Self { config, reviewer, answers, in_flight, is_failing: AtomicBool::new(false), metrics }
    }

    /// Whether the principal may do this to each of the tenants; to all where there is none.
    pub async fn decide(&self, principal: &Principal, tenants: &[Arc<str>], needs: Needs) -> Result<(), Denied> {
        let Some(verb) = needs.verb() else { return Ok(()) };
        if let Needs::Whole(_) = needs {
            return self.settle(principal, None, needs, self.ask(question(principal, "", verb, "*")).await);
        }
        for decision in join_all(tenants.iter().map(|tenant| self.of_tenant(principal, tenant, verb, needs))).await {
            decision?;
        }
        Ok(())
    }

    /// Allowed where one kind of telemetry is, which is enough for [`Needs::AnyOf`].
    async fn of_tenant(&self, principal: &Principal, tenant: &Arc<str>, verb: Verb, needs: Needs) -> Result<(), Denied> {
        let questions = needs.telemetry().iter().map(|telemetry| self.ask(question(principal, tenant, verb, telemetry.name())));
        let mut verdicts = join_all(questions).await;
        // Allowed before undecided before denied: what is undecided may have been allowed.
        verdicts.sort_by_key(|verdict| match verdict {
            Some(Verdict::Allowed) => 0,
            None => 1,
            Some(Verdict::Failed) => 2,
            Some(Verdict::Denied(_)) => 3,
        });
        let best = verdicts.into_iter().next().flatten();
        self.settle(principal, Some(tenant), needs, best)
    }

    /// `verdict`: `None` where the webhook was not asked.
    fn settle(&self, principal: &Principal, tenant: Option<&str>, needs: Needs, verdict: Option<Verdict>) -> Result<(), Denied> {
        // Whoever fills the queue decides nothing by it, whatever `on_failure` says.
        let Some(verdict) = verdict else {
            return Err(Denied::Undecided("too many questions wait for the authorization webhook; try again".into()));
        };
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Failed if self.config.on_failure == OnFailure::Allow => Ok(()),
            Verdict::Failed => Err(Denied::Undecided("the authorization webhook does not answer; try again".into())),
            Verdict::Denied(reason) => {
                let of = tenant.map(|tenant| format!(" of tenant {tenant:?}")).unwrap_or_default();
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                Err(Denied::Forbidden(format!("{}{of}{reason}", forbidden(principal, needs))))
            }
        }
    }

    /// `None` where too many reviews are on their way. Waits once for a place among them and once for the answer, also where others
    /// who ask the same do the waiting.
    async fn ask(&self, question: String) -> Option<Verdict> {
        let verdict = timeout(self.config.timeout.saturating_mul(2), self.cached_or_asked(question)).await.ok().flatten();
        if verdict.is_none() {
            self.metrics.webhook("busy");
        }
        verdict
    }

    /// From the cache, or from the webhook for all who ask the same at this time.
    async fn cached_or_asked(&self, question: String) -> Option<Verdict> {
        loop {
            let now = Instant::now();
            match self.answers.get_value_or_guard_async(&question).await {
                Ok(answer) if answer.until > now => {
                    self.metrics.webhook("cached");
                    return Some(answer.verdict);
                }
                Ok(_) => drop(self.answers.remove_if(&question, |answer| answer.until <= now)),
                Err(guard) => {
                    let _permit = timeout(self.config.timeout, self.in_flight.acquire()).await.ok()?.ok()?;
                    let verdict = self.review(question.clone()).await;
                    let holds = match &verdict {
                        Verdict::Allowed => self.config.allowed_ttl,
                        Verdict::Denied(_) => self.config.denied_ttl,
                        Verdict::Failed => FAILURE_TTL,
                    };
                    // Refused where somebody has removed the place of it: nobody waits there then.
                    let _refused = guard.insert(Answer { verdict: verdict.clone(), until: Instant::now() + holds });
                    return Some(verdict);
                }
            }
        }
    }

    async fn review(&self, question: String) -> Verdict {
        let began = Instant::now();
        let answered = timeout(self.config.timeout, self.reviewer.review(question)).await;
        let answered = answered.unwrap_or_else(|_| Err("no answer in time".into()));
        self.metrics.webhook_seconds.observe(began.elapsed().as_secs_f64());
        let verdict = answered.and_then(|body| verdict(&body));
        let was_failing = self.is_failing.swap(verdict.is_err(), Ordering::Relaxed);
        match &verdict {
            Err(error) if !was_failing => {
                tracing::warn!(error, on_failure = ?self.config.on_failure, "the authorization webhook does not decide");
            }
            Ok(_) if was_failing => tracing::info!("the authorization webhook decides again"),
            _ => {}
        }
        let verdict = verdict.unwrap_or(Verdict::Failed);
        self.metrics.webhook(match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied(_) => "denied",
            Verdict::Failed => "failed",
        });
        verdict
    }
}

/// The review: the same text for the same question.
fn question(principal: &Principal, tenant: &str, verb: Verb, resource: &str) -> String {
    let attributes = json!({ "namespace": tenant, "verb": verb.name(), "group": "weir", "resource": resource });
    let spec = json!({
        "user": principal.name,
        "uid": principal.uid,
        "groups": principal.groups,
        "extra": { "weir/method": [principal.method.name()] },
        "resourceAttributes": attributes,
    });
    json!({ "apiVersion": API_VERSION, "kind": KIND, "spec": spec }).to_string()
}

#[derive(Deserialize)]
struct Review {
    kind: String,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    allowed: bool,
    #[serde(default)]
    denied: bool,
    #[serde(default)]
    reason: String,
}

fn verdict(body: &[u8]) -> Result<Verdict, String> {
    let review: Review = serde_json::from_slice(body).map_err(|error| format!("its answer is no {KIND}: {error}"))?;
    if review.kind != KIND {
        return Err(format!("its answer is a {:?}, no {KIND}", clip(&review.kind)));
    }
    if review.status.allowed && !review.status.denied {
        return Ok(Verdict::Allowed);
    }
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    Ok(Verdict::Denied(review.status.reason.chars().take(200).map(printable).collect()))
}

#[cfg(test)]
mod tests;
