//! What an owner is told to do at once, and what it answers. The same routes serve users; see `docs/api.md`.

use serde::{Deserialize, Serialize};
use weir_model::id::TopicPartition;

/// Everything in heads into blocks: `POST`, no body, answers [`AdminResult`].
pub const SEAL_PATH: &str = "/api/weir/v1/admin/seal";

/// Everything mergeable merged: `POST`, no body, answers [`AdminResult`].
pub const COMPACT_PATH: &str = "/api/weir/v1/admin/compact";

/// Everything too old deleted, however much that is at once: `POST`, no body, answers [`AdminResult`] of what was deleted.
pub const EXPIRE_PATH: &str = "/api/weir/v1/admin/expire";

/// A deletion accepted or cancelled: `POST` of a [`weir_model::deletion::DeletionOrder`], answers [`AdminResult`].
pub const DELETIONS_PATH: &str = "/api/weir/v1/admin/deletions";

/// What is deleted for good taken out of blocks: `POST`, no body, answers [`AdminResult`] of the blocks that were written.
pub const APPLY_DELETIONS_PATH: &str = "/api/weir/v1/admin/apply_deletions";

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminResult {
    /// Blocks written, or deleted.
    pub blocks: u64,
    /// Lines, samples or spans in them.
    pub records: u64,
    /// Where: a partition that is not among these was not looked at.
    pub partitions: Vec<TopicPartition>,
}
