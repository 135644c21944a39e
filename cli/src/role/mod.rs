//! The roles of a cluster, each a process of its own around Kafka and an object store that all of them see.
//!
//! - [`collector`]: a node's sources, onto the bus. Keeps its checkpoints, nothing else.
//! - [`aggregator`]: owns partitions: from the bus into blocks; answers from what is not sealed yet. Keeps nothing.
//! - [`query`]: all APIs and the page, over every owner's head and all blocks; evaluates rules. Keeps nothing.

pub(crate) mod aggregator;
pub(crate) mod collector;
pub(crate) mod query;
