//! What is asked, how often, and what becomes of answers. Over HTTP it is tested where HTTP is spoken: `auth/methods`.

use std::sync::atomic::AtomicUsize;

use tokio::sync::Notify;

use super::super::{Method, Telemetry};
use super::*;

/// Answers by the question, once it may.
#[derive(Debug, Default)]
struct Service {
    asked: AtomicUsize,
    /// Held until it is told to go on.
    gate: Option<Notify>,
}

#[async_trait]
impl Reviewer for Service {
    async fn review(&self, body: String) -> Result<Vec<u8>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        let review: serde_json::Value = serde_json::from_str(&body).unwrap();
        let attributes = &review["spec"]["resourceAttributes"];
        assert_eq!((review["apiVersion"].as_str(), review["kind"].as_str()), (Some(API_VERSION), Some(KIND)));
        assert_eq!(review["spec"]["groups"], json!(["g"]));
        let status = match (attributes["namespace"].as_str().unwrap(), attributes["resource"].as_str().unwrap()) {
            ("good", _) | ("", "*") | ("logs-only", "logs") => json!({"allowed": true}),
            ("both", _) => json!({"allowed": true, "denied": true}),
            ("silent", _) => return Err("connection refused".into()),
            ("garbage", _) => return Ok(b"<html>".to_vec()),
            ("other", _) => return Ok(br#"{"kind": "Status", "status": {"allowed": true}}"#.to_vec()),
            ("half", _) => return Ok(br#"{"kind": "SubjectAccessReview", "status": {}}"#.to_vec()),
            ("slow", _) => std::future::pending().await,
            (_, _) => json!({"allowed": false, "reason": "not\n yours"}),
        };
        Ok(json!({"kind": KIND, "status": status}).to_string().into_bytes())
    }
}

fn webhook(service: &Arc<Service>, on_failure: OnFailure) -> Webhook {
    let config = WebhookConfig { timeout: Duration::from_millis(200), on_failure, ..WebhookConfig::default() };
    Webhook::new(config, Arc::clone(service) as Arc<dyn Reviewer>, AccessMetrics::default())
}

fn who() -> Principal {
    let groups = vec!["g".to_owned()];
    Principal { name: "u".into(), uid: "1".into(), groups, tenants: None, method: Method::Token }
}

const LOGS: Needs = Needs::Tenant(Verb::Read, Telemetry::Logs);

async fn decide(webhook: &Webhook, tenants: &[&str], needs: Needs) -> Result<(), Denied> {
    let tenants: Vec<Arc<str>> = tenants.iter().map(|tenant| (*tenant).into()).collect();
    webhook.decide(&who(), &tenants, needs).await
}

#[tokio::test]
async fn answers_decide_and_failures_as_configured() {
    let service = Arc::new(Service::default());
    let (denying, allowing) = (webhook(&service, OnFailure::Deny), webhook(&service, OnFailure::Allow));
    for webhook in [&denying, &allowing] {
        assert_eq!(decide(webhook, &["good"], LOGS).await, Ok(()));
        assert_eq!(decide(webhook, &[], Needs::Whole(Verb::Admin)).await, Ok(()));
        assert_eq!(decide(webhook, &["logs-only"], Needs::AnyOf(Verb::Read)).await, Ok(()));
        let refused = Denied::Forbidden("\"u\" may not read logs of tenant \"bad\": not  yours".into());
        assert_eq!(decide(webhook, &["bad"], LOGS).await, Err(refused.clone()));
        assert_eq!(decide(webhook, &["good", "bad"], LOGS).await, Err(refused));
        assert!(matches!(decide(webhook, &["both"], LOGS).await, Err(Denied::Forbidden(_))));
        assert!(matches!(decide(webhook, &["bad"], Needs::AnyOf(Verb::Read)).await, Err(Denied::Forbidden(_))));
    }
    for failing in ["silent", "garbage", "other", "half", "slow"] {
        assert!(matches!(decide(&denying, &[failing], LOGS).await, Err(Denied::Undecided(_))), "{failing}");
        assert_eq!(decide(&allowing, &[failing], LOGS).await, Ok(()), "{failing}");
    }
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let service = Arc::new(Service { gate: Some(Notify::new()), ..Service::default() });
    let config = WebhookConfig { timeout: Duration::from_secs(60), ..WebhookConfig::default() };
    let webhook = Arc::new(Webhook::new(config, Arc::clone(&service) as Arc<dyn Reviewer>, AccessMetrics::default()));
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let webhook = Arc::clone(&webhook);
            tokio::spawn(async move { decide(&webhook, &["good"], LOGS).await })
        })
        .collect();
    // On one thread: all have asked before this task runs again.
    tokio::task::yield_now().await;
    service.gate.as_ref().unwrap().notify_one();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), Ok(()));
    }
    assert_eq!(service.asked.load(Ordering::SeqCst), 1);
    decide(&webhook, &["good"], LOGS).await.unwrap();
    assert_eq!(service.asked.load(Ordering::SeqCst), 1, "an answer holds");
    service.gate.as_ref().unwrap().notify_one();
    decide(&webhook, &["good"], Needs::Tenant(Verb::Tail, Telemetry::Logs)).await.unwrap();
    assert_eq!(service.asked.load(Ordering::SeqCst), 2, "another question is asked by itself");
}

/// A full queue is of clients' making: it allows nobody anything, is not remembered, and holds nobody for long.
#[tokio::test]
async fn waiting_in_the_queue_is_never_allowed() {
    let service = Arc::new(Service::default());
    let webhook = webhook(&service, OnFailure::Allow);
    let all = webhook.in_flight.acquire_many(u32::try_from(IN_FLIGHT_MAX).unwrap()).await.unwrap();
    let decisions = join_all((0..20).map(|_| decide(&webhook, &["good"], LOGS)));
    for decision in timeout(Duration::from_secs(60), decisions).await.unwrap() {
        assert!(matches!(decision, Err(Denied::Undecided(_))), "{decision:?}");
    }
    assert_eq!(service.asked.load(Ordering::SeqCst), 0);
    drop(all);
    assert_eq!(decide(&webhook, &["good"], LOGS).await, Ok(()));
}

#[tokio::test]
async fn answers_end() {
    let service = Arc::new(Service::default());
    let config = WebhookConfig { allowed_ttl: Duration::ZERO, ..WebhookConfig::default() };
    let webhook = Webhook::new(config, Arc::clone(&service) as Arc<dyn Reviewer>, AccessMetrics::default());
    for asked in 1..=3 {
        decide(&webhook, &["good"], LOGS).await.unwrap();
        assert_eq!(service.asked.load(Ordering::SeqCst), asked);
    }
    decide(&webhook, &["bad"], LOGS).await.unwrap_err();
    decide(&webhook, &["bad"], LOGS).await.unwrap_err();
    assert_eq!(service.asked.load(Ordering::SeqCst), 4, "a refusal holds for a time of its own");
}

#[tokio::test]
async fn the_cache_is_bounded_in_bytes() {
    let service = Arc::new(Service::default());
    let cache_max = weir_model::config::ByteSize::kib(64);
    let config = WebhookConfig { cache_max, ..WebhookConfig::default() };
    let webhook = Webhook::new(config, Arc::clone(&service) as Arc<dyn Reviewer>, AccessMetrics::default());
    for tenant in 0..2_000 {
        decide(&webhook, &[&format!("t{tenant}")], LOGS).await.unwrap_err();
    }
    assert!(webhook.answers.weight() <= 64 << 10 && webhook.answers.len() > 20, "{}", webhook.answers.weight());
}
