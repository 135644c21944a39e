//! A batch: what one write puts into a segment. Whole or absent: the checksum says which.

use bytes::Bytes;

/// Magic and version of a batch.
pub(crate) const MAGIC: [u8; 4] = *b"WLB1";
/// Magic, length, checksum, base offset, count.
pub(crate) const HEAD_BYTES: usize = 24;
/// A record's length.
pub(crate) const RECORD_HEAD_BYTES: usize = 4;
/// A batch is not larger than this: a reader that meets a larger length is looking at garbage. Two writer rounds.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;

const CHECKED_FROM: usize = 12;

/// What a batch's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Offset of its first record.
    pub(crate) base: u64,
    /// Records, at least one.
    pub(crate) count: u32,
    /// Bytes, head included.
    pub(crate) length: u32,
}

impl Head {
    /// The offset after its last record.
    pub(crate) fn end(&self) -> u64 {
        self.base + u64::from(self.count)
    }
}

/// The bytes of a batch of `records`, the first of which has offset `base`.
pub(crate) fn encode(base: u64, records: &[Bytes]) -> Vec<u8> {
    let length = HEAD_BYTES + records.iter().map(|record| RECORD_HEAD_BYTES + record.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    for record in records {
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(record);
    }
    let checksum = crc32c::crc32c(&out[CHECKED_FROM..]);
    out[8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The head of the batch at the front of `bytes`, when there is a whole and undamaged one.
pub(crate) fn check(bytes: &[u8]) -> Option<Head> {
    let field = |at: usize| bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes);
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let (length, checksum, count) = (field(4)?, field(8)?, field(20)?);
    if !(HEAD_BYTES..=BATCH_BYTES_MAX).contains(&(length as usize)) || count == 0 {
        return None;
    }
    let batch = bytes.get(..length as usize)?;
    if crc32c::crc32c(&batch[CHECKED_FROM..]) != checksum {
        return None;
    }
    let base = u64::from_le_bytes(batch[CHECKED_FROM..20].try_into().ok()?);
    let head = Head { base, count, length };
    base.checked_add(u64::from(count))?;
    well_formed(batch, count).then_some(head)
}

/// Whether `count` records fill the batch to its end.
fn well_formed(batch: &[u8], count: u32) -> bool {
    let mut rest = &batch[HEAD_BYTES..];
    for _ in 0..count {
        let Some((length, after)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>() else { return false };
        let Some(after) = after.get(u32::from_le_bytes(*length) as usize..) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// The records of a checked batch, sharing its memory.
pub(crate) fn split(batch: &Bytes) -> Vec<Bytes> {
    let mut records = Vec::new();
    let mut at = HEAD_BYTES;
    while let Some(length) = batch.get(at..at + RECORD_HEAD_BYTES).and_then(|field| field.try_into().ok()).map(u32::from_le_bytes)
    {
        let (start, end) = (at + RECORD_HEAD_BYTES, at + RECORD_HEAD_BYTES + length as usize);
        if end > batch.len() {
            break;
        }
        records.push(batch.slice(start..end));
        at = end;
    }
    records
}
