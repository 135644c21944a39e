//! Two owners, retried creates, crashes, hostile bytes, garbage, and stores that must be refused.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use proptest::prelude::{Strategy, any, prop, proptest};
use weir_model::wire::Kind;

use super::encode::{Stamp, decode, encode};
use super::*;
use crate::StoreError;
use crate::blob::MemoryBlob;
use crate::block::{BlockData, BlockFile, BlockReader};
use crate::scratch::{Growing, ScratchSpace};
use crate::testing::MemoryScratch;

type Result<T, E = Error> = std::result::Result<T, E>;

/// A store in memory that can misbehave as real ones do.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    ignores_create: bool,
    /// Creates as some do: looks whether it is there, and writes a moment later.
    looks_before: bool,
    /// Says of everything that it was stored in 1970.
    dates_back: bool,
    /// The next put is stored, but its answer is lost.
    loses_answer: AtomicBool,
    reads: AtomicU64,
}

impl fmt::Display for Faulty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.ignores_create {
            options.mode = PutMode::Overwrite;
        }
        if self.looks_before && options.mode == PutMode::Create {
            if self.inner.head(location).await.is_ok() {
                return Err(Error::AlreadyExists { path: location.to_string(), source: "it is there".into() });
            }
            // Long enough for others to look on a busy machine.
            tokio::time::sleep(Duration::from_millis(200)).await;
            options.mode = PutMode::Overwrite;
        }
        let stored = self.inner.put_opts(location, payload, options).await?;
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            return Err(Error::Generic { store: "faulty", source: "connection reset".into() });
        }
        Ok(stored)
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let dates_back = self.dates_back;
        let dated = move |object| if dates_back { ObjectMeta { last_modified: Default::default(), ..object } } else { object };
        self.inner.list(prefix).map_ok(dated).boxed()
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn counted_nonces() -> NonceSource {
    let count = AtomicU64::new(1);
    Arc::new(move || u128::from(count.fetch_add(1, Ordering::Relaxed)).to_le_bytes())
}

fn store_on(object_store: Arc<dyn ObjectStore>) -> ManifestStore {
    ManifestStore { object_store, kind: Kind::Logs, partition: 3, nonces: random_nonces() }
}

/// Everything that may go, without a grace period.
async fn collect(store: &ManifestStore, version: u64) -> Result<Garbage, StoreError> {
    store.collect(version, &mut Sightings::default(), Duration::ZERO, Duration::ZERO).await
}

fn block_file() -> BlockFile {
    BlockData::of(vec![("a.1", b"hello".to_vec())]).into_file(Kind::Logs)
}

fn sample() -> Manifest {
    let key = |source: &str| SourceKey { tenant: "default".into(), source: source.into() };
    let summary = BlockSummary { first: -5, last: 1_700_000_000_000_000_000, records: 10, raw_bytes: 1000, resolution: 0 };
    let mark = |sequence| HighWater { epoch: 2, sequence, touched: 1_700_000_000_000_000_000 };
    let block = BlockEntry { id: "a".into(), size: 99, directory_crc: 7, next_offset: 40, summary, ..BlockEntry::default() };
    Manifest {
        epoch: 4,
        owner: "http://10.0.0.1:9640".into(),
        next_offset: 50,
        blocks: vec![block],
        marks: Arc::new([(key("node/pod/a"), mark(100)), (key("node/pod/b"), mark(7))].into()),
        digests: [PushDigest { source: Arc::new(key("push")), digest: [9; 16], seen: 12 }].into_iter().collect(),
        losses: vec![Loss { first: 40, next: 50, reason: "the bus was cut".into() }],
        counters: Counters { duplicates: 1, gaps: 2, quarantined: 3 },
        deletions: Vec::new(),
    }
}

const STAMP: Stamp = Stamp { kind: Kind::Logs, partition: 3, version: 17, nonce: [0xab; 16] };

#[test]
fn golden_bytes() {
    let golden = include_str!("golden.hex").trim();
    assert_eq!(hex::encode(encode(&STAMP, &sample()).unwrap()), golden);
    let bytes = hex::decode(golden).unwrap();
    let (stamp, manifest) = decode("m", &bytes).unwrap();
    assert_eq!((stamp, manifest), (STAMP, sample()));
}

