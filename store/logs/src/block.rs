//! An opened block: its streams and directory in memory, chunks and index on demand.

use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use weir_model::label::Labels;
use weir_model::select::{Budget, NoBudget, ReadError, label_bytes};
use weir_model::time::UnixNanos;
use weir_model::usage::{Amount, LogsDisk};
use weir_model::wire::Kind;

use super::chunk::{EncodedChunk, Lines};
use super::details;
use super::index::{BlockIndex, Grams, IndexCache, Known, Turns, read_grams};
use super::opened::OpenedChunks;
use super::places::{self, PlacePages, PlacedChunk, PlacesBuilder};
use super::plan::LogsPlan;
use super::predicate::TokenPredicate;
use super::rollup;
use super::schema::{
    CHUNKS, CHUNKS_ONE, ChunkMeta, DETAILS, DIRECTORY, LEVEL_FATAL, PLACE_PAGES, PLACES, Place, STREAMS, StreamKey,
};
use super::source_lines::{ChunkName, SourceLines};
use super::stored::StoredLines;
use weir_blocks::StoreError;
use weir_blocks::block::{Blob, BlockReader};
use weir_blocks::columns::Reader;
use weir_blocks::engine::{BlockSummary, check_records};
use weir_blocks::hidden::{Hidden, HiddenRows};
use weir_blocks::limits::check_unpacked;
use weir_blocks::packed::unzstd;

/// A sealed block of the logs engine.
pub struct LogsBlock {
    path: Arc<str>,
    reader: BlockReader,
    indexes: IndexCache,
    opened: OpenedChunks,
    /// Of blocks of before there is none; of a damaged one what is wrong with it.
    grams: Option<Result<Grams, String>>,
    streams: Vec<StreamKey>,
    directory: Vec<ChunkEntry>,
    range: Option<(UnixNanos, UnixNanos)>,
    /// [`CHUNKS`] or [`CHUNKS_ONE`].
    chunks: &'static str,
}

struct ChunkEntry {
    stream: u32,
    bytes: Range<u64>,
    meta: ChunkMeta,
}

impl LogsBlock {
    pub(crate) fn open(blob: Arc<dyn Blob>, indexes: IndexCache, opened: OpenedChunks) -> Result<Self, StoreError> {
        let reader = BlockReader::open(blob)?;
        let path: Arc<str> = reader.path().into();
        if reader.kind() != Kind::Logs {
            return Err(StoreError::corrupt(
                &path,
                format!("a block of {} where one of logs was expected", reader.kind().name()),
            ));
        }
        let wrong = |section: &'static str| {
            let path = Arc::clone(&path);
            move |detail: String| StoreError::corrupt(&path, format!("section {section}: {detail}"))
        };
        let streams = unpack(&reader.section(STREAMS)?).and_then(|bytes| decode_streams(&bytes)).map_err(wrong(STREAMS))?;
        let chunks = if reader.section_len(CHUNKS).is_some() { CHUNKS } else { CHUNKS_ONE };
        let length = reader.section_len(chunks).unwrap_or_default();
        let decode = |bytes: Vec<u8>| decode_directory(&bytes, streams.len(), length);
        let mut directory = unpack(&reader.section(DIRECTORY)?).and_then(decode).map_err(wrong(DIRECTORY))?;
        if reader.section_len(DETAILS).is_some() {
            let metas = directory.iter_mut().map(|entry| &mut entry.meta);
            unpack(&reader.section(DETAILS)?).and_then(|bytes| details::read(&bytes, metas)).map_err(wrong(DETAILS))?;
        }
        let grams = read_grams(&reader)?;
        let metas = || directory.iter().map(|entry| &entry.meta);
        let range = metas().map(|meta| meta.first).min().zip(metas().map(|meta| meta.last).max());
        Ok(Self { path, reader, indexes, opened, grams, streams, directory, range, chunks })
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> u32 {
        self.directory.len() as u32
    }

    /// Whose stream a chunk is.
    pub(crate) fn stream(&self, chunk: u32) -> &StreamKey {
        &self.streams[self.directory[chunk as usize].stream as usize]
    }

    /// What is hidden of a chunk's stream.
    pub(crate) fn hidden(&self, chunk: u32, hidden: &Hidden) -> HiddenRows {
        let (StreamKey { tenant, labels }, meta) = (self.stream(chunk), self.meta(chunk));
        if hidden.touches(tenant, meta.first, meta.last) { hidden.of(tenant, labels) } else { HiddenRows::default() }
    }

    /// What is known of a chunk.
    pub(crate) fn meta(&self, chunk: u32) -> &ChunkMeta {
        &self.directory[chunk as usize].meta
    }

