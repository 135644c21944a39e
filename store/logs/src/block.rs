//! An opened block: its streams and directory in memory, chunks and index on demand.

use std::collections::HashSet;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_model::select::{Budget, NoBudget, ReadError, label_bytes};
use weir_model::time::UnixNanos;
use weir_model::usage::{Amount, LogsDisk};
use weir_model::wire::Kind;

use super::chunk::{EncodedChunk, Lines};
use super::chunks_in_order::ChunksInOrder;
use super::details;
use super::directory::{Directory, PackEntry, Sharing, decode_directory, decode_streams, unpack};
use super::index::{BlockIndex, Grams, IndexCache, LISTS, Turns, open_grams};
use super::opened::{self, OpenedPack, OpenedPacks};
use super::places::{self, PlacePages, PlacedChunk, PlacesBuilder};
use super::schema::{
    CHUNKS, CHUNKS_ONE, ChunkMeta, DETAILS, DIRECTORY, DIRECTORY_ONE, GRAMS, PLACE_PAGES, PLACES, Place, STREAMS, StreamKey,
};
use super::source_lines::{ChunkName, SourceLines};
use super::stored::StoredLines;
use weir_blocks::StoreError;
use weir_blocks::block::{Blob, BlockReader};
use weir_blocks::engine::{BlockSummary, check_records};
use weir_blocks::hidden::{Hidden, HiddenRows};

/// Lists of pages are read with the block up to this, so that whoever asks for an id waits once. A block of
/// 80 MB has some 50 KiB of them.
const LIST_BYTES_MAX: u64 = 256 << 10;

/// A sealed block of the logs engine.
pub struct LogsBlock {
    path: Arc<str>,
    reader: BlockReader,
    indexes: IndexCache,
    opened: OpenedPacks,
    /// Of blocks of before there is none; of a damaged one what is wrong with it.
    grams: Option<Result<Grams, String>>,
    pub(super) streams: Vec<StreamKey>,
    pub(super) directory: Directory,
    range: Option<(UnixNanos, UnixNanos)>,
    /// [`CHUNKS`] or [`CHUNKS_ONE`].
    chunks: &'static str,
    /// Names of its streams' labels, once somebody has asked for one.
    label_names: OnceLock<HashSet<Box<str>>>,
}

impl LogsBlock {
    pub(crate) fn open(blob: Arc<dyn Blob>, indexes: IndexCache, opened: OpenedPacks) -> Result<Self, StoreError> {
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
        let chunks = if reader.section_len(CHUNKS).is_some() { CHUNKS } else { CHUNKS_ONE };
        let length = reader.section_len(chunks).unwrap_or_default();
        let name = if reader.section_len(DIRECTORY).is_some() { DIRECTORY } else { DIRECTORY_ONE };
        let sharing = if name == DIRECTORY && chunks == CHUNKS { Sharing::Packs } else { Sharing::Nothing };
        let is_small = |(list, _): &(&str, &str)| reader.section_len(list).is_some_and(|bytes| bytes <= LIST_BYTES_MAX);
        let lists: Vec<_> = LISTS.into_iter().filter(is_small).collect();
        let names: Vec<&str> = [STREAMS, name, DETAILS, GRAMS].into_iter().chain(lists.iter().map(|(list, _)| *list)).collect();
        let mut sections = reader.sections(&names)?.into_iter();
        let mut next = || sections.next().flatten();
        let of_streams = next().unwrap_or_else(|| reader.section(STREAMS))?;
        let streams = unpack(&of_streams).and_then(|bytes| decode_streams(&bytes)).map_err(wrong(STREAMS))?;
        let decode = |bytes: Vec<u8>| decode_directory(&bytes, &streams, length, sharing);
        let of_directory = next().unwrap_or_else(|| reader.section(name))?;
        let mut directory = unpack(&of_directory).and_then(decode).map_err(wrong(name))?;
        // Blocks of before have no details, or no filter.
        if let Some(details) = next().transpose()? {
            let metas = directory.chunks.iter_mut().map(|entry| &mut entry.meta);
            unpack(&details).and_then(|bytes| details::read(&bytes, metas)).map_err(wrong(DETAILS))?;
        }
        let grams = next().map(open_grams).transpose()?;
        let metas = || directory.chunks.iter().map(|entry| &entry.meta);
        let range = metas().map(|meta| meta.first).min().zip(metas().map(|meta| meta.last).max());
        let block =
            Self { path, reader, indexes, opened, grams, streams, directory, range, chunks, label_names: OnceLock::new() };
        for (list, bytes) in lists.into_iter().zip(sections).filter_map(|(list, bytes)| Some((list, bytes?.ok()?))) {
            block.index(&NoBudget).keep_list(list, &bytes);
        }
        Ok(block)
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.directory.chunks.len() as u32
    }

