//! What engines tell by themselves: that a container died, with which code, and that memory ran out in it. A list that is
//! asked for every second shows neither a container that is removed at its end nor how a run ended when the next one has
//! begun. Docker and podman over `/events`, which also tell what happened since a time; containerd over its event service
//! (CRI's containers are containerd's). Whoever cannot be listened to is asked only, by [`super::inventory`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_model::time::UnixNanos;

use super::container::{Container, Engine, State};
use super::grpc::{Client, Timestamp};
use super::http::Lines;
use super::inventory::InventoryConfig;

/// Between two attempts to listen to an engine.
const PAUSE: Duration = Duration::from_secs(2);
/// Events that wait for the one task that takes them; engines wait when there are more.
const EVENTS_MAX: usize = 1024;

/// Something that an engine told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unix nanoseconds, by the engine's clock.
    pub at: UnixNanos,
    /// The container, as far as the engine tells with the event: its id and, by Docker and podman, name, image and labels.
    pub container: Container,
    /// What happened.
    pub what: What,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A run ended, with this code.
    Died(Option<i32>),
    /// The kernel killed a process in it for lack of memory.
    OutOfMemory,
}

/// Listens to the engines until it is dropped.
pub struct Events {
    events: mpsc::Receiver<Event>,
    _listeners: JoinSet<()>,
}

impl Events {
    /// Listens to all engines that can be listened to, from `since` on where the engine remembers. Needs a tokio runtime.
    pub fn listen(config: &InventoryConfig, since: UnixNanos) -> Self {
        let (tx, events) = mpsc::channel(EVENTS_MAX);
        let mut listeners = JoinSet::new();
        let podmans = config.podman_sockets.iter().map(|socket| (Engine::Podman, socket));
        for (engine, socket) in std::iter::once((Engine::Docker, &config.docker_socket)).chain(podmans) {
            listeners.spawn(docker(engine, socket.clone(), since, tx.clone()));
        }
        listeners.spawn(containerd(config.containerd_socket.clone(), tx));
        Self { events, _listeners: listeners }
    }

    /// Waits for events and returns those that are there. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Event> {
        let mut found = Vec::new();
        if self.events.recv_many(&mut found, EVENTS_MAX).await == 0 {
            // Every listener has gone, which none does.
            std::future::pending::<()>().await;
        }
        found
    }
}

