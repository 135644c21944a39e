//! The record: magic, checksum, version, section headers, one compressed body. What the bodies mean is not its affair.
//! Called by the collector (builder), the aggregator and whoever tells what a record holds (decoders).
//! Format: `docs/formats/wire.md`.

use std::marker::PhantomData;
use std::sync::Arc;

use zstd::zstd_safe::compress_bound;

use super::budget::{Budget, check_limit, invalid, limit};
use super::columns::Reader;
use super::{Kind, Limits, Mark, Section, SectionHeader, VERSION_BASE, VERSION_PARTS, WireError};
use crate::compression::{compress_to, decompress};
use crate::signal::Signal;
use crate::varint::{put_bytes, put_varint};

const MAGIC: [u8; 4] = *b"WEIR";
/// The newest version that this one reads. Versions differ in bodies, whose columns tell; one is written under the oldest version that
/// has all of its columns, so that whoever does not know them refuses it.
const VERSION: u8 = VERSION_PARTS;
/// Bytes before the section headers.
const HEAD_BYTES: usize = 24;
/// Where the checksummed part begins: after magic and checksum.
const CHECKED_FROM: usize = 8;
/// zstd level 1: the collector's budget of 250 MB/s a core leaves no room for more, and blocks compress again.
const ZSTD_LEVEL: i32 = 1;

/// Memory of a section beside its texts and its batch.
const SECTION_BYTES: usize = 256;

const MARK_SEQUENCE: u8 = 1;
const MARK_DIGEST: u8 = 2;

/// Puts sections together until the record is full.
pub struct RecordBuilder<S> {
    limits: Limits,
    budget: Budget,
    headers: Vec<u8>,
    bodies: Vec<u8>,
    sections: usize,
    records: u64,
    version: u8,
    signal: PhantomData<fn(&S)>,
}

impl<S: Signal> RecordBuilder<S> {
    /// An empty record.
    pub fn new(limits: Limits) -> Self {
        Self::with_capacity(limits, 0)
    }

    /// With room for about so many bytes of bodies.
    pub fn with_capacity(limits: Limits, body_bytes: usize) -> Self {
        let (budget, bodies) = (Budget::new(limits), Vec::with_capacity(body_bytes.min(limits.body_bytes as usize)));
        let (headers, version) = (Vec::new(), VERSION_BASE);
        Self { limits, budget, headers, bodies, sections: 0, records: 0, version, signal: PhantomData }
    }

    /// Adds a section (its `header.records` is set from the batch). Errors with `Limit` when the record with this section
    /// would exceed the limits (when it is the first, the section alone does), with `Invalid` when its tenant or source is
    /// empty. After an error the builder is as before.
    pub fn push(&mut self, section: &Section<S>) -> Result<(), WireError> {
        let before = (self.headers.len(), self.bodies.len(), self.budget.snapshot());
        let result = self.try_push(section);
        match result {
            Ok(records) => {
                self.sections += 1;
                self.records += records;
                self.version = self.version.max(section.batch.wire_version());
                Ok(())
            }
            Err(error) => {
                self.headers.truncate(before.0);
                self.bodies.truncate(before.1);
                self.budget.restore(before.2);
                Err(error)
            }
        }
    }

    fn try_push(&mut self, section: &Section<S>) -> Result<u64, WireError> {
        check_limit("sections", self.sections as u64 + 1, self.limits.sections)?;
        let records = section.batch.records();
        check_limit("records", self.records + records, self.limits.records)?;
        let start = self.bodies.len();
        section.batch.encode(&mut self.budget, &mut self.bodies)?;
        check_limit("body bytes", self.bodies.len() as u64, self.limits.body_bytes)?;
        let header = SectionHeader { records: records as u32, ..section.header.clone() };
        put_header(&header, self.bodies.len() - start, &mut self.budget, &mut self.headers)?;
        check_limit("header bytes", self.headers.len() as u64, self.limits.record_bytes)?;
        Ok(records)
    }

    /// Bytes of bodies so far, uncompressed.
    pub fn body_bytes(&self) -> usize {
        self.bodies.len()
    }

    /// Sections so far.
    pub fn len(&self) -> usize {
        self.sections
    }

    /// Whether there is no section.
    pub fn is_empty(&self) -> bool {
        self.sections == 0
    }

    /// The record. Errors with `Limit` when it exceeds `record_bytes` in spite of compression: split and try again.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        let mut record = Vec::with_capacity(HEAD_BYTES + self.headers.len() + compress_bound(self.bodies.len()));
        record.extend_from_slice(&MAGIC);
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&[self.version, S::KIND as u8, 0, 0]);
        for length in [self.sections, self.headers.len(), self.bodies.len()] {
            record.extend_from_slice(&(length as u32).to_le_bytes());
        }
        record.extend_from_slice(&self.headers);
        compress_to(&self.bodies, ZSTD_LEVEL, &mut record).map_err(|error| invalid("body", format!("zstd: {error}")))?;
        check_limit("record bytes", record.len() as u64, self.limits.record_bytes)?;
        let checksum = crc32c::crc32c(&record[CHECKED_FROM..]);
        record[MAGIC.len()..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        record.shrink_to_fit();
        Ok(record)
    }
}

