//! Tenants and their series as a block's directory lists them. Written by `writer.rs`, called by `block.rs`.

use std::ops::Range;

use super::aggregates::RESOLUTION_SECONDS_MAX;
use super::writer::Resolution;
use weir_blocks::packed::Cursor;

/// All series of a block fit ids of 32 bits; a directory that says more is wrong.
const SERIES_MAX: u64 = u32::MAX as u64;

pub(crate) struct SeriesTable {
    pub tenants: Vec<(String, Range<u32>)>,
    pub resolutions: Vec<Resolution>,
    pub pairs: Vec<u32>,
    pub ends: Vec<u32>,
}

/// Of a section, which says resolutions or does not, over so many label pairs. Errors with a sentence.
pub(crate) fn parse_series(raw: &[u8], has_resolutions: bool, pair_count: usize) -> Result<SeriesTable, String> {
    let mut cursor = Cursor::new(raw);
    let mut tenants: Vec<(String, Range<u32>)> = Vec::new();
    let (mut series, mut resolutions) = (0_u64, Vec::new());
    for _ in 0..cursor.count(2)? {
        let tenant = cursor.text()?.to_owned();
        let first = series;
        series = cursor.varint()?.checked_add(first).filter(|all| *all <= SERIES_MAX).ok_or("too many series")?;
        if tenants.last().is_some_and(|(before, _)| *before >= tenant) {
            return Err(format!("tenant {tenant:?} is out of order"));
        }
        tenants.push((tenant, first as u32..series as u32));
        if has_resolutions {
            let own = Resolution { finest: cursor.small()?, coarsest: cursor.small()? };
            if own.finest > own.coarsest || own.coarsest > RESOLUTION_SECONDS_MAX {
                let Resolution { finest, coarsest } = own;
                return Err(format!(
                    "resolutions of {finest} to {coarsest} seconds of tenant {:?}",
                    tenants[tenants.len() - 1].0
                ));
            }
            resolutions.push(own);
        }
    }
    if series > cursor.left() as u64 {
        return Err(format!("{series} series in {} bytes", cursor.left()));
    }
    let (mut pairs, mut ends) = (Vec::new(), Vec::with_capacity(series as usize));
    for id in 0..series {
        let mut pair = 0_u64;
        for i in 0..cursor.count(1)? {
            let step = u64::from(cursor.small()?);
            pair += step;
            if pair >= pair_count as u64 || (i > 0 && step == 0) {
                return Err(format!("series {id} has label pair {pair} of {pair_count}"));
            }
            pairs.push(pair as u32);
        }
        // A pair takes a byte at least, and no section has 2^32.
        ends.push(pairs.len() as u32);
    }
    cursor.end()?;
    pairs.shrink_to_fit();
    Ok(SeriesTable { tenants, resolutions, pairs, ends })
}

#[cfg(test)]
mod tests {
    use weir_blocks::packed::{put_bytes, put_varint};

    use super::*;

    #[test]
    fn resolutions_that_nothing_writes_are_refused() {
        let check = |finest: u64, coarsest: u64| {
            let mut raw = Vec::new();
            put_varint(&mut raw, 1);
            put_bytes(&mut raw, b"shop");
            [0, finest, coarsest].iter().for_each(|number| put_varint(&mut raw, *number));
            parse_series(&raw, true, 0).map(|table| table.resolutions)
        };
        assert_eq!(check(300, 3600), Ok(vec![Resolution { finest: 300, coarsest: 3600 }]));
        for (finest, coarsest) in [(301, 300), (0, 86_401), (4_000_000_000, 4_000_000_000)] {
            let expected = format!("resolutions of {finest} to {coarsest} seconds of tenant \"shop\"");
            assert_eq!(check(finest, coarsest), Err(expected));
        }
    }
}
