//! Turns what the kernel says about cgroups and the node into metric batches, under the names and labels that cAdvisor
//! and node_exporter use. The collector calls [`NodeSampler::sample`] on its clock and ships what comes out.
//!
//! - [`column`]: keeps the schema while the set of series stays the same, and marks series that end.
//! - [`container`]: one cgroup under cAdvisor's names; [`ended`]: a run that ended.
//! - [`machine`]: the node under node_exporter's names.
//! - [`node`]: puts them together.

mod column;
mod container;
mod ended;
mod machine;
mod node;

pub use node::{NodeSampler, SamplerConfig};
