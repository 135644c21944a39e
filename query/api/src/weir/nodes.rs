//! What stands beside the containers: the nodes themselves, and how a cgroup that is no container is called.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_model::label::NAME;
use weir_model::metric::is_stale;
use weir_model::select::Series;

use super::containers::{ALIVE_MS, rate};

/// The newest figures of one node.
#[derive(Default)]
pub(super) struct Node<'a> {
    gauges: BTreeMap<&'a str, f64>,
    /// Cores that were idle: a CPU each.
    idle: f64,
}

impl<'a> Node<'a> {
    /// Takes a series under a name of node_exporter's or cAdvisor's machine; one that has ended counts for nothing.
    pub fn add(&mut self, series: &'a Series, now_ms: i64) {
        let (Some(at), Some(value)) = (series.timestamps.last(), series.values.last()) else { return };
        if now_ms - at > ALIVE_MS || is_stale(*value) {
            return;
        }
        match series.labels.get(NAME) {
            "node_cpu_seconds_total" if series.labels.get("mode") == "idle" => self.idle += rate(series).unwrap_or(0.0),
            "node_cpu_seconds_total" => {}
            name => _ = self.gauges.insert(name, *value),
        }
    }

    /// `None` when nothing has been heard from it for two minutes.
    pub fn shape(&self, node: &str) -> Option<Value> {
        let gauge = |name: &str| self.gauges.get(name).copied();
        let (cores, memory) = (gauge("machine_cpu_cores"), gauge("machine_memory_bytes"));
        let used = memory.zip(gauge("node_memory_MemAvailable_bytes")).map(|(all, available)| (all - available).max(0.0) as u64);
        (!self.gauges.is_empty()).then(|| {
            json!({
                "node": node,
                "cores": cores,
                "cpu_cores": cores.map(|cores| (cores - self.idle).clamp(0.0, cores)),
                "memory_bytes": used,
                "memory_total_bytes": memory.map(|bytes| bytes as u64),
                "load1": gauge("node_load1"),
            })
        })
    }
}

/// The last element of a cgroup's path, as systemd shows it: `\x2d` is how it writes a `-` that is no separator.
pub(super) fn unit_name(path: &str) -> String {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("/").replace("\\x2d", "-")
}

/// What systemd calls such a cgroup; `cgroup` for one that is not systemd's.
pub(super) fn unit_kind(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "service")) => "service",
        Some((_, "scope")) => "scope",
        Some((_, "slice")) => "slice",
        _ => "cgroup",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_called_what_systemd_calls_them() {
        let check = |path: &str, kind: &str, name: &str| assert_eq!((unit_kind(path), &*unit_name(path)), (kind, name), "{path}");
        check("/system.slice/ssh.service", "service", "ssh.service");
        check("/user.slice/user-0.slice/session-c1.scope", "scope", "session-c1.scope");
        check("/system.slice/system-getty\\x2dx.slice", "slice", "system-getty-x.slice");
        check("/jobs/7", "cgroup", "7");
        check("/", "cgroup", "/");
    }
}
