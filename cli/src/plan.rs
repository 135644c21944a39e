//! All that a process can know to be wrong before it opens anything: `weir up` begins with it, and `weir check config` is it.

use std::path::Path;
use std::sync::Arc;

use weir_access::Mode;
use weir_bus::BusError;
use weir_collector::scrape::file::PrometheusConfig;
use weir_rules::RuleSet;

use crate::config::{BusKind, Config};
use crate::text::plain;
use crate::{Failure, rules};

/// A configuration, and the files that it names, read.
pub(crate) struct Plan {
    pub config: Config,
    pub rules: Arc<RuleSet>,
    /// What is scraped, if anything is.
    pub scrape: Option<PrometheusConfig>,
}

impl Plan {
    /// Reads what `config` names, which was checked by itself. Errors with the key and what is wrong with it.
    pub fn of(config: Config) -> Result<Self, Failure> {
        listeners(&config).map_err(Failure::input)?;
        bus(&config).map_err(Failure::input)?;
        directories(&config)?;
        certificates(&config).map_err(Failure::input)?;
        authorization(&config).map_err(|error| Failure::input(format!("authorization.{error}")))?;
        config.limits.read().map_err(|error| Failure::input(format!("limits.overrides_file: {error}")))?;
        let rules = Arc::new(rules::load(&config.rules, &config.collector.tenant)?);
        let scrape = config.collector.scrape.config_file.as_deref().map(scrape).transpose()?;
        Ok(Self { config, rules, scrape })
    }
}

/// Two that cannot both be bound.
fn listeners(config: &Config) -> Result<(), String> {
    let all = [("listen", config.listen), ("otlp_grpc", config.otlp_grpc), ("otlp_http", config.otlp_http)];
    for (place, (key, address)) in all.iter().enumerate() {
        let meets = |other: &std::net::SocketAddr| {
            let is_same = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && address.port() != 0 && is_same
        };
        if let Some((other, taken)) = all[place + 1..].iter().find(|(_, other)| meets(other)) {
            return Err(format!(
                "{key} = \"{address}\" and {other} = \"{taken}\" cannot both listen there: give each a port of its own"
            ));
        }
    }
    Ok(())
}

/// The file of policies, or how the webhook is reached.
fn authorization(config: &Config) -> Result<(), String> {
    config.authorization.read_policies().map_err(|error| format!("policies_file: {error}"))?;
    if config.authorization.mode == Mode::Webhook {
        weir_methods::webhook(&config.authorization.webhook).map_err(|error| format!("webhook.{error}"))?;
    }
    Ok(())
}

fn bus(config: &Config) -> Result<(), String> {
    let (kind, checked) = match config.bus.kind {
        BusKind::Disk => ("disk", config.bus.disk.validate()),
        BusKind::Kafka => ("kafka", config.bus.kafka.check()),
    };
    checked.map_err(|error| match error {
        BusError::Config(reason) => format!("bus.{kind}.{reason}"),
        other => format!("bus.{kind}: {other}"),
    })
}

/// What is to be a directory must not be, nor lie below, something else.
fn directories(config: &Config) -> Result<(), Failure> {
    let store = config.location().directory().map_err(Failure::input)?;
    for (key, path) in [("data", Some(config.data.clone())), ("store.url", store)] {
        let there = path.as_deref().and_then(|path| path.ancestors().find(|part| part.exists()));
        if let (Some(path), Some(there)) = (&path, there)
            && !there.is_dir()
        {
            return Err(Failure::input(format!(
                "{key}: {} cannot be a directory, because {} is a file",
                path.display(),
                there.display()
            )));
        }
    }
    Ok(())
}

/// Of listeners and clients.
fn certificates(config: &Config) -> Result<(), String> {
    config.tls.check_files().map_err(|error| format!("tls: {error}"))?;
    let clients = [("store.tls", &config.store.tls), ("fanout.tls", &config.fanout.tls), ("rules.tls", &config.rules.tls)];
    for (key, client) in clients {
        client.check_files().map_err(|error| format!("{key}: {error}"))?;
    }
    Ok(())
}

