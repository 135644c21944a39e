//! The unsealed lines of one partition. Written by the partition's owner, read by queries at the same time.
//!
//! A stream's lines lie in *full* chunks, encoded, and in one open chunk: the sections as they came. A chunk that fills is
//! encoded outside of all locks; until that is done readers see its sections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::memory::{shared, table_entry};
use weir_model::wire::Section;

use super::builder::{self, ChunkBuilder};
use super::chunk::EncodedChunk;
use super::packs::PackBuilder;
use super::part::Part;
use super::schema::{Place, StreamKey};
use super::source::{Lies, Source};
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::{BuiltBlock, Head, Position};
use weir_blocks::limits::RECORD_BYTES_MAX;
use weir_blocks::scratch::ScratchSpace;

/// A head of the logs engine.
pub struct LogsHead {
    chunk_bytes: usize,
    /// Guards which streams there are, not what they hold: taken for writing only when a stream is new.
    streams: RwLock<HashMap<StreamKey, Arc<HeadStream>>>,
    bytes: AtomicUsize,
    records: AtomicU64,
}

#[derive(Default)]
struct HeadStream {
    /// Held while pointers are copied or swapped.
    chunks: Mutex<HeadChunks>,
}

#[derive(Default)]
struct HeadChunks {
    /// In the order of their lines.
    full: Vec<FullChunk>,
    open: Vec<Arc<Part>>,
    open_bytes: usize,
}

#[derive(Clone)]
enum FullChunk {
    /// Not encoded yet.
    Parts(Vec<Arc<Part>>),
    /// A section that alone is larger than a chunk makes several.
    Encoded(Vec<Arc<EncodedChunk>>),
}

impl LogsHead {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes, streams: RwLock::default(), bytes: AtomicUsize::new(0), records: AtomicU64::new(0) }
    }

    /// For lines that another head gave. Never full: nothing is gained by encoding what is read once.
    pub fn selected() -> Self {
        Self::new(usize::MAX)
    }

    /// The chunks of the streams that pass, each stream's in source order, with the lines as of now.
    pub(crate) fn sources(&self, passes: impl Fn(&StreamKey) -> bool) -> Vec<(StreamKey, Vec<Source>)> {
        let streams: Vec<(StreamKey, Arc<HeadStream>)> = {
            let streams = self.streams.read();
            streams.iter().filter(|(key, _)| passes(key)).map(|(key, stream)| (key.clone(), Arc::clone(stream))).collect()
        };
        streams.into_iter().map(|(key, stream)| (key, stream.sources())).collect()
    }

    /// Takes lines that another head gave, as many places as lines, both ascending by place over all calls of a stream.
    /// The chunk stays open.
    pub fn insert_placed(&self, partition: u32, tenant: &str, batch: Arc<LogBatch>, places: Vec<Place>) {
        let (records, key) = (batch.len() as u64, StreamKey { tenant: tenant.into(), labels: batch.stream.clone() });
        let Some(part) = Part::with_places(partition, batch, places) else { return };
        let stream = self.stream(key);
        self.bytes.fetch_add(part.memory(), Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        stream.chunks.lock().open.push(Arc::new(part));
    }

    fn stream(&self, key: StreamKey) -> Arc<HeadStream> {
        if let Some(stream) = self.streams.read().get(&key) {
            return Arc::clone(stream);
        }
        let memory = stream_memory(&key);
        match self.streams.write().entry(key) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(free) => {
                self.bytes.fetch_add(memory, Ordering::Relaxed);
                Arc::clone(free.insert(Arc::default()))
            }
        }
    }

    /// Encodes a chunk that has filled. On an error its sections stay, readable, and `build` tries once more.
    fn encode_full(&self, stream: &HeadStream, index: usize, parts: &[Arc<Part>]) {
        let Ok(encoded) = encode(parts, self.chunk_bytes) else { return };
        let held: usize = encoded.iter().map(|chunk| chunk.memory()).sum();
        let freed: usize = parts.iter().map(|part| part.memory()).sum();
        stream.chunks.lock().full[index] = FullChunk::Encoded(encoded);
        self.bytes.fetch_add(held, Ordering::Relaxed);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }
}

/// A stream's labels, its tenant's name and what it lies in.
fn stream_memory(key: &StreamKey) -> usize {
    let entry = table_entry(size_of::<(StreamKey, Arc<HeadStream>)>());
    entry + key.labels.memory() + shared(key.tenant.len()) + shared(size_of::<HeadStream>())
}

impl HeadStream {
    fn sources(&self) -> Vec<Source> {
        let (full, open) = self.copy();
        let mut sources = Vec::new();
        for chunk in full {
            match chunk {
                FullChunk::Parts(parts) => sources.extend(Source::of_parts(parts)),
                FullChunk::Encoded(chunks) => sources.extend(chunks.into_iter().map(|chunk| Source::from(Lies::Encoded(chunk)))),
            }
        }
        sources.extend(Source::of_parts(open));
        sources
    }

