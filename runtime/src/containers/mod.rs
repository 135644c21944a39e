//! What containers there are, whoever runs them.
//!
//! - [`container`]: one container as everybody else sees it.
//! - [`inventory`]: asks all engines and makes one list of the answers.
//! - [`paths`]: what cgroup paths tell of containers that nobody claims.
//! - The engines, one a file: `weir`, `cri`, `docker` (podman's service too), `podman` (its files), `containerd`; over
//!   `grpc` and `http`, as much of these as they need.

pub mod container;
mod containerd;
mod cri;
mod docker;
mod grpc;
mod http;
pub mod inventory;
pub mod paths;
mod podman;
mod weir;

pub use container::{Container, Engine, LogFormat, LogLocation, State};
pub use inventory::{Blindness, Inventory, InventoryConfig, View};