#[test]
fn golden_bytes_of_version_4() {
    let mut manifest = sample();
    manifest.blocks.push(BlockEntry { id: "b".into(), next_offset: 50, ..manifest.blocks[0].clone() });
    manifest.blocks[1].summary.resolution = 3600;
    let golden = include_str!("golden_4.hex").trim();
    assert_eq!(hex::encode(encode(&STAMP, &manifest).unwrap()), golden);
    let bytes = hex::decode(golden).unwrap();
    assert_eq!(bytes[4], 4, "a weir of before names the version");
    assert_eq!(decode("m", &bytes).unwrap(), (STAMP, manifest));
}

#[test]
fn hostile_bytes_are_errors_with_the_path() {
    let good = encode(&STAMP, &sample()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let message = decode("logs/00003/manifest/17", &bad).unwrap_err().to_string();
        assert!(message.starts_with("logs/00003/manifest/17 "), "{message}");
        assert!(decode("m", &good[..at]).is_err());
    }
    let mut bad = good;
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let message = decode("m", &bad).unwrap_err().to_string();
    assert!(message.starts_with("m is corrupt: checksum "), "{message}");
}

#[test]
fn offsets_leave_no_hole_and_merges_never_double() {
    let entry = |id: &str, first, next, records| BlockEntry {
        id: id.into(),
        first_offset: first,
        next_offset: next,
        summary: BlockSummary { records, ..BlockSummary::default() },
        ..BlockEntry::default()
    };
    let mut manifest = Manifest::default();
    manifest.seal(0, 10, vec![entry("a", 0, 10, 5)]).unwrap();
    manifest.seal(10, 12, Vec::new()).unwrap();
    let message = manifest.seal(13, 20, Vec::new()).unwrap_err().to_string();
    assert_eq!(message, "seal: offsets 13..20 do not follow the sealed ones, which end at 12");
    assert!(manifest.seal(12, 20, vec![entry("b", 12, 21, 1)]).is_err());
    manifest.declare_loss(15, "gone").unwrap();
    assert!(manifest.declare_loss(15, "gone").is_err());
    manifest.seal(15, 20, vec![entry("b", 15, 20, 1)]).unwrap();
    let message = manifest.replace(&["a".into(), "b".into()], vec![entry("c", 0, 20, 7)]).unwrap_err().to_string();
    assert_eq!(message, "merge: 6 records became 7");
    let mut fewer = manifest.clone();
    fewer.replace(&["a".into(), "b".into()], vec![entry("c", 0, 20, 5)]).unwrap();
    assert!(manifest.replace(&["a".into(), "x".into()], vec![entry("c", 0, 20, 6)]).is_err());
    manifest.replace(&["a".into(), "b".into()], vec![entry("c", 0, 20, 6)]).unwrap();
    assert_eq!((manifest.blocks.len(), manifest.next_offset, manifest.check()), (1, 20, Ok(())));
    manifest.blocks[0].next_offset = 21;
    assert!(manifest.check().is_err());
}

#[tokio::test]
async fn of_two_owners_one_publishes_and_the_other_is_fenced() {
    let object_store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (one, two) = (store_on(Arc::clone(&object_store)), store_on(object_store));
    assert_eq!(one.load_latest().await.unwrap(), None);
    let mine = |epoch| Manifest { epoch, ..Manifest::default() };
    one.publish(1, &mine(1)).await.unwrap();
    let (manifest_one, manifest_two) = (mine(1), mine(2));
    let (a, b) = tokio::join!(one.publish(2, &manifest_one), two.publish(2, &manifest_two));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1);
    let loser = a.err().or(b.err()).unwrap();
    let (version, winner) = one.load_latest().await.unwrap().unwrap();
    assert!(matches!(loser, StoreError::Fenced { epoch, partition: 3, .. } if epoch == winner.epoch), "{loser}");
    assert_eq!(version, 2);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_known_again() {
    let faulty = Arc::new(Faulty::default());
    let store = store_on(Arc::clone(&faulty) as Arc<dyn ObjectStore>);
    let prepared = store.prepare(1, &sample()).unwrap();
    faulty.loses_answer.store(true, Ordering::Relaxed);
    let error = store.publish_prepared(&prepared).await.unwrap_err();
    assert!(matches!(error, StoreError::Object { .. }), "{error}");
    store.publish_prepared(&prepared).await.unwrap();
    assert_eq!(store.load_latest().await.unwrap(), Some((1, sample())));
    assert!(matches!(store.publish(1, &sample()).await, Err(StoreError::Fenced { epoch: 4, .. })));
}

