//! Label matchers to series ids, with Prometheus' meaning of absent labels; and how postings lie in a block.
//!
//! Heads and blocks each give a [`LabelIndex`]; what a matcher means is said once, here.

use roaring::RoaringBitmap;
use weir_model::label::{MatchOp, Matcher};

use weir_blocks::StoreError;
use weir_blocks::packed::{Cursor, put_bytes, put_varint};

/// Lists up to this long are smaller as plain deltas than with roaring's 16 bytes of header.
const LIST_MAX: u64 = 16;

/// Series ids by label.
pub(crate) trait LabelIndex {
    /// Series that carry exactly this label.
    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError>;
    /// Series whose value of this label passes; those without the label are not asked.
    fn any(&self, name: &str, passes: &dyn Fn(&str) -> bool) -> Result<RoaringBitmap, StoreError>;
}

/// The series of `all` that pass every matcher. A matcher that "" passes also selects series without the label, so it
/// is answered by what it excludes.
pub(crate) fn matching(index: &dyn LabelIndex, all: RoaringBitmap, matchers: &[Matcher]) -> Result<RoaringBitmap, StoreError> {
    let mut found = all;
    // What narrows most first: an equality costs one list, and nothing is left to subtract from an empty set.
    let mut ordered: Vec<&Matcher> = matchers.iter().collect();
    ordered.sort_by_key(|matcher| (matcher.matches(""), matcher.op != MatchOp::Equal));
    for matcher in ordered {
        if found.is_empty() {
            break;
        }
        if matcher.matches("") {
            found -= index.any(&matcher.name, &|value| !matcher.matches(value))?;
        } else if matcher.op == MatchOp::Equal {
            found &= index.equal(&matcher.name, &matcher.value)?;
        } else {
            found &= index.any(&matcher.name, &|value| matcher.matches(value))?;
        }
    }
    Ok(found)
}

/// Appends one list: length-prefixed, either deltas after their count, or a zero and roaring's portable format.
pub(crate) fn encode(ids: &RoaringBitmap, out: &mut Vec<u8>) {
    let mut list = Vec::new();
    if ids.len() <= LIST_MAX {
        put_varint(&mut list, ids.len());
        let mut before = 0;
        for id in ids {
            put_varint(&mut list, u64::from(id - before));
            before = id;
        }
    } else {
        list.push(0);
        ids.serialize_into(&mut list).expect("invariant: writing to memory does not fail");
    }
    put_bytes(out, &list);
}

/// Reads what lies between two length prefixes; every id is below `series`.
pub(crate) fn decode(list: &[u8], series: u32) -> Result<RoaringBitmap, String> {
    let mut cursor = Cursor::new(list);
    let count = cursor.varint()?;
    let ids = if count == 0 {
        RoaringBitmap::deserialize_from(cursor.take(cursor.left())?).map_err(|error| error.to_string())?
    } else {
        let mut ids = RoaringBitmap::new();
        let mut id = 0_u32;
        for _ in 0..count {
            id = id.checked_add(cursor.small()?).ok_or("a series id above 32 bits")?;
            ids.insert(id);
        }
        ids
    };
    match ids.max() {
        Some(last) if last >= series => Err(format!("series {last} of {series}")),
        _ => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip() {
        for count in [1, 2, 16, 17, 5000] {
            let ids: RoaringBitmap = (0..count).map(|i| i * 3).collect();
            let mut out = Vec::new();
            encode(&ids, &mut out);
            let mut cursor = Cursor::new(&out);
            let list = cursor.bytes().unwrap();
            assert_eq!(cursor.end(), Ok(()));
            assert_eq!(decode(list, count * 3), Ok(ids));
            assert!(count == 1 || decode(list, count).is_err());
        }
        assert!(decode(&[], 9).is_err());
        assert!(decode(&[0, 1, 2, 3], 9).is_err());
        assert!(decode(&[3, 1], 9).is_err());
    }
}
