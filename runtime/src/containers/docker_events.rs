//! The events of Docker, and of podman's service, which speaks the same API (`/events`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokio::sync::mpsc;
use weir_model::time::UnixNanos;

use super::container::{Container, Engine};
use super::docker::{engine_error, place};
use super::event::{Event, What};
use super::http::Lines;
use crate::RuntimeError;
use crate::lifecycle::State;

/// Sends what happened from `since` on, and moves it.
pub(super) async fn listen(
    engine: Engine,
    socket: &Path,
    since: &mut UnixNanos,
    tx: &mpsc::Sender<Event>,
) -> Result<(), RuntimeError> {
    let (seconds, nanos) = (since.div_euclid(1_000_000_000), since.rem_euclid(1_000_000_000));
    // {"type":["container"],"event":["die","died","oom"]}: podman 4 filters by its own word.
    let filters = "%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22die%22%2C%22died%22%2C%22oom%22%5D%7D";
    let target = format!("/v1.40/events?since={seconds}.{nanos:09}&filters={filters}");
    let wrong = |error| engine_error(engine, socket, &error);
    let mut lines = Lines::get(socket, &target).await.map_err(wrong)?;
    while let Some(line) = lines.next().await.map_err(wrong)? {
        let Some(event) = read(engine, &line) else { continue };
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
fn read(engine: Engine, line: &str) -> Option<Event> {
    let DockerEvent { action, actor: Actor { id, mut attributes }, time_nanos: at } = serde_json::from_str(line).ok()?;
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
    place(&mut container);
    Some(Event { at, container, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let docker = r#"{"status":"die","id":"abc","from":"shop:1","Type":"container","Action":"die","Actor":{"ID":"abc",
            "Attributes":{"execDuration":"3","exitCode":"137","image":"shop:1","name":"web","team":"a"}},"scope":"local",
            "time":1795766623,"timeNano":1795766623915460137}"#;
        let event = read(Engine::Docker, docker).unwrap();
        assert_eq!((event.at, event.what), (1_795_766_623_915_460_137, What::Died(Some(137))));
        assert_eq!((event.container.id.as_str(), event.container.name.as_str()), ("abc", "web"));
        assert_eq!(event.container.labels, BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        let podman = r#"{"status":"died","Type":"container","Action":"died","Actor":{"ID":"abc","Attributes":{
            "containerExitCode":"4","image":"shop:1","name":"web","podId":""}},"timeNano":5}"#;
        let event = read(Engine::Podman, podman).unwrap();
        assert_eq!((event.what, event.container.labels.len()), (What::Died(Some(4)), 0));
        let memory = r#"{"Action":"oom","Actor":{"ID":"abc"},"timeNano":5}"#;
        assert_eq!(read(Engine::Docker, memory).unwrap().what, What::OutOfMemory);
        for none in [r#"{"Action":"start","Actor":{"ID":"abc"},"timeNano":5}"#, "", "{", "[]"] {
            assert_eq!(read(Engine::Docker, none), None);
        }
    }
}
