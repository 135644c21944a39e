//! Which chunks hold a token: a tantivy index whose documents are the chunks, in their order, and whose only field is
//! the token. The only place of weir that knows tantivy.
//!
//! A chunk gives its distinct tokens as bytes, so that tantivy neither tokenises nor counts: no positions, no
//! frequencies, no norms, nothing stored. The index's files lie one after the other in one section of the block.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use roaring::RoaringBitmap;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{Directory, FileHandle, OwnedBytes, RamDirectory, WatchCallback, WatchHandle, WritePtr};
use tantivy::schema::{BytesOptions, Field, IndexRecordOption, Schema};
use tantivy::{DocSet, Index, InvertedIndexReader, SingleSegmentIndexWriter, TantivyDocument, Term};

use super::predicate::{AnyCase, Edge, TokenPredicate};
use super::tokens::{LONG, TOKEN_BYTES_MAX, Tokens};
use weir_blocks::StoreError;
use weir_blocks::columns::{Reader, put_bytes, put_varint};

/// Sizes tantivy's table of terms at the start; it grows beyond.
const WRITER_BYTES: usize = 32 << 20;
const META: &str = "meta.json";

/// Gathers chunks.
pub(crate) struct IndexBuilder {
    writer: SingleSegmentIndexWriter,
    directory: RamDirectory,
    field: Field,
}

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let field = schema.add_bytes_field("token", BytesOptions::default().set_indexed());
    (schema.build(), field)
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::engine("build the index", error)
}

impl IndexBuilder {
    /// Without chunks.
    pub(crate) fn new() -> Result<Self, StoreError> {
        let (schema, field) = schema();
        let directory = RamDirectory::create();
        let builder = Index::builder().schema(schema);
        let writer = builder.single_segment_index_writer(directory.clone(), WRITER_BYTES).map_err(failed)?;
        Ok(Self { writer, directory, field })
    }

    /// The next chunk.
    pub(crate) fn push(&mut self, tokens: &Tokens) -> Result<(), StoreError> {
        let mut document = TantivyDocument::default();
        tokens.iter().for_each(|token| document.add_bytes(self.field, token));
        self.writer.add_document(document).map_err(failed)
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        self.writer.mem_usage()
    }

    /// The section: count of files, per file its name and length, then their bytes.
    pub(crate) fn finish(self) -> Result<Vec<u8>, StoreError> {
        let index = self.writer.finalize().map_err(failed)?;
        let mut paths = vec![PathBuf::from(META)];
        paths.extend(index.load_metas().map_err(failed)?.list_segment_files());
        paths[1..].sort();
        let mut files = Vec::new();
        for path in paths {
            let bytes = match path.to_str() {
                Some(META) => OwnedBytes::new(self.directory.atomic_read(&path).map_err(failed)?),
                _ if !self.directory.exists(&path).map_err(failed)? => continue,
                _ => self.directory.open_read(&path).map_err(failed)?.read_bytes().map_err(failed)?,
            };
            files.push((path, bytes));
        }
        let mut section = Vec::new();
        put_varint(&mut section, files.len() as u64);
        for (path, bytes) in &files {
            put_bytes(&mut section, path.to_string_lossy().as_bytes());
            put_varint(&mut section, bytes.len() as u64);
        }
        files.iter().for_each(|(_, bytes)| section.extend_from_slice(bytes));
        Ok(section)
    }
}

/// An opened index.
pub(crate) struct OpenIndex {
    inverted: Arc<InvertedIndexReader>,
    field: Field,
    documents: u32,
    bytes: u64,
}

impl OpenIndex {
    /// From the section's bytes; errors are sentences.
    pub(crate) fn open(section: &Bytes) -> Result<Self, String> {
        let directory = SectionDirectory::parse(section)?;
        let index = Index::open(directory).map_err(|error| error.to_string())?;
        let field = index.schema().get_field("token").map_err(|error| error.to_string())?;
        let segments = index.searchable_segments().map_err(|error| error.to_string())?;
        let [segment] = &segments[..] else { return Err(format!("{} segments, one was expected", segments.len())) };
        let reader = tantivy::SegmentReader::open(segment).map_err(|error| error.to_string())?;
        let inverted = reader.inverted_index(field).map_err(|error| error.to_string())?;
        Ok(Self { inverted, field, documents: reader.max_doc(), bytes: section.len() as u64 })
    }

    /// Chunks that it knows.
    pub(crate) fn documents(&self) -> u32 {
        self.documents
    }

