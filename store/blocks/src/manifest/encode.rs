//! A manifest's bytes. Drawn in `docs/formats/manifest.md`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_model::wire::Kind;

use super::{BlockEntry, Counters, HighWater, Loss, Manifest, PushDigest, PushDigests, SourceKey, deletions};
use crate::StoreError;
use crate::columns::{Reader, put_bytes, put_varint, put_zigzag};
use crate::engine::BlockSummary;

const MAGIC: &[u8; 4] = b"WMAN";
/// Without deletions, so that a weir from before them reads it.
pub(super) const VERSION_PLAIN: u8 = 1;
/// With deletions at the end of the body.
const VERSION_DELETIONS: u8 = 2;
/// With deletions of which one at least says how many partitions there were, so that a weir from before that names the version.
const VERSION_PARTITIONS: u8 = 3;
/// With each block's resolution, and deletions, of which there may be none.
pub(super) const VERSION_RESOLUTIONS: u8 = 4;
pub(super) const HEADER_BYTES: usize = 48;
/// Of the body, uncompressed, and of all names of sources: ten times 100,000 marks with long source names. What is above it is neither
/// written nor read.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What is written outside of the body: which version of which partition, and by which attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub kind: Kind,
    pub partition: u32,
    pub version: u64,
    pub nonce: [u8; 16],
}

/// The object's bytes. Errors when the body is larger than a reader would believe.
pub(crate) fn encode(stamp: &Stamp, manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    let body = encode_body(manifest)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(StoreError::engine("encode a manifest", format!("{} bytes are above {BODY_BYTES_MAX}", body.len())));
    }
    let packed = zstd::bulk::compress(&body, 3).map_err(|error| StoreError::engine("compress a manifest", error))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + packed.len());
    bytes.extend_from_slice(MAGIC);
    let version = match &manifest.deletions[..] {
        _ if has_resolutions(manifest) => VERSION_RESOLUTIONS,
        [] => VERSION_PLAIN,
        all if all.iter().any(|known| known.partitions > 0) => VERSION_PARTITIONS,
        _ => VERSION_DELETIONS,
    };
    bytes.extend_from_slice(&[version, stamp.kind as u8, 0, 0]);
    bytes.extend_from_slice(&stamp.partition.to_le_bytes());
    bytes.extend_from_slice(&stamp.version.to_le_bytes());
    bytes.extend_from_slice(&stamp.nonce);
    bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &packed);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&packed);
    Ok(bytes)
}

/// Errors with `Corrupt` or `Version`.
pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<(Stamp, Manifest), StoreError> {
    let wrong = |detail: String| StoreError::corrupt(path, detail);
    let (stamp, packed, length) = decode_header(path, bytes)?;
    let body = zstd::bulk::decompress(packed, length).map_err(|error| wrong(format!("body at byte {HEADER_BYTES}: {error}")))?;
    if body.len() != length {
        return Err(wrong(format!("body has {} bytes, the header says {length}", body.len())));
    }
    let manifest = decode_body(&body, bytes[4]).map_err(|detail| wrong(format!("body: {detail}")))?;
    manifest.check().map_err(wrong)?;
    Ok((stamp, manifest))
}

fn decode_header<'a>(path: &str, bytes: &'a [u8]) -> Result<(Stamp, &'a [u8], usize), StoreError> {
    let wrong = |detail: String| StoreError::corrupt(path, detail);
    let (header, packed) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| wrong(format!("{} bytes are fewer than a manifest's header has", bytes.len())))?;
    if &header[..4] != MAGIC {
        return Err(wrong("the first four bytes are not those of a manifest".into()));
    }
    if !(VERSION_PLAIN..=VERSION_RESOLUTIONS).contains(&header[4]) {
        return Err(StoreError::Version { path: path.into(), version: u32::from(header[4]) });
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (stored, computed) = (number(44), crc32c::crc32c_append(crc32c::crc32c(&header[..44]), packed));
    if stored != computed {
        return Err(wrong(format!("checksum {computed:08x}, stored {stored:08x}")));
    }
    if number(36) as usize != packed.len() {
        return Err(wrong(format!("{} bytes of body, the header says {}", packed.len(), number(36))));
    }
    let length = number(40) as usize;
    if length > BODY_BYTES_MAX {
        return Err(wrong(format!("a body of {length} bytes is above {BODY_BYTES_MAX}")));
    }
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == header[5]);
    let kind = kind.ok_or_else(|| wrong(format!("kind {} at byte 5 is unknown", header[5])))?;
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&header[20..36]);
    let version = u64::from(number(12)) | u64::from(number(16)) << 32;
    Ok((Stamp { kind, partition: number(8), version, nonce }, packed, length))
}

