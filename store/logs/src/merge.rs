//! Several blocks as one: chunks of a stream joined up to the target size, ids kept, the index made anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block::LogsBlock;
use super::builder::ChunkBuilder;
use super::schema::StreamKey;
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;

/// Errors when a chunk cannot be read: then the blocks stay as they are, and what is left of them stays readable.
pub(crate) fn merge(blocks: &[Arc<LogsBlock>], chunk_bytes: usize) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut streams: BTreeMap<&StreamKey, Vec<(&LogsBlock, u32)>> = BTreeMap::new();
    for block in blocks {
        for chunk in 0..block.chunks() {
            streams.entry(block.stream(chunk)).or_default().push((block, chunk));
        }
    }
    let mut writer = BlockWriter::new()?;
    for (stream, mut chunks) in streams {
        chunks.sort_by_key(|(block, chunk)| (block.meta(*chunk).partition, block.meta(*chunk).first_place));
        let mut builder: Option<(u32, ChunkBuilder)> = None;
        for (block, chunk) in chunks {
            let lines = block.lines(chunk)?;
            for i in 0..lines.len() {
                let (id, record) = lines.get(i);
                let full = builder.take_if(|(partition, open)| *partition != id.partition || open.bytes() >= chunk_bytes);
                if let Some((_, full)) = full {
                    full.finish()?.iter().try_for_each(|chunk| writer.push(stream, chunk))?;
                }
                let (_, open) = builder.get_or_insert_with(|| (id.partition, ChunkBuilder::new(id.partition)));
                open.push((id.offset, id.ordinal), record);
            }
        }
        if let Some((_, last)) = builder {
            last.finish()?.iter().try_for_each(|chunk| writer.push(stream, chunk))?;
        }
    }
    writer.finish()
}