/// Listens again whenever the engine hung up. What it told meanwhile comes after.
async fn docker(engine: Engine, socket: PathBuf, mut since: UnixNanos, tx: mpsc::Sender<Event>) {
    loop {
        if let Err(reason) = docker_once(engine, &socket, &mut since, &tx).await {
            tracing::debug!(engine = engine.name(), socket = %socket.display(), reason, "its events are not to be had; trying again");
        }
        if tx.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn docker_once(engine: Engine, socket: &Path, since: &mut UnixNanos, tx: &mpsc::Sender<Event>) -> Result<(), String> {
    let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
    // {"type":["container"],"event":["die","died","oom"]}: podman 4 filters by its own word.
    let filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22die%22%2C%22died%22%2C%22oom%22%5D%7D";
    let target = format!("/v1.40/events?since={seconds}.{nanos:09}&filters={filters}");
    let mut lines = Lines::get(socket, &target).await?;
    while let Some(line) = lines.next().await? {
        let Some(event) = docker_event(engine, &line) else { continue };
        *since = (*since).max(event.at);
        if tx.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct DockerEvent {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(rename = "timeNano")]
    time_nanos: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// `None` for what is none of ours, or no event.
fn docker_event(engine: Engine, line: &[u8]) -> Option<Event> {
    let DockerEvent { action, actor: Actor { id, mut attributes }, time_nanos: at } = serde_json::from_slice(line).ok()?;
    let code = attributes.remove("exitCode").or(attributes.remove("containerExitCode"));
    let what = match action.as_str() {
        "die" | "died" => What::Died(code.and_then(|code| code.parse().ok())),
        "oom" => What::OutOfMemory,
        _ => return None,
    };
    let mut container = Container::new(engine, id);
    container.name = attributes.remove("name").unwrap_or_default();
    container.image = attributes.remove("image").unwrap_or_default();
    attributes.remove("podId");
    attributes.remove("containerExitCode");
    attributes.remove("execDuration");
    container.labels = attributes;
    container.state = State::Exited;
    super::docker::place(&mut container);
    Some(Event { at, container, what })
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscribe {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// `containerd.services.events.v1.Envelope`.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `containerd.events.TaskExit`; `TaskOOM` is its beginning.
#[derive(Clone, PartialEq, prost::Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container_id: String,
    /// Of the container itself for its first process; of another process that was started in it otherwise.
    #[prost(string, tag = "2")]
    id: String,
    #[prost(uint32, tag = "4")]
    exit_status: u32,
    #[prost(message, optional, tag = "5")]
    exited_at: Option<Timestamp>,
}

async fn containerd(socket: PathBuf, tx: mpsc::Sender<Event>) {
    loop {
        if let Err(reason) = containerd_once(&socket, &tx).await {
            tracing::debug!(socket = %socket.display(), reason, "containerd's events are not to be had; trying again");
        }
        if tx.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn containerd_once(socket: &Path, tx: &mpsc::Sender<Event>) -> Result<(), String> {
    let mut client = Client::connect("containerd", socket).await.map_err(|error| error.to_string())?;
    let filters = ["topic==\"/tasks/exit\"", "topic==\"/tasks/oom\""].map(str::to_owned).to_vec();
    let subscribed = client.subscribe("/containerd.services.events.v1.Events/Subscribe", Subscribe { filters }).await;
    let mut envelopes = subscribed.map_err(|status| status.message().to_owned())?;
    while let Some(envelope) = envelopes.message().await.map_err(|status| status.message().to_owned())? {
        if let Some(event) = containerd_event(&envelope)
            && tx.send(event).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

fn containerd_event(envelope: &Envelope) -> Option<Event> {
    let task: TaskExit = prost::Message::decode(envelope.event.as_ref()?.value.as_slice()).ok()?;
    // Docker's containers are told of by Docker, which knows their names.
    if envelope.namespace == "moby" || !(task.id.is_empty() || task.id == task.container_id) {
        return None;
    }
    let sent = envelope.timestamp.and_then(|at| at.nanos());
    let (at, what) = match envelope.topic.as_str() {
        "/tasks/exit" => {
            let at = task.exited_at.and_then(|at| at.nanos()).or(sent)?;
            (at, What::Died(i32::try_from(task.exit_status).ok()))
        }
        "/tasks/oom" => (sent?, What::OutOfMemory),
        _ => return None,
    };
    let mut container = Container::new(Engine::Containerd, task.container_id);
    // What Kubernetes runs has a name that CRI tells.
    if envelope.namespace != "k8s.io" {
        container.name.clone_from(&container.id);
    }
    container.state = State::Exited;
    Some(Event { at, container, what })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn events_of_docker_and_podman() {
        let docker = br#"{"status":"die","id":"abc","from":"shop:1","Type":"container","Action":"die","Actor":{"ID":"abc",
            "Attributes":{"execDuration":"3","exitCode":"137","image":"shop:1","name":"web","team":"a"}},"scope":"local",
            "time":1795766623,"timeNano":1795766623915460137}"#;
        let event = docker_event(Engine::Docker, docker).unwrap();
        assert_eq!((event.at, event.what), (1_795_766_623_915_460_137, What::Died(Some(137))));
        assert_eq!((event.container.id.as_str(), event.container.name.as_str()), ("abc", "web"));
        assert_eq!(event.container.labels, BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        let podman = br#"{"status":"died","Type":"container","Action":"died","Actor":{"ID":"abc","Attributes":{
            "containerExitCode":"4","image":"shop:1","name":"web","podId":""}},"timeNano":5}"#;
        let event = docker_event(Engine::Podman, podman).unwrap();
        assert_eq!((event.what, event.container.labels.len()), (What::Died(Some(4)), 0));
        let memory = br#"{"Action":"oom","Actor":{"ID":"abc"},"timeNano":5}"#;
        assert_eq!(docker_event(Engine::Docker, memory).unwrap().what, What::OutOfMemory);
        for none in [&br#"{"Action":"start","Actor":{"ID":"abc"},"timeNano":5}"#[..], b"", b"{", b"[]"] {
            assert_eq!(docker_event(Engine::Docker, none), None);
        }
    }

    #[test]
    fn events_of_containerd() {
        let exit = |id: &str| TaskExit {
            container_id: "abc".into(),
            id: id.into(),
            exit_status: 3,
            exited_at: Some(Timestamp { seconds: 9, nanos: 7 }),
        };
        let envelope = |topic: &str, namespace: &str, task: TaskExit| Envelope {
            timestamp: Some(Timestamp { seconds: 10, nanos: 0 }),
            namespace: namespace.into(),
            topic: topic.into(),
            event: Some(Any { value: task.encode_to_vec() }),
        };
        let event = containerd_event(&envelope("/tasks/exit", "k8s.io", exit("abc"))).unwrap();
        assert_eq!((event.at, event.what, event.container.id.as_str()), (9_000_000_007, What::Died(Some(3)), "abc"));
        let memory =
            containerd_event(&envelope("/tasks/oom", "k8s.io", TaskExit { container_id: "abc".into(), ..TaskExit::default() }));
        assert_eq!(memory.map(|event| (event.at, event.what)), Some((10_000_000_000, What::OutOfMemory)));
        assert_eq!(containerd_event(&envelope("/tasks/exit", "k8s.io", exit("exec-1"))), None, "another process of it");
        assert_eq!(containerd_event(&envelope("/tasks/exit", "moby", exit("abc"))), None, "Docker's");
        assert_eq!(containerd_event(&envelope("/tasks/start", "k8s.io", exit("abc"))), None);
    }
}
