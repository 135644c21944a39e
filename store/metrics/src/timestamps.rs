//! The timestamp codec: one series' milliseconds as deltas of deltas. Format: `docs/formats/metrics_block.md`.
//!
//! Not here: that a series with its predecessor's timestamps stores none (`writer.rs`).

use weir_blocks::packed::{Cursor, put_zigzag};

/// Appends timestamps. Any `i64` in any order round-trips: arithmetic wraps.
pub(crate) fn encode(timestamps: &[i64], out: &mut Vec<u8>) {
    let (mut before, mut delta) = (0_i64, 0_i64);
    for (i, &timestamp) in timestamps.iter().enumerate() {
        let next = timestamp.wrapping_sub(before);
        // The first is absolute and the second a plain delta, so that a regular series is zeros from the third on.
        put_zigzag(out, if i < 2 { next } else { next.wrapping_sub(delta) });
        (before, delta) = (timestamp, next);
    }
}

/// Reads `count` timestamps; errors unless they ascend strictly, as every reader relies on it.
pub(crate) fn decode(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, String> {
    let mut timestamps = Vec::with_capacity(count.min(cursor.left()));
    let (mut before, mut delta) = (0_i64, 0_i64);
    for i in 0..count {
        let read = cursor.zigzag()?;
        delta = if i < 2 { read } else { delta.wrapping_add(read) };
        let timestamp = before.wrapping_add(delta);
        if i > 0 && timestamp <= before {
            return Err(format!("timestamp {timestamp} after {before}"));
        }
        timestamps.push(timestamp);
        before = timestamp;
    }
    Ok(timestamps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn the_bytes_are_what_the_format_says() {
        let mut out = Vec::new();
        encode(&[1000, 2000, 3000, 4001], &mut out);
        assert_eq!(hex::encode(&out), "d00f".to_owned() + "d00f" + "00" + "02");
        assert!(decode(&mut Cursor::new(&[2, 0]), 2).is_err(), "the same millisecond twice");
    }

    proptest! {
        #[test]
        fn they_come_back(set in proptest::collection::btree_set(any::<i64>(), 1..100)) {
            let timestamps: Vec<i64> = set.into_iter().collect();
            let mut out = Vec::new();
            encode(&timestamps, &mut out);
            assert_eq!(decode(&mut Cursor::new(&out), timestamps.len()), Ok(timestamps));
        }
    }
}
