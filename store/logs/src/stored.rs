//! A pack of encoded chunks, opened: each column is unpacked when it is first asked for. Written by `encode.rs`; drawn in
//! `docs/formats/logs_block.md`.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_blocks::columns::Reader;
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::log::{LogAttributes, LogRecord};
use weir_model::time::UnixNanos;

use super::bodies::{Bodies, LineContext};
use super::context::Contexts;
use super::frame::{COLUMNS, Column, Frame};
use super::outline::{Outline, RawBodies};
use super::places::{self, PlaceRun};
use super::schema::Place;
use super::templates::{Refers, Templates};
use super::times::decode_times;
use super::tokens::{TokenSet, Tokens};
use super::words::Words;

/// Lines of all chunks of a pack; whoever asks of one chunk says where among them its own are. What cannot be read is an error, a sentence, of whatever asks for it first; after [`Self::load`]
/// nothing is.
pub(crate) struct StoredLines {
    /// No two that were ever opened have the same one.
    id: u64,
    frame: Frame,
    places: OnceLock<Vec<Place>>,
    times: OnceLock<Vec<UnixNanos>>,
    contexts: OnceLock<Contexts>,
    outline: OnceLock<Arc<Outline>>,
    raw: OnceLock<Arc<RawBodies>>,
    /// The column of words, and where those that are neither numbers nor ids lie in it.
    word_column: OnceLock<(Vec<u8>, Range<usize>)>,
    words: OnceLock<Arc<Words>>,
    templates: OnceLock<Arc<Templates>>,
    bodies: OnceLock<Bodies>,
    lengths: OnceLock<Vec<u32>>,
    details: OnceLock<Details>,
    sequences: OnceLock<Vec<u64>>,
}

struct Details {
    /// Of each line's sequence what it differs by from the end of the line before; none when no line has a sequence.
    sequences: Vec<i64>,
    severities: Vec<u8>,
    flags: Vec<u8>,
}

static OPENED: AtomicU64 = AtomicU64::new(0);

