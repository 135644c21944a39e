//! Asks every engine what it runs and makes one list of it. Engines are optional; one that fails keeps its last answer
//! and is named among the [`Blindness`]es. Called by the collector every few seconds.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use super::config::InventoryConfig;
use super::container::{Container, Engine};
use super::listing::Listing;
use super::{containerd, cri, docker, paths, podman, weir};
use crate::RuntimeError;
use crate::cgroup::Cgroup;
use crate::lifecycle::State;
use crate::processes;

/// Something of the node that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blindness {
    /// Which engine or part.
    pub engine: String,
    /// Why, for people.
    pub reason: String,
}

/// What one refresh found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every container once, ascending by id.
    pub containers: Vec<Container>,
    /// What could not be seen.
    pub blind: Vec<Blindness>,
}

/// The containers of a node.
pub struct Inventory {
    config: InventoryConfig,
    /// Last good answer by engine, in the order of precedence (the key begins with its rank).
    last: BTreeMap<(usize, String), Vec<Container>>,
}

impl Inventory {
    /// Asks these engines.
    pub fn new(config: InventoryConfig) -> Self {
        Self { config, last: BTreeMap::new() }
    }

    /// Whom it asks.
    pub fn config(&self) -> &InventoryConfig {
        &self.config
    }

    /// [`Self::refresh_within`] the configured timeout, which is an error of each engine that takes longer.
    pub async fn refresh(&mut self, cgroups: &[Cgroup]) -> View {
        self.refresh_within(cgroups, Duration::MAX).await
    }

    /// Asks all engines at once. Of those that have not answered within `patience` the last answer counts: containerd, for
    /// instance, lists no tasks before all that it is starting have started, while its CRI service answers. `cgroups` ([`crate::samples::NodeSampler::cgroups`]
    /// or a [`crate::cgroup::Scan`]) tells of containers that no engine claims, and where those without a known process are.
    pub async fn refresh_within(&mut self, cgroups: &[Cgroup], patience: Duration) -> View {
        let config = self.config.clone();
        let mut blind = Vec::new();
        let listings = list_all(&config, &self.last, patience).await;
        for (rank, engine, listing) in listings {
            match listing {
                Ok(Listing::Absent) => drop(self.last.remove(&(rank, engine))),
                Ok(Listing::Containers(containers)) => drop(self.last.insert((rank, engine), containers)),
                Err(error) => blind.push(Blindness { engine, reason: error.to_string() }),
            }
        }
        let mut containers = merge(self.last.values().flatten());
        containers.values_mut().for_each(|container| locate(container, &config.root));
        add_unclaimed(&mut containers, cgroups, &mut blind);
        View { containers: containers.into_values().collect(), blind }
    }
}

/// In the order of precedence: who knows more about a container comes first (Docker's and CRI's containers are also
/// containerd's, which knows neither their names nor their logs; podman's service knows more than its files).
async fn list_all(
    config: &InventoryConfig,
    last: &BTreeMap<(usize, String), Vec<Container>>,
    patience: Duration,
) -> Vec<(usize, String, Listed)> {
    let mut listed = JoinSet::new();
    let mut rank = 0;
    let mut next = |name: String| {
        rank += 1;
        let previous = last.get(&(rank - 1, name.clone())).cloned().unwrap_or_default();
        (rank - 1, name, previous)
    };
    let timeout = config.timeout;
    let (own, name, _) = next("weir".into());
    let path = config.weir_dir.clone();
    listed.spawn(async move { (own, name, within("weir", &path.clone(), timeout, files(move || weir::list(&path))).await) });
    for socket in config.cri_sockets.clone() {
        let (own, name, previous) = next(format!("cri {}", socket.display()));
        listed.spawn(async move { (own, name, within("cri", &socket, timeout, cri::list(&socket, &previous)).await) });
    }
    let podmans = config.podman_sockets.iter().map(|socket| (Engine::Podman, socket));
    for (engine, socket) in std::iter::once((Engine::Docker, &config.docker_socket)).chain(podmans) {
        let (own, name, previous) = next(format!("{} {}", engine.name(), socket.display()));
        let socket = socket.clone();
        let list = async move { within(engine.name(), &socket, timeout, docker::list(engine, &socket, &previous)).await };
        listed.spawn(async move { (own, name, list.await) });
    }
    let (own, name, _) = next("podman storage".into());
    let (graph, run) = (config.podman_storage.clone(), config.podman_run.clone());
    let list = async move { within("podman", &graph.clone(), timeout, files(move || podman::list(&graph, &run))).await };
    listed.spawn(async move { (own, name, list.await) });
    let (own, name, _) = next("containerd".into());
    let socket = config.containerd_socket.clone();
    listed.spawn(async move { (own, name, within("containerd", &socket, timeout, containerd::list(&socket)).await) });
    let mut listings = Vec::new();
    // What is left is dropped, and its connection with it.
    let _ = tokio::time::timeout(patience, async {
        while let Some(listing) = listed.join_next().await {
            listings.push(listing.expect("invariant: to list does not panic"));
        }
    })
    .await;
    listings
}

type Listed = Result<Listing, RuntimeError>;

/// Reads files off the async threads.
async fn files(list: impl FnOnce() -> Listed + Send + 'static) -> Listed {
    let joined = tokio::task::spawn_blocking(list).await;
    joined.unwrap_or_else(|error| Err(RuntimeError::Program { program: "inventory".into(), reason: error.to_string() }))
}