    /// The chunks that may meet a predicate; `None` when any may.
    pub(crate) fn candidates(&self, predicate: &TokenPredicate) -> io::Result<Option<RoaringBitmap>> {
        match predicate {
            TokenPredicate::Anything => Ok(None),
            TokenPredicate::Token(token) if token.len() > TOKEN_BYTES_MAX => self.chunks_with(LONG).map(Some),
            TokenPredicate::Token(token) => self.chunks_with(token).map(Some),
            TokenPredicate::Part(edge, part) => self.chunks_with_part(*edge, part).map(Some),
            TokenPredicate::AnyCase(edge, part) => self.chunks_with_any_case(*edge, part).map(Some),
            TokenPredicate::All(predicates) => {
                let mut found: Option<RoaringBitmap> = None;
                for predicate in predicates {
                    if let Some(chunks) = self.candidates(predicate)? {
                        found = Some(found.map_or(chunks.clone(), |found| found & chunks));
                    }
                    if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                        break;
                    }
                }
                Ok(found)
            }
            TokenPredicate::OneOf(predicates) => {
                let mut found = RoaringBitmap::new();
                for predicate in predicates {
                    match self.candidates(predicate)? {
                        Some(chunks) => found |= chunks,
                        None => return Ok(None),
                    }
                }
                Ok(Some(found))
            }
        }
    }

    fn chunks_with(&self, token: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        if let Some(info) = self.inverted.get_term_info(&Term::from_field_bytes(self.field, token))? {
            self.add_postings(&info, &mut found)?;
        }
        Ok(found)
    }

    fn chunks_with_part(&self, edge: Edge, part: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = self.chunks_with(LONG)?;
        let terms = self.inverted.terms();
        let mut stream = match edge {
            Edge::Start => terms.range().ge(part).into_stream()?,
            Edge::End | Edge::Anywhere | Edge::Whole => terms.stream()?,
        };
        let finder = memchr::memmem::Finder::new(part);
        while stream.advance() {
            let token = stream.key();
            let has = match edge {
                Edge::Start if !token.starts_with(part) => break,
                Edge::Start => true,
                Edge::End => token.ends_with(part),
                Edge::Anywhere => finder.find(token).is_some(),
                Edge::Whole => token == part,
            };
            if has {
                self.add_postings(stream.value(), &mut found)?;
            }
        }
        Ok(found)
    }

    fn chunks_with_any_case(&self, edge: Edge, part: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = self.chunks_with(LONG)?;
        let mut part = AnyCase::new(edge, part);
        let mut stream = self.inverted.terms().stream()?;
        while stream.advance() {
            if part.is_in(stream.key()) {
                self.add_postings(stream.value(), &mut found)?;
            }
        }
        Ok(found)
    }

    fn add_postings(&self, info: &tantivy::postings::TermInfo, found: &mut RoaringBitmap) -> io::Result<()> {
        let mut postings = self.inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut chunk = postings.doc();
        while chunk != tantivy::TERMINATED {
            found.insert(chunk);
            chunk = postings.advance();
        }
        Ok(())
    }
}

/// Opened indexes of all blocks, bounded in bytes. Opening one copies its section.
#[derive(Clone)]
pub(crate) struct IndexCache(Arc<Cache<Arc<str>, Arc<OpenIndex>, ByBytes>>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<OpenIndex>> for ByBytes {
    fn weight(&self, _: &Arc<str>, index: &Arc<OpenIndex>) -> u64 {
        index.bytes + 1024
    }
}

impl IndexCache {
    /// Holds at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Cache::with_weighter(256, bytes_max, ByBytes)))
    }

    /// The index of a block, opened by `open` when it is not there. Two that miss at once open it twice, which is harmless.
    pub(crate) fn get(
        &self,
        block: &Arc<str>,
        open: impl FnOnce() -> Result<OpenIndex, StoreError>,
    ) -> Result<Arc<OpenIndex>, StoreError> {
        if let Some(index) = self.0.get(block) {
            return Ok(index);
        }
        let index = Arc::new(open()?);
        self.0.insert(Arc::clone(block), Arc::clone(&index));
        Ok(index)
    }
}

/// The section as a directory that tantivy can read and nobody can write.
#[derive(Clone, Debug)]
struct SectionDirectory(Arc<HashMap<PathBuf, OwnedBytes>>);

impl SectionDirectory {
    fn parse(section: &Bytes) -> Result<Self, String> {
        let mut reader = Reader::new(section);
        let mut entries = Vec::new();
        for _ in 0..reader.count("files", 2)? {
            entries.push((PathBuf::from(reader.text("file name")?), reader.varint("file length")?));
        }
        let mut files = HashMap::new();
        for (path, length) in entries {
            let bytes = reader.take(usize::try_from(length).map_err(|_| "a file is too long")?, "file")?;
            files.insert(path, OwnedBytes::new(bytes.to_vec()));
        }
        reader.finish()?;
        Ok(Self(Arc::new(files)))
    }

    fn get(&self, path: &Path) -> Result<&OwnedBytes, OpenReadError> {
        self.0.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.into()))
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a sealed block is never written to")
}

impl Directory for SectionDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.get(path)?.clone()))
    }
    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.into() })
    }
    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.0.contains_key(path))
    }
    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.into()))
    }
    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.get(path).map(|bytes| bytes.to_vec())
    }
    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }
    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }
    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
