//! Samples the whole node: every cgroup, every container, the machine. Sync: the caller runs it off the async threads.

use std::collections::HashMap;
use std::path::PathBuf;

use weir_model::label::Labels;
use weir_model::metric::MetricBatch;
use weir_model::time::UnixNanos;

use super::column::{Columns, Metric, counter, gauge};
use super::{container, ended, machine};
use crate::RuntimeError;
use crate::cgroup::{Cgroup, Mounts, OomCount, Sampled, Sampler, Scan, Tree};
use crate::containers::{Blindness, ContainerRecord, Death};

static CGROUPS: Metric = gauge("weir_runtime_cgroups", "Cgroups sampled.");
static READ_ERRORS: Metric =
    counter("weir_runtime_read_errors_total", "Reads of kernel files that failed, and lines of them that could not be read.");
static UNREADABLE: Metric = gauge("weir_runtime_unreadable_directories", "Cgroup directories that could not be listed.");

/// A full walk through all hierarchies happens this often, and whenever the main one has changed.
const SCAN_EVERY: u64 = 10;

/// How to sample a node.
#[derive(Clone, Debug)]
pub struct SamplerConfig {
    /// Where the node's root is: `/`, or where it is mounted in our container.
    pub root: PathBuf,
    /// The node's name, for the `node` and `instance` labels.
    pub node: String,
    /// Most files held open.
    pub files_max: usize,
}

impl SamplerConfig {
    /// The node we run on.
    pub fn local(node: impl Into<String>) -> Self {
        Self { root: PathBuf::from("/"), node: node.into(), files_max: Sampler::files_max_default() }
    }
}

/// Samples one node.
pub struct NodeSampler {
    tree: Tree,
    sampler: Sampler,
    machine: machine::Machine,
    cgroup_target: Labels,
    machine_target: Labels,
    cgroup_columns: Columns,
    machine_columns: Columns,
    containers: Vec<ContainerRecord>,
    by_cgroup: HashMap<String, usize>,
    scan: Scan,
    turn: u64,
    oom_counts: Vec<OomCount>,
}

impl NodeSampler {
    /// Finds the cgroup mounts. Errors when there are none.
    pub fn new(config: SamplerConfig) -> Result<Self, RuntimeError> {
        let mounts = Mounts::detect(&config.root)?;
        let node = config.node.as_str();
        let target = |job: &str| Labels::from_pairs([("job", job), ("instance", node), ("node", node)]);
        Ok(Self {
            tree: Tree::new(mounts.clone()),
            sampler: Sampler::new(mounts, config.files_max),
            machine: machine::Machine::new(&config.root),
            // Public dashboards and rules select by these two jobs, so that a series' identity does not depend on how it is sampled.
            cgroup_target: target("cadvisor"),
            machine_target: target("node"),
            cgroup_columns: Columns::default(),
            machine_columns: Columns::default(),
            containers: Vec::new(),
            by_cgroup: HashMap::new(),
            scan: Scan::default(),
            turn: 0,
            oom_counts: Vec::new(),
        })
    }

    /// Tells who is in which cgroup, and who has ended: [`crate::containers::History::records`]. Holds until told anew.
    pub fn set_containers(&mut self, mut containers: Vec<ContainerRecord>) {
        containers.sort_by(|a, b| a.container.id.cmp(&b.container.id));
        self.containers = containers;
        let places = self.containers.iter().enumerate();
        self.by_cgroup = places.filter_map(|(i, record)| Some((record.container.cgroup.clone()?, i))).collect();
    }

    /// The cgroup mounts.
    pub fn mounts(&self) -> &Mounts {
        self.tree.mounts()
    }

    /// The kill counters of containers' cgroups that are not 0, as the last sample read them.
    pub fn take_oom_counts(&mut self) -> Vec<OomCount> {
        std::mem::take(&mut self.oom_counts)
    }

    /// What is said once of each run that ended: batches of rows of their own, at the time of the end.
    pub fn ended(&self, deaths: &[Death]) -> Vec<MetricBatch> {
        deaths.iter().flat_map(|death| ended::batches(&self.cgroup_target, death)).collect()
    }

    /// The cgroups that the last sample saw, ascending by path: what [`crate::containers::Inventory::refresh`] wants.
    pub fn cgroups(&self) -> &[Cgroup] {
        &self.scan.cgroups
    }

