//! `[front]`: whom weir answers, and how long it has patience with a client. The limits are each listener's.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};

use super::admit::Origin;
use super::hosts;

/// What hyper needs for a head at least.
const HEAD_MIN: ByteSize = ByteSize::kib(8);
/// A head's length is a 32-bit number in HTTP/2; sixteen MiB are beyond any use.
const HEAD_MAX: ByteSize = ByteSize::mib(16);
/// 16 GiB of compressors are beyond any use.
const COMPRESSORS_MAX: usize = 4096;

/// `[front]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FrontConfig {
    /// Further names under which clients and proxies ask: `weir.example`, `*.monitoring.svc`.
    pub hosts: Vec<String>,
    /// Origins of other pages that may ask and read: `https://app.example`.
    pub origins: Vec<String>,
    /// Connections that a listener has open at once.
    pub connections_max: usize,
    /// Requests under way on one connection of HTTP/2.
    pub streams_max: u32,
    /// A request's line and headers.
    pub head_max: ByteSize,
    /// … may take this long to come.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// A request's body may pause for so long.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// … and comes at this rate a second at least after that.
    pub body_rate_min: ByteSize,
    /// A client may leave an answer unread for so long.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// A connection may be without a request for so long.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Answers that are compressed at once, on all listeners together; further ones leave as they are, and all do at 0.
    pub compressors_max: usize,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            origins: Vec::new(),
            // A large cluster's collectors and Grafanas, at some 20 KiB each when idle.
            connections_max: 2048,
            // hyper's default; OTLP clients use one.
            streams_max: 200,
            // A request line of 64 KiB is the longest that hyper takes; as much again for headers.
            head_max: ByteSize::kib(128),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_rate_min: ByteSize::kib(1),
            write_timeout: Duration::from_secs(30),
            // Longer than Go's and Rust's clients keep theirs (90 s): who closes first does not lose a request on the way.
            idle_timeout: Duration::from_secs(120),
            // Two cores compress two at a time; the others wait for their clients. 64 MiB.
            compressors_max: 16,
        }
    }
}

impl FrontConfig {
    /// What serde cannot see. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        for pattern in &self.hosts {
            hosts::check_pattern(pattern).map_err(|error| format!("hosts: {error}"))?;
        }
        for origin in &self.origins {
            Origin::parse(origin).ok_or_else(|| format!("origins: {origin:?} is not http(s)://HOST or http(s)://HOST:PORT"))?;
        }
        if !(HEAD_MIN..=HEAD_MAX).contains(&self.head_max) {
            return Err(format!("head_max = \"{}\" must be {HEAD_MIN} to {HEAD_MAX}", self.head_max));
        }
        if self.compressors_max > COMPRESSORS_MAX {
            return Err(format!("compressors_max = {} must be at most {COMPRESSORS_MAX}", self.compressors_max));
        }
        let counts = [
            ("connections_max", self.connections_max == 0),
            ("streams_max", self.streams_max == 0),
            ("body_rate_min", self.body_rate_min == ByteSize::default()),
            ("head_timeout", self.head_timeout.is_zero()),
            ("body_timeout", self.body_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
        ];
        match counts.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((key, _)) => Err(format!("{key} must be more than 0")),
            None => Ok(()),
        }
    }
}
