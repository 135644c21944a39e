//! What things take on the heap, so that a head can count what it holds instead of guessing. Not an allocator.

/// Header of an allocation, and what its size is rounded up to: glibc's malloc on 64 bits.
const HEADER_BYTES: usize = 8;
const STEP_BYTES: usize = 16;
const SMALLEST_BYTES: usize = 32;
/// An `Arc`'s two counters.
const COUNTS_BYTES: usize = 16;

/// Memory of an allocation of so many bytes; none for none.
pub const fn allocation(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let whole = (bytes + HEADER_BYTES).next_multiple_of(STEP_BYTES);
    if whole < SMALLEST_BYTES { SMALLEST_BYTES } else { whole }
}

/// Memory behind an `Arc` of something of so many bytes.
pub const fn shared(bytes: usize) -> usize {
    allocation(bytes + COUNTS_BYTES)
}

/// Memory of an entry of a hash table: its buckets are a power of two of which at most 7 in 8 are taken, so between 1.1
/// and 2.3 of them an entry, and a byte each.
pub const fn table_entry(bytes: usize) -> usize {
    (bytes + 1) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_as_malloc_does() {
        assert_eq!([0, 1, 24, 25, 40, 41].map(allocation), [0, 32, 32, 48, 48, 64]);
        assert_eq!((shared(8), table_entry(24)), (32, 50));
    }
}
