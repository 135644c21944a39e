//! The events of containerd's own service. The containers of its CRI service are among them.

use std::path::Path;

use prost::Message;
use tokio::sync::mpsc;

use super::container::{Container, Engine};
use super::event::{Event, What};
use super::grpc::Client;
use crate::RuntimeError;
use crate::lifecycle::State;
use crate::proto::containerd::events::{TaskExit, TaskOom};
use crate::proto::containerd::services::events::v1::SubscribeRequest;
use crate::proto::containerd::types::Envelope;
use crate::proto::nanos;

const SUBSCRIBE: &str = "/containerd.services.events.v1.Events/Subscribe";
const EXIT: &str = "/tasks/exit";
const OOM: &str = "/tasks/oom";

/// Sends what happens from now on.
pub(super) async fn listen(socket: &Path, tx: &mpsc::Sender<Event>) -> Result<(), RuntimeError> {
    let mut client = Client::connect("containerd", socket).await?;
    let filters = [EXIT, OOM].map(|topic| format!("topic==\"{topic}\"")).to_vec();
    let mut envelopes = client.subscribe(SUBSCRIBE, SubscribeRequest { filters }).await?;
    while let Some(envelope) = client.next(&mut envelopes).await? {
        if let Some(event) = read(&envelope)
            && tx.send(event).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

/// `None` for what is none of ours.
fn read(envelope: &Envelope) -> Option<Event> {
    // Docker's containers are told of by Docker, which knows their names.
    if envelope.namespace == "moby" {
        return None;
    }
    let event = envelope.event.as_ref()?.value.as_slice();
    let sent = envelope.timestamp.as_ref().and_then(nanos);
    let (id, at, what) = match envelope.topic.as_str() {
        EXIT => {
            let task = TaskExit::decode(event).ok()?;
            // The id is the container's own for its first process; that of another process that was started in it otherwise.
            if !(task.id.is_empty() || task.id == task.container_id) {
                return None;
            }
            let at = task.exited_at.as_ref().and_then(nanos).or(sent)?;
            (task.container_id, at, What::Died(i32::try_from(task.exit_status).ok()))
        }
        OOM => (TaskOom::decode(event).ok()?.container_id, sent?, What::OutOfMemory),
        _ => return None,
    };
    let mut container = Container::new(Engine::Containerd, id);
    // What Kubernetes runs has a name that CRI tells.
    if envelope.namespace != "k8s.io" {
        container.name.clone_from(&container.id);
    }
    container.state = State::Exited;
    Some(Event { at, container, what })
}

#[cfg(test)]
mod tests {
    use prost_types::{Any, Timestamp};

    use super::*;

    #[test]
    fn events() {
        let exit = |id: &str| TaskExit {
            container_id: "abc".into(),
            id: id.into(),
            exit_status: 3,
            exited_at: Some(Timestamp { seconds: 9, nanos: 7 }),
        };
        let envelope = |topic: &str, namespace: &str, value: Vec<u8>| Envelope {
            timestamp: Some(Timestamp { seconds: 10, nanos: 0 }),
            namespace: namespace.into(),
            topic: topic.into(),
            event: Some(Any { type_url: String::new(), value }),
        };
        let event = read(&envelope(EXIT, "k8s.io", exit("abc").encode_to_vec())).unwrap();
        assert_eq!((event.at, event.what, event.container.id.as_str()), (9_000_000_007, What::Died(Some(3)), "abc"));
        let memory = read(&envelope(OOM, "k8s.io", TaskOom { container_id: "abc".into() }.encode_to_vec()));
        assert_eq!(memory.map(|event| (event.at, event.what)), Some((10_000_000_000, What::OutOfMemory)));
        let check = |topic: &str, namespace: &str, id: &str, why: &str| {
            assert_eq!(read(&envelope(topic, namespace, exit(id).encode_to_vec())), None, "{why}");
        };
        check(EXIT, "k8s.io", "exec-1", "another process of it");
        check(EXIT, "moby", "abc", "Docker's");
        check("/tasks/start", "k8s.io", "abc", "not asked for");
        assert_eq!(read(&envelope(EXIT, "k8s.io", vec![0xff])), None, "no message");
    }
}
