//! The Kubernetes container runtime interface, v1: pods, containers, their logs. Spoken by containerd and CRI-O.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::container::{Container, Engine, LogFormat, LogLocation};
use super::grpc::{Client, Refused};
use super::listing::{Listing, exists};
use crate::RuntimeError;
use crate::lifecycle::{End, State};
use crate::proto::cri::{
    Container as Message, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse,
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxMetadata,
    PodSandboxState, VersionRequest, VersionResponse,
};

const VERSION: &str = "/runtime.v1.RuntimeService/Version";
const PODS: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";

/// The reason of an end for lack of memory, as CRI fixes it.
pub(super) const OOM_KILLED: &str = "OOMKilled";

/// Connects and asks who it is; `None` where nobody speaks CRI.
pub(super) async fn connect(socket: &Path) -> Result<Option<(Client, VersionResponse)>, RuntimeError> {
    if !exists(socket)? {
        return Ok(None);
    }
    let mut client = Client::connect("cri", socket).await?;
    match client.call(VERSION, None, VersionRequest {}).await {
        Ok(version) => Ok(Some((client, version))),
        // A containerd without its CRI service: Docker's, for instance.
        Err(Refused::Unimplemented(_)) => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

pub(super) fn engine(version: &VersionResponse) -> Engine {
    if version.runtime_name.contains("cri-o") { Engine::Crio } else { Engine::Containerd }
}

/// All pods' sandboxes and containers. `previous` is the last listing: what it says of a container whose state is the same
/// is not asked again.
pub(super) async fn list(socket: &Path, previous: &[Container]) -> Result<Listing, RuntimeError> {
    let Some((mut client, version)) = connect(socket).await? else { return Ok(Listing::Absent) };
    let engine = engine(&version);
    let pods: ListPodSandboxResponse = client.call(PODS, None, ListPodSandboxRequest {}).await?;
    let containers: ListContainersResponse = client.call(CONTAINERS, None, ListContainersRequest {}).await?;
    let known: HashMap<&str, &Container> = previous.iter().map(|container| (container.id.as_str(), container)).collect();
    let mut found: Vec<Container> = pods.items.iter().map(|pod| sandbox(engine, pod)).collect();
    let pods: HashMap<&str, &PodSandbox> = pods.items.iter().map(|pod| (pod.id.as_str(), pod)).collect();
    for message in containers.containers {
        let mut container = container(engine, &message, pods.get(message.pod_sandbox_id.as_str()).copied());
        match known.get(container.id.as_str()).filter(|known| known.state == container.state) {
            Some(known) => {
                (container.started, container.pid) = (known.started, known.pid);
                container.log.clone_from(&known.log);
                container.ends.clone_from(&known.ends);
                container.image.clone_from(&known.image);
            }
            None => status(&mut client, &mut container).await?,
        }
        found.push(container);
    }
    Ok(Listing::Containers(found))
}

async fn status(client: &mut Client, container: &mut Container) -> Result<(), RuntimeError> {
    let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: container.state == State::Running };
    let response: ContainerStatusResponse = match client.call(STATUS, None, request).await {
        Ok(response) => response,
        // It has been removed since the list was made.
        Err(Refused::NotFound(_)) => return Ok(()),
        Err(refused) => return Err(refused.into()),
    };
    // Not standardised; both containerd and CRI-O put JSON with the first process under `info`.
    let info = response.info.get("info").and_then(|info| serde_json::from_str::<serde_json::Value>(info).ok());
    container.pid = info.and_then(|info| u32::try_from(info["pid"].as_u64()?).ok()).filter(|pid| *pid != 0);
    let Some(status) = response.status else { return Ok(()) };
    container.started = Some(status.started_at).filter(|started| *started != 0);
    container.ends = end(&status).into_iter().collect();
    container.log = (!status.log_path.is_empty()).then(|| LogLocation { path: status.log_path.into(), format: LogFormat::Cri });
    if let Some(image) = status.image.filter(|image| !image.image.is_empty()) {
        container.image = image.image;
    }
    Ok(())
}

/// A container is run once: what is started again is another one.
fn end(status: &ContainerStatus) -> Option<End> {
    (status.finished_at > 0).then(|| End {
        at: status.finished_at,
        started: Some(status.started_at).filter(|started| *started != 0),
        exit_code: Some(status.exit_code),
        oom_kills: u64::from(status.reason == OOM_KILLED),
    })
}

fn sandbox(engine: Engine, pod: &PodSandbox) -> Container {
    let mut container = Container::new(engine, &pod.id);
    place(&mut container, pod.metadata.as_ref(), &pod.labels);
    container.state = if pod.state == i32::from(PodSandboxState::SandboxReady) { State::Running } else { State::Exited };
    container.started = Some(pod.created_at).filter(|created| *created != 0);
    container.sandbox = true;
    container
}

fn container(engine: Engine, message: &Message, pod: Option<&PodSandbox>) -> Container {
    let mut container = Container::new(engine, &message.id);
    if let Some(pod) = pod {
        place(&mut container, pod.metadata.as_ref(), &pod.labels);
    }
    name(&mut container, message.metadata.as_ref(), &message.labels);
    container.image = message.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
    container.state = match ContainerState::try_from(message.state) {
        Ok(ContainerState::ContainerCreated) => State::Created,
        Ok(ContainerState::ContainerRunning) => State::Running,
        Ok(ContainerState::ContainerExited) => State::Exited,
        Ok(ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
    };
    container
}

/// A container is labelled as its pod is.
pub(super) fn place(container: &mut Container, pod: Option<&PodSandboxMetadata>, labels: &BTreeMap<String, String>) {
    container.labels.extend(labels.clone());
    if let Some(pod) = pod {
        container.pod.clone_from(&pod.name);
        container.pod_uid.clone_from(&pod.uid);
        container.namespace.clone_from(&pod.namespace);
    }
}

/// Its own labels go before its pod's: after [`place`].
pub(super) fn name(container: &mut Container, metadata: Option<&ContainerMetadata>, labels: &BTreeMap<String, String>) {
    container.labels.extend(labels.clone());
    if let Some(metadata) = metadata {
        container.name.clone_from(&metadata.name);
        container.restarts = Some(u64::from(metadata.attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended() {
        let status = |finished_at, reason: &str| ContainerStatus {
            started_at: 5,
            finished_at,
            exit_code: 137,
            reason: reason.into(),
            ..ContainerStatus::default()
        };
        let killed = End { at: 9, started: Some(5), exit_code: Some(137), oom_kills: 1 };
        assert_eq!(end(&status(9, "OOMKilled")), Some(killed.clone()));
        assert_eq!(end(&status(9, "Error")), Some(End { oom_kills: 0, ..killed }));
        assert_eq!(end(&status(0, "")), None);
    }

    #[test]
    fn a_container_is_placed_in_its_pod() {
        let metadata = PodSandboxMetadata { name: "front-1".into(), uid: "u".into(), namespace: "shop".into() };
        let labels = BTreeMap::from([("app".to_owned(), "front".to_owned())]);
        let pod = PodSandbox { id: "p".into(), metadata: Some(metadata), state: 0, created_at: 5, labels };
        let message = Message {
            id: "c".into(),
            pod_sandbox_id: "p".into(),
            metadata: Some(ContainerMetadata { name: "web".into(), attempt: 2 }),
            image: None,
            state: 1,
            labels: BTreeMap::from([("io.kubernetes.container.name".to_owned(), "web".to_owned())]),
        };
        let found = container(Engine::Crio, &message, Some(&pod));
        assert_eq!((found.namespace.as_str(), found.pod.as_str(), found.name.as_str()), ("shop", "front-1", "web"));
        assert_eq!((found.restarts, found.state, found.labels["app"].as_str()), (Some(2), State::Running, "front"));
        assert_eq!(found.resource("").to_labels().get("app"), "front");
        let pause = sandbox(Engine::Crio, &pod);
        assert!(pause.sandbox && pause.name.is_empty() && pause.started == Some(5));
    }
}