    /// Bytes of a chunk as stored.
    pub(crate) fn chunk_bytes(&self, chunk: u32) -> usize {
        let bytes = &self.directory[chunk as usize].bytes;
        (bytes.end - bytes.start) as usize
    }

    /// Earliest and latest time; `None` when it has no chunk.
    pub(crate) fn range(&self) -> Option<(UnixNanos, UnixNanos)> {
        self.range
    }

    /// Chunks of streams that pass, with lines in the range. Matchers run once a stream.
    pub(crate) fn select(&self, plan: &LogsPlan) -> impl Iterator<Item = (u32, &ChunkMeta)> {
        let wanted: Vec<bool> = self.streams.iter().map(|key| plan.passes_stream(&key.tenant, &key.labels)).collect();
        let entries = (0..).zip(&self.directory).filter(move |(_, entry)| wanted[entry.stream as usize]);
        entries.map(|(chunk, entry)| (chunk, &entry.meta)).filter(|(_, meta)| plan.overlaps(meta))
    }

    /// Chunks of a stream, in source order.
    pub(crate) fn chunks_of(&self, key: &StreamKey) -> impl Iterator<Item = u32> {
        let stream = self.streams.iter().position(|own| own == key).map(|stream| stream as u32);
        (0..).zip(&self.directory).filter(move |(_, entry)| Some(entry.stream) == stream).map(|(chunk, _)| chunk)
    }

    /// Chunks that may have the line of a place: at most one where the block says which. Places that cannot be read cost time
    /// and no lines.
    pub(crate) fn chunks_with(&self, place: Place) -> Vec<u32> {
        let mut covering: Vec<u32> = (0..self.chunks()).filter(|chunk| self.meta(*chunk).covers(place)).collect();
        if covering.len() > 1 && self.reader.section_len(PLACE_PAGES).is_some() {
            match self.chunk_with(place) {
                Ok(found) => covering.retain(|chunk| Some(*chunk) == found),
                Err(error) => tracing::warn!(%error, "places cannot be read; chunks are searched without"),
            }
        }
        covering
    }

    fn chunk_with(&self, place: Place) -> Result<Option<u32>, StoreError> {
        let Some(page) = self.place_pages()?.page_of(place) else { return Ok(None) };
        Ok(places::chunk_of(&self.place_page(page)?, place))
    }

    fn place_pages(&self) -> Result<PlacePages, StoreError> {
        let decoded = PlacePages::decode(&self.reader.section(PLACE_PAGES)?);
        decoded.map_err(|detail| StoreError::corrupt(&self.path, format!("section {PLACE_PAGES}: {detail}")))
    }

    fn place_page(&self, page: Range<u64>) -> Result<Vec<PlacedChunk>, StoreError> {
        let decoded = places::decode_page(&self.reader.section_range(PLACES, page)?);
        decoded.map_err(|detail| StoreError::corrupt(&self.path, format!("section {PLACES}: {detail}")))
    }

    /// Errors with `Corrupt` when places are not those of the lines.
    fn verify_places(&self, lines: PlacesBuilder) -> Result<(), StoreError> {
        let mut expected = lines.into_sorted().into_iter();
        for page in self.place_pages()?.ranges() {
            for found in self.place_page(page)? {
                if expected.next() != Some(found) {
                    return Err(StoreError::corrupt(&self.path, format!("section {PLACES}: {found:?} is not where lines are")));
                }
            }
        }
        match expected.len() {
            0 => Ok(()),
            missing => Err(StoreError::corrupt(&self.path, format!("section {PLACES}: {missing} runs are missing"))),
        }
    }

    /// The chunks that may meet a predicate; `None` when any may. Errors when the index cannot be read.
    #[cfg(test)]
    pub(crate) fn candidates(&self, predicate: &TokenPredicate) -> Result<Option<RoaringBitmap>, StoreError> {
        self.index(&NoBudget).candidates(predicate, &mut Known::default())
    }

    /// The chunks that may meet a predicate; `None` when any may, and when the index cannot be read, which costs time and no lines,
    /// or the request ends before it is.
    pub(crate) fn candidates_or_all(
        &self,
        predicate: &TokenPredicate,
        known: &mut Known,
        budget: &dyn Budget,
    ) -> Option<RoaringBitmap> {
        self.index(budget).candidates(predicate, known).unwrap_or_else(|error| {
            if budget.check().is_ok() {
                tracing::warn!(%error, "an index cannot be read; its block is searched without");
            }
            None
        })
    }

    /// The same by what is in memory. Errors with `Unavailable` when something has to be read for it.
    pub(crate) fn candidates_at_hand(
        &self,
        predicate: &TokenPredicate,
        known: &mut Known,
    ) -> Result<Option<RoaringBitmap>, StoreError> {
        BlockIndex { at_hand: true, ..self.index(&NoBudget) }.candidates(predicate, known)
    }

