//! Numbered versions and block objects in the object store. Whoever creates version N first has published it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use weir_model::panic_guard;
use weir_model::wire::Kind;

use super::encode::{Stamp, decode, encode};
use super::{BlockEntry, Manifest};
use crate::StoreError;
use crate::block::BlockFile;
use crate::engine::BlockSummary;

/// Where nonces come from: 16 random bytes a call; tests pass a seeded source.
pub type NonceSource = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// Nonces from the system's random source.
pub fn random_nonces() -> NonceSource {
    Arc::new(rand::random::<[u8; 16]>)
}

/// How often a listing that ran into a concurrent clean-up is begun again.
const LOAD_ATTEMPTS: usize = 5;

/// The manifest and the blocks of one partition of one kind.
#[derive(Clone)]
pub struct ManifestStore {
    /// Where; for a local directory from [`super::durable_local`].
    pub object_store: Arc<dyn ObjectStore>,
    /// Which engine's.
    pub kind: Kind,
    /// Which partition.
    pub partition: u32,
    /// For names of blocks and for knowing one's own manifests.
    pub nonces: NonceSource,
}

/// A manifest version that is encoded and may be sent more than once.
pub struct Prepared {
    stamp: Stamp,
    bytes: Bytes,
    epoch: u64,
}

/// What the manifest says of a block beside what the block says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewBlock {
    /// First offset it may hold.
    pub first_offset: u64,
    /// Exclusive end.
    pub next_offset: u64,
    /// 0 as sealed, one more than the highest of those merged.
    pub level: u8,
    /// Raw records that could not be decoded.
    pub quarantine: bool,
}

impl NewBlock {
    /// Of a merge of these: blocks of one merge before may lie within one another.
    pub fn of_run(run: &[BlockEntry]) -> Self {
        let first_offset = run.iter().map(|entry| entry.first_offset).min().unwrap_or(0);
        let next_offset = run.iter().map(|entry| entry.next_offset).max().unwrap_or(0);
        let level = run.iter().map(|entry| entry.level).max().unwrap_or(0).saturating_add(1);
        Self { first_offset, next_offset, level, quarantine: false }
    }
}

/// Sent at once of a file that lies on disk: more than the least that S3 takes, and of 512 MiB 64 requests.
const PIECE_BYTES: u64 = 8 << 20;

/// The piece of a file that begins at `at`, read off the async threads.
async fn read_piece(file: &Arc<BlockFile>, at: u64) -> Result<Bytes, StoreError> {
    let (file, end) = (Arc::clone(file), file.size().min(at + PIECE_BYTES));
    let read = tokio::task::spawn_blocking(move || file.read(at..end)).await;
    read.map_err(|error| StoreError::engine("read a block in the making", error))?
}

impl ManifestStore {
    /// The newest version and what it says; `None` when the partition has none yet. A corrupt newest version is an error:
    /// an older one would hand out blocks and offsets that are no longer true.
    pub async fn load_latest(&self) -> Result<Option<(u64, Manifest)>, StoreError> {
        for _ in 0..LOAD_ATTEMPTS {
            let Some(version) = self.versions().await?.pop() else { return Ok(None) };
            match self.load(version).await {
                // Someone published eight more and cleaned up between the two requests.
                Err(StoreError::Object { source: object_store::Error::NotFound { .. }, .. }) => {}
                loaded => return loaded.map(|(_, manifest)| Some((version, manifest))),
            }
        }
        Err(StoreError::engine("load the newest manifest", format!("{} changes too fast", self.manifest_prefix())))
    }

    /// Encodes a version for [`Self::publish_prepared`].
    pub fn prepare(&self, version: u64, manifest: &Manifest) -> Result<Prepared, StoreError> {
        manifest.check().map_err(|detail| StoreError::engine("publish a manifest", detail))?;
        let stamp = Stamp { kind: self.kind, partition: self.partition, version, nonce: (self.nonces)() };
        Ok(Prepared { stamp, bytes: encode(&stamp, manifest)?.into(), epoch: manifest.epoch })
    }

    /// [`Self::prepare`] and [`Self::publish_prepared`]: for callers that stop on any error.
    pub async fn publish(&self, version: u64, manifest: &Manifest) -> Result<(), StoreError> {
        self.publish_prepared(&self.prepare(version, manifest)?).await
    }