#[tokio::test]
async fn an_owner_that_slept_through_a_clean_up_is_fenced() {
    let store = store_on(Arc::new(InMemory::new()));
    for version in 1..=12 {
        store.publish(version, &Manifest { epoch: version, ..Manifest::default() }).await.unwrap();
    }
    let garbage = collect(&store, 12).await.unwrap();
    assert_eq!(garbage.manifests, 4);
    // Version 2 is gone, so its create succeeds once more; it must not count.
    assert!(matches!(store.publish(2, &Manifest::default()).await, Err(StoreError::Fenced { epoch: 12, .. })));
    assert!(matches!(collect(&store, 2).await, Err(StoreError::Fenced { epoch: 12, .. })));
    assert_eq!(store.load_latest().await.unwrap().unwrap().0, 12);
}

#[tokio::test]
async fn a_corrupt_newest_version_is_an_error_that_names_it() {
    let store = store_on(Arc::new(InMemory::new()));
    store.publish(1, &sample()).await.unwrap();
    store.object_store.put(&store.manifest_path(2), "garbage".into()).await.unwrap();
    let message = store.load_latest().await.unwrap_err().to_string();
    let path = "logs/00003/manifest/00000000000000000002";
    assert_eq!(message, format!("{path} is corrupt: 7 bytes are fewer than a manifest's header has"));
}

#[tokio::test]
async fn a_crash_before_publishing_leaves_only_garbage() {
    let store = store_on(Arc::new(InMemory::new()));
    let new = NewBlock { first_offset: 0, next_offset: 10, ..NewBlock::default() };
    let orphan = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    // Killed here; the next owner consumes the same offsets again.
    let real = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    assert_ne!(orphan.id, real.id);
    assert!(real.id.starts_with("00000000000000000000-"));
    let mut manifest = Manifest { epoch: 1, ..Manifest::default() };
    manifest.seal(0, 10, vec![real.clone()]).unwrap();
    store.publish(1, &manifest).await.unwrap();
    assert_eq!(collect(&store, 1).await.unwrap(), Garbage { manifests: 0, blocks: 1, bytes: orphan.size });
    assert!(store.object_store.head(&store.block_path(&real.id)).await.is_ok());
    assert!(store.object_store.head(&store.block_path(&orphan.id)).await.is_err());
}

#[tokio::test]
async fn blocks_of_versions_that_are_still_there_are_kept() {
    let store = store_on(Arc::new(InMemory::new()));
    let new = NewBlock { first_offset: 0, next_offset: 10, ..NewBlock::default() };
    let block = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    let mut manifest = Manifest::default();
    manifest.seal(0, 10, vec![block.clone()]).unwrap();
    store.publish(1, &manifest).await.unwrap();
    manifest.forget(&[block.id]);
    for version in 2..=8 {
        store.publish(version, &manifest).await.unwrap();
    }
    assert_eq!(collect(&store, 8).await.unwrap(), Garbage::default());
    store.publish(9, &manifest).await.unwrap();
    let garbage = collect(&store, 9).await.unwrap();
    assert_eq!((garbage.manifests, garbage.blocks), (1, 1));
}

