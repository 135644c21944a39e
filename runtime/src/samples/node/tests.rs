//! The series of a container over its runs and behind them.

use std::path::Path;

use weir_model::label::NAME;
use weir_model::metric::{MetricBatch, is_stale};

use super::*;
use crate::containers::{Container, End, Engine, History, Observed, State};

/// A node with one hierarchy (v2), and a container in it that has been killed for memory so often.
fn container(root: &Path, kills: Option<u64>) -> Container {
    let directory = root.join("sys/docker/a");
    let mut container = Container::new(Engine::Docker, "a");
    (container.name, container.restarts) = ("web".into(), Some(1));
    container.cgroup = Some("/docker/a".into());
    match kills {
        Some(kills) => {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("memory.events"), format!("oom_kill {kills}\n")).unwrap();
            std::fs::write(directory.join("cpu.stat"), format!("usage_usec {kills}\n")).unwrap();
            container.state = State::Running;
        }
        None => {
            let _not_there = std::fs::remove_dir_all(&directory);
            container.state = State::Restarting;
        }
    }
    container
}

/// Values by name, of series of the container, each of which has the path of its cgroup.
fn shown(batch: &MetricBatch) -> Vec<String> {
    let pairs = batch.schema.series.iter().zip(&batch.rows[0].values);
    let wanted = ["weir_container_oom_kills_total", "container_oom_events_total", "weir_container_exit_code"];
    let own = pairs.filter(|(labels, _)| labels.get("name") == "web" && wanted.contains(&labels.get(NAME)));
    let mut shown: Vec<String> = own
        .map(|(labels, value)| {
            assert_eq!(labels.get("id"), "/docker/a", "{labels}");
            format!("{} {}", labels.get(NAME), if is_stale(*value) { "stale".into() } else { value.to_string() })
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn counters_go_on_between_runs_and_after_the_last() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("proc/1")).unwrap();
    std::fs::create_dir_all(root.path().join("sys")).unwrap();
    std::fs::write(root.path().join("proc/1/mountinfo"), "2 0 0:2 / /sys rw - cgroup2 cgroup2 rw\n").unwrap();
    let config = SamplerConfig { root: root.path().to_owned(), node: "n".into(), files_max: 10 };
    let mut sampler = NodeSampler::new(config).unwrap();
    let mut history = History::new(std::time::Duration::from_secs(60));
    let mut second = 0;
    let mut sample = |containers: &[Container]| {
        second += 1;
        let now = second * 1_000_000_000;
        let counts = sampler.take_oom_counts().into_iter().map(|count| (now - 1, count)).collect();
        history.observe(now, Observed { containers, counts, ..Observed::default() }, |_| false);
        sampler.set_containers(history.records(now));
        let [cgroups, _] = sampler.sample(now);
        shown(&cgroups)
    };
    let counters =
        |kills: u64| vec![format!("container_oom_events_total {kills}"), format!("weir_container_oom_kills_total {kills}")];
    let ended = |kills: u64| [counters(kills), vec!["weir_container_exit_code 137".to_owned()]].concat();
    let end = |second: i64, oom_kills| End { at: second * 1_000_000_000, exit_code: Some(137), oom_kills, ..End::default() };
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sample(&[container(root.path(), Some(0))]), counters(0));
    assert_eq!(sample(&[container(root.path(), Some(1))]), counters(1));
    // Between two runs there is no cgroup.
    let ends = vec![end(3, 2)];
    assert_eq!(sample(&[Container { ends: ends.clone(), ..container(root.path(), None) }]), sorted(ended(2)));
    assert_eq!(sample(&[Container { ends: ends.clone(), ..container(root.path(), Some(0)) }]), sorted(ended(2)));
    assert_eq!(sample(&[Container { ends: ends.clone(), ..container(root.path(), Some(1)) }]), sorted(ended(3)));
    // It ends for good, is removed, and is held.
    container(root.path(), None);
    let over = Container { ends: vec![end(3, 2), end(6, 1)], state: State::Exited, cgroup: None, ..container(root.path(), None) };
    assert_eq!(sample(&[over]), sorted(ended(3)));
    assert_eq!(sample(&[]), sorted(ended(3)));
}
