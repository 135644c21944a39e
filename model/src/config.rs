//! How configuration writes durations (`50ms`, `1h30m`) and sizes (`256MiB`): always with a unit, so that no key has to name one.
//! What programs and files of others write is not read here: `time` has the durations of APIs, the scraper Prometheus' sizes.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::clip;
use crate::time::format_duration;

/// A text that is no duration or size.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("{0:?} has no unit: a duration is written like \"5s\", \"50ms\" or \"1h30m\"")]
    DurationWithoutUnit(String),
    #[error("{0:?} is not a duration: it is written like \"5s\", \"50ms\" or \"1h30m\"")]
    Duration(String),
    #[error("{0:?} has no unit: a size is written like \"256MiB\" (B, KiB, MiB, GiB, TiB)")]
    SizeWithoutUnit(String),
    #[error("{0:?} is not a size: it is written like \"256MiB\", a whole number of B, KiB, MiB, GiB or TiB")]
    Size(String),
    #[error("{0:?} is larger than any size (8388607TiB)")]
    SizeTooLarge(String),
}

/// A duration with its unit: `5s`, `50ms`, `1h30m`, `7d`; never negative. A number alone is refused, `0` as well.
pub fn parse_duration(text: &str) -> Result<Duration, ConfigError> {
    if text.parse::<f64>().is_ok() {
        return Err(ConfigError::DurationWithoutUnit(clip(text)));
    }
    let nanos = crate::time::parse_duration(text).map_err(|_| ConfigError::Duration(clip(text)))?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// For `#[serde(with = "weir_model::config::duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::Serializer;
    use serde::de::{Deserializer, Error};

    use super::{ConfigError, DurationText, format_duration};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let duration = from.deserialize_str(DurationText)?;
        duration.ok_or_else(|| D::Error::custom(ConfigError::Duration(String::new())))
    }
}

/// As [`duration`]; `""` is `None`.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::DurationText;

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, to),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        from.deserialize_str(DurationText)
    }
}

struct DurationText;

impl Visitor<'_> for DurationText {
    type Value = Option<Duration>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a duration in quotes, such as \"5s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Duration>, E> {
        if text.is_empty() { Ok(None) } else { parse_duration(text).map(Some).map_err(E::custom) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<Duration>, E> {
        Err(E::custom(ConfigError::DurationWithoutUnit(number.to_string())))
    }
}

/// A number of bytes that a key of the configuration sets: `256MiB`. Units are powers of 1024; `MB`, which is 1024² to some and
/// 1000² to others, is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Each 1024 of the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

impl ByteSize {
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// In bytes.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// In bytes; the largest `usize` where that is smaller.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// A whole number and its unit, at most 2^63-1 bytes.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if !number.is_empty() && unit.is_empty() {
            return Err(ConfigError::SizeWithoutUnit(clip(text)));
        }
        let Some(power) = UNITS.iter().position(|name| *name == unit).filter(|_| !number.is_empty()) else {
            return Err(ConfigError::Size(clip(text)));
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << (10 * power)));
        bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).map(Self).ok_or_else(|| ConfigError::SizeTooLarge(clip(text)))
    }
}

/// In the largest unit of which it is a whole number: `256MiB`, `1025B`.
impl fmt::Display for ByteSize {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut power) = (self.0, 0);
        while number > 0 && number % 1024 == 0 && power + 1 < UNITS.len() {
            (number, power) = (number / 1024, power + 1);
        }
        write!(to, "{number}{}", UNITS[power])
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(SizeText)
    }
}

struct SizeText;

