//! What a segment holds, found again from its bytes. Pure: what to do about damage is the partition's affair.

use std::ops::Range;

use super::batch::{self, Head, MAGIC};

/// Where a batch lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// What it says.
    pub(crate) head: Head,
    /// Position of its first byte.
    pub(crate) position: u64,
}

/// Bytes that are no batch, with a whole batch after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where in the segment.
    pub(crate) bytes: Range<u64>,
    /// Offsets that are gone; may be empty when the bytes held none.
    pub(crate) lost: Range<u64>,
}

/// A segment taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Whole batches in order.
    pub(crate) batches: Vec<Located>,
    /// Damage between them.
    pub(crate) damage: Vec<Damage>,
    /// End of the last whole batch. Beyond it: nothing, or bytes without any whole batch.
    pub(crate) end: u64,
    /// The offset after the last whole batch.
    pub(crate) next: u64,
}

/// Takes a segment apart whose first offset is `base`.
pub(crate) fn scan(bytes: &[u8], base: u64) -> Scan {
    let mut scan = Scan { next: base, ..Scan::default() };
    while let Some((position, head)) = next_batch(bytes, scan.end as usize, scan.next) {
        if position as u64 > scan.end {
            scan.damage.push(Damage { bytes: scan.end..position as u64, lost: scan.next..head.base });
        }
        scan.batches.push(Located { head, position: position as u64 });
        scan.end = position as u64 + u64::from(head.length);
        scan.next = head.end();
    }
    scan
}

/// The first whole batch at or after `from` that does not step back in offsets.
fn next_batch(bytes: &[u8], from: usize, next: u64) -> Option<(usize, Head)> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        match batch::check(&bytes[at..]) {
            Some(head) if head.base >= next => return Some((at, head)),
            _ => at += 1,
        }
    }
}