    /// Whether any stream has a label of this name.
    pub(crate) fn has_label(&self, name: &str) -> bool {
        let names = || self.streams.iter().flat_map(|key| key.labels.iter()).map(|(name, _)| name.into()).collect();
        self.label_names.get_or_init(names).contains(name)
    }

    /// Whose stream a chunk is.
    pub(crate) fn stream(&self, chunk: u32) -> &StreamKey {
        &self.streams[self.directory.chunks[chunk as usize].stream as usize]
    }

    /// What is hidden of a chunk's stream.
    pub(crate) fn hidden(&self, chunk: u32, hidden: &Hidden) -> HiddenRows {
        let (StreamKey { tenant, labels }, meta) = (self.stream(chunk), self.meta(chunk));
        if hidden.touches(tenant, meta.first, meta.last) { hidden.of(tenant, labels) } else { HiddenRows::default() }
    }

    /// What is known of a chunk.
    pub(crate) fn meta(&self, chunk: u32) -> &ChunkMeta {
        &self.directory.chunks[chunk as usize].meta
    }

    /// Bytes of a chunk as stored: its share of its pack.
    pub(crate) fn chunk_bytes(&self, chunk: u32) -> u64 {
        self.directory.share(chunk)
    }

    /// What is read to open a chunk of which nothing is in memory.
    pub(crate) fn pack_bytes(&self, chunk: u32) -> u64 {
        let bytes = &self.directory.pack(chunk).bytes;
        bytes.end - bytes.start
    }

    /// The number of a chunk's pack.
    pub(crate) fn pack_of(&self, chunk: u32) -> u32 {
        self.directory.chunks[chunk as usize].pack
    }

    /// Earliest and latest time; `None` when it has no chunk.
    pub(crate) fn range(&self) -> Option<(UnixNanos, UnixNanos)> {
        self.range
    }

