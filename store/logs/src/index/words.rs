//! Words: a tantivy index whose documents are the chunks, in their order, and whose only field is the token. The only place of
//! weir that knows tantivy.
//!
//! A chunk gives its distinct tokens as bytes, so that tantivy neither tokenises nor counts: no positions, no frequencies, no
//! norms, nothing stored. Ids are not among them, so that the dictionary is as small as a language; its words also lie one after
//! the other in memory, where a part of one is found by reading all.
//!
//! [`FormerIndex`] reads `index.1` of blocks of before: every token as it was written, ids too, in one dictionary.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memmem::Finder;
use roaring::RoaringBitmap;
use tantivy::directory::{OwnedBytes, RamDirectory};
use tantivy::postings::TermInfo;
use tantivy::schema::{BytesOptions, Field, IndexRecordOption, Schema};
use tantivy::{Directory, DocSet, Index, InvertedIndexReader, SingleSegmentIndexWriter, TantivyDocument, Term};

use super::super::predicate::{AnyCase, Edge};
use super::super::tokens::{LONG, SEPARATOR};
use super::files::{self, SectionDirectory};
use weir_blocks::StoreError;
use weir_blocks::limits::UNPACKED_BYTES_MAX;
use weir_blocks::scratch::{Growing, ScratchSpace, SectionBytes};

/// Sizes tantivy's table of terms at the start; it grows beyond.
const WRITER_BYTES: usize = 32 << 20;
const META: &str = "meta.json";

/// The section in the making.
pub(crate) struct WordsBuilder {
    writer: SingleSegmentIndexWriter,
    directory: RamDirectory,
    field: Field,
    document: TantivyDocument,
}

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let field = schema.add_bytes_field("token", BytesOptions::default().set_indexed());
    (schema.build(), field)
}

fn failed(error: impl ToString) -> StoreError {
    StoreError::engine("build the index", error)
}

impl WordsBuilder {
    pub(crate) fn new() -> Result<Self, StoreError> {
        let (schema, field) = schema();
        let directory = RamDirectory::create();
        let builder = Index::builder().schema(schema);
        let writer = builder.single_segment_index_writer(directory.clone(), WRITER_BYTES).map_err(failed)?;
        Ok(Self { writer, directory, field, document: TantivyDocument::default() })
    }

    /// A word of the chunk at hand.
    pub(crate) fn push(&mut self, word: &[u8]) {
        self.document.add_bytes(self.field, word);
    }

    /// The chunk is complete.
    pub(crate) fn end_chunk(&mut self) -> Result<(), StoreError> {
        self.writer.add_document(std::mem::take(&mut self.document)).map_err(failed)
    }

    pub(crate) fn memory(&self) -> usize {
        self.writer.mem_usage()
    }

    /// The section.
    pub(crate) fn finish(self, space: ScratchSpace) -> Result<SectionBytes, StoreError> {
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
        let mut section = Growing::new(space);
        files::encode(&files, |bytes| section.append(bytes))?;
        section.finish()
    }
}

/// A dictionary of tantivy's with the chunks of each term.
struct Terms {
    inverted: Arc<InvertedIndexReader>,
    field: Field,
    documents: u32,
}

impl Terms {
    fn open(section: &[u8]) -> Result<Self, String> {
        let directory = SectionDirectory::parse(section)?;
        let index = Index::open(directory).map_err(|error| error.to_string())?;
        let field = index.schema().get_field("token").map_err(|error| error.to_string())?;
        let segments = index.searchable_segments().map_err(|error| error.to_string())?;
        let [segment] = &segments[..] else { return Err(format!("{} segments, one was expected", segments.len())) };
        let reader = tantivy::SegmentReader::open(segment).map_err(|error| error.to_string())?;
        let inverted = reader.inverted_index(field).map_err(|error| error.to_string())?;
        Ok(Self { inverted, field, documents: reader.max_doc() })
    }

    fn add_chunks_with(&self, token: &[u8], found: &mut RoaringBitmap) -> io::Result<()> {
        match self.inverted.get_term_info(&Term::from_field_bytes(self.field, token))? {
            Some(info) => self.add_postings(&info, found),
            None => Ok(()),
        }
    }

    /// All terms. A few bytes may say a dictionary of more terms than anybody can count, so that it has to say how many: errors
    /// when there are more, or when they have more than [`UNPACKED_BYTES_MAX`] bytes.
    fn each(&self, mut take: impl FnMut(&[u8], &TermInfo) -> io::Result<()>) -> io::Result<()> {
        let terms = self.inverted.terms();
        let (mut stream, mut count, mut bytes) = (terms.stream()?, 0, 0);
        while stream.advance() {
            count += 1;
            bytes += stream.key().len() + 1;
            if count > terms.num_terms() || bytes > UNPACKED_BYTES_MAX {
                return Err(io::Error::other(format!("more terms than it says: {} are expected", terms.num_terms())));
            }
            take(stream.key(), stream.value())?;
        }
        Ok(())
    }

