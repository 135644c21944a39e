//! The quarantine block: raw bus records that could not be understood. Format: `docs/formats/quarantine.md`.

use weir_blocks::block::BlockData;
use weir_blocks::engine::{BlockSummary, BuiltBlock};

use crate::append::Quarantined;

/// Section of a quarantine block.
const SECTION: &str = "records.1";

/// A block of them; `None` when there is none.
pub(crate) fn build(records: &[Quarantined]) -> Option<BuiltBlock> {
    if records.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend_from_slice(&record.offset.to_le_bytes());
        for field in [record.reason.as_bytes(), &record.value] {
            bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
            bytes.extend_from_slice(field);
        }
    }
    let raw_bytes = records.iter().map(|record| record.value.len() as u64).sum();
    let summary = BlockSummary { first: 0, last: 0, records: records.len() as u64, raw_bytes, resolution: 0 };
    Some(BuiltBlock { summary, data: BlockData::of(vec![(SECTION, bytes)]) })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn golden_bytes() {
        let records = Quarantined { offset: 7, reason: "why".into(), value: Bytes::from_static(b"\x00\xff") };
        let block = build(&[records]).unwrap();
        let expected = b"\x07\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0why\x02\0\0\0\0\0\0\0\x00\xff";
        assert_eq!(block.data.sections, vec![("records.1", expected.to_vec())]);
        assert_eq!((block.summary.records, block.summary.raw_bytes), (1, 2));
        assert!(build(&[]).is_none());
    }
}
