//! `body_size_limit`: how large an answer may be.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Bytes, as Prometheus writes them: `10MB`, `512KiB`, `0`; its units are powers of 1024 either way. 0 is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodySize(pub u64);

/// Prometheus has no limit by default; here there is always one: kube-state-metrics of a large cluster has some tens of MB.
pub(super) const BODY_SIZE_LIMIT: BodySize = BodySize(64 << 20);

impl<'de> Deserialize<'de> for BodySize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes =
            bytes_of(&text).ok_or_else(|| D::Error::custom(format!("body_size_limit: {text:?} is no size such as 10MB")))?;
        Ok(Self(bytes))
    }
}

fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}
