//! The section of a block that says of each chunk what its directory has no room for. Drawn in `docs/formats/logs_block.md`.

use std::collections::HashMap;
use std::sync::Arc;

use super::rollup::{self, ChunkDetails, Names, ROLLUP_BYTES_MAX};
use super::schema::{ChunkMeta, LEVEL_CRITICAL};
use weir_blocks::StoreError;
use weir_blocks::columns::{Reader, put_bytes, put_varint};

/// The section in the making.
#[derive(Default)]
pub(crate) struct DetailsBuilder {
    known: HashMap<Names, u64>,
    /// Distinct lists of names, without their count.
    names: Vec<u8>,
    /// A row a chunk, without their count.
    rows: Vec<u8>,
}

impl DetailsBuilder {
    /// Adds the next chunk.
    pub(crate) fn push(&mut self, meta: &ChunkMeta) {
        let none = ChunkDetails::default();
        let details = meta.details.as_ref().unwrap_or(&none);
        let names = details.metadata.as_ref().map_or(0, |names| self.number(names) + 1);
        put_varint(&mut self.rows, names);
        rollup::put(&mut self.rows, &details.at_start);
        rollup::put(&mut self.rows, &rollup::critical(&meta.rollups));
    }

    fn number(&mut self, names: &Names) -> u64 {
        if let Some(number) = self.known.get(names) {
            return *number;
        }
        put_varint(&mut self.names, names.len() as u64);
        names.iter().for_each(|name| put_bytes(&mut self.names, name.as_bytes()));
        let number = self.known.len() as u64;
        self.known.insert(Arc::clone(names), number);
        number
    }

    /// Bytes of the section, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.names.len() + self.rows.len() + 10
    }

    /// What one chunk more adds to it, at most.
    pub(crate) fn bytes_of(&self, meta: &ChunkMeta) -> usize {
        let names =
            meta.details.as_ref().and_then(|details| details.metadata.as_ref()).filter(|names| !self.known.contains_key(*names));
        let names = names.map_or(0, |names| names.iter().map(|name| name.len() + 10).sum::<usize>() + 10);
        let at_start = meta.details.as_ref().map_or(0, |details| details.at_start.len());
        let critical = meta.rollups.iter().filter(|rollup| rollup.level == LEVEL_CRITICAL).count();
        names + (at_start + critical) * ROLLUP_BYTES_MAX + 30
    }

    /// The section, packed as a count and what is counted.
    pub(crate) fn finish(self, pack: impl FnOnce(u64, &[u8]) -> Result<Vec<u8>, StoreError>) -> Result<Vec<u8>, StoreError> {
        pack(self.known.len() as u64, &[self.names, self.rows].concat())
    }
}

/// Gives chunks their details. Errors with a sentence when the section is not of these chunks.
pub(crate) fn read<'a>(bytes: &[u8], metas: impl Iterator<Item = &'a mut ChunkMeta>) -> Result<(), String> {
    let mut reader = Reader::new(bytes);
    let mut lists: Vec<Names> = Vec::new();
    for _ in 0..reader.count("lists of names", 1)? {
        let names = (0..reader.count("names", 1)?).map(|_| reader.text("name").map(Box::from));
        lists.push(names.collect::<Result<_, String>>()?);
    }
    for meta in metas {
        let metadata = match reader.varint("list of names")? {
            0 => None,
            number => {
                let list = lists.get((number - 1) as usize);
                Some(Arc::clone(list.ok_or_else(|| format!("list of names {number} of {}", lists.len()))?))
            }
        };
        let at_start = rollup::read(&mut reader, LEVEL_CRITICAL)?;
        let critical = rollup::read(&mut reader, LEVEL_CRITICAL)?;
        rollup::parted(&mut meta.rollups, &critical)?;
        meta.details = Some(ChunkDetails { at_start, metadata });
    }
    reader.finish()
}