    /// What the last sample could not see, and why.
    pub fn blind(&self) -> Vec<Blindness> {
        let blind = |reason: String| Blindness { engine: "cgroups".to_owned(), reason };
        let unreadable = self.scan.unreadable.iter().map(|(path, error)| blind(format!("list {}: {error}", path.display())));
        let truncated = self.scan.truncated.then(|| blind("there are more cgroups than are looked at".to_owned()));
        unreadable.chain(truncated).collect()
    }

    /// Walks the tree and reads everything. Two batches of one row each, `job="cadvisor"` (cgroups, containers,
    /// `machine_*`) and `job="node"` (`node_*`). Each batch's schema is shared with its predecessor's as long as the
    /// series are the same; a series that ended has one last value, the staleness marker.
    pub fn sample(&mut self, now: UnixNanos) -> [MetricBatch; 2] {
        if self.turn.is_multiple_of(SCAN_EVERY) || !self.scan.is_current(self.tree.mounts()) {
            self.scan = self.tree.scan();
        }
        self.turn += 1;
        let reading = self.machine.read();
        let mut row = self.machine_columns.row();
        row.entity("", &Labels::EMPTY, |out| reading.emit(now, out));
        let machine = row.finish(self.machine_target.clone(), now);
        [self.sample_cgroups(now), machine]
    }

    fn sample_cgroups(&mut self, now: UnixNanos) -> MetricBatch {
        self.oom_counts.clear();
        let mut row = self.cgroup_columns.row();
        let mut shown = vec![false; self.containers.len()];
        for cgroup in &self.scan.cgroups {
            let Sampled::Sample(sample) = self.sampler.sample(&cgroup.path) else { continue };
            let known = self.by_cgroup.get(&cgroup.path).copied();
            let record = known.map(|i| &self.containers[i]);
            let container = record.map(|record| &record.container);
            known.into_iter().for_each(|i| shown[i] = true);
            let kills = sample.memory.oom_kills;
            if let (Some(kills), true) = (kills.filter(|kills| *kills > 0), record.is_some()) {
                self.oom_counts.push(OomCount { cgroup: cgroup.path.clone(), kills });
            }
            row.entity(&cgroup.path, &container::labels(&cgroup.path, container), |out| {
                container::numbers(sample, &self.machine, out);
                container::times(cgroup, container, now, out);
                container::oom_events(record.map(|record| record.oom_kills(kills)).or(kills), out);
                let Some(record) = record else { return };
                container::about(&record.container, out);
                container::restarts(&record.container, out);
                container::ends(record, kills, out);
            });
        }
        // Containers without a cgroup (they have exited, or we may not see it): `~` sorts behind all paths. Their series go on
        // as those of the cgroup that they were in, unless another is in it now.
        for (i, record) in self.containers.iter().enumerate().filter(|(i, _)| !shown[*i]) {
            let own = &record.container;
            let is_free = |path: &&str| self.by_cgroup.get(*path).is_none_or(|holder| *holder == i);
            let path = record.cgroup.as_deref().filter(is_free);
            row.entity(&format!("~{}", own.id), &container::labels(path.unwrap_or_default(), Some(own)), |out| {
                container::about(own, out);
                container::ends(record, None, out);
                // Of several that had one name, nothing else tells which is which.
                if path.is_some() {
                    container::oom_events(Some(record.oom_kills(None)), out);
                    container::restarts(own, out);
                }
            });
        }
        let (cgroups, errors, unreadable) =
            (self.scan.cgroups.len(), self.sampler.errors() + self.machine.unreadable_lines(), self.scan.unreadable.len());
        row.entity("~~", &Labels::EMPTY, |out| {
            out.put(&CGROUPS, cgroups as f64);
            out.put(&READ_ERRORS, errors as f64);
            out.put(&UNREADABLE, unreadable as f64);
            self.machine.cores_and_memory(out);
        });
        let batch = row.finish(self.cgroup_target.clone(), now);
        let cgroups = &self.scan.cgroups;
        self.sampler.retain(|path| cgroups.binary_search_by(|cgroup| cgroup.path.as_str().cmp(path)).is_ok());
        batch
    }
}

#[cfg(test)]
mod tests;
