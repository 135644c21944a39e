//! The Kubernetes container runtime interface, v1 (`k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`): pods, containers,
//! their logs. Spoken by containerd and CRI-O.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::container::{Container, Engine, LogFormat, LogLocation, State};
use super::end::End;
use super::grpc::{Client, Refused};
use super::inventory::{Answer, is_there};
use crate::RuntimeError;

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Version {
    #[prost(string, tag = "2")]
    runtime_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pod {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodMetadata>,
    /// 0: ready, 1: not.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(map = "string, string", tag = "5")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pods {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Pod>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(int32, tag = "6")]
    state: i32,
    #[prost(map = "string, string", tag = "8")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Containers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int64, tag = "5")]
    started_at: i64,
    #[prost(int64, tag = "6")]
    finished_at: i64,
    #[prost(int32, tag = "7")]
    exit_code: i32,
    #[prost(message, optional, tag = "8")]
    image: Option<Image>,
    /// `OOMKilled`, `Error`, `Completed`, ….
    #[prost(string, tag = "10")]
    reason: String,
    #[prost(string, tag = "15")]
    log_path: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    /// Not standardised; both containerd and CRI-O put JSON with the first process under `info`.
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

/// All pods' sandboxes and containers. `previous` is the last answer: what it says of a container whose state is the same
/// is not asked again.
pub(super) async fn ask(socket: &Path, previous: &[Container]) -> Result<Answer, RuntimeError> {
    if !is_there(socket)? {
        return Ok(Answer::Absent);
    }
    let mut client = Client::connect("cri", socket).await?;
    let version: Version = match client.call("/runtime.v1.RuntimeService/Version", None, Empty {}).await {
        Ok(version) => version,
        // A containerd without its CRI service: Docker's, for instance.
        Err(Refused::Unimplemented) => return Ok(Answer::Absent),
        Err(refused) => return Err(refused.into()),
    };
    let engine = if version.runtime_name.contains("cri-o") { Engine::Crio } else { Engine::Containerd };
    let pods: Pods = client.call("/runtime.v1.RuntimeService/ListPodSandbox", None, Empty {}).await?;
    let containers: Containers = client.call("/runtime.v1.RuntimeService/ListContainers", None, Empty {}).await?;
    let known: HashMap<&str, &Container> = previous.iter().map(|container| (container.id.as_str(), container)).collect();
    let mut found: Vec<Container> = pods.items.iter().map(|pod| sandbox(engine, pod)).collect();
    let pods: HashMap<&str, &Pod> = pods.items.iter().map(|pod| (pod.id.as_str(), pod)).collect();
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
    Ok(Answer::Seen(found))
}

async fn status(client: &mut Client, container: &mut Container) -> Result<(), RuntimeError> {
    let request = StatusRequest { container_id: container.id.clone(), verbose: container.state == State::Running };
    let answer: Result<StatusResponse, Refused> = client.call("/runtime.v1.RuntimeService/ContainerStatus", None, request).await;
    let response = match answer {
        Ok(response) => response,
        // It has been removed since the list was made.
        Err(Refused::Failed(RuntimeError::Engine { reason, .. })) if reason.contains("not found") => return Ok(()),
        Err(refused) => return Err(refused.into()),
    };
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
fn end(status: &Status) -> Option<End> {
    (status.finished_at > 0).then(|| End {
        at: status.finished_at,
        started: Some(status.started_at).filter(|started| *started != 0),
        exit_code: Some(status.exit_code),
        oom_kills: u64::from(status.reason == "OOMKilled"),
    })
}

fn sandbox(engine: Engine, pod: &Pod) -> Container {
    let mut container = Container::new(engine, &pod.id);
    place(&mut container, Some(pod));
    container.state = if pod.state == 0 { State::Running } else { State::Exited };
    container.started = Some(pod.created_at).filter(|created| *created != 0);
    container.sandbox = true;
    container
}

fn container(engine: Engine, message: &ContainerMessage, pod: Option<&Pod>) -> Container {
    let mut container = Container::new(engine, &message.id);
    place(&mut container, pod);
    container.labels.extend(message.labels.clone());
    if let Some(metadata) = &message.metadata {
        container.name.clone_from(&metadata.name);
        container.restarts = Some(u64::from(metadata.attempt));
    }
    container.image = message.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
    container.state = match message.state {
        0 => State::Created,
        1 => State::Running,
        2 => State::Exited,
        _ => State::Unknown,
    };
    container
}

/// A container is labelled as its pod is.
fn place(container: &mut Container, pod: Option<&Pod>) {
    let Some(pod) = pod else { return };
    container.labels = pod.labels.clone().into_iter().collect::<BTreeMap<_, _>>();
    if let Some(metadata) = &pod.metadata {
        container.pod.clone_from(&metadata.name);
        container.pod_uid.clone_from(&metadata.uid);
        container.namespace.clone_from(&metadata.namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended() {
        let status = |finished_at, reason: &str| Status {
            started_at: 5,
            finished_at,
            exit_code: 137,
            reason: reason.into(),
            ..Status::default()
        };
        let killed = End { at: 9, started: Some(5), exit_code: Some(137), oom_kills: 1 };
        assert_eq!(end(&status(9, "OOMKilled")), Some(killed.clone()));
        assert_eq!(end(&status(9, "Error")), Some(End { oom_kills: 0, ..killed }));
        assert_eq!(end(&status(0, "")), None);
    }

    #[test]
    fn a_container_is_placed_in_its_pod() {
        let metadata = PodMetadata { name: "front-1".into(), uid: "u".into(), namespace: "shop".into() };
        let labels = HashMap::from([("app".to_owned(), "front".to_owned())]);
        let pod = Pod { id: "p".into(), metadata: Some(metadata), state: 0, created_at: 5, labels };
        let message = ContainerMessage {
            id: "c".into(),
            pod_sandbox_id: "p".into(),
            metadata: Some(ContainerMetadata { name: "web".into(), attempt: 2 }),
            image: None,
            state: 1,
            labels: HashMap::from([("io.kubernetes.container.name".to_owned(), "web".to_owned())]),
        };
        let found = container(Engine::Crio, &message, Some(&pod));
        assert_eq!((found.namespace.as_str(), found.pod.as_str(), found.name.as_str()), ("shop", "front-1", "web"));
        assert_eq!((found.restarts, found.state, found.labels["app"].as_str()), (Some(2), State::Running, "front"));
        assert_eq!(found.resource("").to_labels().get("app"), "front");
        let pause = sandbox(Engine::Crio, &pod);
        assert!(pause.sandbox && pause.name.is_empty() && pause.started == Some(5));
    }
}
