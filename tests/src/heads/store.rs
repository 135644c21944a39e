//! An object store that takes requests for blocks and does not answer them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use weir_query::fanout::FanOutConfig;
use weir_store::blob::OPENED_AT_ONCE;

use super::cluster::{Cluster, PARTITIONS, Readers};
use super::faults::lines;

/// Between a query node and the store.
#[derive(Debug)]
struct Hanging {
    inner: Arc<dyn ObjectStore>,
    hangs: AtomicBool,
    /// Requests for blocks since it hangs.
    asked: AtomicUsize,
    /// Of those, the ones that nobody waits for any more.
    given_up: Arc<AtomicUsize>,
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
        if self.hangs.load(Ordering::SeqCst) && location.as_ref().contains("/blocks/") {
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

/// A question asks a silent store for a few blocks, gives up, and answers with what there is; nothing of it is left waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_asked_for_few_blocks_and_not_waited_for() {
    let mut cluster = Cluster::start().await;
    let (hangs, asked, given_up) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::default());
    let store = Arc::new(Hanging { inner: Arc::clone(&cluster.store), hangs, asked, given_up });
    let config =
        FanOutConfig { refresh: Duration::from_secs(3600), store_timeout: Duration::from_secs(1), ..FanOutConfig::default() };
    let (fan_out, _) = cluster.fan_out_over(Arc::clone(&store) as Arc<dyn ObjectStore>, config);
    let far = Readers::of(&fan_out);
    let (none, coverage) = lines(&far).await;
    assert!(none.is_empty() && coverage.is_complete(), "{coverage:?}");

    let blocks = 2 * OPENED_AT_ONCE;
    for _ in 0..blocks {
        cluster.write_lines(30).await;
        cluster.caught_up().await;
        cluster.seal().await;
    }
    cluster.write_lines(6).await;
    cluster.caught_up().await;
    store.hangs.store(true, Ordering::SeqCst);
    let (unsealed, coverage) = lines(&far).await;
    assert!(!unsealed.is_empty(), "what is not in blocks is answered");
    let said = |text: &str| coverage.missing.iter().filter(|missing| missing.contains(text)).count();
    assert_eq!(said("the object store has not answered within 1s"), PARTITIONS as usize, "{:?}", coverage.missing);
    assert_eq!(said("more blocks were not waited for"), PARTITIONS as usize, "{:?}", coverage.missing);
    let asked = store.asked.load(Ordering::SeqCst);
    assert!(asked <= PARTITIONS as usize * OPENED_AT_ONCE, "{asked} blocks were asked for");
    crate::weir::eventually("nobody waits any more", async || {
        let left = store.asked.load(Ordering::SeqCst) - store.given_up.load(Ordering::SeqCst);
        if left == 0 { Ok(()) } else { Err(format!("{left} requests")) }
    })
    .await;

    store.hangs.store(false, Ordering::SeqCst);
    let (all, coverage) = lines(&far).await;
    assert!(all.len() > unsealed.len() && coverage.is_complete(), "{coverage:?}");
}