fn scrape(path: &Path) -> Result<PrometheusConfig, Failure> {
    PrometheusConfig::read(path).map_err(|error| Failure::input(plain::error(&format!("collector.scrape.config_file: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that says `text`, of a folder with wrong and right files.
    fn plan(text: &str) -> Result<Plan, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("bad.yml"), "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: rate(a[5m\n").unwrap();
        std::fs::write(at("good.yml"), "groups:\n- name: a\n  rules:\n  - record: b\n    expr: a\n").unwrap();
        std::fs::write(at("typed.yml"), "groups: 5\n").unwrap();
        std::fs::write(at("targets.yml"), "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [a:1, b:2]\n")
            .unwrap();
        std::fs::write(at("jobs.yml"), "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n").unwrap();
        std::fs::write(at("bad.toml"), "[defaults.query]\ntimeout = \"0s\"\n").unwrap();
        std::fs::write(at("job.yml"), "scrape_configs:\n- 5\n").unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, text.replace("DIR", &folder.path().display().to_string())).unwrap();
        Plan::of(Config::read(&file)?)
    }

    #[test]
    fn what_a_start_would_refuse_is_refused_by_key() {
        let check = |text: &str, expected: &[&str]| {
            let message = plan(text).err().unwrap_or_else(|| panic!("taken: {text}")).message;
            for part in expected {
                assert!(message.contains(part), "{text:?}: {part:?} is not in {message}");
            }
            for leak in ["struct ", "expected u", "expected a sequence", "Option", "BTreeMap"] {
                assert!(!message.contains(leak), "{text:?}: {leak:?} is in {message}");
            }
        };
        check("[rules]\nfiles = [\"DIR/away.yml\"]", &["rules.files", "away.yml", "No such file"]);
        check("[rules]\nfiles = [\"DIR/bad.yml\"]", &["rules: ", "bad.yml", "parse error"]);
        check("[rules]\nfiles = [\"DIR/typed.yml\"]", &["rules: ", "typed.yml"]);
        check("[rules]\nalertmanagers = [\"ftp://a\"]", &["rules.alertmanagers"]);
        check("[tls]\ncert_file = \"DIR/away.pem\"", &["tls.key_file is missing"]);
        check("[tls]\ncert_file = \"DIR/away.pem\"\nkey_file = \"DIR/good.yml\"", &["tls: ", "away.pem", "No such file"]);
        check("[rules.tls]\nca_file = \"DIR/good.yml\"", &["rules.tls: ", "good.yml", "no PEM certificate"]);
        check("[fanout.tls]\nserver_name = \"a b\"", &["fanout.tls.server_name"]);
        check("[store.tls]\ninsecure_skip_verify = true\nca_file = \"x\"", &["store.tls.insecure_skip_verify"]);
        check("[collector.scrape]\nconfig_file = \"DIR/away.yml\"", &["collector.scrape.config_file", "away.yml"]);
        check("[collector.scrape]\nconfig_file = \"DIR/jobs.yml\"", &["collector.scrape.config_file", "scrape_intervall"]);
        check("[collector.scrape]\nconfig_file = \"DIR/job.yml\"", &["collector.scrape.config_file", "expected a table"]);
        check("[[collector.files.paths]]\npath = \"/var/log/[\"", &["collector", "files.paths", "/var/log/["]);
        check("[bus.disk]\npartitions = 0", &["bus.disk.partitions"]);
        check("[bus.disk]\nbacklog_max = \"5B\"", &["bus.disk.backlog_max"]);
        check("[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = \"\"", &["bus.kafka.brokers"]);
        check("[bus]\nkind = \"kafka\"\n[bus.kafka.properties]\nacks = \"1\"", &["bus.kafka.properties.acks"]);
        check(
            "[bus]\nkind = \"kafka\"\n[bus.kafka.properties]\n\"ssl.ca.lokation\" = \"x\"",
            &["bus.kafka.properties", "ssl.ca.lokation"],
        );
        let tls = "[bus]\nkind = \"kafka\"\n[bus.kafka.properties]\n\"security.protocol\" = \"ssl\"\n\"ssl.ca.location\" = \"DIR/ca.pem\"";
        check(tls, &["bus.kafka.properties", "ca.pem"]);
        check("[store]\nurl = \"ftp://x\"", &["store.url"]);
        check("[store.options]\nregion = \"x\"", &["store.options.region", "url = \"\""]);
        check("[store]\nurl = \"s3://b\"\n[store.options]\nregoin = \"x\"", &["store.options.regoin"]);
        check("[store]\nurl = \"file://DIR/good.yml/store\"", &["store.url", "good.yml is a file"]);
        check("data = \"DIR/good.yml\"", &["data: ", "good.yml is a file"]);
        check("otlp_http = \"127.0.0.1:9640\"", &["listen", "otlp_http", "port of its own"]);
        check("otlp_grpc = \"127.0.0.1:4318\"", &["otlp_grpc", "otlp_http", "port of its own"]);
        check("allow_plaintext = true\nallow_anonymous = true\nlisten = \"0.0.0.0:4317\"", &["listen", "otlp_grpc"]);
        check("otlp_grpc = \"0.0.0.0:1\"", &["otlp_grpc", "allow_plaintext"]);
        check("[limits]\noverrides_file = \"DIR/away.toml\"", &["limits.overrides_file", "away.toml", "No such file"]);
        check("[limits]\noverrides_file = \"DIR/bad.toml\"", &["limits.overrides_file", "bad.toml", "defaults.query.timeout"]);
        check("collector = 5", &["collector", "expected a table"]);
        check("listen = \"weir.example:80\"", &["listen", "such as 127.0.0.1:9640"]);
        check("[collector.files]\nbegin = \"middle\"", &["unknown value `middle`", "`start` or `end`"]);
        check("[front]\nconnections_max = -1", &["connections_max", "whole number"]);
        check("[aggregator]\ntick = 5", &["tick", "has no unit", "\"5s\""]);
        check("[aggregator]\ntick = true", &["tick", "a duration in quotes"]);
        check("[aggregator]\nhead_max = 268435456", &["head_max", "has no unit: write \"256MiB\""]);
    }

    #[test]
    fn what_is_fine_is_read() {
        let plan = plan(
            "listen = \"127.0.0.1:0\"\notlp_grpc = \"127.0.0.1:0\"\n[rules]\nfiles = [\"DIR/good.yml\"]\n\
            [collector.scrape]\nconfig_file = \"DIR/targets.yml\"",
        );
        let plan = plan.unwrap_or_else(|failure| panic!("{}", failure.message));
        assert_eq!((plan.rules.summary().recording, plan.scrape.map(|scrape| scrape.targets())), (1, Some(2)));
    }
}
