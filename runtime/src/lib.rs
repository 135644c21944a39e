//! What runs on this node, and the numbers and files it leaves.
//!
//! A tour:
//! - [`cgroup`]: finds the mounts (v1, v2, hybrid), walks the tree, and reads CPU, memory, pids, I/O and pressure.
//! - [`containers`]: asks every engine that is there (containerd, CRI, Docker, podman, weir itself) what it runs, and
//!   reads names off the cgroup tree for what nobody claims.
//! - [`processes`]: the processes of a cgroup, their start and their open files.
//! - [`samples`]: turns all of that into metric batches under cAdvisor's and node_exporter's names.
//! - [`logs`]: where the containers' logs lie.
//! - [`monitor`]: runs a container itself, under runc, with a monitor process that owns its output.
//!
//! Files and cgroups are the interface: nothing here talks to the collector, and nothing is lost while it is down.
//! This crate does not parse log lines, ship anything, or know about the bus.

pub mod cgroup;
pub mod containers;
mod error;
#[cfg(test)]
mod fuzz_tests;
mod lifecycle;
pub mod logs;
pub mod monitor;
mod private;
pub mod processes;
mod proto;
pub mod samples;

pub use error::RuntimeError;
