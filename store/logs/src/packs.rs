//! Lines of streams, one stream after the other, on their way into a block: chunks of one stream each, and packs of several small ones,
//! which are encoded as one. Called by the head and by merge; what a pack looks like is `chunk.rs`.

use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::limits::UNPACKED_BYTES_MAX;
use weir_model::log::LogRecord;

use super::builder::{COLUMN_GROWTH_MAX, OpenChunk, record_bytes};
use super::chunk::EncodedChunk;
use super::schema::{Place, StreamKey};
use super::writer::{BlockWriter, stream_bytes};

/// A pack is closed when it has so many bytes of lines and streams. Whoever reads one of its chunks reads all of them.
const PACK_BYTES: usize = 256 << 10;
/// A chunk of at least this part of a pack is alone in one.
const ALONE_PART: usize = 2;
/// What a chunk takes beside its lines and its stream's labels: its row in the directory, its document in the index.
const CHUNK_BYTES: usize = 128;

/// Takes lines: all of a stream together and in their order, streams in order.
pub(crate) struct PackBuilder<'a> {
    chunk_bytes: usize,
    pack_bytes: usize,
    writer: BlockWriter,
    open: Option<OpenPack<'a>>,
}

struct OpenPack<'a> {
    partition: u32,
    lines: OpenChunk,
    /// Streams of the chunks, and where each begins. The last one is open.
    chunks: Vec<(&'a StreamKey, Begin)>,
    /// Of streams and rows.
    other_bytes: usize,
}

/// Lines and bytes before a chunk.
#[derive(Clone, Copy)]
struct Begin {
    line: usize,
    bytes: usize,
}

impl<'a> PackBuilder<'a> {
    /// A chunk is closed when it has `chunk_bytes`.
    pub(crate) fn new(chunk_bytes: usize, writer: BlockWriter) -> Self {
        Self { chunk_bytes, pack_bytes: chunk_bytes.min(PACK_BYTES), writer, open: None }
    }

    /// Lines of this stream and partition follow, of about so many bytes together.
    pub(crate) fn begin(&mut self, stream: &'a StreamKey, partition: u32, bytes: usize) -> Result<(), StoreError> {
        let alone = self.pack_bytes / ALONE_PART;
        let is_full = |open: &OpenPack<'a>| {
            let (own, _) = open.chunks[open.chunks.len() - 1];
            own.tenant != stream.tenant
                || open.partition != partition
                || open.bytes() >= self.pack_bytes
                || open.own_bytes() >= alone
                || bytes >= alone
        };
        match &mut self.open {
            Some(open) if open.is_of(stream, partition) => return Ok(()),
            Some(open) if !is_full(open) => open.begin(stream),
            _ => {
                self.close()?;
                let mut open = OpenPack::new(stream, partition);
                open.lines.reserve(bytes.clamp(self.pack_bytes, self.chunk_bytes));
                self.open = Some(open);
            }
        }
        Ok(())
    }

    /// The next line of the stream.
    pub(crate) fn push(&mut self, place: Place, record: LogRecord<'_>) -> Result<(), StoreError> {
        let open = self.open.as_ref().expect("invariant: a stream has begun");
        let limit = UNPACKED_BYTES_MAX / COLUMN_GROWTH_MAX;
        // It was to be small: what its lines have beside their bodies is not known before.
        let is_large = || open.chunks.len() > 1 && open.own_bytes() + record_bytes(&record) >= self.pack_bytes / ALONE_PART;
        let is_full = open.own_bytes() >= self.chunk_bytes || !open.lines.has_room(&record, limit) || is_large();
        if is_full && open.lines.len() > 0 {
            let ((stream, _), partition) = (open.chunks[open.chunks.len() - 1], open.partition);
            self.close()?;
            self.open = Some(OpenPack::new(stream, partition));
        }
        let open = self.open.as_mut().expect("invariant: a stream has begun");
        open.lines.push(place, record);
        Ok(())
    }

    /// Bytes of the chunk that is open, if that is of this stream and partition.
    pub(crate) fn open_bytes(&self, stream: &StreamKey, partition: u32) -> Option<usize> {
        self.open.as_ref().filter(|open| open.is_of(stream, partition)).map(OpenPack::own_bytes)
    }

    /// A chunk that is encoded already; lines of its stream that came before are in others.
    pub(crate) fn push_encoded(&mut self, stream: &StreamKey, chunk: &EncodedChunk) -> Result<(), StoreError> {
        self.close()?;
        self.writer.push(stream, chunk)
    }

    /// The blocks.
    pub(crate) fn finish(mut self) -> Result<Vec<BuiltBlock>, StoreError> {
        self.close()?;
        self.writer.finish()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        // A chunk may have lost all of its lines, to what is hidden.
        let begins = open.chunks.iter().map(|(_, begin)| begin.line);
        let ends = begins.clone().skip(1).chain([open.lines.len()]);
        let chunks = open.chunks.iter().zip(begins.zip(ends)).filter(|(_, (begin, end))| begin < end);
        let (streams, ends): (Vec<&StreamKey>, Vec<u32>) = chunks.map(|((stream, _), (_, end))| (*stream, end as u32)).unzip();
        if streams.is_empty() {
            return Ok(());
        }
        let (bytes, chunks) = open.lines.finish_pack(&ends)?;
        self.writer.push_pack(&bytes, streams.into_iter().zip(&chunks))
    }
}

impl<'a> OpenPack<'a> {
    fn new(stream: &'a StreamKey, partition: u32) -> Self {
        let mut open = Self { partition, lines: OpenChunk::new(partition), chunks: Vec::new(), other_bytes: 0 };
        open.begin(stream);
        open
    }

    fn begin(&mut self, stream: &'a StreamKey) {
        self.chunks.push((stream, Begin { line: self.lines.len(), bytes: self.lines.bytes() }));
        self.other_bytes += CHUNK_BYTES + stream_bytes(stream);
    }

    fn is_of(&self, stream: &StreamKey, partition: u32) -> bool {
        let (own, _) = self.chunks[self.chunks.len() - 1];
        self.partition == partition && (std::ptr::eq(own, stream) || own == stream)
    }

    fn bytes(&self) -> usize {
        self.lines.bytes() + self.other_bytes
    }

    /// Of the chunk that is open.
    fn own_bytes(&self) -> usize {
        let (_, begin) = self.chunks[self.chunks.len() - 1];
        self.lines.bytes() - begin.bytes
    }
}
