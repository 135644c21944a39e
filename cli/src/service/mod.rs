//! What `weir up` and the roles of a cluster share. Parse → build → serve → drain; nothing here decides anything about data.
//!
//! - [`listen`]: sockets bound first, routers served until shutdown.
//! - [`build`]: bus, object store, aggregator, readers, rules, each built from the configuration.
//! - [`health`]: `/metrics`, `/healthz`, `/readyz`. [`exposition`]: the formats of the first.
//! - [`memory`]: what the process may hold, said at its start.
//! - [`storing`]: whether what comes in can be stored.
//! - [`bus_health`]: whether the bus answers.
//! - [`startup_gate`]: what is said before the bus is known.
//! - [`lifecycle`]: the clock, signals, what ends a process, draining.

pub(crate) mod build;
pub(crate) mod bus_health;
mod exposition;
pub(crate) mod health;
pub(crate) mod lifecycle;
pub(crate) mod listen;
pub(crate) mod memory;
pub(crate) mod startup_gate;
pub(crate) mod storing;
