//! The store over a real S3 endpoint: the manifest's promises, blocks, a whole weir; and an endpoint that must be refused.
//!
//! `tests/s3/fetch` installs both endpoints: ministack, whose conditional create has one winner, and s3rver, which passes
//! over `If-None-Match`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use object_store::ObjectStore;
use weir_blocks::location::Location;

use crate::process::Process;
use crate::weir::free_port;

/// The only ones that s3rver knows; ministack takes any.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "S3RVER"), ("AWS_SECRET_ACCESS_KEY", "S3RVER"), ("AWS_REGION", "us-east-1")];

const BUCKET: &str = "weir-tests";

/// A running endpoint with an empty bucket.
pub struct S3 {
    /// `http://127.0.0.1:port`
    pub endpoint: String,
    /// The program that serves it.
    pub process: Process,
}

impl S3 {
    /// One that keeps conditional creates.
    pub async fn start(folder: &Path) -> Self {
        let (cache, port) = (fetched(), free_port());
        let (python, gateway) = (format!("PYTHONPATH={}", cache.join("python").display()), format!("GATEWAY_PORT={port}"));
        let arguments = [python.as_str(), "BIND_HOST=127.0.0.1", gateway.as_str(), "python3", "-m", "ministack"];
        Self::ready(Process::start(folder, "env", &arguments), port).await
    }

    /// One that does not.
    pub async fn start_broken(folder: &Path) -> Self {
        let (program, port) = (fetched().join("node_modules/.bin/s3rver"), free_port());
        let (port_text, folder_text) = (port.to_string(), folder.join("s3rver").display().to_string());
        std::fs::create_dir_all(&folder_text).expect("create a folder");
        let program = program.display().to_string();
        let arguments = [program.as_str(), "--address", "127.0.0.1", "--port", port_text.as_str(), "--directory", &folder_text];
        Self::ready(Process::start(folder, "node", &arguments), port).await
    }

    async fn ready(mut process: Process, port: u16) -> Self {
        let endpoint = format!("http://127.0.0.1:{port}");
        process.wait_until_answered(&endpoint).await;
        let made = weir_tls::client().put(format!("{endpoint}/{BUCKET}")).send().await.expect("the endpoint answers");
        assert!(made.status().is_success(), "{}", made.status());
        Self { endpoint, process }
    }

    /// What a weir is told about it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        KEYS.into_iter().chain([("AWS_ENDPOINT", self.endpoint.as_str())]).collect()
    }

    /// A URL below the bucket.
    pub fn url(prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The store below a prefix, as weir opens it.
    pub fn open(&self, prefix: &str) -> Arc<dyn ObjectStore> {
        let keys = KEYS.into_iter().chain([("AWS_ENDPOINT", self.endpoint.as_str())]);
        let options = keys.map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect();
        let location = Location { url: Self::url(prefix), options, tls: Default::default(), default: PathBuf::new() };
        location.open(SystemTime::UNIX_EPOCH).expect("open the store")
    }
}

