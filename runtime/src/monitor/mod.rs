//! Runs containers itself, under runc, and owns their output.
//!
//! - [`spec`]: what to run.
//! - [`bundle`]: the OCI bundle that says so to runc.
//! - [`status`]: the state file, which everybody may read at any time.
//! - [`cri`]: output bytes to CRI log lines.
//! - [`log_file`]: the log file and its rotation.
//! - [`process`]: the monitor process, one a container.
//! - [`control`]: run, list, wait, stop, remove.
//!
//! The monitor is the weir binary started again as `weir monitor --dir DIR`, in a session of its own, so that nothing
//! that happens to whoever started it reaches the container. It shares nothing with the collector but files:
//! `docs/formats/runtime_state.md`.

pub mod bundle;
pub mod control;
pub mod cri;
pub mod log_file;
pub mod process;
pub mod spec;
pub mod status;

pub use control::{Running, list, remove, run, stop, wait};
pub use process::monitor_main;
pub use spec::{Restart, RunSpec, parse_bytes};
pub use status::Status;
