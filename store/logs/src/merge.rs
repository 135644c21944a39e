//! Several blocks as one: chunks of a stream joined up to the target size, ids kept, the index made anew.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::LogsBlock;
use super::builder::chunk_bytes;
use super::chunks_in_order::ChunksInOrder;
use super::packs::PackBuilder;
use super::schema::{Place, StreamKey};
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Merge, SegmentError};

/// Stream, partition and first place of a chunk.
type SourceOrder<'a> = (&'a StreamKey, u32, Place);

/// A chunk of at least this part of the target size is copied as it is: only its tokens are made anew, which needs no body rendered.
const COPIED_PART: usize = 2;

/// As many blocks as `writer` makes of it: not always fewer. Errors when a chunk cannot be read: then the blocks stay as they are,
/// and what is left of them stays readable.
pub(crate) fn merge(blocks: &[Arc<LogsBlock>], chunk_bytes: usize, writer: BlockWriter) -> Result<Vec<BuiltBlock>, StoreError> {
    merge_without(blocks, (&Hidden::default(), &mut 0), chunk_bytes, writer)
}

/// A block less its hidden lines; `None` when it has none.
pub(crate) fn rewrite(
    block: &Arc<LogsBlock>,
    without: &Hidden,
    (chunk_bytes, writer): (usize, BlockWriter),
) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
    let may_hide = |chunk: u32| block.hidden(chunk, without).overlaps(block.meta(chunk).first, block.meta(chunk).last);
    if !(0..block.chunks()).any(may_hide) {
        return Ok(None);
    }
    let mut left_out = 0;
    let built = merge_without(std::slice::from_ref(block), (without, &mut left_out), chunk_bytes, writer)?;
    Ok((left_out > 0).then_some(built))
}

/// Counts the lines that it leaves out.
fn merge_without(
    blocks: &[Arc<LogsBlock>],
    (without, left_out): (&Hidden, &mut u64),
    chunk_bytes: usize,
    writer: BlockWriter,
) -> Result<Vec<BuiltBlock>, StoreError> {
    let bytes_of = stream_bytes(blocks);
    let mut merge = Merge::new(blocks.iter().map(|block| in_source_order(block)).collect());
    let mut packs = PackBuilder::new(chunk_bytes, writer);
    let mut readers: Vec<ChunksInOrder<'_>> = blocks.iter().map(|block| ChunksInOrder::new(block)).collect();
    let mut chunks = Vec::new();
    while let Some(group) = merge.next_group(&mut chunks) {
        let (stream, partition, _) = group.map_err(failed)?;
        for (block, chunk) in &chunks {
            let (hidden, meta) = (blocks[*block].hidden(*chunk, without), blocks[*block].meta(*chunk));
            if hidden.covers(meta.first, meta.last) {
                *left_out += u64::from(meta.count);
                continue;
            }
            let lines = readers[*block].lines(*chunk)?;
            // What is left open goes as it is where it is worth a chunk, so that the next one can.
            let has_room = packs.open_bytes(stream, partition).is_some_and(|bytes| bytes < chunk_bytes / COPIED_PART);
            if !hidden.overlaps(meta.first, meta.last)
                && meta.body_bytes >= (chunk_bytes / COPIED_PART) as u64
                && !has_room
                && let Some(copy) = blocks[*block].copy(*chunk, &lines)?
            {
                packs.push_encoded(stream, &copy)?;
                continue;
            }
            let bytes = bytes_of.get(&(stream, partition)).copied().unwrap_or_default();
            packs.begin(stream, partition, bytes)?;
            lines.each(&mut |id, record| {
                if hidden.has(record.timestamp, record.body) {
                    *left_out += 1;
                    return Ok(());
                }
                packs.push((id.offset, id.ordinal), record)
            })?;
        }
    }
    packs.finish()
}

/// Of each stream and partition the bytes of its lines in all blocks, before compression and without ids and attributes.
fn stream_bytes(blocks: &[Arc<LogsBlock>]) -> HashMap<(&StreamKey, u32), usize> {
    let mut bytes = HashMap::new();
    for block in blocks {
        for chunk in 0..block.chunks() {
            let meta = block.meta(chunk);
            let own = chunk_bytes(meta.count as usize, meta.body_bytes as usize, false, 0);
            *bytes.entry((block.stream(chunk), meta.partition)).or_default() += own;
        }
    }
    bytes
}

/// The chunks of a block.
fn in_source_order(block: &LogsBlock) -> impl Iterator<Item = Result<(SourceOrder<'_>, u32), SegmentError>> {
    let key = |chunk: u32| (block.stream(chunk), block.meta(chunk).partition, block.meta(chunk).first_place);
    let mut chunks: Vec<u32> = (0..block.chunks()).collect();
    chunks.sort_by(|a, b| key(*a).cmp(&key(*b)));
    chunks.into_iter().map(move |chunk| Ok((key(chunk), chunk)))
}

fn failed(error: SegmentError) -> StoreError {
    match error {
        SegmentError::Unreadable(error) => error,
        SegmentError::Ended(error) => StoreError::engine("merge blocks", error),
    }
}
