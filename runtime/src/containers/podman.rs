//! Podman without its service: what lies on disk below its graph root. Ids, names, images, first processes and log files
//! are there; labels are in podman's own database and stay unknown. With the service, [`super::docker`] asks it.

use std::path::Path;

use serde::Deserialize;

use super::container::{Container, Engine, LogFormat, LogLocation};
use super::listing::{Listing, exists};
use crate::RuntimeError;
use crate::lifecycle::State;
use crate::processes;

/// An entry of containers/storage's `containers.json`.
#[derive(Debug, Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON of its own.
    #[serde(default)]
    metadata: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Metadata {
    image_name: String,
}

/// Containers below the graph root, of every storage driver that is in use. `run` is the run root, where first processes
/// are noted. Reads files: not for the async threads.
pub(super) fn list(graph: &Path, run: &Path) -> Result<Listing, RuntimeError> {
    if !exists(graph)? {
        return Ok(Listing::Absent);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(graph).map_err(RuntimeError::file("list", graph))? {
        let entry = entry.map_err(RuntimeError::file("list", graph))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.ends_with("-containers") {
            continue;
        }
        let path = entry.path().join("containers.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(RuntimeError::file("read", path)(error)),
        };
        let stored: Vec<Stored> =
            serde_json::from_slice(&text).map_err(|error| RuntimeError::file("parse", &path)(std::io::Error::other(error)))?;
        found.extend(stored.into_iter().map(|stored| container(stored, &entry.path(), &run.join(&name))));
    }
    Ok(Listing::Containers(found))
}

fn container(stored: Stored, graph: &Path, run: &Path) -> Container {
    let mut container = Container::new(Engine::Podman, stored.id);
    container.name = stored.names.into_iter().next().unwrap_or_default();
    let metadata: Metadata = serde_json::from_str(&stored.metadata).unwrap_or_default();
    container.image = metadata.image_name;
    let pid = std::fs::read_to_string(run.join(&container.id).join("userdata/pidfile")).ok();
    // The file outlives the process, whose number may be another's by now: its cgroup tells.
    container.pid = pid.and_then(|pid| pid.trim().parse().ok()).filter(|pid| is_in(*pid, &container.id));
    let userdata = graph.join(&container.id).join("userdata");
    let started = userdata.join("config.json").exists();
    container.state = match (container.pid, started) {
        (Some(_), _) => State::Running,
        (None, true) => State::Exited,
        (None, false) => State::Created,
    };
    container.log = Some(LogLocation { path: userdata.join("ctr.log"), format: LogFormat::Cri });
    container
}

fn is_in(pid: u32, id: &str) -> bool {
    processes::cgroups(Path::new("/"), pid).is_some_and(|cgroups| cgroups.iter().any(|cgroup| cgroup.pathname.contains(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_root() {
        let root = tempfile::tempdir().unwrap();
        let (graph, run) = (root.path().join("graph"), root.path().join("run"));
        std::fs::create_dir_all(graph.join("overlay-containers/abc/userdata")).unwrap();
        std::fs::write(graph.join("overlay-containers/abc/userdata/config.json"), "{}").unwrap();
        let stored =
            r#"[{"id": "abc", "names": ["web"], "image": "i", "metadata": "{\"image-name\":\"shop:1\",\"created-at\":1}"}]"#;
        std::fs::write(graph.join("overlay-containers/containers.json"), stored).unwrap();
        let Ok(Listing::Containers(found)) = list(&graph, &run) else { panic!("it is there") };
        assert_eq!((found[0].name.as_str(), found[0].image.as_str(), found[0].state), ("web", "shop:1", State::Exited));
        std::fs::write(graph.join("overlay-containers/containers.json"), "{").unwrap();
        assert!(list(&graph, &run).is_err_and(|error| error.to_string().contains("containers.json")));
        assert!(matches!(list(&root.path().join("none"), &run), Ok(Listing::Absent)));
    }
}
