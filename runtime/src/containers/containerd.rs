//! containerd's own API, all namespaces: containers and tasks. It knows ids, images, labels and first processes; names and logs
//! of pods are CRI's affair ([`super::cri`]).

use std::collections::HashMap;
use std::path::Path;

use super::container::{Container, Engine};
use super::grpc::Client;
use super::listing::{Listing, exists};
use crate::RuntimeError;
use crate::lifecycle::{End, State};
use crate::proto::containerd::services::containers::v1::{ListContainersRequest, ListContainersResponse};
use crate::proto::containerd::services::namespaces::v1::{ListNamespacesRequest, ListNamespacesResponse, Namespace};
use crate::proto::containerd::services::tasks::v1::{ListTasksRequest, ListTasksResponse};
use crate::proto::containerd::v1::types::{Process, Status};
use crate::proto::nanos;

const NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
const CONTAINERS: &str = "/containerd.services.containers.v1.Containers/List";
const TASKS: &str = "/containerd.services.tasks.v1.Tasks/List";

/// All containers of all namespaces.
pub(super) async fn list(socket: &Path) -> Result<Listing, RuntimeError> {
    if !exists(socket)? {
        return Ok(Listing::Absent);
    }
    let mut client = Client::connect("containerd", socket).await?;
    let namespaces: ListNamespacesResponse = client.call(NAMESPACES, None, ListNamespacesRequest {}).await?;
    let mut found = Vec::new();
    for Namespace { name } in namespaces.namespaces {
        let containers = client.call(CONTAINERS, Some(&name), ListContainersRequest {}).await?;
        let tasks = client.call(TASKS, Some(&name), ListTasksRequest {}).await?;
        found.extend(join(containers, tasks));
    }
    Ok(Listing::Containers(found))
}

/// A container without a task has been made and not started, or is over: containerd does not keep which, nor how it ended;
/// that is told by its task, until somebody deletes it, and by [`super::containerd_events`].
fn join(containers: ListContainersResponse, tasks: ListTasksResponse) -> Vec<Container> {
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
        container.labels = message.labels;
        container.state = match Status::try_from(task.status) {
            Ok(Status::Created) => State::Created,
            Ok(Status::Running) => State::Running,
            Ok(Status::Paused | Status::Pausing) => State::Paused,
            Ok(Status::Unknown | Status::Stopped) | Err(_) => State::Exited,
        };
        container.pid = Some(task.pid).filter(|pid| *pid != 0 && container.state != State::Exited);
        let exited = task.exited_at.filter(|_| container.state == State::Exited).and_then(|at| nanos(&at));
        container.ends =
            exited.map(|at| End { at, exit_code: i32::try_from(task.exit_status).ok(), ..End::default() }).into_iter().collect();
        container
    });
    joined.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost_types::Timestamp;

    use super::*;
    use crate::proto::containerd::services::containers::v1::Container as Message;

    #[test]
    fn containers_and_tasks_are_joined() {
        let message = |id: &str| Message { id: id.into(), labels: BTreeMap::new(), image: "shop:1".into() };
        let containers = ListContainersResponse { containers: vec![message("a"), message("b"), message("c")] };
        let task = |id: &str, pid, status: Status| Process { id: id.into(), pid, status: status.into(), ..Process::default() };
        let exited_at = Some(Timestamp { seconds: 9, nanos: 5 });
        let over = Process { exit_status: 3, exited_at, ..task("b", 8, Status::Stopped) };
        let joined = join(containers, ListTasksResponse { tasks: vec![task("a", 7, Status::Running), over] });
        let ends: Vec<_> = joined.iter().map(|container| container.ends.clone()).collect();
        assert_eq!(ends, [vec![], vec![End { at: 9_000_000_005, exit_code: Some(3), ..End::default() }], vec![]]);
        let shown: Vec<_> = joined.iter().map(|container| (container.name.as_str(), container.state, container.pid)).collect();
        assert_eq!(shown, [("a", State::Running, Some(7)), ("b", State::Exited, None), ("c", State::Exited, None)]);
    }
}
