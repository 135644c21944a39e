//! What a reader believes and a writer heeds, from one constant: so nothing is written that cannot be read again.
//!
//! A reader *refuses* a column or a section above [`UNPACKED_BYTES_MAX`]. A writer *closes* it, and begins another chunk,
//! group or block, where it is large enough; one record more always fits below the reader's limit. So no record is refused
//! for its size: the bus lets none in that takes more memory than [`RECORD_BYTES_MAX`], and none takes more bytes in a
//! block than in memory.

use weir_model::wire::Limits;

/// A column of a chunk or a group, or a section that is read whole, once decompressed.
pub const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// One record alone: a line, a series, a span, with its labels.
pub const RECORD_BYTES_MAX: usize = Limits::DEFAULT.decoded_bytes() as usize;

/// A block is closed before a section that is read whole grows above this. It is held while the block is open; a block of
/// 4 GiB of lines has some 5 MiB of directory, one of a million series some 100 MiB of postings.
pub const SECTION_BYTES: usize = 256 << 20;

/// What a chunk, a segment or a group may have beside one large record; they are closed at a MiB or so.
const CLOSED_BYTES: usize = 128 << 20;

const _: () = assert!(SECTION_BYTES + RECORD_BYTES_MAX + CLOSED_BYTES <= UNPACKED_BYTES_MAX);

/// Errors with a sentence when a reader would refuse a run of bytes, or does.
pub fn check_unpacked(what: &str, length: usize) -> Result<(), String> {
    if length > UNPACKED_BYTES_MAX { Err(format!("{what} of {length} bytes are above {UNPACKED_BYTES_MAX}")) } else { Ok(()) }
}

/// Neighbours in pieces of at most `count_max`, each closed as soon as it has `bytes_max`.
pub fn pieces<T>(mut items: &[T], count_max: usize, bytes_max: usize, bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let (mut count, mut sum) = (0, 0_usize);
        while count < items.len() && count < count_max && sum < bytes_max {
            sum = sum.saturating_add(bytes(&items[count]));
            count += 1;
        }
        let (piece, rest) = items.split_at(count);
        items = rest;
        (count > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_closed_by_count_and_by_bytes() {
        let cut = |count, bytes| pieces(&[1, 9, 2, 2, 2], count, bytes, |item| *item).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(cut(2, 100), [2, 2, 1]);
        assert_eq!(cut(10, 4), [2, 2, 1]);
        assert_eq!(cut(10, 1), [1, 1, 1, 1, 1]);
        assert_eq!(cut(1, 0), Vec::<usize>::new());
    }
}