pub(super) fn encode_body(manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    put_varint(&mut out, manifest.epoch);
    put_bytes(&mut out, manifest.owner.as_bytes());
    put_varint(&mut out, manifest.next_offset);
    put_varint(&mut out, manifest.counters.duplicates);
    put_varint(&mut out, manifest.counters.gaps);
    put_varint(&mut out, manifest.counters.quarantined);
    put_varint(&mut out, manifest.blocks.len() as u64);
    let with_resolutions = has_resolutions(manifest);
    for block in &manifest.blocks {
        encode_block(&mut out, block);
        if with_resolutions {
            put_varint(&mut out, u64::from(block.summary.resolution));
        }
    }
    put_varint(&mut out, manifest.losses.len() as u64);
    for loss in &manifest.losses {
        put_varint(&mut out, loss.first);
        put_varint(&mut out, loss.next);
        put_bytes(&mut out, loss.reason.as_bytes());
    }
    encode_sources(&mut out, manifest)?;
    if with_resolutions || !manifest.deletions.is_empty() {
        deletions::encode(&mut out, &manifest.deletions);
    }
    Ok(out)
}

/// A manifest without them has the bytes that it had before there were any.
fn has_resolutions(manifest: &Manifest) -> bool {
    manifest.blocks.iter().any(|block| block.summary.resolution > 0)
}

fn encode_block(out: &mut Vec<u8>, block: &BlockEntry) {
    put_bytes(out, block.id.as_bytes());
    put_varint(out, block.size);
    out.extend_from_slice(&block.directory_crc.to_le_bytes());
    out.extend_from_slice(&[block.level, u8::from(block.quarantine)]);
    put_varint(out, block.first_offset);
    put_varint(out, block.next_offset);
    put_zigzag(out, block.summary.first);
    put_zigzag(out, block.summary.last);
    put_varint(out, block.summary.records);
    put_varint(out, block.summary.raw_bytes);
}

/// Sources are said once, sorted, each with the length of what it shares with the one before; marks and digests point
/// at them. Times are deltas.
fn encode_sources(out: &mut Vec<u8>, manifest: &Manifest) -> Result<(), StoreError> {
    let mut sources: BTreeMap<&SourceKey, usize> = manifest.marks.keys().map(|key| (key, 0)).collect();
    // Pushes are many, their sources few: a name is compared once for all pushes that share it.
    let pushed: HashMap<*const SourceKey, &SourceKey> =
        manifest.digests.iter().map(|push| (Arc::as_ptr(&push.source), &*push.source)).collect();
    sources.extend(pushed.values().map(|key| (*key, 0)));
    let total: usize = sources.keys().map(|key| key.tenant.len() + 1 + key.source.len()).sum();
    if total > BODY_BYTES_MAX {
        return Err(StoreError::engine("encode a manifest", format!("sources of {total} bytes are above {BODY_BYTES_MAX}")));
    }
    put_varint(out, sources.len() as u64);
    let mut before = Vec::new();
    for (i, (key, index)) in sources.iter_mut().enumerate() {
        *index = i;
        let text = [key.tenant.as_bytes(), &[0xff], key.source.as_bytes()].concat();
        let shared = before.iter().zip(&text).take_while(|(a, b)| a == b).count();
        put_varint(out, shared as u64);
        put_bytes(out, &text[shared..]);
        before = text;
    }
    put_varint(out, manifest.marks.len() as u64);
    let (mut index, mut time) = (0, 0_i64);
    for (key, mark) in &*manifest.marks {
        put_varint(out, (sources[key] - index) as u64);
        put_varint(out, mark.epoch);
        put_varint(out, mark.sequence);
        put_zigzag(out, mark.touched.wrapping_sub(time));
        (index, time) = (sources[key], mark.touched);
    }
    let pushed: HashMap<*const SourceKey, usize> = pushed.into_iter().map(|(pointer, key)| (pointer, sources[key])).collect();
    put_varint(out, manifest.digests.len() as u64);
    time = 0;
    for push in manifest.digests.iter() {
        put_varint(out, pushed[&Arc::as_ptr(&push.source)] as u64);
        out.extend_from_slice(&push.digest);
        put_zigzag(out, push.seen.wrapping_sub(time));
        time = push.seen;
    }
    Ok(())
}

