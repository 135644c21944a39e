//! `[fanout]` in the configuration of a query node.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};
use weir_tls::ClientTls;

/// How a query node gets from the owners of partitions what is not sealed yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FanOutConfig {
    /// An owner that has not answered for so long is left out, and the answer says so.
    #[serde(with = "duration")]
    pub owner_timeout: Duration,
    /// The object store may take so long for one answer: which manifest is the newest, a part of a block. When it has answered
    /// nobody for a second, or not answered in time, a query waits a second at most, until it answers again.
    #[serde(with = "duration")]
    pub store_timeout: Duration,
    /// How often manifests are read between queries, so that a query finds blocks opened; every query reads the newest itself.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Requests to owners on the way at once; others wait.
    pub requests_max: usize,
    /// One owner's answer, of all of its partitions. Lines and patterns that are more come in smaller pages; of other queries its
    /// unsealed records are left out, and named.
    pub answer_max: ByteSize,
    /// Memory of the heads that one query rebuilds from the owners' extracts; a partition beyond it is left out, and named.
    pub heads_memory_max: ByteSize,
    /// Log lines that a partition gives first; a query that needs more asks for more.
    pub page_min: ByteSize,
    /// … and at most, later on.
    pub page_max: ByteSize,
    /// How owners whose URL is https are known, and what is shown to them.
    pub tls: ClientTls,
}

impl Default for FanOutConfig {
    fn default() -> Self {
        Self {
            // Well below a query's 60 s, far above the milliseconds that an extract takes.
            owner_timeout: Duration::from_secs(3),
            store_timeout: Duration::from_secs(10),
            refresh: Duration::from_secs(1),
            requests_max: 32,
            // A head is at most 256 MiB; an extract of all of it is a fifth of that, compressed.
            answer_max: ByteSize::mib(128),
            heads_memory_max: ByteSize::mib(512),
            // A page of 100 lines of 200 bytes fits many times; all of a head takes three pages more.
            page_min: ByteSize::kib(256),
            page_max: ByteSize::mib(32),
            tls: ClientTls::default(),
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
        let counts = [("requests_max", self.requests_max as u64), ("page_min", self.page_min.to_u64())];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("{key} must be above 0"));
        }
        if self.page_max < self.page_min {
            return Err("page_max must not be below page_min".into());
        }
        self.tls.check().map_err(|error| format!("tls.{error}"))
    }
}
