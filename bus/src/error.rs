//! What can go wrong on the bus.

use std::path::PathBuf;

use thiserror::Error;

/// An operation on the bus that failed, with its object.
#[derive(Debug, Error)]
pub enum BusError {
    /// Configuration that cannot work.
    #[error("bus configuration: {0}")]
    Config(String),
    /// No such partition.
    #[error("{topic} has no partition {partition}")]
    UnknownPartition { topic: String, partition: u32 },
    /// A record larger than the bus takes.
    #[error("record of {bytes} bytes is above the bus's limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// A file operation of the disk log failed. After a failed fsync the log refuses everything: what the kernel did
    /// with the pages is not known (fsyncgate).
    #[error("{operation} {path}: {source}")]
    Disk {
        /// "append to", "fsync", …
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The log has stopped; the first error said why.
    #[error("the bus has stopped: {0}")]
    Stopped(String),
    /// Kafka answered with an error.
    #[error("kafka: {operation}: {message}")]
    Kafka {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        message: String,
    },
}
