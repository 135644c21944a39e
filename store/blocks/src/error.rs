//! What can go wrong in the store.

use thiserror::Error;

/// An operation of the store that failed, with its object.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The object store refused or failed.
    #[error("{operation} {path}: {source}")]
    Object {
        /// "read", "create", "list", …
        operation: &'static str,
        /// Object.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The object store lets a question wait for longer than it can.
    #[error("the object store does not answer")]
    Unavailable,
    /// A block or manifest whose bytes are not what was written.
    #[error("{path} is corrupt: {detail}")]
    Corrupt {
        /// Object.
        path: String,
        /// Where and how.
        detail: String,
    },
    /// Written by a newer weir.
    #[error("{path} has version {version}, newer than this weir understands")]
    Version {
        /// Object.
        path: String,
        /// Its version.
        version: u32,
    },
    /// Another owner has published: this one must stop.
    #[error("partition {partition} of {kind} belongs to another owner now (epoch {epoch})")]
    Fenced {
        /// logs, metrics or spans.
        kind: &'static str,
        /// Partition.
        partition: u32,
        /// Theirs.
        epoch: u64,
    },
    /// A file of a block in the making could not be made, written or read: mostly a full disk.
    #[error("a file for a block in the making in {place}: {source}")]
    Scratch {
        /// Directory.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An engine could not take or build something that it was given.
    #[error("{operation}: {detail}")]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        detail: String,
    },
}

impl StoreError {
    /// Whether an object is not there, or not any more.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Object { source: object_store::Error::NotFound { .. }, .. })
    }

    /// Whether it says more of the object store, or of the disk, than of one object: the next one would fare no better.
    pub fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Object { .. } | Self::Scratch { .. }) && !self.is_not_found()
    }

    /// Whether a remote store was not reached, or had trouble of its own: it may answer later. A directory has no such trouble.
    pub fn is_unanswered(&self) -> bool {
        let remote = |store: &&'static str| *store != "LocalFileSystem";
        matches!(self, Self::Object { source: object_store::Error::Generic { store, .. }, .. } if remote(store))
    }

    /// Bytes of an object that are not what was written.
    pub fn corrupt(path: &str, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.into(), detail: detail.into() }
    }

    /// An engine that cannot go on.
    pub fn engine(operation: &'static str, detail: impl ToString) -> Self {
        Self::Engine { operation, detail: detail.to_string() }
    }

    /// The object store's refusal.
    pub fn object(operation: &'static str, path: impl ToString, source: object_store::Error) -> Self {
        Self::Object { operation, path: path.to_string(), source }
    }
}
