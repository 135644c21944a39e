//! All roles in one process around one embedded bus, with the same data of two tenants; and who may ask them what.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_access::{Routes, Verb};
use weir_aggregator::{Aggregator, Clock};
use weir_api::Api;
use weir_collector::Collector;
use weir_fanout::FanOut;
use weir_model::limits::Limits;
use weir_model::outage::Outages;
use weir_model::scope::Scope;
use weir_rules::RuleSet;

use super::super::{END, Front, FrontConfig, Identity, Listener, Servers};
use crate::config::Config;
use crate::role;
use crate::service::health::{self, Readiness};
use crate::service::memory::Parts;
use crate::service::storing::Storing;
use crate::service::{build, bus_health, lifecycle, startup_gate};

/// Whose data there is. Everything of a tenant has its name in it.
pub(in crate::front::tests) const OWN: &str = "shop";
pub(in crate::front::tests) const OTHER: &str = "bank";
pub(in crate::front::tests) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Ready;

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

pub(super) struct Cluster {
    collector: Collector,
    aggregator: Arc<Aggregator>,
    api: Arc<Api>,
    fanout: FanOut,
    fanout_api: Arc<Api>,
    places: Vec<weir_bus::TopicPartition>,
    pub folder: tempfile::TempDir,
    _servers: Servers,
}

impl Cluster {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind("listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut config = Config { data: folder.path().join("data"), listen: listener.address().unwrap(), ..Config::default() };
        (config.collector.files.containers, config.collector.sample.enabled) = (false, false);
        config.fanout.refresh = Duration::from_millis(100);
        let clock: Clock = Arc::new(lifecycle::now);
        let (mut registry, outages, shutdown) = (Registry::default(), Outages::default(), CancellationToken::new());
        let bus = build::open_bus(&config, &mut registry).unwrap();
        let store = build::open_store(&config).await.unwrap();
        let places = bus_health::places(&*bus, &startup_gate::Waiting::default()).await.unwrap();
        let member = format!("http://{}", config.listen);
        let aggregator = build::build_aggregator(
            &config,
            (Arc::clone(&bus), store),
            member,
            &clock,
            (&outages, Default::default()),
            &mut registry,
        );
        drop(crate::up::run(&aggregator, &shutdown));
        let of_outages = (&outages, Limits::default());
        let collector = build::start_collector(&config, bus, &clock, of_outages, &mut registry, &shutdown).await.unwrap();
        let all = Parts { collector: true, aggregator: true, query: true };
        let storing = Storing::new(&config, all, outages, None, &mut registry);
        let rules = Arc::new(RuleSet::empty());
        let of_tenants = (Arc::clone(&rules), Default::default());
        let api = crate::up::build_api(&config, &aggregator, &clock, of_tenants, (&storing, &collector), &mut registry);
        let fanout =
            role::query::start_fanout(&config, &clock, &mut Registry::default(), (&shutdown, Default::default())).await.unwrap();
        let fanout_api = Api::new(fanout.logs(), fanout.metrics(), fanout.traces(), config.query.clone(), rules);
        // Where the query node finds the heads: nobody is asked who they are there.
        let (mut servers, heads) = (Servers::new(), role::aggregator::routes(&aggregator, Routes::new()));
        let open = Identity::start(&config.auth, &config.authorization, "default").unwrap();
        Front::new(&FrontConfig::default(), open, &[], &mut Registry::default()).serve(listener, heads, &shutdown, &mut servers);
        let fanout_api = Arc::new(fanout_api.with_status(fanout.status()).with_usage_of(Scope::of("default"), fanout.stored()));
        Self { collector, aggregator, api, fanout, fanout_api, places, folder, _servers: servers }
    }

    fn reads(&self, api: &Arc<Api>) -> Routes {
        weir_api::router(Arc::clone(api)).merge(identity(self.folder.path()).sign_in_routes())
    }

