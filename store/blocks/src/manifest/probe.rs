//! Whether an object store's conditional create really has one winner. Several stand-ins for S3 have more, and on those
//! two owners of a partition would both believe that they have published.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

use super::NonceSource;
use crate::StoreError;

/// Concurrent creates of one key: more than owners will ever race for one version.
const WRITERS: usize = 32;
/// Rounds of them: a store that looks first and writes later loses a race only now and then. The rarest seen, a threaded
/// moto, showed a second winner in one round of twelve, and only with bodies of 1 MiB: such a one can still pass.
const ROUNDS: usize = 12;
/// Of a create in a race: long enough that a store which looks, writes and then renames has time between the two; 6 MiB in
/// all.
const BODY_BYTES: usize = 16 << 10;

/// Errors with a sentence for the operator when the store must not be used, or cannot be reached. Leaves nothing behind.
pub async fn probe(object_store: &Arc<dyn ObjectStore>, nonces: &NonceSource) -> Result<(), StoreError> {
    let base = Path::from(format!("probe/{}", hex::encode(nonces())));
    let keys: Vec<Path> = (0..=ROUNDS).map(|round| base.clone().join(round.to_string())).collect();
    let mut tried = 1;
    let mut outcome = one_after_the_other(object_store, &keys[0]).await;
    while let (Ok(()), Some(key)) = (&outcome, keys.get(tried)) {
        outcome = all_at_once(object_store, key).await;
        tried += 1;
    }
    // The verdict counts, not the tidying: a probe object left behind harms nobody.
    let _ = join_all(keys[..tried].iter().map(|key| object_store.delete(key))).await;
    outcome
}

async fn one_after_the_other(object_store: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), StoreError> {
    match create(object_store, key, 0).await {
        // The key is new, so what exists is what an earlier try of the same request has made.
        Ok(()) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Err(source) => return Err(StoreError::object("create", key, source)),
    }
    match create(object_store, key, 1).await {
        Ok(()) => Err(unusable(object_store, "a second conditional create of the same key succeeded".into())),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
            expect(object_store, key, |writer| writer == 0).await.map(|_| ())
        }
        Err(source) => Err(StoreError::object("create again", key, source)),
    }
}

async fn all_at_once(object_store: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), StoreError> {
    let writers = (0..WRITERS).map(|writer| {
        let (object_store, key) = (Arc::clone(object_store), key.clone());
        tokio::spawn(async move { create(&object_store, &key, writer as u8).await })
    });
    let mut winners = BTreeSet::new();
    let mut trouble = None;
    for (writer, outcome) in join_all(writers).await.into_iter().enumerate() {
        match outcome.map_err(|error| StoreError::engine("probe the object store", error))? {
            Ok(()) => drop(winners.insert(writer as u8)),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Err(source) => trouble = Some(source),
        }
    }
    if winners.len() > 1 {
        let detail = format!("of {WRITERS} conditional creates of one key at the same time {} succeeded", winners.len());
        return Err(unusable(object_store, detail));
    }
    // Without a winner one of them was repeated inside of the client and met what it had made itself, or got an error for
    // an answer: whose bytes are there has won.
    match (winners.first(), trouble) {
        (Some(winner), _) => expect(object_store, key, |writer| writer == *winner).await.map(|_| ()),
        (None, None) => expect(object_store, key, |writer| usize::from(writer) < WRITERS).await.map(|_| ()),
        (None, Some(source)) => Err(StoreError::object("create", key, source)),
    }
}

async fn create(object_store: &Arc<dyn ObjectStore>, key: &Path, writer: u8) -> Result<(), Error> {
    let body = Bytes::from(vec![writer; BODY_BYTES]);
    object_store.put_opts(key, body.into(), PutMode::Create.into()).await.map(|_| ())
}

/// Whose bytes are there, when they are somebody's who may have written them.
async fn expect(object_store: &Arc<dyn ObjectStore>, key: &Path, may: impl Fn(u8) -> bool) -> Result<u8, StoreError> {
    let failed = |source| StoreError::object("read back", key, source);
    let body = object_store.get(key).await.map_err(failed)?.bytes().await.map_err(failed)?;
    match body.first() {
        Some(writer) if body[..] == [*writer; BODY_BYTES] && may(*writer) => Ok(*writer),
        _ => Err(unusable(object_store, "a create that was refused has changed the object".into())),
    }
}

fn unusable(object_store: &Arc<dyn ObjectStore>, detail: String) -> StoreError {
    let detail = format!(
        "{object_store} is not safe for weir: {detail}. Two owners of a partition could both publish. Use a store whose \
         If-None-Match on PUT is atomic (S3, GCS, Azure, MinIO) or a local directory"
    );
    StoreError::Engine { operation: "probe the object store", detail }
}
