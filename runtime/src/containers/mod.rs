//! What containers there are, whoever runs them.
//!
//! - [`container`]: one container as everybody else sees it.

pub mod container;
pub mod inventory;
pub mod paths;

pub use container::{Container, Engine, LogFormat, LogLocation, State};
pub use inventory::{Blindness, Inventory, InventoryConfig, View};