    fn copy(&self) -> (Vec<FullChunk>, Vec<Arc<Part>>) {
        let chunks = self.chunks.lock();
        (chunks.full.clone(), chunks.open.clone())
    }
}

impl Head for LogsHead {
    type Batch = LogBatch;

    fn insert(&self, position: Position, section: &Section<LogBatch>) -> Result<(), StoreError> {
        let batch = &section.batch;
        if batch.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if position.ordinal.checked_add(count).is_none() {
            return Err(StoreError::engine("take log lines", format!("ordinal {} and {} lines", position.ordinal, batch.len())));
        }
        let largest = batch.body_bytes() + batch.attributes().iter().map(LogAttributes::text_bytes).max().unwrap_or_default();
        let too_large = |record: &LogRecord<'_>| builder::record_bytes(record) > RECORD_BYTES_MAX;
        if largest > RECORD_BYTES_MAX
            && let Some(record) = batch.iter().find(too_large)
        {
            let bytes = builder::record_bytes(&record);
            let detail = format!("a line of {bytes} bytes from {} is above {RECORD_BYTES_MAX}", section.header.source);
            return Err(StoreError::engine("take log lines", detail));
        }
        let stream = self.stream(StreamKey { tenant: section.header.tenant.as_str().into(), labels: batch.stream.clone() });
        let part = Arc::new(Part::new(position, Arc::clone(batch)));
        self.bytes.fetch_add(part.memory(), Ordering::Relaxed);
        self.records.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let bytes = part.chunk_bytes();
        let filled = {
            let mut chunks = stream.chunks.lock();
            chunks.open_bytes += bytes;
            chunks.open.push(part);
            (chunks.open_bytes >= self.chunk_bytes).then(|| {
                let parts = std::mem::take(&mut chunks.open);
                chunks.open_bytes = 0;
                chunks.full.push(FullChunk::Parts(parts.clone()));
                (chunks.full.len() - 1, parts)
            })
        };
        if let Some((index, parts)) = filled {
            self.encode_full(&stream, index, &parts);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError> {
        let mut streams: Vec<(StreamKey, Arc<HeadStream>)> =
            self.streams.read().iter().map(|(key, stream)| (key.clone(), Arc::clone(stream))).collect();
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        let mut packs = PackBuilder::new(self.chunk_bytes, BlockWriter::new(ScratchSpace::default())?);
        for (key, stream) in &streams {
            let (full, open) = stream.copy();
            for chunk in full.into_iter().chain([FullChunk::Parts(open)]) {
                match chunk {
                    FullChunk::Encoded(chunks) => chunks.iter().try_for_each(|chunk| packs.push_encoded(key, chunk))?,
                    FullChunk::Parts(parts) => push_parts(&mut packs, key, &parts)?,
                }
            }
        }
        packs.finish()
    }
}

fn push_parts<'a>(packs: &mut PackBuilder<'a>, key: &'a StreamKey, parts: &[Arc<Part>]) -> Result<(), StoreError> {
    let Some(first) = parts.first() else { return Ok(()) };
    packs.begin(key, first.position.partition, parts.iter().map(|part| part.chunk_bytes()).sum())?;
    let lines = parts.iter().flat_map(|part| part.batch.iter().enumerate().map(|(i, record)| (part.place(i), record)));
    for (place, record) in lines {
        packs.push(place, record)?;
    }
    Ok(())
}

/// Chunks of at most about `chunk_bytes` with the lines of all parts, in order.
fn encode(parts: &[Arc<Part>], chunk_bytes: usize) -> Result<Vec<Arc<EncodedChunk>>, StoreError> {
    let Some(first) = parts.first() else { return Ok(Vec::new()) };
    let partition = first.position.partition;
    let mut builder = ChunkBuilder::new(partition);
    let mut chunks = Vec::new();
    let (lines, bytes) =
        parts.iter().fold((0, 0), |(lines, bytes), part| (lines + part.batch.len(), bytes + part.batch.body_bytes()));
    builder.reserve(lines, bytes.min(chunk_bytes.saturating_mul(2)));
    for part in parts {
        for (i, record) in part.batch.iter().enumerate() {
            // Twice: so that parts that filled a chunk and a bit stay one chunk, and a large section is cut.
            if builder.bytes() >= chunk_bytes.saturating_mul(2) {
                let full = std::mem::replace(&mut builder, ChunkBuilder::new(partition));
                chunks.extend(full.finish()?.into_iter().map(Arc::new));
            }
            builder.push(part.place(i), record);
        }
    }
    chunks.extend(builder.finish()?.into_iter().map(Arc::new));
    Ok(chunks)
}
