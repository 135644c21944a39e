//! What the frames of an answer say, and how they are put together and taken apart. Called by owner and client.

use serde::{Deserialize, Serialize};
use weir_model::id::TraceId;
use weir_model::wire::Kind;

use super::extract::{ExtractRecord, HeadExtract};
use super::frame::{self, Tag};
use weir_blocks::limits::pieces;

/// Rows of one frame, and bytes of their texts.
const ROWS_EACH: usize = 4096;
const ROWS_BYTES: usize = 1 << 20;
/// Fewest bytes of side data and record: the length of the former.
const RECORD_BYTES_MIN: usize = 4;

/// The state of a partition that an extract was taken from, as of one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadInstant {
    /// Which partition.
    pub partition: u32,
    /// Of the owner.
    pub epoch: u64,
    /// The manifest version that holds what the heads do not.
    pub version: u64,
    /// Everything below is in that version or in the heads.
    #[serde(rename = "searchable")]
    pub indexed_offset: u64,
    /// Everything below was on the bus when the owner last asked it.
    #[serde(rename = "on_bus")]
    pub high_watermark: u64,
    /// For how long the bus has not told the owner how far it is; `None` before the first time: what a new owner has read in
    /// the manifest may be little of what is there.
    pub bus_silent_seconds: Option<u64>,
    /// See [`HeadExtract::watermark`].
    #[serde(rename = "cut")]
    pub watermark: Option<i64>,
}

/// Longer silences of the bus are named: it may hold records that its consumer knows nothing of.
const BUS_SILENT_SECONDS: u64 = 2;

/// What an answer has to say of a silent bus.
pub fn bus_silent(topic: &str, partition: u32, seconds: Option<u64>) -> Option<String> {
    match seconds {
        Some(0..=BUS_SILENT_SECONDS) => None,
        Some(seconds) => Some(format!("{topic} partition {partition}: the bus has not said for {seconds} s how far it is")),
        None => Some(format!("{topic} partition {partition}: the bus has not said yet how far it is")),
    }
}

/// Why an owner gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// The partition is not this process's.
    NotOwned {
        /// Which.
        partition: u32,
    },
    /// The answer would be larger than the owner gives.
    TooLarge {
        /// Which.
        partition: u32,
        /// Bytes.
        limit: u64,
    },
    /// The owner could not read its own head, or the request makes no sense to it.
    Failed {
        /// Which.
        partition: u32,
        /// A sentence.
        text: String,
    },
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadResponse {
    /// What was asked for.
    Extract(HeadInstant, HeadExtract),
    /// Not.
    Refused(Refusal),
}

/// A tail's sign of life: sections that its reader was too slow for since the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Sections.
    pub dropped: u64,
}

/// An answer that is added up, not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case", deny_unknown_fields)]
pub enum Row {
    /// Of [`super::HeadQuery::Counts`].
    Count {
        /// The stream's labels.
        stream: Vec<(String, String)>,
        /// Start of the bucket.
        bucket: i64,
        /// The lowest severity number of the level; 22 for critical.
        severity: u8,
        /// What of the lines' metadata was asked for.
        metadata: Vec<(String, String)>,
        lines: u64,
        /// Of their bodies.
        bytes: u64,
    },
    /// Of [`super::HeadQuery::Templates`].
    Template {
        /// What is constant of the lines, `<_>` in the place of each variable.
        text: String,
        /// As of a count.
        bucket: i64,
        severity: u8,
        lines: u64,
    },
    /// Of [`super::HeadQuery::Templates`]: lines that have no template, since they are too large or no text.
    Line {
        /// The whole line; travels in hex, since it may be any bytes.
        #[serde(with = "hex_text")]
        body: Vec<u8>,
        /// As of a count.
        bucket: i64,
        severity: u8,
        lines: u64,
    },
    /// Of [`super::HeadQuery::Search`].
    Trace {
        /// A trace that passes.
        id: TraceId,
        /// Start of its newest span that does.
        start: i64,
    },
}

impl Row {
    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let texts = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        match self {
            Self::Count { stream, metadata, .. } => texts(stream) + texts(metadata),
            Self::Template { text, .. } => text.len(),
            Self::Line { body, .. } => 2 * body.len(),
            Self::Trace { .. } => 0,
        }
    }

    /// Bytes that it takes where it is held.
    pub fn memory_bytes(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| size_of_val(pairs);
        let beside = match self {
            Self::Count { stream, metadata, .. } => self.bytes() + pairs(stream) + pairs(metadata),
            Self::Line { body, .. } => body.len(),
            Self::Template { .. } | Self::Trace { .. } => self.bytes(),
        };
        size_of::<Self>() + beside
    }
}

/// Bytes of a text between the quotes of JSON.
pub(crate) fn json_text_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Bytes as JSON has them.
mod hex_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        hex::decode(&*text).map_err(serde::de::Error::custom)
    }
}

/// Appends the frame with which a partition's answer begins.
pub fn encode_instant(out: &mut Vec<u8>, instant: &HeadInstant) {
    frame::put(out, Tag::Instant, &json(instant));
}

