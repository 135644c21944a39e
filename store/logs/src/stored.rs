//! An encoded chunk, opened: each column is unpacked when it is first asked for. Written by `encode.rs`; drawn in
//! `docs/formats/logs_block.md`.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use bytes::Bytes;
use weir_blocks::columns::Reader;
use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::time::{TimeRange, UnixNanos};
use weir_model::varint::unzigzag;

use super::bodies::{Bodies, LineContext};
use super::context::Contexts;
use super::filter::Filters;
use super::frame::{COLUMNS, Column, Frame};
use super::needle::Candidates;
use super::patterns::pattern_of;
use super::places::{self, PlaceRun};
use super::schema::Place;
use super::template::text_of;
use super::tokens::{TokenSet, Tokens};

/// Lines of an encoded chunk. What cannot be read is an error, a sentence, of whatever asks for it first; after [`Self::load`]
/// nothing is.
pub(crate) struct StoredLines {
    frame: Frame,
    places: OnceCell<Vec<Place>>,
    times: OnceCell<Vec<UnixNanos>>,
    contexts: OnceCell<Contexts>,
    bodies: OnceCell<Bodies>,
    lengths: OnceCell<Vec<u32>>,
    details: OnceCell<Details>,
}

struct Details {
    sequences: Vec<u64>,
    severities: Vec<u8>,
    flags: Vec<u8>,
}

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
        let (places, times, contexts, bodies, lengths, details) = Default::default();
        Ok(Self { frame, places, times, contexts, bodies, lengths, details })
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
        self.details()?;
        self.lengths().map(drop)
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.lines
    }

    /// Where its lines lie.
    pub(crate) fn place_runs(&self) -> Result<Vec<PlaceRun>, String> {
        let column = self.frame.column(Column::Places)?;
        let mut reader = Reader::new(&column);
        let runs = places::read_column(&mut reader, self.len())?;
        reader.finish()?;
        Ok(runs)
    }

    fn places(&self) -> Result<&[Place], String> {
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

    /// Not checked line by line: see [`Self::lengths`].
    pub(crate) fn bodies(&self) -> Result<&Bodies, String> {
        cached(&self.bodies, || Bodies::decode(&self.frame))
    }

    /// Of bodies, none of which is rendered.
    pub(crate) fn lengths(&self) -> Result<&[u32], String> {
        let measure = || {
            let (bodies, times, contexts) = (self.bodies()?, self.times()?, self.contexts()?);
            let length = |i| bodies.check_line(i, &line_context(times, contexts, i)).map(|length| length as u32);
            (0..self.len()).map(length).collect()
        };
        cached(&self.lengths, measure).map(Vec::as_slice)
    }

    fn details(&self) -> Result<&Details, String> {
        let decode = || {
            let column = self.frame.column(Column::Details)?;
            let mut reader = Reader::new(&column);
            let known = flag(&mut reader, "sequences")?;
            let sequences = if known { read_sequences(&mut reader, self.lengths()?)? } else { vec![0; self.len()] };
            let severities = read_bytes(&mut reader, self.len(), "severities")?;
            let flags = read_bytes(&mut reader, self.len(), "flags")?;
            reader.finish()?;
            Ok(Details { sequences, severities, flags })
        };
        cached(&self.details, decode)
    }

    /// Severity of each line.
    pub(crate) fn severities(&self) -> Result<&[u8], String> {
        Ok(&self.details()?.severities)
    }

    /// Which line lies at a place.
    pub(crate) fn find(&self, place: Place) -> Result<Option<usize>, String> {
        Ok(self.places()?.iter().position(|own| *own == place))
    }

    /// Appends the body of line `i`.
    pub(crate) fn render(&self, i: usize, out: &mut Vec<u8>) -> Result<(), String> {
        self.lengths()?;
        self.bodies()?.render(i, &line_context(self.times()?, self.contexts()?, i), out);
        Ok(())
    }

    /// Line `i`, with its body.
    pub(crate) fn record<'a>(&'a self, i: usize, body: &'a [u8]) -> Result<(LineId, LogRecord<'a>), String> {
        let ((offset, ordinal), details) = (self.places()?[i], self.details()?);
        let (trace_id, span_id, attributes) = self.contexts()?.get(i);
        let record = LogRecord {
            timestamp: self.times()?[i],
            sequence: details.sequences[i],
            body,
            severity: details.severities[i],
            flags: details.flags[i],
            trace_id,
            span_id,
            attributes,
        };
        Ok((LineId { partition: self.frame.partition, offset, ordinal }, record))
    }

    /// Gives every line in the range that passes, in source order. Bodies are rendered only of templates and ids that may have what
    /// filters look for.
    pub(crate) fn visit(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, String> {
        let mut body = Vec::new();
        for i in self.candidates(range, filters)? {
            body.clear();
            self.render(i, &mut body)?;
            if filters.passes(&body) {
                let (id, record) = self.record(i, &body)?;
                if take(id, record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives the time and the pattern of every line in the range that passes. Without filters bodies are not rendered.
    pub(crate) fn patterns(
        &self,
        range: TimeRange,
        filters: &Filters,
        take: &mut dyn FnMut(UnixNanos, &str),
    ) -> Result<(), String> {
        let (times, bodies) = (self.times()?, self.bodies()?);
        let texts: Vec<String> = (0..bodies.templates.len()).map(|template| text_of(bodies.template_text(template))).collect();
        let mut body = Vec::new();
        for i in self.candidates(range, filters)? {
            let template = bodies.template(i);
            if template.is_none() || !filters.is_empty() {
                body.clear();
                self.render(i, &mut body)?;
                if !filters.passes(&body) {
                    continue;
                }
            }
            match template {
                Some(template) => take(times[i], &texts[template]),
                None => take(times[i], &pattern_of(&body)),
            }
        }
        Ok(())
    }

    /// The tokens of all lines, as they were when the chunk was encoded. No body is rendered.
    pub(crate) fn tokens(&self) -> Result<Tokens, String> {
        let mut tokens = TokenSet::new();
        self.lengths()?;
        let (bodies, contexts, times) = (self.bodies()?, self.contexts()?, self.times()?);
        bodies.add_tokens(&mut tokens);
        let mut known = vec![0; contexts.iter().len()];
        for i in 0..self.len() {
            bodies.add_tokens_of_line(i, &line_context(times, contexts, i), &mut known[self.row(i)], &mut tokens);
        }
        contexts.add_tokens(&mut tokens);
        Ok(tokens.finish())
    }

    /// Lines in the range that may pass, ascending.
    fn candidates(&self, range: TimeRange, filters: &Filters) -> Result<Vec<usize>, String> {
        let times = self.times()?;
        let inside = (0..self.len()).filter(|i| range.contains(times[*i]));
        if filters.needles().next().is_none() {
            return Ok(inside.collect());
        }
        let bodies = self.bodies()?;
        let candidates = Candidates::new(filters, bodies, || self.contexts())?;
        Ok(inside.filter(|i| candidates.has(bodies.template(*i), || self.row(*i))).collect())
    }

    fn row(&self, i: usize) -> usize {
        self.contexts.get().map_or(0, |contexts| contexts.row(i) as usize)
    }
}

/// Its value, which is made when there is none.
fn cached<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, String>) -> Result<&T, String> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

fn line_context<'a>(times: &[UnixNanos], contexts: &'a Contexts, i: usize) -> LineContext<'a> {
    let (trace_id, span_id, attributes) = contexts.get(i);
    LineContext { timestamp: times[i], trace_id, span_id, attributes }
}

/// The inverse of `encode_times`.
fn decode_times(classes: &[u8], bits: &[u8]) -> Result<Vec<UnixNanos>, String> {
    let (power, lengths) = classes.split_first().ok_or("it has no times")?;
    if *power > 9 {
        return Err(format!("times are multiples of 10^{power}"));
    }
    let scale = 10_i64.pow(u32::from(*power));
    let (mut times, mut before) = (Vec::with_capacity(lengths.len()), 0_i64);
    let (mut held, mut count, mut bytes) = (0_u128, 0_u32, bits.iter());
    for length in lengths {
        if *length > 64 {
            return Err(format!("a time of {length} bits"));
        }
        let kept = u32::from(length.saturating_sub(1));
        while count < kept {
            held |= u128::from(*bytes.next().ok_or("bits of times end early")?) << count;
            count += 8;
        }
        let low = held as u64 & !u64::MAX.checked_shl(kept).unwrap_or(0);
        held >>= kept;
        count -= kept;
        let difference = if *length == 0 { 0 } else { 1 << kept | low };
        before = before.wrapping_add(unzigzag(difference));
        times.push(before.wrapping_mul(scale));
    }
    if bytes.next().is_some() { Err("more bits of times than times have".into()) } else { Ok(times) }
}

fn read_sequences(reader: &mut Reader<'_>, lengths: &[u32]) -> Result<Vec<u64>, String> {
    let mut sequence = 0_u64;
    let next = |length: &u32| {
        sequence = sequence.wrapping_add(reader.zigzag("sequence")? as u64).wrapping_add(u64::from(*length));
        Ok(sequence)
    };
    lengths.iter().map(next).collect()
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
