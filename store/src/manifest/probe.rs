//! Whether an object store's conditional create really has one winner. Several stand-ins for S3 have more, and on those
//! two owners of a partition would both believe that they have published.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};

use super::NonceSource;
use crate::StoreError;

/// Concurrent creates of one key; the worst stand-in that was tried let 19 of 50 win, the best wrong one 2 of 16.
const WRITERS: usize = 16;
/// Rounds of them: a race that is lost only now and then has to show.
const ROUNDS: usize = 3;

/// Errors with a sentence for the operator when the store must not be used. Leaves nothing behind.
pub async fn probe(object_store: &Arc<dyn ObjectStore>, nonces: &NonceSource) -> Result<(), StoreError> {
    let base = Path::from(format!("probe/{}", hex::encode(nonces())));
    let keys: Vec<Path> = (0..=ROUNDS).map(|round| base.clone().join(round.to_string())).collect();
    let mut outcome = one_after_the_other(object_store, &keys[0]).await;
    for key in &keys[1..] {
        if outcome.is_ok() {
            outcome = all_at_once(object_store, key).await;
        }
    }
    for key in &keys {
        // The verdict counts, not the tidying: a probe object left behind harms nobody.
        let _ = object_store.delete(key).await;
    }
    outcome
}

async fn one_after_the_other(object_store: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), StoreError> {
    create(object_store, key, 0).await.map_err(|source| StoreError::object("create", key, source))?;
    match create(object_store, key, 1).await {
        Ok(()) => Err(unusable(object_store, "a second conditional create of the same key succeeded".into())),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => expect(object_store, key, 0).await,
        Err(source) => Err(StoreError::object("create again", key, source)),
    }
}

async fn all_at_once(object_store: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), StoreError> {
    let writers = (0..WRITERS).map(|writer| {
        let (object_store, key) = (Arc::clone(object_store), key.clone());
        async move { create(&object_store, &key, writer as u8).await }
    });
    let outcomes = join_all(writers).await;
    let winners: Vec<usize> = (0..WRITERS).filter(|writer| outcomes[*writer].is_ok()).collect();
    match winners[..] {
        [winner] => expect(object_store, key, winner as u8).await,
        _ => {
            let detail = format!("of {WRITERS} conditional creates of one key at the same time {} succeeded", winners.len());
            Err(unusable(object_store, detail))
        }
    }
}

async fn create(object_store: &Arc<dyn ObjectStore>, key: &Path, writer: u8) -> Result<(), Error> {
    let body = Bytes::from(vec![writer; 64]);
    object_store.put_opts(key, body.into(), PutMode::Create.into()).await.map(|_| ())
}

async fn expect(object_store: &Arc<dyn ObjectStore>, key: &Path, writer: u8) -> Result<(), StoreError> {
    let failed = |source| StoreError::object("read back", key, source);
    let body = object_store.get(key).await.map_err(failed)?.bytes().await.map_err(failed)?;
    if body[..] == [writer; 64] {
        return Ok(());
    }
    Err(unusable(object_store, "a create that was refused has changed the object".into()))
}

fn unusable(object_store: &Arc<dyn ObjectStore>, detail: String) -> StoreError {
    let detail = format!(
        "{object_store} is not safe for weir: {detail}. Two owners of a partition could both publish. Use a store whose \
         If-None-Match on PUT is atomic (S3, GCS, Azure, MinIO) or a local directory"
    );
    StoreError::Engine { operation: "probe the object store", detail }
}
