//! The bytes of an answer: a preamble, then frames. Drawn in `docs/formats/heads.md`.
//!
//! ```text
//! "WHDS" | version u8 = 1 | kind u8 | reserved u16 = 0
//! frames: tag u8 | length u32 | crc32c u32 of tag and payload | payload
//! ```
//! Integers are little-endian. An answer ends with an end frame: one that stops before it was cut off on the way.

use weir_model::wire::Kind;

use super::PROTOCOL;

const MAGIC: &[u8; 4] = b"WHDS";
/// Bytes before the first frame.
pub const PREAMBLE_BYTES: usize = 8;
const HEAD_BYTES: usize = 9;
/// A record is up to [`super::RECORD_LIMITS`], rows and side data are cut to a MiB or so; more is not believed, and an
/// answer that would have more is refused by the owner.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// JSON: a partition's answer begins, as of this instant.
    Instant = 1,
    /// Nothing: another head of the partition begins.
    Head = 2,
    /// Side data and a wire record of the head.
    Record = 3,
    /// JSON: rows instead of records.
    Rows = 4,
    /// JSON: a partition, or the whole request, is refused.
    Refused = 5,
    /// Of a tail: partition u32, then side data and a wire record.
    Tail = 6,
    /// JSON: a tail is alive, and what it has lost.
    Heartbeat = 7,
    /// Nothing: the answer is whole.
    End = 255,
}

const TAGS: [Tag; 8] = [Tag::Instant, Tag::Head, Tag::Record, Tag::Rows, Tag::Refused, Tag::Tail, Tag::Heartbeat, Tag::End];

/// The first bytes of an answer.
pub fn preamble(kind: Kind) -> [u8; PREAMBLE_BYTES] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, PROTOCOL as u8, kind as u8, 0, 0]
}

/// Checks the first bytes.
pub fn check_preamble(bytes: &[u8], kind: Kind) -> Result<(), String> {
    let wanted = preamble(kind);
    let got = bytes.get(..PREAMBLE_BYTES).ok_or_else(|| format!("{} bytes are fewer than a preamble has", bytes.len()))?;
    if got[..4] != wanted[..4] {
        return Err("the first four bytes are not those of an answer".into());
    }
    if got[4] != wanted[4] {
        return Err(format!("it is in version {} of the heads' protocol, this weir speaks {PROTOCOL}", got[4]));
    }
    if got[5..] != wanted[5..] {
        return Err(format!("it is of kind {}, {} was asked for", got[5], wanted[5]));
    }
    Ok(())
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, tag: Tag, payload: &[u8]) {
    let tag = tag as u8;
    out.push(tag);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&[tag]), payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// A frame's tag, its payload, and the bytes that it takes with its head.
pub type Frame<'a> = (Tag, &'a [u8], usize);

/// The first frame of the bytes; `None` when more bytes have to come. Errors are sentences.
pub fn next(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let tag = TAGS.into_iter().find(|tag| *tag as u8 == head[0]).ok_or_else(|| format!("frame tag {} is unknown", head[0]))?;
    let length = number(1) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(format!("a frame of {length} bytes is above {FRAME_BYTES_MAX}"));
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let (stored, computed) = (number(5), crc32c::crc32c_append(crc32c::crc32c(&[head[0]]), payload));
    if stored != computed {
        return Err(format!("a frame has checksum {computed:08x}, stored {stored:08x}"));
    }
    Ok(Some((tag, payload, HEAD_BYTES + length)))
}

/// Bytes of the first frame with its head, and whether a reader takes it; `None` when there is none.
pub(crate) fn length(bytes: &[u8]) -> Option<(usize, bool)> {
    let [_, a, b, c, d, ..] = *bytes.first_chunk::<HEAD_BYTES>()?;
    let payload = u32::from_le_bytes([a, b, c, d]) as usize;
    Some((HEAD_BYTES + payload, payload <= FRAME_BYTES_MAX))
}

/// How many frames of a kind there are in bytes that [`put`] gave.
pub fn count(mut bytes: &[u8], wanted: Tag) -> u64 {
    let mut count = 0;
    while let Ok(Some((tag, _, length))) = next(bytes) {
        count += u64::from(tag == wanted);
        bytes = &bytes[length..];
    }
    count
}