fn decode_body(body: &[u8], version: u8) -> Result<Manifest, String> {
    let mut reader = Reader::new(body);
    let mut manifest = Manifest {
        epoch: reader.varint("epoch")?,
        owner: reader.text("owner")?.to_owned(),
        next_offset: reader.varint("next offset")?,
        counters: Counters {
            duplicates: reader.varint("duplicates")?,
            gaps: reader.varint("gaps")?,
            quarantined: reader.varint("quarantined")?,
        },
        ..Manifest::default()
    };
    for _ in 0..reader.count("blocks", 14)? {
        manifest.blocks.push(decode_block(&mut reader, version >= VERSION_RESOLUTIONS)?);
    }
    for _ in 0..reader.count("losses", 3)? {
        let (first, next) = (reader.varint("loss")?, reader.varint("loss")?);
        manifest.losses.push(Loss { first, next, reason: reader.text("reason of a loss")?.to_owned() });
    }
    let sources = decode_sources(&mut reader)?;
    manifest.marks = Arc::new(decode_marks(&mut reader, &sources)?);
    manifest.digests = decode_digests(&mut reader, &sources)?;
    if version != VERSION_PLAIN {
        manifest.deletions = deletions::decode(&mut reader)?;
    }
    reader.finish()?;
    Ok(manifest)
}

fn decode_block(reader: &mut Reader<'_>, with_resolution: bool) -> Result<BlockEntry, String> {
    Ok(BlockEntry {
        id: reader.text("block id")?.to_owned(),
        size: reader.varint("block size")?,
        directory_crc: u32::from_le_bytes(reader.array("directory checksum")?),
        level: reader.array::<1>("level")?[0],
        quarantine: reader.array::<1>("quarantine")?[0] != 0,
        first_offset: reader.varint("first offset")?,
        next_offset: reader.varint("next offset")?,
        summary: BlockSummary {
            first: reader.zigzag("first timestamp")?,
            last: reader.zigzag("last timestamp")?,
            records: reader.varint("records")?,
            raw_bytes: reader.varint("raw bytes")?,
            resolution: if with_resolution { resolution(reader)? } else { 0 },
        },
    })
}

fn resolution(reader: &mut Reader<'_>) -> Result<u32, String> {
    let seconds = reader.varint("resolution")?;
    u32::try_from(seconds).map_err(|_| format!("a resolution of {seconds} seconds"))
}

fn decode_sources(reader: &mut Reader<'_>) -> Result<Vec<Arc<SourceKey>>, String> {
    let count = reader.count("sources", 2)?;
    let mut sources: Vec<Arc<SourceKey>> = Vec::with_capacity(count);
    let mut text: Vec<u8> = Vec::new();
    let mut total = 0_usize;
    for i in 0..count {
        let shared = reader.varint("shared bytes")? as usize;
        if shared > text.len() {
            return Err(format!("source {i} shares {shared} bytes with one of {}", text.len()));
        }
        text.truncate(shared);
        text.extend_from_slice(reader.bytes("source")?);
        total += text.len();
        if total > BODY_BYTES_MAX {
            return Err(format!("sources are longer than {BODY_BYTES_MAX} bytes together"));
        }
        let at = text.iter().position(|byte| *byte == 0xff).ok_or_else(|| format!("source {i} has no tenant"))?;
        let read =
            |bytes: &[u8]| std::str::from_utf8(bytes).map(Arc::<str>::from).map_err(|_| format!("source {i} is not UTF-8"));
        let (mut tenant, source) = (read(&text[..at])?, read(&text[at + 1..])?);
        if let Some(before) = sources.last().filter(|before| before.tenant == tenant) {
            tenant = Arc::clone(&before.tenant);
        }
        sources.push(Arc::new(SourceKey { tenant, source }));
    }
    Ok(sources)
}

fn decode_marks(reader: &mut Reader<'_>, sources: &[Arc<SourceKey>]) -> Result<BTreeMap<SourceKey, HighWater>, String> {
    let (mut index, mut time) = (0_usize, 0_i64);
    let mut marks = Vec::new();
    for _ in 0..reader.count("marks", 4)? {
        index = index.saturating_add(reader.varint("source of a mark")? as usize);
        let source = sources.get(index).ok_or_else(|| format!("a mark is of source {index} of {}", sources.len()))?;
        let (epoch, sequence) = (reader.varint("epoch of a mark")?, reader.varint("sequence of a mark")?);
        time = time.wrapping_add(reader.zigzag("time of a mark")?);
        marks.push((SourceKey::clone(source), HighWater { epoch, sequence, touched: time }));
    }
    Ok(marks.into_iter().collect())
}

fn decode_digests(reader: &mut Reader<'_>, sources: &[Arc<SourceKey>]) -> Result<PushDigests, String> {
    let mut time = 0_i64;
    let mut digests = PushDigests::default();
    for _ in 0..reader.count("digests", 18)? {
        let index = reader.varint("source of a digest")? as usize;
        let source = sources.get(index).ok_or_else(|| format!("a digest is of source {index} of {}", sources.len()))?;
        let digest = reader.array("digest")?;
        time = time.wrapping_add(reader.zigzag("time of a digest")?);
        digests.push_back(PushDigest { source: Arc::clone(source), digest, seen: time });
    }
    Ok(digests)
}
