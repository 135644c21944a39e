//! What `weir up` says once it is up: where its page is, what it found on this machine, and what to do next.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use weir_collector::scrape::file::PrometheusConfig;
use weir_rules::{RulesConfig, Summary};
use weir_runtime::containers::{Engine, Inventory, InventoryConfig, State, View};

use crate::config::Config;
use crate::text::safe;
use crate::text::units::count;

/// What was found, but for the containers.
pub(crate) struct Found {
    listen: SocketAddr,
    scheme: &'static str,
    otlp: (SocketAddr, SocketAddr),
    /// `None` when this machine's containers are not looked at.
    inventory: Option<InventoryConfig>,
    rules: (Vec<String>, Summary),
    /// Jobs and targets of a file.
    scrape: Option<(String, usize, usize)>,
}

impl Found {
    /// Reads the files of scrape targets. `config.listen` is what was bound.
    pub fn of(config: &Config, rules: Summary, scrape: Option<&PrometheusConfig>) -> Self {
        let looks = config.collector.files.containers || config.collector.sample.enabled;
        let file = config.collector.scrape.config_file.as_deref().map(|path| path.display().to_string());
        Self {
            listen: config.listen,
            scheme: config.scheme(),
            otlp: (config.otlp_grpc, config.otlp_http),
            inventory: looks.then(|| config.node.inventory()),
            rules: (rule_files(&config.rules), rules),
            scrape: file.zip(scrape).map(|(file, scrape)| (file, scrape.scrape_configs.len(), scrape.targets())),
        }
    }

    /// Asks the engines, each for a bounded time, and says all of it on stderr. Nothing where the log is for machines.
    pub async fn say(self) {
        if crate::telemetry::is_json() {
            return;
        }
        let view = match &self.inventory {
            Some(inventory) => Some(Inventory::new(inventory.clone()).refresh(&[]).await),
            None => None,
        };
        // A disk that is full under stderr must not end anything.
        let _unread = std::io::stderr().write_all(self.text(view.as_ref()).as_bytes());
    }

    fn text(&self, view: Option<&View>) -> String {
        let mut rows = vec![("containers", containers(view))];
        for blind in view.into_iter().flat_map(|view| &view.blind) {
            rows.push(("not seen", format!("{}: {}", blind.engine, blind.reason)));
        }
        let (files, rules) = &self.rules;
        let of_rules = || format!("{} alerting and {} recording in {}", rules.alerting, rules.recording, files.join(" and "));
        rows.push(("rules", if files.is_empty() { "none ([rules] files in the configuration)".into() } else { of_rules() }));
        let of_targets = |(file, jobs, targets): &(String, usize, usize)| {
            format!("{} of {} in {file}", count(*targets as u64, "scrape target"), count(*jobs as u64, "job"))
        };
        let none = || "none ([collector.scrape] config_file in the configuration)".into();
        rows.push(("targets", self.scrape.as_ref().map_or_else(none, of_targets)));
        let (grpc, http) = self.otlp;
        rows.push(("takes OTLP", format!("over gRPC at {grpc}, over HTTP at {}{http}", self.scheme)));
        rows.push(("next", self.next(view)));
        let mut text = format!("\nweir is up; its page: {}{}\n", self.scheme, self.reachable());
        for (name, value) in rows {
            text.push_str(&format!("  {name:<11} {}\n", safe::line(&value)));
        }
        text + "\n"
    }

    /// One step.
    fn next(&self, view: Option<&View>) -> String {
        let is_default = self.listen.port() == 9640 && self.scheme == "http://";
        let scheme = if self.scheme == "http://" { "" } else { self.scheme };
        let addr = if is_default { String::new() } else { format!(" --addr {scheme}{}", self.reachable()) };
        match view {
            None => format!(
                "send it logs over OTLP, or push them to {}{}/loki/api/v1/push; then: weir logs -f '{{}}'{addr}",
                self.scheme,
                self.reachable()
            ),
            Some(view) if running(view) == 0 => "start a container: weir run --name hello -- sh -c 'echo hello'".to_owned(),
            Some(_) => format!("follow what the containers write: weir logs -f '{{}}'{addr}"),
        }
    }

