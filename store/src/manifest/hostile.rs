//! Bodies that no honest owner writes, under checksums that fit: an error each, never a panic; and none that is written is not read.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_model::wire::Kind;

use super::encode::{HEADER_BYTES, Stamp, decode, encode, encode_body};
use super::{BlockEntry, HighWater, Loss, Manifest, PushDigest, SourceKey};
use crate::columns::{put_bytes, put_varint};

const STAMP: Stamp = Stamp { kind: Kind::Logs, partition: 3, version: 17, nonce: [0xab; 16] };

fn key(source: String) -> SourceKey {
    SourceKey { tenant: "default".into(), source: source.into() }
}

fn manifest() -> Manifest {
    let mut manifest = Manifest { epoch: 3, next_offset: 1000, ..Manifest::default() };
    for i in 0..20 {
        let (first_offset, next_offset) = (i * 10, i * 10 + 10);
        manifest.blocks.push(BlockEntry { id: format!("{i:020}-x"), first_offset, next_offset, ..BlockEntry::default() });
        manifest.losses.push(Loss { first: i * 10, next: i * 10 + 1, reason: "gone".into() });
        manifest.marks.insert(key(format!("node/pod/{i}")), HighWater { epoch: i, sequence: i, touched: -5 });
        manifest.digests.push_back(PushDigest { source: key("push".into()), digest: [7; 16], seen: 5 });
    }
    manifest
}

/// The bytes of a manifest with this body.
fn stamped(body: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(body, 1).unwrap();
    let mut bytes = encode(&STAMP, &Manifest::default()).unwrap()[..36].to_vec();
    bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &packed);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes.extend_from_slice(&packed);
    bytes
}

fn mutated(body: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bad = body.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bad.len());
        match random.random_range(0..5) {
            0 => bad[at] = random.random(),
            1 => bad[at] ^= 1 << random.random_range(0..8),
            2 => bad.truncate(at.max(1)),
            // A number that is as large as one can be.
            3 => {
                let mut large = Vec::new();
                put_varint(&mut large, u64::MAX >> random.random_range(0..64));
                bad.splice(at..(at + 1).min(bad.len()), large);
            }
            _ => {
                let part = bad[at..(at + 30).min(bad.len())].to_vec();
                bad.extend(part);
            }
        }
    }
    bad
}

#[test]
fn mutated_bodies_are_read_or_refused() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let (mut random, body) = (StdRng::seed_from_u64(seed), encode_body(&manifest()).unwrap());
    assert_eq!(decode("m", &stamped(&body)).unwrap().1, manifest());
    for length in 0..body.len() {
        assert!(decode("m", &stamped(&body[..length])).is_err(), "cut at {length}");
    }
    let mut refused = 0;
    for _ in 0..20_000 {
        match decode("m", &stamped(&mutated(&body, &mut random))) {
            Ok((_, read)) => assert_eq!(read.check(), Ok(())),
            Err(error) => refused += u32::from(error.to_string().starts_with("m is corrupt: ")),
        }
    }
    assert!(refused > 5000, "{refused} were refused");
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
    let message = decode("m", &stamped(&body)).unwrap_err().to_string();
    assert_eq!(message, "m is corrupt: body: sources are longer than 67108864 bytes together");
}

#[test]
fn what_no_reader_takes_is_not_written() {
    let mut manifest = Manifest::default();
    let shared: Arc<str> = "a".repeat(1 << 20).into();
    for i in 0..70 {
        manifest.marks.insert(key(format!("{shared}{i}")), HighWater { epoch: 1, sequence: 1, touched: 1 });
    }
    let message = encode(&STAMP, &manifest).unwrap_err().to_string();
    assert!(message.starts_with("encode a manifest: sources of 734"), "{message}");
}