impl Visitor<'_> for SizeText {
    type Value = ByteSize;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a size in quotes, such as \"256MiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
        ByteSize::parse(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
        let written = u64::try_from(number).map(|bytes| format!("{number} has no unit: write \"{}\"", ByteSize(bytes)));
        Err(E::custom(written.unwrap_or_else(|_| ConfigError::Size(number.to_string()).to_string())))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error as ValueError, I64Deserializer, StrDeserializer};

    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let check = |text: &str, expected: Result<Duration, &str>| match (parse_duration(text), expected) {
            (Ok(duration), Ok(expected)) => {
                assert_eq!(duration, expected, "{text}");
                let read = duration::deserialize(StrDeserializer::<ValueError>::new(text));
                assert_eq!(read, Ok(expected), "{text}");
            }
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        };
        check("60s", Ok(Duration::from_secs(60)));
        check("50ms", Ok(Duration::from_millis(50)));
        check("1h30m", Ok(Duration::from_secs(5400)));
        check("1.5h", Ok(Duration::from_secs(5400)));
        check("14d", Ok(Duration::from_secs(14 * 86_400)));
        check("0s", Ok(Duration::ZERO));
        for bare in ["60", "0", "1.5", "1e3", "-5", "inf", "NaN"] {
            check(bare, Err("has no unit"));
        }
        for wrong in ["", "s", "5x", "5 s", "5m3", "-5m", "999999999999y", "5S"] {
            check(wrong, Err("is not a duration"));
        }
    }

    #[test]
    fn sizes_have_a_unit_of_1024() {
        let check = |text: &str, expected: Result<ByteSize, &str>| match (ByteSize::parse(text), expected) {
            (Ok(size), Ok(expected)) => assert_eq!(size, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        };
        check("0B", Ok(ByteSize::bytes(0)));
        check("500B", Ok(ByteSize::bytes(500)));
        check("64KiB", Ok(ByteSize::kib(64)));
        check("256MiB", Ok(ByteSize::mib(256)));
        check("2GiB", Ok(ByteSize::gib(2)));
        check("3TiB", Ok(ByteSize::gib(3072)));
        check("9223372036854775807B", Ok(ByteSize::bytes(i64::MAX as u64)));
        for bare in ["0", "268435456"] {
            check(bare, Err("has no unit"));
        }
        for wrong in ["", "MiB", "10MB", "10M", "10mib", "1.5GiB", "-1MiB", "1 MiB", "1MiB1KiB", "1e3B", "１MiB"] {
            check(wrong, Err("is not a size"));
        }
        for large in ["8388608TiB", "9223372036854775808B", "99999999999999999999B", "18446744073709551615TiB"] {
            check(large, Err("larger than any size"));
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (size, text) in [
            (ByteSize::bytes(0), "0B"),
            (ByteSize::bytes(1023), "1023B"),
            (ByteSize::bytes(1025), "1025B"),
            (ByteSize::kib(1), "1KiB"),
            (ByteSize::mib(1536), "1536MiB"),
            (ByteSize::gib(1024), "1TiB"),
            (ByteSize::gib(1024 * 1024), "1024TiB"),
        ] {
            assert_eq!(size.to_string(), text);
            assert_eq!(ByteSize::deserialize(StrDeserializer::<ValueError>::new(text)), Ok(size));
        }
        let again = |text: &str| optional_duration::deserialize(StrDeserializer::<ValueError>::new(text)).unwrap();
        assert_eq!((again(""), again("5m")), (None, Some(Duration::from_secs(300))));
    }

    #[test]
    fn a_number_alone_is_refused_with_the_right_spelling() {
        let number = |number| I64Deserializer::<ValueError>::new(number);
        let size = |value| ByteSize::deserialize(number(value)).unwrap_err().to_string();
        assert_eq!(size(268_435_456), "268435456 has no unit: write \"256MiB\"");
        assert_eq!(size(5), "5 has no unit: write \"5B\"");
        assert!(size(-1).contains("is not a size"));
        let error = duration::deserialize(number(60)).unwrap_err().to_string();
        assert!(error.contains("60") && error.contains("has no unit") && error.contains("\"5s\""), "{error}");
        assert_eq!(optional_duration::deserialize(number(60)).unwrap_err().to_string(), error);
        let empty = duration::deserialize(StrDeserializer::<ValueError>::new("")).unwrap_err().to_string();
        assert!(empty.contains("is not a duration"), "{empty}");
    }
}
