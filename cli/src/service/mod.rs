//! What `weir up` and the roles of a cluster share. Parse → build → serve → drain; nothing here decides anything about data.
//!
//! - [`listen`]: sockets bound first, routers served until shutdown.
//! - [`parts`]: bus, object store, aggregator, readers, rules, each built from the configuration.
//! - [`health`]: `/metrics`, `/healthz`, `/readyz`.
//! - [`memory`]: what the process may hold, said at its start.
//! - [`reach`]: whether the bus answers.
//! - [`starting`]: what is said before the bus is known.
//! - [`life`]: the clock, signals, what ends a process, draining.

pub(crate) mod health;
pub(crate) mod life;
pub(crate) mod listen;
pub(crate) mod memory;
pub(crate) mod parts;
pub(crate) mod reach;
pub(crate) mod starting;
