//! End-to-end, ledger, conformance, simulation and tidy tests: one crate, one test binary.
//!
//! - [`ask`]: one question to a weir, and whether its answer saw everything.
//! - [`cluster`]: all roles around brokers, as processes.
//! - [`bench`]: what the benchmarks in `benches/` share: the path in one process, the watch, the line.
//! - [`weir`]: starts the real binary beside whatever else runs, kills it, asks it.
//! - [`process`]: other real programs, started and killed.
//! - [`guest`]: an emulated machine with a real kernel of pure cgroup v2, and what weir reads there.
//! - [`hostile`]: what a stranger can send.
//! - [`kafka`]: real Apache Kafka brokers, and the bus's contract against it.
//! - [`roles`]: roles as processes of their own.
//! - [`s3`]: a real S3 endpoint, the store over it, and one that weir must refuse.
//! - [`nezha`]: real cluster logs and spans, replayed; a small set of the same shape takes its place where it is absent.
//! - the rest are tests: what each shows stands in its first lines.

pub mod ask;
pub mod bench;
pub mod cluster;
pub mod granted;
pub mod guest;
pub mod hostile;
pub mod kafka;
pub mod nezha;
pub mod process;
pub mod roles;
pub mod s3;
pub mod weir;

#[cfg(test)]
mod auth;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod before;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod downsampled;
#[cfg(test)]
mod ended;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod kafka_check;
#[cfg(test)]
mod kafka_secure;
#[cfg(all(test, feature = "kubernetes"))]
mod kubernetes;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod peers_tls;
#[cfg(test)]
mod polling;
#[cfg(test)]
mod prometheus_api;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod remote_out;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod tidy;