fn fetched() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = own.join("../.cache/s3");
    let done = Command::new(own.join("s3/fetch")).arg(&cache).status().expect("run tests/s3/fetch");
    assert!(done.success(), "tests/s3/fetch failed");
    cache.canonicalize().expect("it was fetched")
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use serde_json::json;
    use weir_blocks::StoreError;
    use weir_blocks::block::BlockData;
    use weir_blocks::engine::BlockSummary;
    use weir_blocks::manifest::{Manifest, ManifestStore, NewBlock, Sightings, probe, random_nonces};
    use weir_model::wire::Kind;

    use super::*;
    use crate::weir::{Weir, binary, eventually};

    /// More than a store that looks first and writes then gets right by luck.
    const WRITERS: u64 = 50;

    fn partition(object_store: Arc<dyn ObjectStore>) -> ManifestStore {
        ManifestStore { object_store, kind: Kind::Logs, partition: 3, nonces: random_nonces() }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn manifests_and_blocks_keep_their_promises_over_s3() {
        let folder = tempfile::tempdir().unwrap();
        let s3 = S3::start(folder.path()).await;
        let object_store = s3.open("promises");
        probe(&object_store, &random_nonces()).await.unwrap();

        // Of so many owners of one version one has published it, and all others know that they are fenced.
        let store = partition(Arc::clone(&object_store));
        let owners = (1..=WRITERS).map(|epoch| {
            let store = store.clone();
            let manifest = Manifest { epoch, owner: format!("http://owner-{epoch}"), ..Manifest::default() };
            tokio::spawn(async move { store.publish(1, &manifest).await.map(|()| epoch) })
        });
        let outcomes: Vec<_> = join_all(owners).await.into_iter().map(|outcome| outcome.unwrap()).collect();
        let winners: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let fenced = outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Fenced { .. }))).count();
        assert_eq!(fenced as u64, WRITERS - 1, "{outcomes:?}");
        let (version, manifest) = store.load_latest().await.unwrap().unwrap();
        assert_eq!((version, manifest.epoch), (1, winners[0]));

        // A version that is sent again by who made it counts as published: the first answer may have been lost.
        let prepared = store.prepare(2, &manifest).unwrap();
        store.publish_prepared(&prepared).await.unwrap();
        store.publish_prepared(&prepared).await.unwrap();

        // A block: stored, verified, named, read back in parts, and removed once nobody names it.
        let data = BlockData::of(vec![("a.1", vec![7; 300_000])]);
        let (bytes, file) = (bytes::Bytes::from(data.encode(Kind::Logs)), data.into_file(Kind::Logs));
        let new = NewBlock { first_offset: 0, next_offset: 10, ..NewBlock::default() };
        let block = store.put_block(new, BlockSummary::default(), file.clone()).await.unwrap();
        let orphan = store.put_block(new, BlockSummary::default(), file.clone()).await.unwrap();
        let mut sealed = manifest.clone();
        sealed.seal(0, 10, vec![block.clone()]).unwrap();
        store.publish(3, &sealed).await.unwrap();
        let path = |id: &str| object_store::path::Path::from(store.block_path_text(id));
        let part = object_store::ObjectStoreExt::get_range(&*object_store, &path(&block.id), 1000..2000).await.unwrap();
        assert_eq!(part, bytes.slice(1000..2000));
        let garbage =
            store.collect(3, &mut Sightings::default(), std::time::Duration::ZERO, std::time::Duration::ZERO).await.unwrap();
        assert_eq!((garbage.manifests, garbage.blocks), (0, 1));
        assert!(object_store::ObjectStoreExt::head(&*object_store, &path(&orphan.id)).await.is_err());
        assert_eq!(store.load_latest().await.unwrap().unwrap(), (3, sealed));
    }

    #[tokio::test]
    async fn a_weir_keeps_its_blocks_in_s3() {
        let folder = tempfile::tempdir().unwrap();
        let s3 = S3::start(folder.path()).await;
        let (url, environment) = (S3::url("one/weir"), s3.environment());
        let mut weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--store", &url], &environment).await;
        let line =
            json!([[SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().to_string(), "kept in S3"]]);
        let body = json!({"streams": [{"stream": {"app": "s3"}, "values": line}]});
        let pushed = weir.http.post(weir.url("/loki/api/v1/push")).json(&body).send().await.unwrap();
        assert!(pushed.status().is_success(), "{}", pushed.status());
        weir.admin("seal").await;
        assert!(!folder.path().join("data/store").exists(), "something was stored beside the object store");

        weir.kill();
        weir.spawn();
        weir.wait_ready().await;
        eventually("the line", async || {
            let answer = weir.get("/api/weir/v1/logs", &[("query", "{app=\"s3\"}")]).await;
            let lines = answer["lines"].as_array().map_or(0, Vec::len);
            if lines == 1 { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
        let epochs = join_all((0..4).map(|number| {
            let store = ManifestStore { partition: number, ..partition(s3.open("one/weir")) };
            async move { store.load_latest().await.unwrap().unwrap().1.epoch }
        }));
        assert_eq!(epochs.await, [2; 4], "each start claims its partitions");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn an_endpoint_that_lets_several_win_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let s3 = S3::start_broken(folder.path()).await;
        let error = probe(&s3.open("refused"), &random_nonces()).await.unwrap_err().to_string();
        assert!(error.contains("is not safe for weir"), "{error}");

        let data = folder.path().join("data");
        let address = || format!("127.0.0.1:{}", free_port());
        let output = Command::new(binary())
            .args(["up", "--no-node", "--store", &S3::url("refused"), "--data"])
            .arg(&data)
            .args(["--listen", &address(), "--otlp-grpc", &address(), "--otlp-http", &address()])
            .envs(s3.environment())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("is not safe for weir") && said.contains("Two owners of a partition could both publish"), "{said}");
    }
}
