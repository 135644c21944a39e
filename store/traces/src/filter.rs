//! Whether a block may hold a trace: a Bloom filter (Bloom, CACM 1970), so that a look-up by id loads the id tables of
//! those blocks only that have it, and of one in a hundred that do not.

use weir_model::id::TraceId;

/// Bits an entry; with [`PROBES`] 0.8% of absent ids pass.
const BITS_EACH: usize = 10;
const PROBES: u64 = 7;

/// The `filter.1` section for these hashes: 64-bit words, little-endian.
pub(crate) fn build(hashes: &[u64]) -> Vec<u8> {
    let mut words = vec![0_u64; (hashes.len() * BITS_EACH).div_ceil(64).max(1)];
    for &hash in hashes {
        for bit in bits(hash, words.len() as u64 * 64) {
            words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// False only when the trace is not there. A section of no whole word lets everything pass.
pub(crate) fn may_hold(section: &[u8], hash: u64) -> bool {
    let words = section.len() as u64 / 8;
    words == 0 || bits(hash, words * 64).all(|bit| section[(bit / 8) as usize] >> (bit % 8) & 1 == 1)
}

/// What the filter knows of a trace of a tenant.
pub(crate) fn hash(tenant: &str, id: TraceId) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&id.0, xxhash_rust::xxh3::xxh3_64(tenant.as_bytes()))
}

/// Double hashing (Kirsch and Mitzenmacher 2006) over the two halves of one hash.
fn bits(hash: u64, count: u64) -> impl Iterator<Item = u64> {
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).map(move |i| hash.wrapping_add(i.wrapping_mul(step)) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn present_ids_pass_and_few_others() {
        let id = |i: u128| hash("t", TraceId(i.to_be_bytes()));
        let section = build(&(0..10_000).map(id).collect::<Vec<_>>());
        assert!((0..10_000).all(|i| may_hold(&section, id(i))));
        let wrong = (10_000..110_000).filter(|i| may_hold(&section, id(*i))).count();
        assert!(wrong < 1500, "{wrong} of 100000");
        assert_eq!(hex::encode(build(&[1, 2])), hex::encode(build(&[2, 1])));
        assert!(may_hold(&[], 1));
    }
}
