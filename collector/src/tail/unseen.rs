//! Containers that the engines know and whose log was never seen: each is counted and named once. A log directory that is
//! not mounted into the collector's container looks like this, and so does a container that was gone too fast.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use weir_runtime::containers::{Container, State};
use weir_runtime::logs::log_path;

use crate::metrics::CollectorMetrics;

/// A running container's log is made with it; so much later it will not come any more, or lies where the collector cannot read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of the containers there are.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    is_begun: bool,
    /// Settled: seen, or named.
    settled: HashSet<String>,
    /// Not seen so far, and since when they are known.
    waiting: HashMap<String, (Instant, Container)>,
}

impl Unseen {
    /// Compares the engines' account with the logs seen. What had ended before the first comparison is not counted.
    pub fn update(&mut self, root: &Path, containers: &[Container], is_seen: &dyn Fn(&Path) -> bool, metrics: &CollectorMetrics) {
        let now = Instant::now();
        let is_first = !self.is_begun;
        self.is_begun |= !containers.is_empty();
        let there: HashSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        self.settled.retain(|id| there.contains(id.as_str()));
        for container in containers {
            let Some(path) = log_path(root, container).filter(|_| has_log(container)) else { continue };
            if is_seen(&path) || is_first && container.state == State::Exited {
                self.waiting.remove(&container.id);
                self.settled.insert(container.id.clone());
            } else if !self.settled.contains(&container.id) {
                self.waiting.entry(container.id.clone()).or_insert_with(|| (now, container.clone()));
            }
        }
        let (settled, waiting) = (&mut self.settled, &mut self.waiting);
        waiting.retain(|id, (since, container)| {
            let is_gone = !there.contains(id.as_str());
            if !is_gone && now.duration_since(*since) < PATIENCE {
                return true;
            }
            let path = log_path(root, container).unwrap_or_default();
            if !is_seen(&path) {
                metrics.event("files", "log_never_seen", 1);
                let (namespace, pod, name, file) = (&container.namespace, &container.pod, &container.name, path.display());
                tracing::error!(namespace, pod, container = name, id, %file, is_gone, "the log of a container was never seen");
            }
            if !is_gone {
                settled.insert(id.clone());
            }
            false
        });
    }
}

/// Whether its log must be there: it runs or ran.
fn has_log(container: &Container) -> bool {
    !container.sandbox && !matches!(container.state, State::Created | State::Unknown)
}

#[cfg(test)]
mod tests {
    use weir_runtime::containers::{Engine, LogFormat, LogLocation};

    use super::*;

    fn container(id: &str, state: State) -> Container {
        let mut container = Container::new(Engine::Containerd, id);
        container.state = state;
        container.log = Some(LogLocation { path: format!("/logs/{id}").into(), format: LogFormat::Cri });
        container
    }

    #[test]
    fn a_container_that_goes_unseen_is_counted_once() {
        let metrics = CollectorMetrics::default();
        let mut unseen = Unseen::default();
        let mut check = |containers: &[Container], seen: &[&str], expected: u64| {
            let is_seen = |path: &Path| seen.iter().any(|id| path.ends_with(id));
            unseen.update(Path::new("/"), containers, &is_seen, &metrics);
            assert_eq!(metrics.events_of("files", "log_never_seen"), expected);
        };
        check(&[container("old", State::Exited)], &[], 0);
        check(&[container("a", State::Created), container("b", State::Running), container("c", State::Running)], &[], 0);
        // `a` never ran, `b` is seen late, `c` goes without having been seen.
        check(&[container("b", State::Exited)], &["b"], 1);
        check(&[], &[], 1);
        // Seen at its birth, and gone before any listing.
        check(&[container("d", State::Running)], &[], 1);
        check(&[], &["d"], 1);
    }
}