/// Reads a whole record. Errors with `Kind` when it carries another signal.
pub fn decode<S: Signal>(record: &[u8], limits: &Limits) -> Result<Vec<Section<S>>, WireError> {
    let frame = Frame::read(record, limits)?;
    let batches = frame.decode::<S>(|_| true)?;
    let section = |(header, batch): (&SectionHeader, Option<S>)| Section {
        header: header.clone(),
        batch: Arc::new(batch.expect("invariant: every section was asked for")),
    };
    Ok(frame.headers().zip(batches).map(section).collect())
}

/// A record whose checksum and section headers have been read; its bodies are still compressed.
pub struct Frame<'a> {
    kind: Kind,
    /// Each with the length of its body.
    sections: Vec<(SectionHeader, u64)>,
    body_bytes: u32,
    compressed: &'a [u8],
    limits: Limits,
    /// Left for the bodies.
    budget_left: u64,
}

impl<'a> Frame<'a> {
    /// Verifies a record and reads its headers; decompresses nothing.
    pub fn read(record: &'a [u8], limits: &Limits) -> Result<Self, WireError> {
        let mut budget = Budget::new(*limits);
        let mut reader = Reader::new(record, "record head");
        if reader.array()? != MAGIC {
            return Err(WireError::Magic);
        }
        check_limit("record bytes", record.len() as u64, limits.record_bytes)?;
        let stored = u32::from_le_bytes(reader.array()?);
        let computed = crc32c::crc32c(&record[CHECKED_FROM..]);
        if stored != computed {
            return Err(WireError::Checksum { stored, computed });
        }
        let [version, kind, flags, reserved] = reader.array()?;
        if !(1..=VERSION).contains(&version) {
            return Err(WireError::Version(version));
        }
        let kind = *Kind::ALL.iter().find(|known| **known as u8 == kind).ok_or_else(|| invalid("kind", kind.to_string()))?;
        if flags != 0 || reserved != 0 {
            return Err(invalid("flags", format!("{flags:#04x} {reserved:#04x}: none is known")));
        }
        let count = u32::from_le_bytes(reader.array()?);
        let header_bytes = u32::from_le_bytes(reader.array()?);
        let body_bytes = u32::from_le_bytes(reader.array()?);
        check_limit("sections", u64::from(count), limits.sections)?;
        check_limit("body bytes", u64::from(body_bytes), limits.body_bytes)?;
        let headers = Reader::new(reader.take(header_bytes as usize)?, "section header");
        let sections = read_headers(headers, count, body_bytes, &mut budget)?;
        let compressed = reader.take(reader.remaining())?;
        Ok(Self { kind, sections, body_bytes, compressed, limits: *limits, budget_left: budget.snapshot() })
    }

    /// What it carries.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// One a section, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &SectionHeader> {
        self.sections.iter().map(|(header, _)| header)
    }

    /// The batches of the sections that are wanted by their position, in order; `None` in the place of the others. Decompresses
    /// nothing when none is. Errors with `Kind` when the record carries another signal.
    pub fn decode<S: Signal>(&self, wanted: impl Fn(usize) -> bool) -> Result<Vec<Option<S>>, WireError> {
        if self.kind != S::KIND {
            return Err(WireError::Kind { found: self.kind, wanted: S::KIND });
        }
        if !(0..self.sections.len()).any(&wanted) && !self.sections.is_empty() {
            return Ok(self.sections.iter().map(|_| None).collect());
        }
        let mut budget = Budget::new(self.limits);
        budget.restore(self.budget_left);
        let bodies = self.decompress()?;
        let mut bodies = Reader::new(&bodies, "body");
        let mut batches = Vec::with_capacity(self.sections.len());
        for (i, (header, length)) in self.sections.iter().enumerate() {
            let bytes = bodies.take(*length as usize)?;
            batches.push(wanted(i).then(|| S::decode(bytes, header.records, &mut budget)).transpose()?);
        }
        bodies.end()?;
        Ok(batches)
    }

    fn decompress(&self) -> Result<Vec<u8>, WireError> {
        let length = u64::from(self.body_bytes);
        match zstd::zstd_safe::get_frame_content_size(self.compressed) {
            Ok(Some(declared)) if declared == length => {}
            Ok(declared) => return Err(invalid("body", format!("zstd declares {declared:?} bytes, the record {length}"))),
            Err(_) => return Err(invalid("body", "not a zstd frame")),
        }
        let bodies =
            decompress(self.compressed, self.body_bytes as usize).map_err(|error| invalid("body", format!("zstd: {error}")))?;
        if bodies.len() as u64 != length {
            return Err(limit("body bytes", bodies.len() as u64, length));
        }
        Ok(bodies)
    }
}