    /// Every role and listener, and what it answers.
    pub fn roles(&self) -> Vec<(&'static str, Routes)> {
        let health = || health::router(Registry::default(), Ready);
        let admin = self.fanout.admin_router(self.places.clone());
        vec![
            ("up", crate::up::routes(self.reads(&self.api), (&self.collector, &self.aggregator), health())),
            ("collector", role::collector::routes(&self.collector, health())),
            ("aggregator", role::aggregator::routes(&self.aggregator, health())),
            ("query", role::query::routes(self.reads(&self.fanout_api), admin, health())),
            ("otlp_http", self.collector.otlp_http_router()),
            ("otlp_grpc", self.collector.otlp_grpc_router()),
        ]
    }

    /// Log lines, samples and spans of a tenant that the collector has counted.
    pub fn ingested(&self, tenant: &str) -> Vec<u64> {
        let all = self.collector.shipper().usage().all();
        all.iter().filter(|(own, _)| **own == *tenant).flat_map(|(_, own)| own.ingested.map(|amount| amount.records)).collect()
    }

    /// What was pushed is in the heads.
    pub async fn caught_up(&self) {
        let caught_up = async {
            loop {
                let all = self.aggregator.status();
                let records: u64 = all.iter().map(|status| status.head_records).sum();
                if records >= 6 && all.iter().all(|status| status.indexed_offset == status.high_watermark) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(END, caught_up).await.expect("what was pushed can be found");
    }
}

/// A line, a sample and a span of a tenant, all with its name in them: path and body.
pub(super) fn pushed(tenant: &str) -> [(&'static str, &'static str, String); 3] {
    let now = lifecycle::now().to_string();
    let name = json!({"key": "service.name", "value": {"stringValue": format!("{tenant}-service")}});
    let resource = json!({"attributes": [name]});
    let line = json!({"streams": [{"stream": {"app": format!("{tenant}-app")}, "values": [[now, format!("{tenant}-line")]]}]});
    let point = json!({"timeUnixNano": now, "asDouble": 1.0, "attributes": []});
    let gauge = json!({"name": format!("{tenant}_gauge"), "gauge": {"dataPoints": [point]}});
    let metrics = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [gauge]}]}]});
    let span = json!({"traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": format!("{tenant}-span"),
        "startTimeUnixNano": now, "endTimeUnixNano": now});
    let traces = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    [
        ("collector", "/loki/api/v1/push", line.to_string()),
        ("otlp_http", "/v1/metrics", metrics.to_string()),
        ("otlp_http", "/v1/traces", traces.to_string()),
    ]
}

/// Tokens `token-NAME` and what each NAME may: `root` all, [`OWN`] and [`OTHER`] all of theirs, `VERB-less` all of [`OWN`] but a verb,
/// `VERB-less-anywhere` all but a verb.
pub(in crate::front::tests) fn identity(folder: &std::path::Path) -> Identity {
    let (mut tokens, mut policies) = (String::new(), String::new());
    let mut may = |name: &str, policy: serde_json::Value| {
        let mut policy = policy;
        policy["user"] = name.into();
        policies.push_str(&format!("{policy}\n"));
        let token = format!("token-{name},{name},{name}\n");
        if !tokens.contains(&token) {
            tokens.push_str(&token);
        }
    };
    may("root", json!({}));
    may(OWN, json!({"tenant": OWN}));
    may(OTHER, json!({"tenant": OTHER}));
    for lacking in Verb::ALL {
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != lacking) {
            may(&format!("{}-less", lacking.name()), json!({"tenant": OWN, "verb": verb.name()}));
            may(&format!("{}-less-anywhere", lacking.name()), json!({"verb": verb.name()}));
        }
    }
    let (tokens_file, policies_file) = (folder.join("tokens.csv"), folder.join("policies.jsonl"));
    std::fs::write(&tokens_file, tokens).unwrap();
    std::fs::write(&policies_file, policies).unwrap();
    let text = format!(
        "[auth]\nmethods = [\"certificates\", \"tokens\"]\ntokens_file = {tokens_file:?}\n\
         [authorization]\nmode = \"abac\"\npolicies_file = {policies_file:?}\n\
         [tls]\nclient_certificates = \"optional\"\ncert_file = \"a\"\nkey_file = \"b\"\nclient_ca_file = \"c\"\n"
    );
    let config: Config = toml::from_str(&text).unwrap();
    config.check().unwrap();
    Identity::start(&config.auth, &config.authorization, "default").unwrap()
}