    fn reachable(&self) -> SocketAddr {
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        address
    }
}

fn running(view: &View) -> usize {
    view.containers.iter().filter(|container| container.state == State::Running).count()
}

/// `5 running (4 containerd, 1 docker), 2 others`.
fn containers(view: Option<&View>) -> String {
    let Some(view) = view else { return "not looked at (--no-node, or the configuration says so)".into() };
    let mut engines: BTreeMap<&str, usize> = BTreeMap::new();
    for container in view.containers.iter().filter(|container| container.state == State::Running) {
        let name = if container.engine == Engine::Weir { "of weir run" } else { container.engine.name() };
        *engines.entry(name).or_default() += 1;
    }
    if view.containers.is_empty() {
        return "none: neither containerd, CRI-O, Docker and podman nor `weir run` have any".into();
    }
    let of: Vec<String> = engines.iter().map(|(engine, number)| format!("{number} {engine}")).collect();
    let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
    let others = view.containers.len() - running(view);
    let others = if others > 0 { format!(", {others} not running") } else { String::new() };
    format!("{} running{of}{others}", running(view))
}

/// Where rules come from.
fn rule_files(config: &RulesConfig) -> Vec<String> {
    let number = (config.files.len() + config.logql_files.len()) as u64;
    let files = (number > 0).then(|| count(number, "file"));
    let directories = [&config.directory, &config.logql_directory].into_iter().filter(|directory| !directory.is_empty());
    files.into_iter().chain(directories.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use weir_runtime::containers::{Blindness, Container};

    use super::*;

    fn found(listen: &str) -> Found {
        let config = Config { listen: listen.parse().unwrap(), ..Config::default() };
        Found::of(&config, Summary { groups: 1, alerting: 1, recording: 2 }, None)
    }

    #[test]
    fn a_start_says_where_its_page_is_and_what_it_found() {
        let mut running = Container::new(Engine::Docker, "a");
        running.state = State::Running;
        let blind = vec![Blindness { engine: "podman".into(), reason: "permission denied\n".into() }];
        let view = View { containers: vec![running, Container::new(Engine::Weir, "b")], blind };
        let text = found("127.0.0.1:9700").text(Some(&view));
        for line in [
            "weir is up; its page: http://127.0.0.1:9700",
            "  containers  1 running (1 docker), 1 not running",
            "  not seen    podman: permission denied\\n",
            "  rules       none ([rules] files in the configuration)",
            "  targets     none ([collector.scrape] config_file in the configuration)",
            "  takes OTLP  over gRPC at 127.0.0.1:4317, over HTTP at http://127.0.0.1:4318",
            "  next        follow what the containers write: weir logs -f '{}' --addr 127.0.0.1:9700",
        ] {
            assert!(text.lines().any(|own| own == line), "{line:?} is not in {text}");
        }
    }

    #[test]
    fn an_empty_machine_is_told_how_to_begin() {
        let text = found("0.0.0.0:9640").text(Some(&View::default()));
        assert!(text.contains("http://127.0.0.1:9640") && text.contains("weir run --name hello"), "{text}");
        let text = found("127.0.0.1:9640").text(None);
        assert!(text.contains("not looked at") && text.contains("weir logs -f '{}'\n"), "{text}");
    }

    #[test]
    fn rules_and_targets_are_counted() {
        let mut config = Config::default();
        config.rules.files = vec!["a.yml".into()];
        config.collector.scrape.config_file = Some("/etc/p.yml".into());
        let jobs = "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [a:1]\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), jobs).unwrap();
        let scrape = PrometheusConfig::read(file.path()).unwrap();
        let text = Found::of(&config, Summary { groups: 1, alerting: 1, recording: 2 }, Some(&scrape)).text(None);
        assert!(text.contains("  rules       1 alerting and 2 recording in 1 file\n"), "{text}");
        config.rules.directory = "/etc/rules".into();
        assert_eq!(rule_files(&config.rules), ["1 file", "/etc/rules"]);
        assert!(text.contains("  targets     1 scrape target of 1 job in /etc/p.yml\n"), "{text}");
    }
}
