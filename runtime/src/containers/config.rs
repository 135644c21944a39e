//! Where the engines of a node are, for [`super::inventory`], which lists what they run, and [`super::events`], which listens.

use std::path::PathBuf;
use std::time::Duration;

/// Where the engines are. A path that does not exist means that the engine is not there, which is no error.
#[derive(Clone, Debug)]
pub struct InventoryConfig {
    /// Where `/proc` of the node is: `/`, or where the node's root is mounted in our container.
    pub root: PathBuf,
    /// Sockets that speak CRI v1.
    pub cri_sockets: Vec<PathBuf>,
    /// containerd's own socket.
    pub containerd_socket: PathBuf,
    /// Docker's socket.
    pub docker_socket: PathBuf,
    /// Podman's sockets, all of which are asked.
    pub podman_sockets: Vec<PathBuf>,
    /// Podman's graph root (`containers.json` lies below it), read beside them: it works without any service.
    pub podman_storage: PathBuf,
    /// Podman's run root, where it notes first processes.
    pub podman_run: PathBuf,
    /// State of weir's own containers.
    pub weir_dir: PathBuf,
    /// How long one engine may take.
    pub timeout: Duration,
}

impl Default for InventoryConfig {
    /// Where a stock install has them.
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            cri_sockets: ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock"]
                .map(PathBuf::from)
                .to_vec(),
            containerd_socket: PathBuf::from("/run/containerd/containerd.sock"),
            docker_socket: PathBuf::from("/var/run/docker.sock"),
            podman_sockets: vec![PathBuf::from("/run/podman/podman.sock")],
            podman_storage: PathBuf::from("/var/lib/containers/storage"),
            podman_run: PathBuf::from("/run/containers/storage"),
            weir_dir: PathBuf::from("/var/lib/weir/containers"),
            timeout: Duration::from_secs(2),
        }
    }
}