    /// Makes a version true, or errors with `Fenced` when another owner was first: then stop, and consume nothing more.
    /// After an `Object` error it is not known whether the version exists; call again with the same `prepared` to find
    /// out (a version that turns out to be this one counts as published).
    pub async fn publish_prepared(&self, prepared: &Prepared) -> Result<(), StoreError> {
        let version = prepared.stamp.version;
        let path = self.manifest_path(version);
        let put = self.object_store.put_opts(&path, prepared.bytes.clone().into(), PutMode::Create.into()).await;
        match put {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let (theirs, manifest) = self.load(version).await?;
                if theirs.nonce != prepared.stamp.nonce {
                    return Err(self.fenced(manifest.epoch));
                }
            }
            Err(source) => return Err(StoreError::object("create", path, source)),
        }
        // An owner that slept so long that its next version was published and cleaned up again could still create it.
        match self.versions().await?.last() {
            Some(newest) if *newest > version => {
                let epoch = self.load(*newest).await.map_or(prepared.epoch + 1, |(_, manifest)| manifest.epoch);
                Err(self.fenced(epoch))
            }
            _ => Ok(()),
        }
    }

    /// Stores and verifies a block. It is not real before a manifest that names it is published; until then it is
    /// garbage that [`Self::collect`] removes. Make the file off the async threads.
    pub async fn put_block(&self, new: NewBlock, summary: BlockSummary, file: BlockFile) -> Result<BlockEntry, StoreError> {
        let id = format!("{:020}-{}", new.first_offset, hex::encode(&(self.nonces)()[..8]));
        let location = self.block_path(&id);
        let failed = |operation, source| StoreError::object(operation, &location, source);
        let (size, directory) = (file.size(), file.directory().clone());
        let (start, directory_crc) = (file.directory_start, file.directory_crc);
        match file.parts_in_memory() {
            Some(parts) => {
                let put = self.object_store.put_opts(&location, parts.into_iter().collect(), PutMode::Create.into());
                put.await.map_err(|source| failed("create", source))?;
            }
            None => self.put_in_pieces(&location, &Arc::new(file)).await?,
        }
        let stored = self.object_store.head(&location).await.map_err(|source| failed("look at", source))?.size;
        if stored != size {
            return Err(StoreError::corrupt(location.as_ref(), format!("{stored} bytes are stored of {size}")));
        }
        let back = self.object_store.get_range(&location, start..size).await.map_err(|source| failed("read back", source))?;
        if back != directory {
            return Err(StoreError::corrupt(location.as_ref(), "its directory reads back differently"));
        }
        Ok(BlockEntry {
            id,
            size,
            directory_crc,
            level: new.level,
            first_offset: new.first_offset,
            next_offset: new.next_offset,
            summary,
            quarantine: new.quarantine,
        })
    }

    /// Sends a file that lies on disk, of which one piece is in memory at a time. A store has no such upload that fails where the object is
    /// there already; half of the name is random.
    async fn put_in_pieces(&self, location: &Path, file: &Arc<BlockFile>) -> Result<(), StoreError> {
        let failed = |source| StoreError::object("create", location, source);
        if file.size() <= PIECE_BYTES {
            let payload = read_piece(file, 0).await?.into();
            return self.object_store.put_opts(location, payload, PutMode::Create.into()).await.map(drop).map_err(failed);
        }
        let mut upload = self.object_store.put_multipart(location).await.map_err(failed)?;
        let sent = async {
            let mut at = 0;
            while at < file.size() {
                let piece = read_piece(file, at).await?;
                at += piece.len() as u64;
                upload.put_part(piece.into()).await.map_err(failed)?;
            }
            upload.complete().await.map_err(failed)
        };
        let sent = sent.await;
        if sent.is_err() {
            // What the store does not forget now it keeps until its own rule for unfinished uploads.
            let _kept = upload.abort().await;
        }
        sent.map(drop)
    }

    /// Path of a block's object, for [`crate::blob::StoreBlob`].
    pub fn block_path_text(&self, id: &str) -> String {
        format!("{}/{:05}/blocks/{id}", self.kind.name(), self.partition)
    }

    pub(super) fn block_path(&self, id: &str) -> Path {
        Path::from(self.block_path_text(id))
    }

    pub(super) fn block_prefix(&self) -> Path {
        Path::from(format!("{}/{:05}/blocks", self.kind.name(), self.partition))
    }

    fn manifest_prefix(&self) -> Path {
        Path::from(format!("{}/{:05}/manifest", self.kind.name(), self.partition))
    }

    pub(super) fn manifest_path(&self, version: u64) -> Path {
        self.manifest_prefix().join(format!("{version:020}"))
    }

    pub(super) fn fenced(&self, epoch: u64) -> StoreError {
        StoreError::Fenced { kind: self.kind.name(), partition: self.partition, epoch }
    }

    /// Versions that exist, ascending. Foreign names are passed over.
    pub(super) async fn versions(&self) -> Result<Vec<u64>, StoreError> {
        let prefix = self.manifest_prefix();
        let listing = self.object_store.list(Some(&prefix)).map_ok(|object| object.location);
        let found: Vec<Path> = listing.try_collect().await.map_err(|source| StoreError::object("list", &prefix, source))?;
        let mut versions: Vec<u64> = found.iter().filter_map(|path| path.filename()?.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    pub(super) async fn load(&self, version: u64) -> Result<(Stamp, Manifest), StoreError> {
        let path = self.manifest_path(version);
        let failed = |source| StoreError::object("read", &path, source);
        let bytes = self.object_store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let decoded = panic_guard::catch(|| decode(path.as_ref(), &bytes));
        let (stamp, manifest) =
            decoded.map_err(|said| StoreError::corrupt(path.as_ref(), format!("reading it panicked: {said}")))??;
        if (stamp.kind, stamp.partition, stamp.version) != (self.kind, self.partition, version) {
            let detail = format!("it is version {} of {} partition {}", stamp.version, stamp.kind.name(), stamp.partition);
            return Err(StoreError::corrupt(path.as_ref(), detail));
        }
        manifest.compile_deletions().await?;
        Ok((stamp, manifest))
    }
}
