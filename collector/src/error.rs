//! What can go wrong in the collector.

use std::path::PathBuf;

use thiserror::Error;
use weir_bus::BusError;
use weir_model::wire::WireError;

/// An operation of the collector that failed, with its object.
#[derive(Debug, Error)]
pub enum CollectorError {
    /// A configuration that cannot work. Names the key.
    #[error("configuration: {key}: {reason}")]
    Config {
        /// The key, with its path.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the collector's own could not be handled.
    #[error("{operation} {path}: {source}")]
    File {
        /// "read", "rename", …
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bus did not say how many partitions a topic has.
    #[error("partitions of {topic}")]
    Bus {
        /// Which topic.
        topic: &'static str,
        /// Why.
        #[source]
        source: BusError,
    },
    /// A listener failed.
    #[error("serve {what}: {reason}")]
    Serve {
        /// Which listener.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// Why a section is not on the bus.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ShipError {
    /// It can never become a record, however it is split.
    #[error("cannot be encoded: {0}")]
    Refused(String),
    /// The collector is going down; whether the section is stored is not known.
    #[error("the collector is stopping")]
    Stopped,
    /// The bus did not acknowledge in time; whether the section is stored is not known.
    #[error("the bus did not acknowledge in time")]
    Busy,
}

impl From<WireError> for ShipError {
    fn from(error: WireError) -> Self {
        Self::Refused(error.to_string())
    }
}
