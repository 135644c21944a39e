//! What can be set about the disk log.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::batch::{BATCH_BYTES_MAX, HEAD_BYTES, RECORD_HEAD_BYTES};
use crate::BusError;

/// The disk log's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Its directory, made when absent. No other process may have it open.
    pub path: PathBuf,
    /// Partitions of a topic when it is made; a topic that exists keeps what it has.
    pub partitions: u32,
    /// A segment file is closed before it grows beyond this.
    pub segment_bytes: u64,
    /// Appends wait while more than this is not released.
    pub bytes_max: u64,
    /// Largest record.
    pub record_bytes: usize,
    /// Appends wait while more than this is queued for the writer.
    pub queue_bytes: u32,
    /// Latest records of each partition that are kept in memory for whoever tails it.
    pub cache_bytes: usize,
    /// How long the writer waits for company after the first record of a commit. 0: what arrived during the last fsync
    /// is company enough.
    pub linger_ms: u64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("bus"),
            partitions: 4,
            segment_bytes: 64 << 20,
            bytes_max: 2 << 30,
            record_bytes: 1 << 20,
            queue_bytes: 16 << 20,
            cache_bytes: 2 << 20,
            linger_ms: 0,
        }
    }
}

impl DiskConfig {
    /// What one record adds to a segment at most.
    pub(crate) fn record_cost(bytes: usize) -> u64 {
        (bytes + RECORD_HEAD_BYTES + HEAD_BYTES) as u64
    }

    /// Errors with `Config`, naming the key.
    pub fn validate(&self) -> Result<(), BusError> {
        let wrong = |text: String| Err(BusError::Config(text));
        if self.partitions == 0 || self.partitions > 1024 {
            return wrong(format!("partitions: {} is not between 1 and 1024", self.partitions));
        }
        if self.record_bytes == 0 || self.record_bytes > BATCH_BYTES_MAX / 2 {
            return wrong(format!("record_bytes: {} is not between 1 and {}", self.record_bytes, BATCH_BYTES_MAX / 2));
        }
        if self.bytes_max < Self::record_cost(self.record_bytes) {
            return wrong(format!("bytes_max: {} has no room for one record of record_bytes", self.bytes_max));
        }
        if u64::from(self.queue_bytes) < Self::record_cost(self.record_bytes) {
            return wrong(format!("queue_bytes: {} has no room for one record of record_bytes", self.queue_bytes));
        }
        if self.segment_bytes == 0 {
            return wrong("segment_bytes: 0".into());
        }
        Ok(())
    }
}
