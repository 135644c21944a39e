//! Several blocks as one: chunks of a stream joined up to the target size, ids kept, the index made anew.

use std::sync::Arc;

use super::block::LogsBlock;
use super::builder::ChunkBuilder;
use super::chunks_in_order::ChunksInOrder;
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
    chunk_bytes: usize,
) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
    let may_hide = |chunk: u32| block.hidden(chunk, without).overlaps(block.meta(chunk).first, block.meta(chunk).last);
    if !(0..block.chunks()).any(may_hide) {
        return Ok(None);
    }
    let mut left_out = 0;
    let built = merge_without(std::slice::from_ref(block), (without, &mut left_out), chunk_bytes, BlockWriter::new()?)?;
    Ok((left_out > 0).then_some(built))
}

/// Counts the lines that it leaves out.
fn merge_without(
    blocks: &[Arc<LogsBlock>],
    (without, left_out): (&Hidden, &mut u64),
    chunk_bytes: usize,
    mut writer: BlockWriter,
) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut merge = Merge::new(blocks.iter().map(|block| in_source_order(block)).collect());
    let mut open: Option<(&StreamKey, u32, ChunkBuilder)> = None;
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
            let bytes = readers[*block].bytes(*chunk)?;
            let lines = blocks[*block].lines_in(*chunk, bytes.clone())?;
            // What is left open goes as it is where it is worth a chunk, so that the next one can.
            let has_room = |(own, of, builder): &(&StreamKey, u32, ChunkBuilder)| {
                (*own, *of) == (stream, partition) && builder.bytes() < chunk_bytes / COPIED_PART
            };
            if !hidden.overlaps(meta.first, meta.last)
                && meta.body_bytes >= (chunk_bytes / COPIED_PART) as u64
                && !open.as_ref().is_some_and(has_room)
                && let Some(copy) = blocks[*block].copy(*chunk, &bytes, &lines)?
            {
                if let Some((stream, _, full)) = open.take() {
                    full.finish()?.iter().try_for_each(|chunk| writer.push(stream, chunk))?;
                }
                writer.push(stream, &copy)?;
                continue;
            }
            for i in 0..lines.len()? {
                let ends = |(own, of, builder): &mut (&StreamKey, u32, ChunkBuilder)| {
                    (*own, *of) != (stream, partition) || builder.bytes() >= chunk_bytes
                };
                if let Some((stream, _, full)) = open.take_if(ends) {
                    full.finish()?.iter().try_for_each(|chunk| writer.push(stream, chunk))?;
                }
                let (_, _, builder) = open.get_or_insert_with(|| (stream, partition, ChunkBuilder::new(partition)));
                lines.with(i, |id, record| {
                    if hidden.has(record.timestamp, record.body) {
                        *left_out += 1;
                    } else {
                        builder.push((id.offset, id.ordinal), record);
                    }
                })?;
            }
        }
    }
    if let Some((stream, _, last)) = open {
        last.finish()?.iter().try_for_each(|chunk| writer.push(stream, chunk))?;
    }
    writer.finish()
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