/// `list`, but not for longer than `timeout`.
async fn within(engine: &'static str, address: &Path, timeout: Duration, list: impl Future<Output = Listed>) -> Listed {
    tokio::time::timeout(timeout, list).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {timeout:?}");
        Err(RuntimeError::Engine { engine, address: address.display().to_string(), reason })
    })
}

/// Each id once. Of several accounts the first counts, and the later ones fill in what it leaves open.
fn merge<'a>(accounts: impl Iterator<Item = &'a Container>) -> BTreeMap<String, Container> {
    let mut merged: BTreeMap<String, Container> = BTreeMap::new();
    for account in accounts {
        let Some(known) = merged.get_mut(&account.id) else {
            merged.insert(account.id.clone(), account.clone());
            continue;
        };
        known.pid = known.pid.or(account.pid);
        known.started = known.started.or(account.started);
        known.cgroup = known.cgroup.take().or_else(|| account.cgroup.clone());
        known.log = known.log.take().or_else(|| account.log.clone());
        if known.image.is_empty() {
            known.image.clone_from(&account.image);
        }
        if known.state == State::Unknown {
            known.state = account.state;
        }
    }
    merged
}

/// Sets the cgroup and the start of a container from its first process, where the engine did not tell. A process that
/// has just ended tells nothing, and the tree may still do.
fn locate(container: &mut Container, root: &Path) {
    let Some(pid) = container.pid else { return };
    if container.cgroup.is_none() {
        container.cgroup = processes::cgroups(root, pid).and_then(|cgroups| paths::of_process(&cgroups));
    }
    if container.started.is_none() {
        container.started = processes::started(root, pid);
    }
}

fn add_unclaimed(containers: &mut BTreeMap<String, Container>, cgroups: &[Cgroup], blind: &mut Vec<Blindness>) {
    let claimed: HashSet<String> = containers.values().filter_map(|container| container.cgroup.clone()).collect();
    let mut unclaimed: BTreeMap<Engine, usize> = BTreeMap::new();
    for found in paths::containers(cgroups) {
        if let Some(known) = containers.get_mut(&found.id) {
            if known.cgroup.is_none() && known.state != State::Exited {
                known.cgroup = found.cgroup;
            }
            continue;
        }
        if found.cgroup.as_ref().is_some_and(|path| claimed.contains(path)) {
            continue;
        }
        *unclaimed.entry(found.engine).or_default() += 1;
        containers.insert(found.id.clone(), found);
    }
    for (engine, count) in unclaimed {
        let reason = format!(
            "{count} of its containers are in the cgroup tree, but it does not tell about them: no names, labels or logs"
        );
        blind.push(Blindness { engine: engine.name().to_owned(), reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(path: String) -> Cgroup {
        Cgroup { path, hierarchies: 1, created: 5 }
    }

    #[tokio::test]
    async fn what_nobody_claims_is_shown_and_said() {
        let id = "ab".repeat(32);
        let root = tempfile::tempdir().unwrap();
        let none = root.path().join("none");
        let config = InventoryConfig {
            cri_sockets: vec![none.clone()],
            containerd_socket: none.clone(),
            docker_socket: none.clone(),
            podman_sockets: vec![none.clone()],
            podman_storage: none.clone(),
            weir_dir: none,
            ..InventoryConfig::default()
        };
        let view = Inventory::new(config).refresh(&[cgroup(format!("/docker/{id}")), cgroup("/system.slice".into())]).await;
        assert_eq!(view.containers.len(), 1);
        let container = &view.containers[0];
        assert_eq!(
            (container.engine, container.id.as_str(), container.started),
            (Engine::Docker, id.as_str(), Some(5_000_000_000))
        );
        assert_eq!(view.blind.len(), 1);
        assert!(view.blind[0].reason.starts_with("1 of its containers"), "{:?}", view.blind);
    }

    #[tokio::test]
    async fn an_engine_that_is_slow_holds_nobody_up_and_keeps_its_last_answer() {
        let root = tempfile::tempdir().unwrap();
        let (none, silent) = (root.path().join("none"), root.path().join("silent.sock"));
        let _accepts_and_says_nothing = std::os::unix::net::UnixListener::bind(&silent).unwrap();
        let config = InventoryConfig {
            cri_sockets: vec![none.clone()],
            containerd_socket: silent,
            docker_socket: none.clone(),
            podman_sockets: vec![none.clone()],
            podman_storage: none.clone(),
            weir_dir: none,
            timeout: Duration::from_secs(3600),
            ..InventoryConfig::default()
        };
        let mut inventory = Inventory::new(config.clone());
        let of = |id: &str| vec![Container::new(Engine::Containerd, id)];
        inventory.last.insert((1, format!("cri {}", config.cri_sockets[0].display())), of("gone"));
        inventory.last.insert((5, "containerd".into()), of("kept"));
        let view = inventory.refresh_within(&[], Duration::from_millis(200)).await;
        let ids: Vec<&str> = view.containers.iter().map(|container| container.id.as_str()).collect();
        assert_eq!(ids, ["kept"], "who has answered counts, and so does what the slow one said before");
        assert!(view.blind.is_empty(), "{:?}", view.blind);
    }

    #[test]
    fn later_accounts_fill_in() {
        let mut first = Container::new(Engine::Docker, "a");
        first.name = "front".into();
        let mut second = Container::new(Engine::Containerd, "a");
        second.name = "a".into();
        second.pid = Some(7);
        second.image = "shop:1".into();
        let merged = merge([&first, &second].into_iter());
        let container = &merged["a"];
        assert_eq!((container.engine, container.name.as_str()), (Engine::Docker, "front"));
        assert_eq!((container.pid, container.image.as_str()), (Some(7), "shop:1"));
    }
}