fn put_header(header: &SectionHeader, body: usize, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    budget.charge(SECTION_BYTES)?;
    for (what, text) in [("tenant", &header.tenant), ("source", &header.source)] {
        check_header_text(what, text, budget)?;
        put_bytes(out, text.as_bytes());
    }
    match header.mark {
        Mark::Sequence { epoch, first, last } => {
            let length = last.checked_sub(first).ok_or_else(|| invalid("mark", format!("first {first} after last {last}")))?;
            out.push(MARK_SEQUENCE);
            [epoch, first, length].into_iter().for_each(|number| put_varint(out, number));
        }
        Mark::Digest(digest) => {
            out.push(MARK_DIGEST);
            out.extend_from_slice(&digest);
        }
    }
    put_varint(out, u64::from(header.records));
    put_varint(out, body as u64);
    Ok(())
}

fn check_header_text(what: &'static str, text: &str, budget: &mut Budget) -> Result<(), WireError> {
    if text.is_empty() {
        return Err(invalid(what, "it is empty"));
    }
    budget.charge_text(text)
}

fn read_headers(
    mut reader: Reader<'_>,
    count: u32,
    body_bytes: u32,
    budget: &mut Budget,
) -> Result<Vec<(SectionHeader, u64)>, WireError> {
    let mut sections = Vec::new();
    let (mut records, mut bodies) = (0_u64, 0_u64);
    for _ in 0..count {
        budget.charge(SECTION_BYTES)?;
        let (header, body) = read_header(&mut reader, budget)?;
        records += u64::from(header.records);
        bodies = bodies.saturating_add(body);
        check_limit("records", records, budget.limits.records)?;
        sections.push((header, body));
    }
    reader.end()?;
    if bodies != u64::from(body_bytes) {
        return Err(invalid("body bytes", format!("the sections add up to {bodies}, the record says {body_bytes}")));
    }
    Ok(sections)
}

fn read_header(reader: &mut Reader<'_>, budget: &mut Budget) -> Result<(SectionHeader, u64), WireError> {
    let tenant = reader.text()?;
    check_header_text("tenant", tenant, budget)?;
    let source = reader.text()?;
    check_header_text("source", source, budget)?;
    let mark = match reader.byte()? {
        MARK_SEQUENCE => {
            let (epoch, first, length) = (reader.varint()?, reader.varint()?, reader.varint()?);
            let last = first.checked_add(length).ok_or_else(|| invalid("mark", format!("{first} + {length}")))?;
            Mark::Sequence { epoch, first, last }
        }
        MARK_DIGEST => Mark::Digest(reader.array()?),
        other => return Err(invalid("mark", format!("type {other}"))),
    };
    let records = reader.varint()?;
    let records = u32::try_from(records).map_err(|_| limit("records", records, u64::from(budget.limits.records)))?;
    Ok((SectionHeader { tenant: tenant.to_owned(), source: source.to_owned(), mark, records }, reader.varint()?))
}

/// A record's bytes before the zstd frame (without the checksum) and its bodies, for tests that compare or damage them.
#[cfg(test)]
pub(super) fn uncompressed(record: &[u8]) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let frame = Frame::read(record, &Limits::default())?;
    let mut head = record[..record.len() - frame.compressed.len()].to_vec();
    head[MAGIC.len()..CHECKED_FROM].fill(0);
    Ok((head, frame.decompress()?))
}

/// The inverse of [`uncompressed`], with a right checksum whatever the bytes.
#[cfg(test)]
pub(super) fn sealed(head: &[u8], bodies: &[u8]) -> Vec<u8> {
    let mut record = [head, &zstd::bulk::compress(bodies, ZSTD_LEVEL).expect("compresses")].concat();
    let checksum = crc32c::crc32c(&record[CHECKED_FROM..]);
    record[MAGIC.len()..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    record
}

/// A record of one section that says it has `records`, around any body.
#[cfg(test)]
pub(super) fn around(kind: Kind, records: u32, body: &[u8]) -> Vec<u8> {
    let mark = Mark::Digest([0; 16]);
    let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records };
    let mut headers = Vec::new();
    put_header(&header, body.len(), &mut Budget::new(Limits::default()), &mut headers).expect("fits");
    let mut head = [&MAGIC[..], &[0; 4], &[VERSION, kind as u8, 0, 0]].concat();
    for length in [1, headers.len(), body.len()] {
        head.extend_from_slice(&(length as u32).to_le_bytes());
    }
    sealed(&[head, headers].concat(), body)
}
