//! Bodies that no honest owner writes, under checksums that fit: an error each, never a panic; and none that is written is not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::wire::Kind;

use super::encode::{HEADER_BYTES, Stamp, VERSION_PLAIN, VERSION_RESOLUTIONS, decode, encode, encode_body};
use super::{BlockEntry, Counters, HighWater, Loss, Manifest, PushDigest, SourceKey};
use crate::columns::{put_bytes, put_varint};

const STAMP: Stamp = Stamp { kind: Kind::Logs, partition: 3, version: 17, nonce: [0xab; 16] };
/// Names of sources share what they begin with: a few bytes can stand for as many as all of a manifest's may have, 64 MiB, which
/// are held once more while the next is put together.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 160 << 20, per_input_byte: 1 << 10 };

fn key(source: String) -> SourceKey {
    SourceKey { tenant: "default".into(), source: source.into() }
}

fn manifest() -> Manifest {
    let mut manifest = Manifest { epoch: 3, next_offset: 1000, ..Manifest::default() };
    for i in 0..20 {
        let (first_offset, next_offset) = (i * 10, i * 10 + 10);
        manifest.blocks.push(BlockEntry { id: format!("{i:020}-x"), first_offset, next_offset, ..BlockEntry::default() });
        manifest.losses.push(Loss { first: i * 10, next: i * 10 + 1, reason: "gone".into() });
        Arc::make_mut(&mut manifest.marks).insert(key(format!("node/pod/{i}")), HighWater { epoch: i, sequence: i, touched: -5 });
        manifest.digests.push_back(PushDigest { source: Arc::new(key("push".into())), digest: [7; 16], seen: 5 });
    }
    manifest
}

/// The same, with downsampled blocks.
fn downsampled() -> Manifest {
    let mut manifest = manifest();
    manifest.blocks.iter_mut().step_by(2).for_each(|block| block.summary.resolution = 300);
    manifest
}

/// The bytes of a manifest of this version with this body.
fn stamped(version: u8, body: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(body, 1).unwrap();
    let mut bytes = encode(&STAMP, &Manifest::default()).unwrap()[..36].to_vec();
    bytes[4] = version;
    bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &packed);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes.extend_from_slice(&packed);
    bytes
}

#[test]
fn every_body_cut_short_is_refused() {
    for (version, manifest) in [(VERSION_PLAIN, manifest()), (VERSION_RESOLUTIONS, downsampled())] {
        let body = encode_body(&manifest).unwrap();
        assert_eq!(decode("m", &stamped(version, &body)).unwrap().1, manifest);
        for length in 0..body.len() {
            assert!(decode("m", &stamped(version, &body[..length])).is_err(), "version {version} cut at {length}");
        }
    }
}

/// Bodies are mutated, the header is made to fit; then whole objects are, of which hardly any passes the checksum.
#[test]
fn fuzz_bodies_are_read_or_refused() {
    let extreme = Manifest {
        epoch: u64::MAX,
        next_offset: u64::MAX,
        losses: vec![Loss { first: u64::MAX - 1, next: u64::MAX, reason: String::new() }],
        marks: Arc::new([(key("s".into()), HighWater { epoch: u64::MAX, sequence: u64::MAX, touched: i64::MIN })].into()),
        counters: Counters { duplicates: u64::MAX, gaps: u64::MAX, quarantined: u64::MAX },
        ..Manifest::default()
    };
    let (read, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (own_read, own_refused) = (Arc::clone(&read), Arc::clone(&refused));
    let fuzz = [manifest(), downsampled(), extreme, Manifest::default()]
        .iter()
        .fold(Fuzz::new("manifest"), |fuzz, manifest| fuzz.seed(encode_body(manifest).unwrap()));
    fuzz.memory(MEMORY).run(move |input| {
        let _ = decode("m", input);
        for version in [VERSION_PLAIN, VERSION_RESOLUTIONS] {
            match decode("m", &stamped(version, input)) {
                Ok((_, manifest)) => {
                    assert_eq!(manifest.check(), Ok(()));
                    own_read.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(error.to_string().starts_with("m is corrupt: "), "{error}");
                    own_refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let (read, refused) = (read.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{read} were read, {refused} refused");
    // One of four at least; below a thousand the seeds weigh.
    assert!(read + refused < 1_000 || refused > (read + refused) / 4, "{refused} were refused, {read} read");
}

#[test]
fn names_that_share_everything_do_not_grow_without_bound() {
    let mut body = Vec::new();
    // Epoch, owner, next offset, counters, blocks, losses.
    body.extend([0; 8]);
    put_varint(&mut body, 5000);
    for i in 0..5000 {
        put_varint(&mut body, if i == 0 { 0 } else { 100_002 });
        put_bytes(&mut body, &if i == 0 { [b"t\xff".to_vec(), vec![b'a'; 100_000]].concat() } else { Vec::new() });
    }
    body.extend([0, 0]);
    let message = decode("m", &stamped(VERSION_PLAIN, &body)).unwrap_err().to_string();
    assert_eq!(message, "m is corrupt: body: sources are longer than 67108864 bytes together");
}

#[test]
fn what_no_reader_takes_is_not_written() {
    let mut manifest = Manifest::default();
    let shared: Arc<str> = "a".repeat(1 << 20).into();
    for i in 0..70 {
        Arc::make_mut(&mut manifest.marks).insert(key(format!("{shared}{i}")), HighWater { epoch: 1, sequence: 1, touched: 1 });
    }
    let message = encode(&STAMP, &manifest).unwrap_err().to_string();
    assert!(message.starts_with("encode a manifest: sources of 734"), "{message}");
}
