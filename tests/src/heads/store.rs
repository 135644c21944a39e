//! An object store that takes requests for blocks and does not answer them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use weir_blocks::blob::OPENED_AT_ONCE;
use weir_fanout::{FanOutConfig, PartitionLabels};

use super::cluster::{Cluster, PARTITIONS};
use super::faults::lines;
use super::readers::{Readers, all_lines};
use crate::weir::eventually;

/// Between a query node and the store.
#[derive(Debug)]
struct Hanging {
    inner: Arc<dyn ObjectStore>,
    /// It does not answer requests for paths that contain this.
    hangs: Mutex<Option<&'static str>>,
    /// Requests since it hangs.
    asked: AtomicUsize,
    /// Of those, the ones that nobody waits for any more.
    given_up: Arc<AtomicUsize>,
}

impl Hanging {
    fn before(store: &Arc<dyn ObjectStore>) -> Arc<Self> {
        let (hangs, asked, given_up) = (Mutex::new(None), AtomicUsize::new(0), Arc::default());
        Arc::new(Self { inner: Arc::clone(store), hangs, asked, given_up })
    }
}

struct GivenUp(Arc<AtomicUsize>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Display for Hanging {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hanging")
    }
}

#[async_trait]
impl ObjectStore for Hanging {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.hangs.lock().is_some_and(|paths| location.as_ref().contains(paths)) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _given_up = GivenUp(Arc::clone(&self.given_up));
            std::future::pending::<()>().await;
        }
        self.inner.get_opts(location, options).await
    }
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn impatient() -> FanOutConfig {
    FanOutConfig { refresh: Duration::from_secs(3600), store_timeout: Duration::from_secs(1), ..FanOutConfig::default() }
}

/// A question asks a silent store for a few blocks, gives up, and answers with what there is; nothing of it is left waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_asked_for_few_blocks_and_not_waited_for() {
    let mut cluster = Cluster::start().await;
    let store = Hanging::before(&cluster.store);
    let (fan_out, _) = cluster.fan_out_over(Arc::clone(&store) as Arc<dyn ObjectStore>, impatient());
    let far = Readers::of(&fan_out);
    let (none, coverage) = lines(&far).await;
    assert!(none.is_empty() && coverage.is_complete(), "{coverage:?}");

    let blocks = OPENED_AT_ONCE;
    for _ in 0..blocks {
        cluster.write_lines(30).await;
        cluster.caught_up().await;
        cluster.seal().await;
    }
    cluster.write_lines(6).await;
    cluster.caught_up().await;
    *store.hangs.lock() = Some("/blocks/");
    let (unsealed, coverage) = lines(&far).await;
    assert!(!unsealed.is_empty(), "what is not in blocks is answered");
    let mut said = coverage.missing;
    said.sort();
    let why = "blocks were not read: the object store does not answer";
    assert_eq!(said, [0, 1, 2].map(|partition| format!("weir.logs partition {partition}: {blocks} {why}")));
    let asked = store.asked.load(Ordering::SeqCst);
    assert!(asked <= OPENED_AT_ONCE, "{asked} of {} blocks were asked for", blocks * PARTITIONS as usize);
    eventually("nobody waits any more", async || {
        let left = store.asked.load(Ordering::SeqCst) - store.given_up.load(Ordering::SeqCst);
        if left == 0 { Ok(()) } else { Err(format!("{left} requests")) }
    })
    .await;

    *store.hangs.lock() = None;
    let all = eventually("a complete answer", async || match lines(&far).await {
        (all, coverage) if coverage.is_complete() => Ok(all),
        (_, coverage) => Err(format!("{coverage:?}")),
    });
    assert!(all.await.len() > unsealed.len());
}

/// What is written while the store is away is found, and so is what was read before; the answer says what it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_its_last_known_owners_answer() {
    let mut cluster = Cluster::start().await;
    let store = Hanging::before(&cluster.store);
    let (fan_out, metrics) = cluster.fan_out_over(Arc::clone(&store) as Arc<dyn ObjectStore>, impatient());
    let far = Readers::of(&fan_out);
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    cluster.seal().await;
    let (sealed, coverage) = lines(&far).await;
    assert!(!sealed.is_empty() && coverage.is_complete(), "{coverage:?}");
    *store.hangs.lock() = Some("");
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    let own: BTreeSet<String> = cluster.own().read(all_lines).await.iter().map(|line| line.id.to_string()).collect();
    let (found, coverage) = lines(&far).await;
    assert!(found.len() > sealed.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), own, "all of it, old and new");
    let why =
        "there may be more than its last known owner says: the newest manifest is not known: the object store does not answer";
    let mut said = coverage.missing;
    said.sort();
    assert_eq!(said, [0, 1, 2].map(|partition| format!("weir.logs partition {partition}: {why}")));
    let labels = PartitionLabels { kind: "logs", outcome: "unknown_version" };
    assert_eq!(metrics.parts.get_or_create(&labels).get(), u64::from(PARTITIONS));
}
