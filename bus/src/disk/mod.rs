//! The embedded durable log of a single machine: a directory of segment files per partition, one writer thread, group
//! commit. Format: `docs/formats/disk_log.md`; why it is our own: `docs/decisions/0010-disk-log.md`.
//!
//! - [`config`]: what can be set.
//! - [`storage`]: the few file operations it uses, behind a trait so that tests can make them fail.
//! - [`batch`]: what one write puts into a segment.
//! - [`recover`]: what a segment holds, found again at start.
//! - [`index`]: where a partition's batches lie, its latest records and its losses; [`released`]: what may go.
//! - [`partition`]: one partition: opening, writing, reading, deleting.
//! - [`writer`]: the thread that gathers, writes, syncs and acknowledges.
//! - [`shared`]: what these and the writer share; [`log`], [`consumer`]: the contract on top.
//!
//! One process, one consumer a topic: it does not replicate and does not share a topic between members.

mod batch;
mod config;
mod consumer;
mod index;
mod log;
mod partition;
mod recover;
mod released;
mod shared;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

pub use config::DiskConfig;
pub use log::DiskLog;