    /// What all requests may read of indexes at once.
    pub(crate) fn turns(&self) -> &Turns {
        &self.indexes.turns
    }

    fn index<'a>(&'a self, budget: &'a dyn Budget) -> BlockIndex<'a> {
        let grams = self.grams.as_ref().and_then(|grams| grams.as_ref().ok());
        let (path, reader, cache, chunks) = (&self.path, &self.reader, &self.indexes, self.chunks());
        BlockIndex { path, reader, cache, chunks, grams, at_hand: false, budget }
    }

    /// Opens every chunk, one at a time, places and the index. Errors with `Corrupt` that says which cannot be read.
    pub(crate) fn verify(&self, summary: &BlockSummary) -> Result<(), StoreError> {
        let (mut count, mut places) = (0, PlacesBuilder::default());
        for chunk in 0..self.chunks() {
            let lines = self.lines(chunk)?;
            lines.load()?;
            count += lines.len()? as u64;
            places.push(chunk, lines.place_runs()?.into_iter());
        }
        check_records(&self.path, count, summary)?;
        self.verify_places(places)?;
        if let Some(Err(detail)) = &self.grams {
            return Err(StoreError::corrupt(&self.path, detail.as_str()));
        }
        let cache = self.indexes.keeping_nothing();
        BlockIndex { cache: &cache, ..self.index(&NoBudget) }.verify()
    }

    /// Reads and opens a chunk, of which nothing is unpacked yet. Errors with `Corrupt` that names block and chunk.
    pub(crate) fn lines(&self, chunk: u32) -> Result<SourceLines, StoreError> {
        match self.chunks {
            CHUNKS_ONE => {
                let decoded = Lines::decode_one(&self.bytes_of(chunk)?).map_err(|detail| self.wrong_chunk(chunk, &detail))?;
                self.check_count(chunk, decoded.len())?;
                Ok(SourceLines::decoded(decoded))
            }
            _ => Ok(SourceLines::stored(self.stored(chunk)?.into(), self.name_of(chunk))),
        }
    }

    /// The same for a query, which others may soon ask again: of one that was opened lately nothing is read.
    pub(crate) fn opened(&self, chunk: u32) -> Result<SourceLines, StoreError> {
        if self.chunks == CHUNKS_ONE {
            return self.lines(chunk);
        }
        let lines = self.opened.get((Arc::clone(&self.path), chunk), || self.stored(chunk))?;
        Ok(SourceLines::stored(lines, self.name_of(chunk)))
    }

    fn stored(&self, chunk: u32) -> Result<StoredLines, StoreError> {
        let lines = StoredLines::open(self.bytes_of(chunk)?).map_err(|detail| self.wrong_chunk(chunk, &detail))?;
        self.check_count(chunk, lines.len())?;
        Ok(lines)
    }

    /// Whether a chunk that is read ahead is kept for who opens it.
    pub(crate) fn keeps_chunks(&self) -> bool {
        self.chunks != CHUNKS_ONE && self.opened.keeps()
    }

    /// Reads a chunk for who opens it next; an error is reported to them. Nothing is read where nothing is kept.
    pub(crate) fn fetch(&self, chunk: u32) {
        let _reported_later = self.keeps_chunks().then(|| self.opened(chunk));
    }

    fn bytes_of(&self, chunk: u32) -> Result<Bytes, StoreError> {
        self.reader.section_range(self.chunks, self.directory[chunk as usize].bytes.clone())
    }

    fn name_of(&self, chunk: u32) -> ChunkName {
        ChunkName { path: Arc::clone(&self.path), chunk: Some(chunk) }
    }

    fn wrong_chunk(&self, chunk: u32, detail: &str) -> StoreError {
        StoreError::corrupt(&self.path, format!("chunk {chunk}: {detail}"))
    }

    fn check_count(&self, chunk: u32, lines: usize) -> Result<(), StoreError> {
        let said = self.meta(chunk).count;
        let wrong = || self.wrong_chunk(chunk, &format!("{lines} lines, the directory says {said}"));
        if lines == said as usize { Ok(()) } else { Err(wrong()) }
    }
}

