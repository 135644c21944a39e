//! Identities: trace and span ids, the permanent identity of a log line, a partition of a topic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clip;

/// 16 bytes, big-endian as W3C Trace Context writes them. All zero means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes, big-endian as W3C Trace Context writes them. All zero means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SpanId(pub [u8; 8]);

/// One partition of one topic. On the wire `{"topic": "weir.logs", "partition": 0}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// `weir.logs`, `weir.metrics` or `weir.spans`.
    pub topic: String,
    /// From 0.
    pub partition: u32,
}

/// `weir.logs partition 0`
impl fmt::Display for TopicPartition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} partition {}", self.topic, self.partition)
    }
}

/// What is wrong with the text of an id.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// Neither 16 nor 32 hex digits (leading zeros may be left out, so fewer is fine; more is not).
    #[error("a trace id has 1 to 32 hex digits, got {0:?}")]
    Trace(String),
    /// A span id has up to 16 hex digits.
    #[error("a span id has 1 to 16 hex digits, got {0:?}")]
    Span(String),
    /// A line id reads `partition-offset-ordinal`.
    #[error("a line id reads partition-offset-ordinal, got {0:?}")]
    Line(String),
}

impl TraceId {
    /// Whether the id is all zero, which W3C Trace Context calls invalid and we read as "none".
    pub fn is_none(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl SpanId {
    /// Whether the id is all zero: no parent, or no span.
    pub fn is_none(&self) -> bool {
        self.0 == [0; 8]
    }
}

impl FromStr for TraceId {
    type Err = IdError;

    /// Reads 1 to 32 hex digits; missing leading zeros are added, as Jaeger and Tempo do.
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex::<16>(text).map(Self).ok_or_else(|| IdError::Trace(clip(text)))
    }
}

impl FromStr for SpanId {
    type Err = IdError;

    /// Reads 1 to 16 hex digits; missing leading zeros are added.
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex::<8>(text).map(Self).ok_or_else(|| IdError::Span(clip(text)))
    }
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (i, digit) in text.bytes().rev().enumerate() {
        let value = (digit as char).to_digit(16)? as u8;
        bytes[N - 1 - i / 2] |= value << (4 * (i % 2));
    }
    Some(bytes)
}

macro_rules! hex_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
hex_id!(TraceId);
hex_id!(SpanId);

/// A log line's permanent identity: the bus partition, the offset of the record that carried it, and its
/// ordinal among all lines of that record. It never changes: not by sealing, not by compaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LineId {
    /// Partition of the logs topic.
    pub partition: u32,
    /// Offset of the bus record.
    pub offset: u64,
    /// Position among all log lines of that record, counted over its sections from 0.
    pub ordinal: u32,
}

impl fmt::Display for LineId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.partition, self.offset, self.ordinal)
    }
}

impl FromStr for LineId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Line(clip(text));
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or_else(wrong);
        let line = Self {
            partition: next()?.parse().map_err(|_| wrong())?,
            offset: next()?.parse().map_err(|_| wrong())?,
            ordinal: next()?.parse().map_err(|_| wrong())?,
        };
        if parts.next().is_some() { Err(wrong()) } else { Ok(line) }
    }
}

impl Serialize for LineId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_read_as_jaeger_writes_them() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<TraceId>().ok().map(|id| id.to_string()).as_deref(), expected, "{text}");
        };
        check("1f", Some("0000000000000000000000000000001f"));
        check("04C87ec97bae041b1b15b3c7676a43cc", Some("04c87ec97bae041b1b15b3c7676a43cc"));
        check("", None);
        check("xyz", None);
        check("104c87ec97bae041b1b15b3c7676a43cc", None);
    }

    #[test]
    fn line_ids_round_trip() {
        let id = LineId { partition: 3, offset: 1 << 40, ordinal: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "1-2", "1-2-3-4", "a-2-3", "-1-2-3"] {
            assert!(wrong.parse::<LineId>().is_err(), "{wrong}");
        }
    }
}
