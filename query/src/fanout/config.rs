//! `[fanout]` in the configuration of a query node.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::time::duration;

/// How a query node asks the owners of partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FanOutConfig {
    /// An owner that has not answered for so long is left out, and the answer says so.
    #[serde(with = "duration")]
    pub owner_timeout: Duration,
    /// The object store may take so long for one answer: which manifest is the newest, a part of a block. When it has not
    /// answered, a question waits a second at most, until it answers again.
    #[serde(with = "duration")]
    pub store_timeout: Duration,
    /// How often manifests are looked at between queries, so that a query finds blocks opened; every query looks by itself.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Requests to owners on the way at once; others wait.
    pub requests_max: usize,
    /// Bytes of one owner's answer.
    pub answer_bytes_max: u64,
    /// Memory of the heads that one question of a query puts together; a partition beyond it is left out, and named.
    pub heads_bytes_max: u64,
    /// Bytes of log lines that a partition gives first; a query that needs more asks for more.
    pub page_bytes_min: u64,
    /// … and at most, later on.
    pub page_bytes_max: u64,
}

impl Default for FanOutConfig {
    fn default() -> Self {
        Self {
            // Well below a query's 60 s, far above the milliseconds that a slice takes.
            owner_timeout: Duration::from_secs(3),
            store_timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(1),
            requests_max: 32,
            // A head is at most 256 MiB; a slice of all of it is a fifth of that, compressed.
            answer_bytes_max: 128 << 20,
            heads_bytes_max: 512 << 20,
            // A page of 100 lines of 200 bytes fits many times; all of a head takes three pages more.
            page_bytes_min: 256 << 10,
            page_bytes_max: 32 << 20,
        }
    }
}

impl FanOutConfig {
    /// Refuses what cannot work, naming the key.
    pub fn check(&self) -> Result<(), String> {
        let durations = [("owner_timeout", self.owner_timeout), ("store_timeout", self.store_timeout), ("refresh", self.refresh)];
        if let Some((key, _)) = durations.iter().find(|(_, duration)| *duration < Duration::from_millis(10)) {
            return Err(format!("{key} must be at least 10ms"));
        }
        let counts = [("requests_max", self.requests_max as u64), ("page_bytes_min", self.page_bytes_min)];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("{key} must be above 0"));
        }
        if self.page_bytes_max < self.page_bytes_min {
            return Err("page_bytes_max must not be below page_bytes_min".into());
        }
        Ok(())
    }
}
