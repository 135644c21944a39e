//! What a decision takes: `cargo run --release -p weir-access --example decision`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use weir_access::{
    AuthorizationConfig, Authorizer, Method, Mode, Needs, Policies, Principal, Reviewer, Telemetry, Verb, WebhookConfig,
};

const DECISIONS: usize = 200_000;
const NEEDS: Needs = Needs::Tenant(Verb::Read, Telemetry::Logs);

#[derive(Debug)]
struct Yes;

#[async_trait]
impl Reviewer for Yes {
    async fn review(&self, _: String) -> Result<Vec<u8>, String> {
        Ok(br#"{"kind": "SubjectAccessReview", "status": {"allowed": true}}"#.to_vec())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let groups = ["team-500", "everybody", "oncall"].map(str::to_owned).to_vec();
    let principal = Principal { name: "alice".into(), uid: "7".into(), groups, tenants: None, method: Method::Oidc };
    let asked: Vec<Arc<str>> = vec!["shop".into()];

    let line = |i: usize| {
        format!(r#"{{"group": "team-{i}", "tenant": "shop", "verb": "read", "matcher": "{{namespace=\"team-{i}\"}}"}}"#)
    };
    let text: Vec<String> = (0..1_000).map(line).collect();
    let policies = Policies::parse("policies", &text.join("\n")).expect("policies as they are written here");
    let own: Arc<str> = "default".into();
    report("1,000 policies, one with a matcher grants", || {
        policies.decide(&principal, &asked, &own, NEEDS).expect("allowed");
    });

    let config = AuthorizationConfig { mode: Mode::Webhook, webhook: WebhookConfig::default(), ..Default::default() };
    let webhook = Authorizer::start(&config, "default", |_| Ok(Arc::new(Yes))).expect("a webhook");
    webhook.decide(&principal, &asked, NEEDS).await.expect("allowed");
    let mut nanos = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let began = Instant::now();
        webhook.decide(&principal, &asked, NEEDS).await.expect("allowed");
        nanos.push(began.elapsed().as_nanos());
    }
    say("an answer of the webhook that is held", nanos);
}

fn report(what: &str, mut decide: impl FnMut()) {
    let mut nanos = Vec::with_capacity(DECISIONS);
    for _ in 0..DECISIONS {
        let began = Instant::now();
        decide();
        nanos.push(began.elapsed().as_nanos());
    }
    say(what, nanos);
}

fn say(what: &str, mut nanos: Vec<u128>) {
    nanos.sort_unstable();
    let at = |share: f64| nanos[((nanos.len() - 1) as f64 * share) as usize];
    println!("{what}: median {} ns, p99 {} ns", at(0.5), at(0.99));
}