    /// Chunks with tokens that pass.
    fn add_chunks_where(&self, mut passes: impl FnMut(&[u8]) -> bool, found: &mut RoaringBitmap) -> io::Result<()> {
        self.each(|term, info| if passes(term) { self.add_postings(info, found) } else { Ok(()) })
    }

    fn add_postings(&self, info: &TermInfo, found: &mut RoaringBitmap) -> io::Result<()> {
        let mut postings = self.inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut chunk = postings.doc();
        while chunk != tantivy::TERMINATED {
            found.insert(chunk);
            chunk = postings.advance();
        }
        Ok(())
    }
}

/// The section of words, opened.
pub(super) struct Words {
    terms: Terms,
    /// All words, each between separators.
    text: Vec<u8>,
    section_bytes: usize,
}

impl Words {
    /// Copies the section, and its words out of it; errors are sentences.
    pub(super) fn open(section: &[u8]) -> Result<Self, String> {
        let terms = Terms::open(section)?;
        let mut text = vec![SEPARATOR];
        let copied = terms.each(|term, _| {
            text.extend_from_slice(term);
            text.push(SEPARATOR);
            Ok(())
        });
        copied.map_err(|error| error.to_string())?;
        Ok(Self { terms, text, section_bytes: section.len() })
    }

    /// Chunks that it knows.
    pub(super) fn documents(&self) -> u32 {
        self.terms.documents
    }

    pub(super) fn memory(&self) -> usize {
        self.section_bytes + self.text.len()
    }

    /// Adds the chunks with a folded word.
    pub(super) fn add_chunks_with(&self, word: &[u8], found: &mut RoaringBitmap) -> io::Result<()> {
        self.terms.add_chunks_with(word, found)
    }

    /// Adds the chunks with a word that has a folded part at this edge.
    pub(super) fn add_chunks_with_part(&self, edge: Edge, part: &[u8], found: &mut RoaringBitmap) -> io::Result<()> {
        let needle = edge.needle(part);
        let finder = Finder::new(&needle);
        let mut from = 0;
        while let Some(at) = finder.find(&self.text[from..]).map(|at| from + at) {
            // The part itself has no separator; what is around it ends at the nearest.
            let within = at + usize::from(needle[0] == SEPARATOR);
            let start = memchr::memrchr(SEPARATOR, &self.text[..within]).map_or(0, |at| at + 1);
            let end = memchr::memchr(SEPARATOR, &self.text[within..]).map_or(self.text.len(), |length| within + length);
            self.terms.add_chunks_with(&self.text[start..end], found)?;
            if found.len() == u64::from(self.documents()) {
                break;
            }
            // The separator behind this word is before the next.
            from = end;
        }
        Ok(())
    }
}

/// `index.1`, opened: asked with tokens as they were written.
pub(super) struct FormerIndex {
    terms: Terms,
    section_bytes: usize,
}

impl FormerIndex {
    /// Copies the section; errors are sentences.
    pub(super) fn open(section: &[u8]) -> Result<Self, String> {
        Ok(Self { terms: Terms::open(section)?, section_bytes: section.len() })
    }

    /// Chunks that it knows.
    pub(super) fn documents(&self) -> u32 {
        self.terms.documents
    }

    pub(super) fn memory(&self) -> usize {
        self.section_bytes
    }

    pub(super) fn chunks_with(&self, token: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = RoaringBitmap::new();
        self.terms.add_chunks_with(token, &mut found)?;
        Ok(found)
    }

    pub(super) fn chunks_with_part(&self, edge: Edge, part: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = self.chunks_with(LONG)?;
        self.terms.add_chunks_where(|token| edge.has(token, part), &mut found)?;
        Ok(found)
    }

    pub(super) fn chunks_with_any_case(&self, edge: Edge, part: &[u8]) -> io::Result<RoaringBitmap> {
        let mut found = self.chunks_with(LONG)?;
        let mut part = AnyCase::new(edge, part);
        self.terms.add_chunks_where(|token| part.is_in(token), &mut found)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_has_no_more_terms_than_it_says() {
        let mut builder = WordsBuilder::new().unwrap();
        ["ant", "bee", "cat", "dog", "eel"].iter().for_each(|word| builder.push(word.as_bytes()));
        builder.end_chunk().unwrap();
        let section = weir_blocks::testing::bytes_of(&builder.finish(ScratchSpace::default()).unwrap());
        assert_eq!(Words::open(&section).map(|words| words.text.len()), Ok(21));
        let said = 5_u64.to_le_bytes();
        let refused = section.windows(8).enumerate().filter(|(_, bytes)| *bytes == said).filter(|(at, _)| {
            let mut lies = section.clone();
            lies[*at] = 1;
            Words::open(&lies).is_err_and(|error| error.contains("more terms than it says"))
        });
        assert_eq!(refused.count(), 1);
    }
}