impl LogsBlock {
    /// Adds what it takes on disk; nothing is read for that. Errors when the streams are more than the budget has room for.
    pub fn add_disk(&self, disk: &mut LogsDisk, budget: &dyn Budget) -> Result<(), ReadError> {
        budget.check()?;
        disk.blocks += 1;
        for chunk in 0..self.chunks() {
            let StreamKey { tenant, labels } = self.stream(chunk);
            let own = Amount { records: u64::from(self.meta(chunk).count), bytes: self.chunk_bytes(chunk) as u64 };
            match disk.streams.entry((Arc::clone(tenant), labels.clone())) {
                Entry::Occupied(mut known) => *known.get_mut() += own,
                Entry::Vacant(new) => {
                    budget.reserve(label_bytes(labels) + LogsDisk::STREAM_BYTES)?;
                    new.insert(own);
                }
            }
        }
        for name in self.reader.names() {
            *disk.parts.entry(name.to_owned()).or_default() += self.reader.section_len(name).unwrap_or_default();
        }
        Ok(())
    }

    /// The columns of all chunks by their names, with their bytes before compression and as stored.
    pub fn column_bytes(&self) -> Result<Vec<(&'static str, u64, u64)>, StoreError> {
        let mut sums: Vec<(&'static str, u64, u64)> = Vec::new();
        for chunk in 0..self.chunks() {
            for (i, (name, length, stored)) in self.lines(chunk)?.column_bytes().into_iter().enumerate() {
                match sums.get_mut(i) {
                    Some(sum) => (sum.1, sum.2) = (sum.1 + length, sum.2 + stored),
                    None => sums.push((name, length, stored)),
                }
            }
        }
        Ok(sums)
    }

    /// A chunk as it is, with its tokens; `None` when it is of version 1, or not all is known of it that a block says. `lines` are its own.
    pub(crate) fn copy(&self, chunk: u32, lines: &SourceLines) -> Result<Option<EncodedChunk>, StoreError> {
        if self.meta(chunk).details.is_none() {
            return Ok(None);
        }
        let Some(tokens) = lines.tokens()? else { return Ok(None) };
        Ok(Some(EncodedChunk { bytes: self.bytes_of(chunk)?, meta: self.meta(chunk).clone(), tokens }))
    }
}

fn unpack(section: &[u8]) -> Result<Vec<u8>, String> {
    let (length, packed) = section.split_first_chunk::<4>().ok_or("shorter than its length")?;
    let length = u32::from_le_bytes(*length) as usize;
    check_unpacked("streams or directory", length)?;
    let bytes = unzstd(packed, length).map_err(|error| error.to_string())?;
    if bytes.len() == length { Ok(bytes) } else { Err(format!("{} bytes of {length}", bytes.len())) }
}

fn decode_streams(bytes: &[u8]) -> Result<Vec<StreamKey>, String> {
    let mut reader = Reader::new(bytes);
    let mut streams: Vec<StreamKey> = Vec::new();
    for _ in 0..reader.count("streams", 2)? {
        let tenant = reader.text("tenant")?;
        // Streams are sorted by tenant: one copy of each.
        let shared = streams.last().filter(|before| &*before.tenant == tenant).map(|before| Arc::clone(&before.tenant));
        let mut pairs = Vec::new();
        for _ in 0..reader.count("labels", 2)? {
            pairs.push((reader.text("label name")?, reader.text("label value")?));
        }
        streams.push(StreamKey { tenant: shared.unwrap_or_else(|| tenant.into()), labels: Labels::from_pairs(pairs) });
    }
    reader.finish()?;
    Ok(streams)
}

fn decode_directory(bytes: &[u8], streams: usize, length: u64) -> Result<Vec<ChunkEntry>, String> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    let mut at = 0_u64;
    for chunk in 0..reader.count("chunks", 12)? {
        let stream = reader.varint_u32("stream")?;
        if stream as usize >= streams {
            return Err(format!("chunk {chunk} is of stream {stream} of {streams}"));
        }
        let end = at.saturating_add(reader.varint("length of a chunk")?);
        if end > length {
            return Err(format!("chunk {chunk} ends at byte {end} of {length}"));
        }
        entries.push(ChunkEntry { stream, bytes: at..end, meta: decode_meta(&mut reader)? });
        at = end;
    }
    reader.finish()?;
    Ok(entries)
}

fn decode_meta(reader: &mut Reader<'_>) -> Result<ChunkMeta, String> {
    let partition = reader.varint_u32("partition")?;
    let first = reader.zigzag("first timestamp")?;
    let last = first.wrapping_add(reader.varint("last timestamp")? as i64);
    let count = reader.varint_u32("lines")?;
    let body_bytes = reader.varint("bytes")?;
    let first_place = (reader.varint("first offset")?, reader.varint_u32("first ordinal")?);
    let last_offset = first_place.0.wrapping_add(reader.zigzag("last offset")? as u64);
    let last_place = (last_offset, reader.varint_u32("last ordinal")?);
    let rollups = rollup::read(reader, LEVEL_FATAL)?;
    Ok(ChunkMeta { partition, first, last, count, body_bytes, first_place, last_place, rollups, details: None })
}
