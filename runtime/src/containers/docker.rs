//! Docker's API, which podman's service speaks too: the list of all containers, and one inspection each.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use weir_model::time::UnixNanos;

use super::container::{Container, Engine, LogFormat, LogLocation};
use super::http::{self, HttpError};
use super::listing::{Listing, exists};
use crate::RuntimeError;
use crate::lifecycle::{End, State};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Listed {
    id: String,
    names: Vec<String>,
    image: String,
    labels: Option<BTreeMap<String, String>>,
    state: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    state: InspectedState,
    log_path: Option<String>,
    restart_count: u64,
    host_config: HostConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InspectedState {
    status: String,
    pid: u32,
    started_at: String,
    finished_at: String,
    exit_code: i32,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    log_config: LogConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct LogConfig {
    #[serde(rename = "Type")]
    kind: String,
    /// Podman's own.
    path: Option<String>,
    config: Option<BTreeMap<String, String>>,
}

/// All containers of the engine that listens on `socket`. `previous` is the last listing: what was over then and still is
/// is not inspected again.
pub(super) async fn list(engine: Engine, socket: &Path, previous: &[Container]) -> Result<Listing, RuntimeError> {
    if !exists(socket)? {
        return Ok(Listing::Absent);
    }
    let listed: Option<Vec<Listed>> = get(engine, socket, "/v1.40/containers/json?all=1").await?;
    // Something listens that is no engine: that is not to have no containers.
    let listed = listed.ok_or_else(|| engine_error(engine, socket, &"404 to the list of containers"))?;
    let known: HashMap<&str, &Container> = previous.iter().map(|container| (container.id.as_str(), container)).collect();
    let mut found = Vec::with_capacity(listed.len());
    for listed in listed {
        let state = state(&listed.state);
        if let Some(known) = known.get(listed.id.as_str()).filter(|known| state == State::Exited && known.state == state) {
            found.push((*known).clone());
            continue;
        }
        // One without an inspection has been removed since the list was made.
        if let Some(inspected) = get(engine, socket, &format!("/v1.40/containers/{}/json", listed.id)).await? {
            found.push(container(engine, listed, inspected));
        }
    }
    Ok(Listing::Containers(found))
}

/// `None` where the engine says 404.
async fn get<T: DeserializeOwned>(engine: Engine, socket: &Path, target: &str) -> Result<Option<T>, RuntimeError> {
    let body = match http::get(socket, target).await {
        Err(HttpError::Status { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
        body => body.map_err(|error| engine_error(engine, socket, &error))?,
    };
    serde_json::from_slice(&body).map(Some).map_err(|error| engine_error(engine, socket, &format!("{target}: {error}")))
}

pub(super) fn engine_error(engine: Engine, socket: &Path, reason: &dyn std::fmt::Display) -> RuntimeError {
    RuntimeError::Engine { engine: engine.name(), address: socket.display().to_string(), reason: reason.to_string() }
}

fn container(engine: Engine, listed: Listed, inspected: Inspected) -> Container {
    let mut container = Container::new(engine, listed.id);
    // A container that others link to has several names; its own has no further slash.
    let own = listed.names.iter().find(|name| !name.trim_start_matches('/').contains('/')).or(listed.names.first());
    container.name = own.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
    container.image = listed.image;
    container.labels = listed.labels.unwrap_or_default();
    // It may have gone on since the list was made: a container between two runs has the next one's state then.
    let status = [&inspected.state.status, &listed.state].into_iter().find(|status| !status.is_empty());
    container.state = status.map_or(State::Unknown, |status| state(status));
    container.pid = Some(inspected.state.pid).filter(|pid| *pid != 0);
    container.restarts = Some(inspected.restart_count);
    container.started = time(&inspected.state.started_at);
    container.ends = end(&container, &inspected.state).into_iter().collect();
    let config = inspected.host_config.log_config;
    let said = [inspected.log_path, config.path, config.config.and_then(|mut config| config.remove("path"))];
    let path = said.into_iter().flatten().find(|path| !path.is_empty());
    let format = match config.kind.as_str() {
        "json-file" if engine == Engine::Docker => Some(LogFormat::DockerJson),
        // Podman's json-file is another name for its k8s-file.
        "json-file" | "k8s-file" => Some(LogFormat::Cri),
        _ => None,
    };
    container.log = path.zip(format).map(|(path, format)| LogLocation { path: path.into(), format });
    place(&mut container);
    container
}

/// Docker as the engine of an old kubelet, and podman under `play kube`, say by labels which pod a container is of.
pub(super) fn place(container: &mut Container) {
    for (label, field) in [
        ("io.kubernetes.pod.name", &mut container.pod),
        ("io.kubernetes.pod.namespace", &mut container.namespace),
        ("io.kubernetes.pod.uid", &mut container.pod_uid),
        ("io.kubernetes.container.name", &mut container.name),
    ] {
        if let Some(value) = container.labels.get(label) {
            field.clone_from(value);
        }
    }
}

/// A container that never ran has begun and ended in the year 1.
fn time(text: &str) -> Option<UnixNanos> {
    let at = text.parse::<jiff::Timestamp>().ok()?;
    i64::try_from(at.as_nanosecond()).ok().filter(|at| *at > 0)
}

/// How the last run ended. While the next one runs, the engine has forgotten all of it but when.
fn end(container: &Container, state: &InspectedState) -> Option<End> {
    if !matches!(container.state, State::Exited | State::Restarting) {
        return None;
    }
    Some(End {
        at: time(&state.finished_at)?,
        started: container.started,
        exit_code: Some(state.exit_code),
        oom_kills: u64::from(state.oom_killed),
    })
}

fn state(text: &str) -> State {
    match text {
        "created" | "configured" | "initialized" => State::Created,
        "running" | "stopping" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "exited" | "dead" | "removing" | "stopped" => State::Exited,
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_docker() {
        let listed = r#"{"Id": "abc", "Names": ["/other/db", "/db"], "Image": "postgres:16", "Labels": {"team": "a"},
            "State": "running", "Status": "Up 3 minutes"}"#;
        let inspected = r#"{"Id": "abc", "State": {"Status": "running", "Pid": 4242, "StartedAt": "2026-01-31T12:00:00.5Z"},
            "LogPath": "/var/lib/docker/containers/abc/abc-json.log", "RestartCount": 2,
            "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}}}}"#;
        let parsed = container(Engine::Docker, serde_json::from_str(listed).unwrap(), serde_json::from_str(inspected).unwrap());
        assert_eq!((parsed.name.as_str(), parsed.pid, parsed.restarts), ("db", Some(4242), Some(2)));
        assert_eq!(parsed.started, Some(1_769_860_800_500_000_000));
        let log = parsed.log.unwrap();
        assert_eq!((log.path.to_str(), log.format), (Some("/var/lib/docker/containers/abc/abc-json.log"), LogFormat::DockerJson));
        let never = r#"{"State": {"Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}, "LogPath": "", "HostConfig": {"LogConfig": {"Type": "journald"}}}"#;
        let parsed = container(Engine::Docker, serde_json::from_str(listed).unwrap(), serde_json::from_str(never).unwrap());
        assert_eq!((parsed.pid, parsed.started, parsed.log), (None, None, None));
    }

    #[test]
    fn how_it_ended() {
        let ends = |state: &str, inspected: &str| {
            let listed = Listed { state: state.into(), ..Listed::default() };
            container(Engine::Docker, listed, serde_json::from_str(inspected).unwrap()).ends
        };
        let over = r#"{"State": {"StartedAt": "2026-01-31T12:00:00.5Z", "FinishedAt": "2026-01-31T12:00:01Z", "ExitCode": 137,
            "OOMKilled": true}}"#;
        let end =
            End { at: 1_769_860_801_000_000_000, started: Some(1_769_860_800_500_000_000), exit_code: Some(137), oom_kills: 1 };
        assert_eq!(ends("exited", over), [end]);
        assert!(ends("running", over).is_empty(), "the code of a running container is nobody's");
        let again =
            r#"{"State": {"Status": "running", "StartedAt": "2026-01-31T12:00:02Z", "FinishedAt": "2026-01-31T12:00:01Z"}}"#;
        assert!(ends("exited", again).is_empty(), "it was started again between the list and the inspection");
        let never = r#"{"State": {"FinishedAt": "0001-01-01T00:00:00Z", "ExitCode": 127}}"#;
        assert!(ends("exited", never).is_empty());
    }
}
