//! What a log's rotated files hold on disk, and its share of the gauge of that.

use std::fs::File;

use prometheus_client::metrics::gauge::Gauge;

/// A compressed file's contents in an unnamed file.
pub(super) struct Unpacked {
    pub file: File,
    pub size: u64,
    /// Bytes that were not kept.
    pub cut: u64,
}

/// A log's share of the gauge of held bytes; given back when it is dropped.
pub(super) struct Held {
    gauge: Gauge,
    bytes: i64,
}

impl Held {
    pub fn new(gauge: Gauge) -> Self {
        Self { gauge, bytes: 0 }
    }

    pub fn set(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.gauge.inc_by(bytes - self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