#[tokio::test]
async fn garbage_goes_by_passed_time_whatever_the_clocks_say() {
    // All that is stored says it is of 1970: so it looks where this machine's clock was set ahead, or the store's is behind.
    let store = store_on(Arc::new(Faulty { dates_back: true, ..Faulty::default() }));
    let (mut seen, grace) = (Sightings::default(), Duration::from_secs(600));
    let new = NewBlock { first_offset: 0, next_offset: 10, ..NewBlock::default() };
    let mut manifest = Manifest { epoch: 1, ..Manifest::default() };
    for version in 1..=12 {
        store.publish(version, &manifest).await.unwrap();
    }
    let orphan = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    let coming = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    let at = Duration::from_secs;
    // Seen for the first time, and not for long enough.
    for now in [1000, 1001, 1599] {
        assert_eq!(store.collect(12, &mut seen, at(now), grace).await.unwrap(), Garbage::default(), "at {now}");
    }
    // One of them is published after all; a third is put.
    manifest.seal(0, 10, vec![coming.clone()]).unwrap();
    store.publish(13, &manifest).await.unwrap();
    let late = store.put_block(new, BlockSummary::default(), block_file()).await.unwrap();
    let garbage = store.collect(13, &mut seen, at(1600), grace).await.unwrap();
    assert_eq!(garbage, Garbage { manifests: 5, blocks: 1, bytes: orphan.size });
    for (id, is_there) in [(&orphan.id, false), (&coming.id, true), (&late.id, true)] {
        assert_eq!(store.object_store.head(&store.block_path(id)).await.is_ok(), is_there);
    }
    // What was named for a while and is no longer waits anew, and so does a new owner.
    manifest.forget(std::slice::from_ref(&coming.id));
    for version in 14..=21 {
        store.publish(version, &manifest).await.unwrap();
    }
    let garbage = store.collect(21, &mut seen, at(2200), grace).await.unwrap();
    assert_eq!(garbage, Garbage { manifests: 7, blocks: 1, bytes: late.size });
    assert_eq!(store.collect(21, &mut Sightings::default(), at(1 << 40), grace).await.unwrap(), Garbage::default());
    let garbage = store.collect(21, &mut seen, at(2800), grace).await.unwrap();
    assert_eq!(garbage, Garbage { manifests: 1, blocks: 0, bytes: 0 }, "no version names the first one any more, since now");
    let garbage = store.collect(21, &mut seen, at(3400), grace).await.unwrap();
    assert_eq!(garbage, Garbage { manifests: 0, blocks: 1, bytes: coming.size });
}

