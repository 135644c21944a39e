//! What containers there are, whoever runs them.
//!
//! - [`container`]: one container as everybody else sees it.
//! - [`inventory`]: asks all engines and makes one list of the answers.
//! - [`events`]: what engines tell by themselves; [`end`]: how a run ended; [`record`]: one container over its runs;
//!   [`history`]: all of them, the dead included.
//! - [`paths`]: what cgroup paths tell of containers that nobody claims.
//! - The engines, one a file: `weir`, `cri`, `docker` (podman's service too), `podman` (its files), `containerd`; over
//!   `grpc` and `http`, as much of these as they need.

pub mod container;
mod containerd;
mod cri;
mod docker;
pub mod end;
pub mod events;
mod grpc;
pub mod history;
mod http;
pub mod inventory;
pub mod paths;
mod podman;
pub mod record;
mod weir;

pub use container::{Container, Engine, LogFormat, LogLocation, State};
pub use end::End;
pub use events::{Event, Events};
pub use history::{Death, History, Observed};
pub use inventory::{Blindness, Inventory, InventoryConfig, View};
pub use record::ContainerRecord;
