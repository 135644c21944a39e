//! containerd's own API, all namespaces: containers and tasks (containerd `api/services/{namespaces,containers,tasks}/v1`).
//! It knows ids, images, labels and first processes; names and logs of pods are CRI's affair ([`super::cri`]).

use std::collections::HashMap;
use std::path::Path;

use super::container::{Container, Engine, State};
use super::end::End;
use super::grpc::Client;
use super::grpc::Timestamp;
use super::inventory::{Answer, is_there};
use crate::RuntimeError;

#[derive(Clone, PartialEq, prost::Message)]
struct ListRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct Namespace {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Namespaces {
    #[prost(message, repeated, tag = "1")]
    namespaces: Vec<Namespace>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Containers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Process {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(uint32, tag = "3")]
    pid: u32,
    #[prost(int32, tag = "4")]
    status: i32,
    #[prost(uint32, tag = "9")]
    exit_status: u32,
    #[prost(message, optional, tag = "10")]
    exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tasks {
    #[prost(message, repeated, tag = "1")]
    tasks: Vec<Process>,
}

/// All containers of all namespaces.
pub(super) async fn ask(socket: &Path) -> Result<Answer, RuntimeError> {
    if !is_there(socket)? {
        return Ok(Answer::Absent);
    }
    let mut client = Client::connect("containerd", socket).await?;
    let namespaces: Namespaces = client.call("/containerd.services.namespaces.v1.Namespaces/List", None, ListRequest {}).await?;
    let mut found = Vec::new();
    for Namespace { name } in namespaces.namespaces {
        let containers: Containers =
            client.call("/containerd.services.containers.v1.Containers/List", Some(&name), ListRequest {}).await?;
        let tasks: Tasks = client.call("/containerd.services.tasks.v1.Tasks/List", Some(&name), ListRequest {}).await?;
        found.extend(join(containers, tasks));
    }
    Ok(Answer::Seen(found))
}

/// A container without a task has been made and not started, or is over: containerd does not keep which, nor how it ended;
/// that is told by its task, until somebody deletes it, and by [`super::events`].
fn join(containers: Containers, tasks: Tasks) -> Vec<Container> {
    let named = tasks.tasks.into_iter().map(|task| {
        let id = if task.id.is_empty() { task.container_id.clone() } else { task.id.clone() };
        (id, task)
    });
    let tasks: HashMap<String, Process> = named.collect();
    let joined = containers.containers.into_iter().map(|message| {
        let mut container = Container::new(Engine::Containerd, message.id);
        let task = tasks.get(&container.id).cloned().unwrap_or_default();
        let nerdctl = message.labels.get("nerdctl/name").cloned();
        container.name = nerdctl.unwrap_or_else(|| container.id.clone());
        container.image = message.image;
        container.sandbox = message.labels.get("io.cri-containerd.kind").is_some_and(|kind| kind == "sandbox");
        container.labels = message.labels.into_iter().collect();
        container.state = match task.status {
            1 => State::Created,
            2 => State::Running,
            4 | 5 => State::Paused,
            _ => State::Exited,
        };
        container.pid = Some(task.pid).filter(|pid| *pid != 0 && container.state != State::Exited);
        let exited = task.exited_at.filter(|_| container.state == State::Exited).and_then(|at| at.nanos());
        container.ends =
            exited.map(|at| End { at, exit_code: i32::try_from(task.exit_status).ok(), ..End::default() }).into_iter().collect();
        container
    });
    joined.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_tasks_are_joined() {
        let message = |id: &str| ContainerMessage { id: id.into(), labels: HashMap::new(), image: "shop:1".into() };
        let containers = Containers { containers: vec![message("a"), message("b"), message("c")] };
        let task = |id: &str, pid, status| Process { id: id.into(), pid, status, ..Process::default() };
        let exited_at = Some(Timestamp { seconds: 9, nanos: 5 });
        let over = Process { exit_status: 3, exited_at, ..task("b", 8, 3) };
        let joined = join(containers, Tasks { tasks: vec![task("a", 7, 2), over] });
        let ends: Vec<_> = joined.iter().map(|container| container.ends.clone()).collect();
        assert_eq!(ends, [vec![], vec![End { at: 9_000_000_005, exit_code: Some(3), ..End::default() }], vec![]]);
        let shown: Vec<_> = joined.iter().map(|container| (container.name.as_str(), container.state, container.pid)).collect();
        assert_eq!(shown, [("a", State::Running, Some(7)), ("b", State::Exited, None), ("c", State::Exited, None)]);
    }
}