#[tokio::test]
async fn what_blocks_a_version_names_is_read_once() {
    let faulty = Arc::new(Faulty::default());
    let store = store_on(Arc::clone(&faulty) as Arc<dyn ObjectStore>);
    let mut seen = Sightings::default();
    for version in 1..=5 {
        store.publish(version, &Manifest { epoch: 1, ..Manifest::default() }).await.unwrap();
    }
    let before = faulty.reads.load(Ordering::Relaxed);
    for _ in 0..3 {
        store.collect(5, &mut seen, Duration::ZERO, Duration::MAX).await.unwrap();
    }
    store.publish(6, &Manifest { epoch: 1, ..Manifest::default() }).await.unwrap();
    store.collect(6, &mut seen, Duration::ZERO, Duration::MAX).await.unwrap();
    assert_eq!(faulty.reads.load(Ordering::Relaxed) - before, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_probe_accepts_good_stores_and_refuses_others() {
    let directory = tempfile::tempdir().unwrap();
    let local = durable_local(&directory.path().join("a/b"), SystemTime::UNIX_EPOCH).unwrap();
    for good in [Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, Arc::new(local)] {
        probe(&good, &counted_nonces()).await.unwrap();
    }
    let bad: Arc<dyn ObjectStore> = Arc::new(Faulty { ignores_create: true, ..Faulty::default() });
    let message = probe(&bad, &counted_nonces()).await.unwrap_err().to_string();
    let expected = "probe the object store: Faulty is not safe for weir: a second conditional create of the same key succeeded";
    assert!(message.starts_with(expected), "{message}");
    let racy: Arc<dyn ObjectStore> = Arc::new(Faulty { looks_before: true, ..Faulty::default() });
    let message = probe(&racy, &counted_nonces()).await.unwrap_err().to_string();
    assert!(message.contains("conditional creates of one key at the same time"), "{message}");
    // An answer that is lost is an error, and no verdict about the store.
    let lossy: Arc<dyn ObjectStore> = Arc::new(Faulty { loses_answer: true.into(), ..Faulty::default() });
    let message = probe(&lossy, &counted_nonces()).await.unwrap_err().to_string();
    assert!(message.starts_with("create probe/") && message.contains("connection reset"), "{message}");
}

#[tokio::test]
async fn a_local_directory_keeps_everything_but_old_staged_files() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let store = store_on(Arc::new(durable_local(directory.path(), now).unwrap()));
    assert_eq!(store.load_latest().await.unwrap(), None);
    store.publish(1, &sample()).await.unwrap();
    let staged = directory.path().join("logs/00003/manifest/00000000000000000002#1");
    std::fs::write(&staged, "half").unwrap();
    durable_local(directory.path(), now).unwrap();
    assert!(staged.exists());
    let again = store_on(Arc::new(durable_local(directory.path(), now + Duration::from_secs(7200)).unwrap()));
    assert!(!staged.exists());
    assert_eq!(again.load_latest().await.unwrap(), Some((1, sample())));
}

/// A query node opens the directory that an aggregator writes to.
#[test]
fn a_local_directory_is_opened_while_another_process_writes_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for at in 0..32 {
                    let folder = root.join(format!("logs/{at:05}"));
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(folder.join("block#1"), "half").unwrap();
                }
                std::fs::remove_dir_all(root.join("logs")).unwrap();
            }
        });
        let opened = (0..50).try_for_each(|_| durable_local(root, SystemTime::now()).map(drop));
        ended.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let key =
        ("[a-c]{1,2}", "[a-z/]{1,6}").prop_map(|(tenant, source)| SourceKey { tenant: tenant.into(), source: source.into() });
    let mark =
        (any::<u64>(), any::<u64>(), any::<i64>()).prop_map(|(epoch, sequence, touched)| HighWater { epoch, sequence, touched });
    let digest = (key.clone(), any::<[u8; 16]>(), any::<i64>()).prop_map(|(source, digest, seen)| PushDigest {
        source: Arc::new(source),
        digest,
        seen,
    });
    let marks = prop::collection::btree_map(key, mark, 0..20);
    let digests = prop::collection::vec(digest, 0..20);
    (marks, digests, any::<u64>(), any::<String>()).prop_map(|(marks, digests, next_offset, owner)| Manifest {
        marks: Arc::new(marks),
        digests: digests.into_iter().collect(),
        next_offset,
        owner,
        ..Manifest::default()
    })
}

proptest! {
    #[test]
    fn manifests_round_trip(manifest in any_manifest()) {
        let bytes = encode(&STAMP, &manifest).unwrap();
        assert_eq!(decode("m", &bytes).unwrap(), (STAMP, manifest));
    }
}

/// A block on disk is sent in one request or in pieces, and reads back as it was made.
#[tokio::test]
async fn a_block_on_disk_is_stored_as_one_in_memory() {
    for length in [3 << 20, 20 << 20] {
        let store =
            ManifestStore { object_store: Arc::new(InMemory::new()), kind: Kind::Logs, partition: 3, nonces: random_nonces() };
        let bytes: Vec<u8> = (0..length as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        let mut growing = Growing::new(ScratchSpace::new(Arc::new(MemoryScratch::default())));
        bytes.chunks(100_001).for_each(|piece| growing.append(piece).unwrap());
        let mut data = BlockData::of(vec![("a.1", b"hello".to_vec())]);
        data.push("b.1", growing.finish().unwrap());
        assert_eq!(data.spilled.len(), 1);
        let block = store.put_block(NewBlock::default(), BlockSummary::default(), data.into_file(Kind::Logs)).await.unwrap();
        let stored = store.object_store.get(&store.block_path(&block.id)).await.unwrap().bytes().await.unwrap();
        assert_eq!(stored.len() as u64, block.size);
        let reader = BlockReader::open(Arc::new(MemoryBlob::new("x", stored.to_vec()))).unwrap();
        assert!(reader.section("b.1").unwrap()[..] == bytes[..] && &reader.section("a.1").unwrap()[..] == b"hello");
        assert_eq!(reader.directory_crc(), block.directory_crc);
    }
}
