//! What every other crate of weir speaks in: records, resource identity, labels, matchers, time,
//! select requests and the wire codec.
//!
//! A tour, from small to large:
//! - [`time`]: Unix nanoseconds, ranges, and the duration and time spellings of Prometheus and Loki.
//! - [`config`]: the durations and sizes of configuration.
//! - [`yaml`]: YAML as Prometheus reads it.
//! - [`instant`]: the spellings of an instant that people use.
//! - [`id`]: trace and span ids, and a log line's permanent identity.
//! - [`label`]: sorted label sets and the matchers over them.
//! - [`limits`]: what each tenant may send, ask and keep.
//! - [`selector`]: `{a="b"}` by itself, as policies have it.
//! - [`compression`] makes and reads zstd frames.
//! - [`pattern`]: regular expressions of strangers, compiled within limits.
//! - [`prompb`]: Prometheus' messages of samples, as remote write and remote read have them.
//! - [`resource`]: which container of which pod on which node of which tenant.
//! - [`log`], [`metric`], [`span`]: the three kinds of records.
//! - [`signal`]: what every kind of batch can do: travel, be placed, weighed, split, trimmed.
//! - [`varint`]: numbers as all formats have them.
//! - [`memory`]: what things take on the heap; [`intern`]: the table behind dictionaries.
//! - [`outage`]: what this process cannot write now, for whoever asks how it is.
//! - [`usage`]: what each tenant sends and asks, counted; [`active`]: how many streams and series of it are active.
//! - [`panic_guard`]: which panics end a request, and which the process.
//! - `fuzz` (feature `testing`): mutation fuzzing for the tests of every decoder.
//! - [`wire`]: how batches of them travel as one bus record. Format: `docs/formats/wire.md`.
//! - [`select`]: what a query asks of an engine, and the coverage that every answer carries.
//!
//! Nothing here knows tokio, files or sockets: everything is sync and pure.

pub mod active;
mod clip;
pub mod compression;
pub mod config;
pub mod deletion;

#[doc(hidden)]
pub mod fuzz;
pub mod histogram;
pub mod id;
pub mod instant;
pub mod intern;
pub mod label;
pub mod limits;
pub mod log;
pub mod memory;
pub mod metric;
pub mod outage;
pub mod panic_guard;
pub mod pattern;
pub mod prompb;
pub mod resource;
pub mod scope;
pub mod select;
pub mod selector;
pub mod signal;
pub mod span;
pub mod status;
pub mod targets;
pub mod time;
pub mod usage;
pub mod varint;
pub mod wire;
pub mod yaml;

pub use clip::clip;
