//! Since when the samples of one series count, as runs: mostly one a series. Format: `docs/formats/metrics_block.md`.

use std::ops::Range;

use weir_blocks::packed::{Cursor, put_varint, put_zigzag};

/// Appends starts, milliseconds, of the first samples of a series.
pub(crate) fn encode(starts: &[i64], out: &mut Vec<u8>) {
    let runs: Vec<&[i64]> = starts.chunk_by(|a, b| a == b).collect();
    put_varint(out, runs.len() as u64);
    let mut before = 0_i64;
    for run in runs {
        put_varint(out, run.len() as u64);
        put_zigzag(out, run[0].wrapping_sub(before));
        before = run[0];
    }
}

/// Runs of a series of `samples`: places and start of each. Errors with a sentence.
pub(crate) fn decode(bytes: &[u8], samples: usize) -> Result<Vec<(Range<usize>, i64)>, String> {
    let mut cursor = Cursor::new(bytes);
    let (mut at, mut start) = (0, 0_i64);
    let mut runs = Vec::new();
    for _ in 0..cursor.count(2)? {
        let length = cursor.varint()?;
        start = start.wrapping_add(cursor.zigzag()?);
        if length == 0 || length > (samples - at) as u64 {
            return Err(format!("a run of {length} after {at} of {samples} samples"));
        }
        runs.push((at..at + length as usize, start));
        at += length as usize;
    }
    cursor.end()?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_back_and_lies_are_refused() {
        let mut out = Vec::new();
        encode(&[1000, 1000, 1000, 0, -5], &mut out);
        assert_eq!(hex::encode(&out), "03".to_owned() + "03d00f" + "01cf0f" + "0109");
        assert_eq!(decode(&out, 5), Ok(vec![(0..3, 1000), (3..4, 0), (4..5, -5)]));
        assert_eq!(decode(&out, 4), Err("a run of 1 after 4 of 4 samples".into()));
        assert_eq!(decode(&[1, 0, 0], 4), Err("a run of 0 after 0 of 4 samples".into()));
        assert!(decode(&out[..out.len() - 1], 5).is_err());
    }
}