/// Appends a partition's answer, or a refusal when its reader would refuse a frame of it.
pub fn encode_extract(out: &mut Vec<u8>, instant: &HeadInstant, extract: &HeadExtract) {
    let start = out.len();
    encode_whole(out, instant, extract);
    let mut at = start;
    // What was put is read back only as far as to its lengths.
    while let Some((length, fits)) = frame::length(&out[at..]) {
        if !fits {
            out.truncate(start);
            let limit = frame::FRAME_BYTES_MAX as u64;
            return encode_refusal(out, &Refusal::TooLarge { partition: instant.partition, limit });
        }
        at += length;
    }
}

fn encode_whole(out: &mut Vec<u8>, instant: &HeadInstant, extract: &HeadExtract) {
    encode_instant(out, &HeadInstant { watermark: extract.watermark, ..*instant });
    for records in &extract.heads {
        frame::put(out, Tag::Head, &[]);
        records.iter().for_each(|record| encode_record(out, record));
    }
    for rows in pieces(&extract.rows, ROWS_EACH, ROWS_BYTES, Row::bytes) {
        frame::put(out, Tag::Rows, &json(&rows));
    }
}

/// Appends a record's frame.
pub fn encode_record(out: &mut Vec<u8>, record: &ExtractRecord) {
    let mut payload = Vec::with_capacity(4 + record.side.len() + record.record.len());
    payload.extend_from_slice(&(record.side.len() as u32).to_le_bytes());
    payload.extend_from_slice(&record.side);
    payload.extend_from_slice(&record.record);
    frame::put(out, Tag::Record, &payload);
}

/// Appends a record of a tail.
pub fn encode_tail(out: &mut Vec<u8>, partition: u32, record: &ExtractRecord) {
    let mut payload = partition.to_le_bytes().to_vec();
    payload.extend_from_slice(&(record.side.len() as u32).to_le_bytes());
    payload.extend_from_slice(&record.side);
    payload.extend_from_slice(&record.record);
    frame::put(out, Tag::Tail, &payload);
}

/// Partition and record of a tail's frame.
pub fn decode_tail(payload: &[u8]) -> Result<(u32, ExtractRecord), String> {
    let short = || format!("a tail's record of {} bytes ends early", payload.len());
    let (partition, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
    Ok((u32::from_le_bytes(*partition), decode_record(rest)?))
}

/// Appends a refusal.
pub fn encode_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    frame::put(out, Tag::Refused, &json(refusal));
}

/// Appends a tail's sign of life.
pub fn encode_heartbeat(out: &mut Vec<u8>, heartbeat: &Heartbeat) {
    frame::put(out, Tag::Heartbeat, &json(heartbeat));
}

/// Reads it.
pub fn decode_heartbeat(payload: &[u8]) -> Result<Heartbeat, String> {
    parse("heartbeat", payload)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: no map here has keys other than text")
}

fn parse<'a, T: Deserialize<'a>>(what: &str, payload: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(payload).map_err(|error| format!("{what}: {error}"))
}

/// Side data and record of a frame.
pub fn decode_record(payload: &[u8]) -> Result<ExtractRecord, String> {
    let short = || format!("a record of {} bytes ends early", payload.len());
    let (length, rest) = payload.split_first_chunk::<RECORD_BYTES_MIN>().ok_or_else(short)?;
    let (side, record) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
    Ok(ExtractRecord { side: side.to_vec(), record: record.to_vec() })
}

/// Takes a whole answer apart. Errors are sentences that say at which byte.
pub fn decode(bytes: &[u8], kind: Kind) -> Result<Vec<HeadResponse>, String> {
    frame::check_preamble(bytes, kind)?;
    let mut answers: Vec<HeadResponse> = Vec::new();
    let mut at = frame::PREAMBLE_BYTES;
    loop {
        let wrong = |detail: String| format!("frame at byte {at}: {detail}");
        let (tag, payload, length) =
            frame::next(&bytes[at..]).map_err(wrong)?.ok_or_else(|| wrong("the answer was cut off".into()))?;
        if tag == Tag::End {
            return if at + length == bytes.len() { Ok(answers) } else { Err(wrong("more follows the end".into())) };
        }
        take(&mut answers, tag, payload).map_err(wrong)?;
        at += length;
    }
}

fn take(answers: &mut Vec<HeadResponse>, tag: Tag, payload: &[u8]) -> Result<(), String> {
    match tag {
        Tag::Instant => {
            let instant: HeadInstant = parse("instant", payload)?;
            answers.push(HeadResponse::Extract(instant, HeadExtract { watermark: instant.watermark, ..HeadExtract::default() }));
            return Ok(());
        }
        Tag::Refused => {
            answers.push(HeadResponse::Refused(parse("refusal", payload)?));
            return Ok(());
        }
        Tag::Head | Tag::Record | Tag::Rows => {}
        Tag::Tail | Tag::Heartbeat | Tag::End => return Err("it belongs to a tail".into()),
    }
    let Some(HeadResponse::Extract(_, extract)) = answers.last_mut() else { return Err("no partition has begun".into()) };
    match tag {
        Tag::Head => extract.heads.push(Vec::new()),
        Tag::Rows => extract.rows.extend(parse::<Vec<Row>>("rows", payload)?),
        _ => extract.heads.last_mut().ok_or("no head has begun")?.push(decode_record(payload)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_long_as_json_has_them() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        for text in ["", "plain", "größe", "\u{1}\u{7f}\u{2028}\u{1f600}", &all] {
            assert_eq!(json_text_bytes(text) + 2, json(&text).len(), "{text:?}");
        }
    }
}
