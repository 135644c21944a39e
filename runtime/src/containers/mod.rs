//! What containers there are, whoever runs them.
//!
//! - [`container`]: one container as everybody else sees it.
//! - [`config`]: where the engines are.
//! - [`inventory`]: lists what all engines run; `listing`: what each of them returns.
//! - [`events`]: listens to what engines tell by themselves, an [`event`] each.
//! - [`record`]: one container over its runs; [`history`]: all of them, the dead included.
//! - [`paths`]: what cgroup paths tell of containers that nobody claims.
//! - The engines, one a file: `weir`, `cri`, `docker` (podman's service too), `podman` (its files), `containerd`; what they tell by
//!   themselves beside them, in `…_events`. All of them over `grpc` and `http`.

pub mod config;
pub mod container;
mod containerd;
mod containerd_events;
mod cri;
mod cri_events;
mod docker;
mod docker_events;
pub mod event;
pub mod events;
mod grpc;
pub mod history;
mod http;
pub mod inventory;
mod listing;
pub mod paths;
mod podman;
pub mod record;
mod weir;

pub use crate::lifecycle::{End, State};
pub use config::InventoryConfig;
pub use container::{Container, Engine, LogFormat, LogLocation};
pub use event::{Event, What};
pub use events::Events;
pub use history::{Death, History, Observed};
pub use inventory::{Blindness, Inventory, View};
pub use record::ContainerRecord;
