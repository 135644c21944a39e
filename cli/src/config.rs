//! The one configuration file: TOML, every key with a default, unknown keys refused by name.
//!
//! Flags and `WEIR_…` variables win over the file. The documented default is `weir.toml` beside this file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_blocks::location::Location;
use weir_collector::error::CollectorError;
use weir_methods::{AuthConfig, MethodName};
use weir_tls::ClientCertificates;

use crate::Failure;
use crate::args::{AggregatorArguments, NodeArguments, QueryNodeArguments, ServiceArguments, StoreArguments, UpArguments};
use crate::text::plain;

mod renamed;
mod tables;

pub(crate) use tables::BusKind;
use tables::{BusConfig, NodeConfig, StoreConfig, TelemetryConfig};

/// The default, every key documented; a test holds it equal to [`Config::default`].
pub(crate) const DOCUMENTED: &str = include_str!("weir.toml");

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Everything weir keeps lies below.
    pub data: PathBuf,
    /// Page and APIs.
    pub listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Listen without TLS on addresses that others can reach.
    pub allow_plaintext: bool,
    /// Ask nobody who they are on addresses that others can reach.
    pub allow_anonymous: bool,
    /// Where others reach this process; `<listen>` when empty, as https where there is a certificate.
    pub advertise: String,
    /// Whom every listener answers, and for how long.
    pub front: crate::front::FrontConfig,
    /// Credentials that count.
    pub auth: AuthConfig,
    /// What who is known may do.
    pub authorization: weir_access::AuthorizationConfig,
    /// Limits by tenant.
    pub limits: crate::limits::LimitsConfig,
    /// Certificates of the listeners.
    pub tls: weir_tls::TlsConfig,
    /// This machine.
    pub node: NodeConfig,
    /// The bus.
    pub bus: BusConfig,
    /// The object store.
    pub store: StoreConfig,
    /// Node facts and pushed telemetry into batches.
    pub collector: weir_collector::config::CollectorConfig,
    /// Batches into blocks.
    pub aggregator: weir_aggregator::AggregatorConfig,
    /// Answers.
    pub query: weir_budget::QueryConfig,
    /// How a query node asks the owners of partitions.
    pub fanout: weir_fanout::FanOutConfig,
    /// Alerting and recording rules.
    pub rules: weir_rules::RulesConfig,
    /// weir's own spans.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: PathBuf::from("weir-data"),
            listen: loopback(9640),
            otlp_grpc: loopback(4317),
            otlp_http: loopback(4318),
            allow_plaintext: false,
            allow_anonymous: false,
            advertise: String::new(),
            front: Default::default(),
            auth: Default::default(),
            authorization: Default::default(),
            limits: Default::default(),
            tls: Default::default(),
            node: NodeConfig::default(),
            bus: BusConfig::default(),
            store: StoreConfig::default(),
            collector: Default::default(),
            aggregator: Default::default(),
            query: Default::default(),
            fanout: Default::default(),
            rules: Default::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config {
    /// Reads and checks a file. Errors name the file, the line and the key.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let config = Self::parse(path)?;
        config.check().map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
        Ok(config)
    }

    fn parse(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::input(plain::error(&format!("{}: {error}", path.display())));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        Self::of_text(&text).map_err(|error| wrong(&error))
    }

    /// A file's text; values that cannot work together are not looked at. Errors name the line.
    fn of_text(text: &str) -> Result<Self, String> {
        let read = |text: &str| toml::from_str::<Self>(text);
        read(text).map_err(|error| {
            if error.span().is_some() {
                let text = error.to_string();
                return match renamed::instead_of(error.message()) {
                    Some(better) => text.replace(error.message(), &better),
                    None => text,
                };
            }
            // Of keys that nest too deeply only that is said: it is the last line of the shortest beginning that fails alike.
            let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).chain([text.len()]).collect();
            let alike = |end: &usize| read(&text[..*end]).is_err_and(|other| other.message() == error.message());
            let line = ends.partition_point(|end| !alike(end)) + 1;
            format!("TOML parse error at line {line}: {}", error.message())
        })
    }

    /// Of `weir up`, from flags, environment and file.
    pub fn of_up(arguments: &UpArguments) -> Result<Self, Failure> {
        let mut config = Self::of_service(&arguments.node.service)?;
        config.take_node(&arguments.node);
        config.take_store(&arguments.store);
        config.checked()
    }

    /// Of `weir collector`.
    pub fn of_collector(arguments: &NodeArguments) -> Result<Self, Failure> {
        let mut config = Self::of_service(&arguments.service)?;
        config.take_node(arguments);
        config.checked()?.with_shared_bus("collector")
    }

    /// Of `weir aggregator`.
    pub fn of_aggregator(arguments: &AggregatorArguments) -> Result<Self, Failure> {
        let mut config = Self::of_service(&arguments.service)?;
        config.take_store(&arguments.store);
        config.advertise = arguments.advertise.clone().unwrap_or(config.advertise);
        config.checked()?.with_shared_bus("aggregator")?.with_advertise()
    }

    /// Of `weir query`.
    pub fn of_query(arguments: &QueryNodeArguments) -> Result<Self, Failure> {
        let mut config = Self::of_service(&arguments.service)?;
        config.take_store(&arguments.store);
        config.checked()?.with_shared_bus("query")
    }

    fn of_service(arguments: &ServiceArguments) -> Result<Self, Failure> {
        let mut config = match &arguments.config {
            Some(path) => Self::parse(path)?,
            None => Self::default(),
        };
        config.listen = arguments.listen.unwrap_or(config.listen);
        config.allow_plaintext |= arguments.allow_plaintext;
        config.allow_anonymous |= arguments.allow_anonymous;
        if !arguments.hosts.is_empty() {
            config.front.hosts.clone_from(&arguments.hosts);
        }
        Ok(config)
    }

    fn take_node(&mut self, arguments: &NodeArguments) {
        if let Some(data) = &arguments.data {
            self.data.clone_from(data);
        }
        self.otlp_grpc = arguments.otlp_grpc.unwrap_or(self.otlp_grpc);
        self.otlp_http = arguments.otlp_http.unwrap_or(self.otlp_http);
        if let Some(containers) = &arguments.containers {
            self.node.containers.clone_from(containers);
        }
        if let Some(name) = &arguments.node_name {
            self.node.name.clone_from(name);
        }
        if arguments.no_node {
            self.collector.files.containers = false;
            self.collector.sample.enabled = false;
        }
    }

    fn take_store(&mut self, arguments: &StoreArguments) {
        if let Some(url) = &arguments.url {
            self.store.url.clone_from(url);
        }
    }

    fn checked(self) -> Result<Self, Failure> {
        self.check().map_err(Failure::input)?;
        Ok(self)
    }

    /// Roles are processes of their own, and the embedded log lies in one.
    fn with_shared_bus(self, role: &str) -> Result<Self, Failure> {
        if self.bus.kind == BusKind::Kafka {
            return Ok(self);
        }
        Err(Failure::input(format!(
            "bus.kind = \"disk\" cannot be shared between processes: `weir {role}` needs [bus] kind = \"kafka\" and \
             bus.kafka.brokers. On one machine without Kafka, start `weir up`"
        )))
    }

    fn with_advertise(mut self) -> Result<Self, Failure> {
        if self.advertise.is_empty() {
            if self.listen.ip().is_unspecified() {
                let text = format!("advertise: others cannot reach {}; say --advertise {}HOST:PORT", self.listen, self.scheme());
                return Err(Failure::input(text));
            }
            self.advertise = self.own_url();
        }
        if !["http://", "https://"].iter().any(|scheme| self.advertise.starts_with(scheme)) {
            return Err(Failure::input(format!("advertise = {:?} must start with http:// or https://", self.advertise)));
        }
        self.advertise = self.advertise.trim_end_matches('/').to_owned();
        Ok(self)
    }

    /// The main listener, as it is reached from this machine.
    pub fn own_url(&self) -> String {
        format!("{}{}", self.scheme(), self.listen)
    }

    /// Of the listeners.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_on() { "https://" } else { "http://" }
    }

    /// Where blocks and manifests are.
    pub fn location(&self) -> Location {
        let (url, options) = (self.store.url.clone(), self.store.options.clone());
        Location { url, options, tls: self.store.tls.clone(), default: self.data.join("store") }
    }

    /// What others can reach has TLS and asks who they are, or says by name that it does not.
    fn check_listeners(&self) -> Result<(), String> {
        let (plain, anonymous) = (self.tls.cert_file.as_os_str().is_empty(), self.auth.methods.is_empty());
        let all = [("listen", self.listen), ("otlp_grpc", self.otlp_grpc), ("otlp_http", self.otlp_http)];
        let mut reachable = all.into_iter().filter(|(_, address)| !address.ip().is_loopback());
        let Some((key, address)) = reachable.next() else { return Ok(()) };
        if plain && !self.allow_plaintext {
            return Err(format!(
                "{key} = \"{address}\" can be reached by others, and there is no TLS: name a certificate in [tls] cert_file and \
                 key_file, listen on 127.0.0.1, or say allow_plaintext = true (--allow-plaintext), behind a proxy that has TLS"
            ));
        }
        if anonymous && !self.allow_anonymous {
            return Err(format!(
                "{key} = \"{address}\" can be reached by others, and nobody is asked who they are: name [auth] methods, listen on \
                 127.0.0.1, or say allow_anonymous = true (--allow-anonymous): whoever reaches it may then do everything"
            ));
        }
        Ok(())
    }

    /// Clients show their certificates to a listener that asks for them.
    fn check_certificates(&self) -> Result<(), String> {
        let asks = self.tls.client_certificates != ClientCertificates::None;
        if asks || !self.auth.methods.contains(&MethodName::Certificates) {
            return Ok(());
        }
        Err("auth.methods has \"certificates\", and with tls.client_certificates = \"none\" no client is asked for one: say \
             \"optional\" or \"required\""
            .into())
    }

    /// A namespace "default" is in every Kubernetes cluster, and its service accounts may ask for the tenant of that name.
    fn check_namespaces(&self) -> Result<(), String> {
        if self.auth.methods.contains(&MethodName::Kubernetes) && self.collector.tenant == "default" {
            return Err(
                "auth.methods has \"kubernetes\" and collector.tenant is \"default\": every service account of the namespace \
                        \"default\" would have weir's own tenant; name another tenant"
                    .into(),
            );
        }
        Ok(())
    }

    /// What serde cannot see: values that cannot work together. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        self.check_listeners()?;
        self.front.check().map_err(|error| format!("front.{error}"))?;
        self.auth.check().map_err(|error| format!("auth.{error}"))?;
        self.check_namespaces()?;
        self.authorization.check().map_err(|error| format!("authorization.{error}"))?;
        self.tls.check().map_err(|error| format!("tls.{error}"))?;
        self.check_certificates()?;
        self.collector.check().map_err(|error| match error {
            CollectorError::Config { key, reason } => format!("collector.{key}: {reason}"),
            other => format!("collector: {other}"),
        })?;
        self.query.check().map_err(|error| format!("query.{error}"))?;
        self.store.tls.check().map_err(|error| format!("store.tls.{error}"))?;
        self.rules.validate()?;
        self.telemetry.check().map_err(|error| format!("telemetry.{error}"))?;
        self.fanout.check().map_err(|error| format!("fanout.{error}"))?;
        self.aggregator.check().map_err(|error| format!("aggregator.{error}"))
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\n[front]\nhosts = [\"file.example\"]\n").unwrap();
        let config = |flags: &[&str]| {
            let words = ["weir", "up", "--config", path.to_str().unwrap()];
            let Command::Up(up) = Arguments::parse_from(words.iter().chain(flags)).command else { panic!("not up") };
            Config::of_up(&up)
        };
        let file = config(&[]).unwrap();
        assert_eq!((file.listen.port(), file.front.hosts), (1, vec!["file.example".to_owned()]));
        let flags = config(&["--listen", "127.0.0.1:2", "--hosts", "weir.example,*.monitoring.svc"]).unwrap();
        assert_eq!((flags.listen.port(), flags.front.hosts), (2, vec!["weir.example".to_owned(), "*.monitoring.svc".to_owned()]));
        let message = config(&["--hosts", "http://weir"]).unwrap_err().message;
        assert!(message.contains("front.hosts"), "{message}");
    }

    #[test]
    fn the_documented_default_is_the_default() {
        let documented = Config::of_text(DOCUMENTED).unwrap();
        assert_eq!(documented, Config::default());
    }

    #[test]
    fn every_key_is_documented() {
        let default = toml::Value::try_from(Config::default()).unwrap();
        let documented: toml::Value = toml::from_str(DOCUMENTED).unwrap();
        fn missing(path: &str, default: &toml::Value, documented: &toml::Value, found: &mut Vec<String>) {
            for (key, value) in default.as_table().into_iter().flatten() {
                match documented.get(key) {
                    Some(other) => missing(&format!("{path}{key}."), value, other, found),
                    None => found.push(format!("{path}{key}")),
                }
            }
        }
        let mut found = Vec::new();
        missing("", &default, &documented, &mut found);
        assert!(found.is_empty(), "not in weir.toml: {found:?}");
    }

    #[test]
    fn wrong_files_are_refused_by_name_of_key() {
        let check = |text: &str, expected: &str| {
            let folder = std::env::temp_dir().join(format!("weir-config-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("weir.toml");
            std::fs::write(&path, text).unwrap();
            let message = Config::read(&path).unwrap_err().message;
            assert!(message.contains(expected), "{text:?}: {message}");
        };
        check("listne = 1", "listne");
        check("listen = 5", "listen");
        check("[aggregator]\nhead_max = \"5B\"", "aggregator.head_max");
        check("[collector.files]\npoll_intervall = \"1s\"", "poll_intervall");
        check("listen = \"0.0.0.0:80\"", "allow_plaintext");
        check("otlp_grpc = \"0.0.0.0:80\"\nallow_plaintext = true", "allow_anonymous");
        check("otlp_http = \"[::]:80\"\nallow_anonymous = true", "[tls] cert_file");
        check("insecure_listen = true", "allow_plaintext = true");
        check(
            "[auth]\nmethods = [\"certificates\"]",
            "auth.methods has \"certificates\", and with tls.client_certificates = \"none\"",
        );
        check("[front]\nhosts = [\"http://weir\"]", "front.hosts");
        check("[front]\nhead_max = \"100B\"", "front.head_max");
        check("[collector.push]\nline_max = \"1MiB\"", "collector.push.line_max: must be between 1KiB and 256KiB");
        check("[collector.push]\nreject_older_than = 5", "has no unit");
        check("[front]\nidle_timeout = \"0s\"", "front.idle_timeout");
        check("[front]\norigins = [\"app.example\"]", "front.origins");
        let kubernetes = "[auth]\nmethods = [\"kubernetes\"]\n";
        check(kubernetes, "collector.tenant is \"default\"");
        Config::of_text(&format!("{kubernetes}[collector]\ntenant = \"weir\"")).unwrap().check().unwrap();
        check("[query]\nconcurrency = \"many\"", "concurrency");
        check("[query]\nquery_memory_max = \"2GiB\"", "query.query_memory_max");
        check("[query]\ncells_max = 5", "cells_max");
        check("[", "TOML");
        check(&format!("# one\n\n[bus{}]\n# more", ".a".repeat(200)), "at line 3: recursion limit");
    }
}