    /// Chunks of a stream, in source order.
    pub(crate) fn chunks_of(&self, key: &StreamKey) -> impl Iterator<Item = u32> {
        let stream = self.streams.iter().position(|own| own == key);
        stream.into_iter().flat_map(|stream| self.directory.of_stream(stream as u32)).map(|(chunk, _)| chunk)
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

    /// What all requests may read of indexes at once.
    pub(crate) fn turns(&self) -> &Turns {
        &self.indexes.turns
    }

    pub(crate) fn index<'a>(&'a self, budget: &'a dyn Budget) -> BlockIndex<'a> {
        let grams = self.grams.as_ref().and_then(|grams| grams.as_ref().ok());
        let (path, reader, cache, chunks) = (&self.path, &self.reader, &self.indexes, self.chunks());
        BlockIndex { path, reader, cache, chunks, grams, at_hand: false, budget }
    }

    /// Opens every chunk, one at a time, places and the index. Errors with `Corrupt` that says which cannot be read.
    pub(crate) fn verify(&self, summary: &BlockSummary) -> Result<(), StoreError> {
        let (mut count, mut places, mut chunks) = (0, PlacesBuilder::default(), ChunksInOrder::new(self));
        for chunk in 0..self.chunks() {
            let lines = chunks.lines(chunk)?;
            lines.load()?;
            self.check_times(chunk, &lines)?;
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

    fn check_times(&self, chunk: u32, lines: &SourceLines) -> Result<(), StoreError> {
        let said = (self.meta(chunk).first, self.meta(chunk).last);
        match lines.span()? {
            Some(span) if span != said => {
                Err(self.wrong_chunk(chunk, &format!("its lines are of {span:?}, the directory says {said:?}")))
            }
            _ => Ok(()),
        }
    }

    /// Reads and opens a chunk, of which nothing is unpacked yet. Errors with `Corrupt` that names block and chunk.
    pub(crate) fn lines(&self, chunk: u32) -> Result<SourceLines, StoreError> {
        let bytes = self.bytes_of(chunk)?;
        match self.chunks {
            CHUNKS_ONE => self.decode_one(chunk, &bytes),
            _ => Ok(self.lines_of(chunk, Arc::new(self.stored(chunk, bytes)?.into()))),
        }
    }

    /// A chunk of version 1, whose bytes were read; `None` where chunks are of another one.
    pub(crate) fn decoded_one(&self, chunk: u32, bytes: &[u8]) -> Option<Result<SourceLines, StoreError>> {
        (self.chunks == CHUNKS_ONE).then(|| self.decode_one(chunk, bytes))
    }

    fn decode_one(&self, chunk: u32, bytes: &[u8]) -> Result<SourceLines, StoreError> {
        let decoded = Lines::decode_one(bytes).map_err(|detail| self.wrong_chunk(chunk, &detail))?;
        self.check_count(chunk, decoded.len())?;
        Ok(SourceLines::decoded(decoded))
    }

    /// A chunk of its pack.
    pub(crate) fn lines_of(&self, chunk: u32, pack: Arc<OpenedPack>) -> SourceLines {
        SourceLines::stored(pack, self.directory.lines(chunk), ChunkName { path: Arc::clone(&self.path), chunk: Some(chunk) })
    }

    /// The pack of a chunk for a query, which others may soon ask again: of one that was opened lately nothing is read. Not of chunks of
    /// version 1.
    pub(crate) fn opened(&self, chunk: u32) -> Result<OpenedPack, StoreError> {
        self.opened.get(self.opened_key(chunk), || self.stored(chunk, self.bytes_of(chunk)?))
    }

    fn opened_key(&self, chunk: u32) -> opened::Key {
        (Arc::clone(&self.path), self.pack_of(chunk))
    }

    /// Whether the pack of a chunk was opened lately.
    pub(crate) fn is_opened(&self, chunk: u32) -> bool {
        self.opened.has(&self.opened_key(chunk))
    }

    /// Whether chunks are those of packs, and not of version 1.
    pub(crate) fn has_packs(&self) -> bool {
        self.chunks != CHUNKS_ONE
    }

    /// The pack of a chunk, from its bytes; what is wrong with it is said of that chunk.
    pub(crate) fn stored(&self, chunk: u32, bytes: Bytes) -> Result<StoredLines, StoreError> {
        let lines = StoredLines::open(bytes).map_err(|detail| self.wrong_chunk(chunk, &detail))?;
        self.check_count(chunk, lines.len())?;
        Ok(lines)
    }

    /// Whether a chunk that is read ahead is kept for who opens it.
    pub(crate) fn keeps_chunks(&self) -> bool {
        self.has_packs() && self.opened.keeps()
    }

    /// Reads a chunk for who opens it next; an error is reported to them. Nothing is read where nothing is kept.
    pub(crate) fn fetch(&self, chunk: u32) {
        let _reported_later = self.keeps_chunks().then(|| self.opened(chunk));
    }

    fn bytes_of(&self, chunk: u32) -> Result<Bytes, StoreError> {
        self.reader.section_range(self.chunks, self.pack_range(chunk))
    }

    /// Where the pack of a chunk lies in the section of chunks.
    pub(crate) fn pack_range(&self, chunk: u32) -> Range<u64> {
        self.directory.pack(chunk).bytes.clone()
    }

    /// A part of the section of chunks, of which nothing is kept for others; it ends with the section at the latest.
    pub(crate) fn read_chunks_once(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let length = self.reader.section_len(self.chunks).unwrap_or_default();
        self.reader.section_range_once(self.chunks, range.start..range.end.min(length))
    }

    fn wrong_chunk(&self, chunk: u32, detail: &str) -> StoreError {
        StoreError::corrupt(&self.path, format!("chunk {chunk}: {detail}"))
    }

    /// Of a pack that has so many lines.
    fn check_count(&self, chunk: u32, lines: usize) -> Result<(), StoreError> {
        let said = self.directory.pack(chunk).lines;
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
            let own = Amount { records: u64::from(self.meta(chunk).count), bytes: self.chunk_bytes(chunk) };
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
        for PackEntry { chunks, .. } in &self.directory.packs {
            for (i, (name, length, stored)) in self.lines(chunks.start)?.column_bytes().into_iter().enumerate() {
                match sums.get_mut(i) {
                    Some(sum) => (sum.1, sum.2) = (sum.1 + length, sum.2 + stored),
                    None => sums.push((name, length, stored)),
                }
            }
        }
        Ok(sums)
    }

    /// A chunk as it is, with its tokens; `None` when it is of version 1 or not alone in its pack, or not all is known of it that a
    /// block says. `lines` are its own.
    pub(crate) fn copy(&self, chunk: u32, lines: &SourceLines) -> Result<Option<EncodedChunk>, StoreError> {
        if self.meta(chunk).details.is_none() || self.directory.pack(chunk).chunks.len() > 1 {
            return Ok(None);
        }
        let Some((bytes, tokens)) = lines.pack_tokens()? else { return Ok(None) };
        Ok(Some(EncodedChunk { bytes, meta: self.meta(chunk).clone(), tokens }))
    }
}
