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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_model::fuzz::{Fuzz, MemoryLimit};

    use super::*;

    #[test]
    fn fuzz_any_bytes_are_a_segment_with_batches_and_damage_in_order() {
        let batch = |base, texts: &[&'static str]| {
            batch::encode(base, &texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect::<Vec<_>>())
        };
        let segment = [batch(5, &["one", "two"]), batch(7, &[""]), batch(9, &["three"; 40])].concat();
        // A batch's head with nothing behind it, as a torn write leaves it.
        let torn = [&segment[..], &segment[..24]].concat();
        let limit = MemoryLimit { bytes: 64 << 10, per_input_byte: 16 };
        let fuzz = Fuzz::new("disk_segment").seed(&segment).seed(torn).seed(batch(0, &["WLB1"])).words(&["WLB1"]);
        fuzz.memory(limit).run(|input| {
            let scan = scan(input, 5);
            let (mut end, mut next) = (0, 5);
            for located in &scan.batches {
                assert!(located.position >= end && located.head.base >= next, "{scan:?}");
                end = located.position + u64::from(located.head.length);
                next = located.head.end();
                let bytes = Bytes::copy_from_slice(&input[located.position as usize..end as usize]);
                assert_eq!(batch::split(&bytes).len(), located.head.count as usize);
            }
            assert_eq!((scan.end, scan.next), (end, next));
            assert!(end <= input.len() as u64);
            for damage in &scan.damage {
                assert!(damage.bytes.start < damage.bytes.end && damage.bytes.end <= end && damage.lost.start <= damage.lost.end);
            }
        });
    }
}
