//! The events of CRI (`GetContainerEvents`), for what has no other: CRI-O. Not every runtime tells everybody: containerd before
//! 2.0 and CRI-O before 1.28 give each event to one listener only, which would take it away from kubelet
//! (containerd issue 7318, cri-o issue 6466). These are not listened to.

use std::path::Path;

use tokio::sync::mpsc;

use super::container::{Container, Engine};
use super::cri::{OOM_KILLED, connect, engine, name, place};
use super::event::{Event, What};
use super::grpc::Refused;
use crate::RuntimeError;
use crate::lifecycle::State;
use crate::proto::cri::{ContainerEventResponse, ContainerEventType, GetEventsRequest, VersionResponse};

const EVENTS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";

/// Sends what happens from now on. Returns when the runtime ends the answer, and where it does not tell.
pub(super) async fn listen(socket: &Path, tx: &mpsc::Sender<Event>) -> Result<(), RuntimeError> {
    let Some((mut client, version)) = connect(socket).await? else { return Ok(()) };
    if !tells_everybody(&version) {
        return Ok(());
    }
    let mut responses = match client.subscribe(EVENTS, GetEventsRequest {}).await {
        Ok(responses) => responses,
        Err(Refused::Unimplemented(_)) => return Ok(()),
        Err(refused) => return Err(refused.into()),
    };
    while let Some(response) = client.next(&mut responses).await? {
        for event in read(engine(&version), &response) {
            if tx.send(event).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn tells_everybody(version: &VersionResponse) -> bool {
    let mut numbers = version.runtime_version.trim_start_matches('v').split('.').map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return false };
    match version.runtime_name.as_str() {
        "containerd" => major >= 2,
        "cri-o" => (major, minor) >= (1, 28),
        _ => false,
    }
}

/// None for what is no end of a container. That of a sandbox has no status among the containers'.
fn read(engine: Engine, response: &ContainerEventResponse) -> Vec<Event> {
    if response.container_event_type() != ContainerEventType::ContainerStoppedEvent {
        return Vec::new();
    }
    let own = response.containers_statuses.iter().find(|status| status.id == response.container_id);
    let Some(status) = own.filter(|status| status.finished_at > 0) else { return Vec::new() };
    let mut container = Container::new(engine, &status.id);
    if let Some(pod) = &response.pod_sandbox_status {
        place(&mut container, pod.metadata.as_ref(), &pod.labels);
    }
    name(&mut container, status.metadata.as_ref(), &status.labels);
    container.image = status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
    container.state = State::Exited;
    // By the runtime's clock and not by the event's: containerd's own event of this end has the same time, and the two are one.
    let died = Event { at: status.finished_at, container, what: What::Died(Some(status.exit_code)) };
    let memory = (status.reason == OOM_KILLED).then(|| Event { what: What::OutOfMemory, ..died.clone() });
    std::iter::once(died).chain(memory).collect()
}

#[cfg(test)]
mod tests;
