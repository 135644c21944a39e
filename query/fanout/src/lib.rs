//! Reading partitions that other processes own: blocks from the object store, unsealed records from their owners.
//!
//! - [`start`]: the parts put together; [`FanOut`] gives the readers that the APIs work with.
//! - `remote_partition`, `registry`: partitions as their manifests tell them, and their blocks; `breaker`: how long the object store is
//!   waited for.
//! - `owners`: an owner over HTTP. Protocol: `docs/formats/heads.md`.
//! - `collect`: views of all partitions for one query, each of one instant of one owner.
//! - `logs`, `samples`, `traces`: the store's readers over such views; `templates`: lines by template; `tail`, `status`: what follows the owners; `catch_up`: a tail over a
//!   change of owners; `admin`: what all owners are told to do at once.
//!
//! Not here: what an answer means. The owner takes extracts of its heads with `weir_heads`, and the engines' readers read what came.

mod admin;
mod breaker;
mod catch_up;
mod collect;
mod config;
mod deletions;
mod logs;
mod metrics;
mod owners;
mod registry;
mod remote_partition;
mod rows;
mod samples;
mod sealed;
pub mod start;
mod status;
mod tail;
mod templates;
mod traces;

pub use config::FanOutConfig;
pub use metrics::{FanOutMetrics, PartitionLabels};
pub use start::{FanOut, FanOutDeps};
