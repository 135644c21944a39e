//! One container as all of weir sees it, whichever engine runs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::resource::Resource;
use weir_model::time::UnixNanos;

use crate::lifecycle::{End, State};

/// Who runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `weir run`.
    Weir,
    /// containerd, with or without its CRI service.
    Containerd,
    /// CRI-O, over CRI.
    Crio,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Nobody that we could ask: read off the cgroup tree.
    Cgroup,
}

impl Engine {
    /// The name in labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Cgroup => "cgroup",
        }
    }
}

/// How the lines of a log file are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// `<RFC 3339> stdout|stderr F|P line`: CRI, podman's k8s-file, weir.
    Cri,
    /// One JSON object a line with `log`, `stream` and `time`: Docker's json-file.
    DockerJson,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLocation {
    /// The file that is written now. It may not be there yet; rotated ones lie beside it.
    pub path: PathBuf,
    /// How its lines are wrapped.
    pub format: LogFormat,
}

/// One container. An empty string means that the engine does not say or that it does not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// As its engine writes it, in full.
    pub id: String,
    /// As people call it: the container's name within its pod, else the engine's name for it.
    pub name: String,
    /// Who runs it.
    pub engine: Engine,
    /// Kubernetes namespace; containerd's namespace never appears here.
    pub namespace: String,
    /// Kubernetes pod.
    pub pod: String,
    /// Kubernetes pod uid.
    pub pod_uid: String,
    /// Image reference.
    pub image: String,
    /// Labels as the engine keeps them, names not normalised.
    pub labels: BTreeMap<String, String>,
    /// How far it is.
    pub state: State,
    /// Its first process, in our pid namespace.
    pub pid: Option<u32>,
    /// When its present or last run began.
    pub started: Option<UnixNanos>,
    /// How often it was started again.
    pub restarts: Option<u64>,
    /// Its path in the cgroup tree (`/kubepods/…/id`), as [`crate::cgroup::Cgroup::path`].
    pub cgroup: Option<String>,
    /// Where its output goes, when it goes to a file.
    pub log: Option<LogLocation>,
    /// A pod's pause container: it has the pod's network and nothing else worth showing.
    pub sandbox: bool,
    /// Runs that ended, ascending, as far as the engine remembers: most know the last one only.
    pub ends: Vec<End>,
}

impl Container {
    /// A container about which nothing but this is known.
    pub fn new(engine: Engine, id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: String::new(),
            engine,
            namespace: String::new(),
            pod: String::new(),
            pod_uid: String::new(),
            image: String::new(),
            labels: BTreeMap::new(),
            state: State::Unknown,
            pid: None,
            started: None,
            restarts: None,
            cgroup: None,
            log: None,
            sandbox: false,
            ends: Vec::new(),
        }
    }

    /// Its identity for records. Label names are normalised; the engine's own book-keeping labels stay out.
    pub fn resource(&self, node: &str) -> Resource {
        let own = self.labels.iter().filter(|(name, _)| !is_bookkeeping(name));
        Resource {
            node: node.to_owned(),
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            container: self.name.clone(),
            container_id: self.id.clone(),
            image: self.image.clone(),
            labels: Labels::from_pairs(own.map(|(name, value)| (normalise_label_name(name), value))),
        }
    }
}

/// Labels by which kubelet, containerd and podman find their own way; what they say is in the container's fields.
fn is_bookkeeping(name: &str) -> bool {
    ["io.kubernetes.", "io.cri-containerd.", "containerd.io/", "io.containers.", "annotation.io."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_normalised_labels_and_no_bookkeeping() {
        let mut container = Container::new(Engine::Containerd, "abc");
        container.name = "front".into();
        container.labels = [("app.kubernetes.io/name", "shop"), ("io.kubernetes.pod.uid", "1")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let labels = container.resource("n1").to_labels();
        assert_eq!(labels.to_string(), r#"{app_kubernetes_io_name="shop", container="front", container_id="abc", node="n1"}"#);
    }
}