impl StoredLines {
    /// Checks the checksum.
    pub(crate) fn open(bytes: Bytes) -> Result<Self, String> {
        let frame = Frame::split(bytes)?;
        if frame.lines == 0 {
            return Err("it has no lines".into());
        }
        // A line takes a byte of its time at least, before compression.
        let (times, _) = frame.column_bytes(Column::Times);
        if times != frame.lines + 1 {
            return Err(format!("{times} bytes of times of {} lines", frame.lines));
        }
        let (places, times, contexts, outline, raw, word_column, words, templates) = Default::default();
        let (bodies, lengths, details, sequences) = Default::default();
        let id = OPENED.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            id,
            frame,
            places,
            times,
            contexts,
            outline,
            raw,
            word_column,
            words,
            templates,
            bodies,
            lengths,
            details,
            sequences,
        })
    }

    /// Each column's name with its bytes before compression and as stored.
    pub(crate) fn column_bytes(&self) -> Vec<(&'static str, u64, u64)> {
        let bytes = |(column, name)| {
            let (length, stored) = self.frame.column_bytes(column);
            (name, length as u64, stored as u64)
        };
        COLUMNS.into_iter().map(bytes).collect()
    }

    /// Unpacks and checks everything.
    pub(crate) fn load(&self) -> Result<(), String> {
        self.places()?;
        self.lengths()?;
        self.sequences().map(drop)
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.lines
    }

    /// See [`Self::id`].
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// As it is stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        self.frame.bytes()
    }

    /// Where its lines lie.
    pub(crate) fn place_runs(&self) -> Result<Vec<PlaceRun>, String> {
        let column = self.frame.column(Column::Places)?;
        let mut reader = Reader::new(&column);
        let runs = places::read_column(&mut reader, self.len())?;
        reader.finish()?;
        Ok(runs)
    }

    /// Of each line.
    pub(super) fn places(&self) -> Result<&[Place], String> {
        cached(&self.places, || Ok(self.place_runs()?.into_iter().flat_map(PlaceRun::places).collect())).map(Vec::as_slice)
    }

    /// Of each line; nothing else is unpacked.
    pub(crate) fn times(&self) -> Result<&[UnixNanos], String> {
        let decode = || decode_times(&self.frame.column(Column::Times)?, &self.frame.column(Column::TimeBits)?);
        cached(&self.times, decode).map(Vec::as_slice)
    }

    pub(crate) fn contexts(&self) -> Result<&Contexts, String> {
        let column = |column| self.frame.column(column);
        let decode = || Contexts::decode(&column(Column::Contexts)?, &column(Column::ContextIds)?, self.len());
        cached(&self.contexts, decode)
    }

    /// Of bodies what is known without their variables.
    pub(crate) fn outline(&self) -> Result<&Arc<Outline>, String> {
        let column = |column| self.frame.column(column);
        cached(&self.outline, || Outline::decode(column(Column::Templates)?, column(Column::Texts)?, self.len()).map(Arc::new))
    }

    /// Bodies that are stored as they are.
    pub(crate) fn raw(&self) -> Result<&Arc<RawBodies>, String> {
        let decode = || RawBodies::decode(self.frame.column(Column::Bodies)?, self.outline()?.raw()).map(Arc::new);
        cached(&self.raw, decode)
    }

    /// Distinct variables, but for numbers and ids that are stored line by line.
    pub(crate) fn words(&self) -> Result<&Arc<Words>, String> {
        cached(&self.words, || Words::decode(&self.word_column()?.0).map(Arc::new))
    }

    fn word_column(&self) -> Result<&(Vec<u8>, Range<usize>), String> {
        let read = || {
            let column = self.frame.column(Column::Words)?;
            let texts = Words::texts_in(&column)?;
            Ok((column, texts))
        };
        cached(&self.word_column, read)
    }

    /// Those of the words that are neither numbers nor ids, one after the other.
    pub(crate) fn word_texts(&self) -> Result<&[u8], String> {
        self.word_column().map(|(column, texts)| &column[texts.clone()])
    }

    /// Without what varies of their lines.
    pub(crate) fn templates(&self) -> Result<&Arc<Templates>, String> {
        let shared = || Ok::<_, String>((Arc::clone(self.outline()?), Arc::clone(self.words()?)));
        cached(&self.templates, || Templates::decode(&self.frame, shared()?).map(Arc::new))
    }

    /// Not checked line by line: see [`Self::lengths`].
    pub(crate) fn bodies(&self) -> Result<&Bodies, String> {
        let shared = || Ok::<_, String>((Arc::clone(self.templates()?), Arc::clone(self.raw()?)));
        cached(&self.bodies, || Bodies::decode(&self.frame, shared()?))
    }

    /// Of bodies, none of which is rendered.
    pub(crate) fn lengths(&self) -> Result<&[u32], String> {
        // Contexts are read, and thereby checked, also where no body refers to them.
        let measure = || {
            self.contexts()?;
            (0..self.len()).map(|i| self.length(i).map(|length| length as u32)).collect()
        };
        cached(&self.lengths, measure).map(Vec::as_slice)
    }

    /// Bytes of line `i`'s body, which is not rendered.
    pub(crate) fn length(&self, i: usize) -> Result<usize, String> {
        self.bodies()?.check_line(i, &self.context(i, Refers::Attributes)?)
    }

    /// Of line `i`; without ids and attributes when its body refers to less than `least`.
    fn context(&self, i: usize, least: Refers) -> Result<LineContext<'_>, String> {
        let timestamp = self.times()?[i];
        let (trace_id, span_id, attributes) = match self.templates()?.refers(i) >= least {
            true => self.contexts()?.get(i),
            false => (TraceId::default(), SpanId::default(), LogAttributes::NONE),
        };
        Ok(LineContext { timestamp, trace_id, span_id, attributes })
    }

    fn details(&self) -> Result<&Details, String> {
        let decode = || {
            let column = self.frame.column(Column::Details)?;
            let mut reader = Reader::new(&column);
            let known = if flag(&mut reader, "sequences")? { self.len() } else { 0 };
            let sequences = (0..known).map(|_| reader.zigzag("sequence")).collect::<Result<Vec<_>, _>>()?;
            let severities = read_bytes(&mut reader, self.len(), "severities")?;
            let flags = read_bytes(&mut reader, self.len(), "flags")?;
            reader.finish()?;
            Ok(Details { sequences, severities, flags })
        };
        cached(&self.details, decode)
    }

    /// Of each line; none when no line has one.
    fn sequences(&self) -> Result<&[u64], String> {
        let add = || {
            let differences = &self.details()?.sequences;
            if differences.is_empty() {
                return Ok(Vec::new());
            }
            let mut sequence = 0_u64;
            let next = |(difference, length): (&i64, &u32)| {
                sequence = sequence.wrapping_add(*difference as u64).wrapping_add(u64::from(*length));
                sequence
            };
            Ok(differences.iter().zip(self.lengths()?).map(next).collect())
        };
        cached(&self.sequences, add).map(Vec::as_slice)
    }

    /// Severity of each line.
    pub(crate) fn severities(&self) -> Result<&[u8], String> {
        Ok(&self.details()?.severities)
    }

    /// Which of these lines lies at a place.
    pub(crate) fn find(&self, within: Range<usize>, place: Place) -> Result<Option<usize>, String> {
        let mut own = self.places()?[within.clone()].iter();
        Ok(own.position(|own| *own == place).map(|i| within.start + i))
    }

    /// Appends the body of line `i`.
    pub(crate) fn render(&self, i: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let (bodies, context) = (self.bodies()?, self.context(i, Refers::Ids)?);
        // So that a body grows once: a merge renders each line.
        out.reserve(bodies.check_line(i, &context)?);
        bodies.render(i, &context, out);
        Ok(())
    }

    /// Line `i`, with its body.
    pub(crate) fn record<'a>(&'a self, i: usize, body: &'a [u8]) -> Result<(LineId, LogRecord<'a>), String> {
        let ((offset, ordinal), details) = (self.places()?[i], self.details()?);
        let (trace_id, span_id, attributes) = self.contexts()?.get(i);
        let record = LogRecord {
            timestamp: self.times()?[i],
            sequence: self.sequences()?.get(i).copied().unwrap_or_default(),
            body,
            severity: details.severities[i],
            flags: details.flags[i],
            trace_id,
            span_id,
            attributes,
        };
        Ok((LineId { partition: self.frame.partition, offset, ordinal }, record))
    }

    /// The tokens of all lines, as they were when the chunk was encoded. No body is rendered.
    pub(crate) fn tokens(&self) -> Result<Tokens, String> {
        let mut tokens = TokenSet::new();
        self.lengths()?;
        let (bodies, contexts, times) = (self.bodies()?, self.contexts()?, self.times()?);
        bodies.add_tokens(&mut tokens);
        let mut known = vec![0; contexts.iter().len()];
        for i in 0..self.len() {
            let (trace_id, span_id, attributes) = contexts.get(i);
            let context = LineContext { timestamp: times[i], trace_id, span_id, attributes };
            bodies.add_tokens_of_line(i, &context, &mut known[self.row(i)], &mut tokens);
        }
        contexts.add_tokens(&mut tokens);
        Ok(tokens.finish())
    }

    /// The number of line `i`'s context, once these are unpacked.
    pub(super) fn row(&self, i: usize) -> usize {
        self.contexts.get().map_or(0, |contexts| contexts.row(i) as usize)
    }

    /// Bytes held: as it is stored, and what is unpacked so far.
    pub(crate) fn memory(&self) -> usize {
        let details = |details: &Details| {
            details.sequences.capacity() * size_of::<i64>() + details.severities.capacity() + details.flags.capacity()
        };
        size_of::<Self>()
            + self.frame.bytes().len()
            + self.places.get().map_or(0, |places| places.capacity() * size_of::<Place>())
            + self.times.get().map_or(0, |times| times.capacity() * size_of::<UnixNanos>())
            + self.contexts.get().map_or(0, Contexts::memory)
            + self.outline.get().map_or(0, |outline| outline.memory())
            + self.raw.get().map_or(0, |raw| raw.memory())
            + self.word_column.get().map_or(0, |(column, _)| column.capacity())
            + self.words.get().map_or(0, |words| words.memory())
            + self.templates.get().map_or(0, |templates| templates.memory())
            + self.bodies.get().map_or(0, Bodies::memory)
            + self.lengths.get().map_or(0, |lengths| lengths.capacity() * size_of::<u32>())
            + self.details.get().map_or(0, details)
            + self.sequences.get().map_or(0, |sequences| sequences.capacity() * size_of::<u64>())
    }
}

/// Its value, which is made when there is none.
fn cached<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, String>) -> Result<&T, String> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// As [`super::encode`] writes them: one byte when all are the same, else all.
pub(crate) fn read_bytes(reader: &mut Reader<'_>, count: usize, what: &str) -> Result<Vec<u8>, String> {
    if flag(reader, what)? { Ok(reader.take(count, what)?.to_vec()) } else { Ok(vec![reader.array::<1>(what)?[0]; count]) }
}

/// 0 or 1.
pub(crate) fn flag(reader: &mut Reader<'_>, what: &str) -> Result<bool, String> {
    match reader.array::<1>(what)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(format!("{what} is coded as {other}")),
    }
}
