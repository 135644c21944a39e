//! The same blocks in an object store that answers after 20 ms: what a cold question asks of it. The store is ministack
//! (`tests/s3/fetch`) behind a proxy that waits and counts; every question is asked of a process that has just started. Parts of blocks
//! the proxy gives by itself, out of the folder that was copied: ministack takes some milliseconds for each, one after the other, and would be
//! what is measured.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_tests::s3::S3;
use weir_tests::weir::Weir;

use crate::Subject;
use crate::cold;
use crate::questions::{Wanted, questions};
use crate::table::Figure;

/// Of a store in the same region, to the first byte.
const LATENCY: Duration = Duration::from_millis(20);
const PREFIX: &str = "questions";

/// Between weir and the store.
struct Proxy {
    upstream: String,
    http: reqwest::Client,
    /// What was copied into the store.
    folder: PathBuf,
    /// For blocks; manifests are looked at all the time, whatever is asked.
    requests: AtomicU64,
    /// Of bodies that were answered to these.
    bytes: AtomicU64,
    /// Requests for blocks that wait for their answer, and the most that ever did since the last look.
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

/// What a question asked of the store.
struct Asked {
    requests: u64,
    bytes: u64,
    most_at_once: u64,
}

impl Proxy {
    async fn start(upstream: &str, folder: PathBuf) -> (Arc<Self>, String) {
        let (upstream, http) = (upstream.to_owned(), weir_tls::client());
        let [requests, bytes, at_once, most_at_once] = Default::default();
        let proxy = Arc::new(Self { upstream, http, folder, requests, bytes, at_once, most_at_once });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(forward).with_state(Arc::clone(&proxy));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the proxy serves") });
        (proxy, format!("http://{address}"))
    }

    /// Since the last call.
    fn take(&self) -> Asked {
        let take = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        Asked { requests: take(&self.requests), bytes: take(&self.bytes), most_at_once: take(&self.most_at_once) }
    }

    /// A part of a block, if that is what is asked for, after the store's latency.
    async fn part(&self, (uri, headers): (Uri, HeaderMap)) -> Option<Response> {
        let (_, name) = uri.path().split_once(&format!("/{PREFIX}/"))?;
        let range = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?);
        let mut file = File::open(self.folder.join(name)).ok()?;
        let size = file.metadata().ok()?.len();
        let mut bytes = vec![0; usize::try_from(end.min(size.checked_sub(1)?).checked_sub(start)? + 1).ok()?];
        file.seek(SeekFrom::Start(start)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        tokio::time::sleep(LATENCY).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let response = Response::builder()
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", start + bytes.len() as u64 - 1))
            .header(header::ETAG, format!("\"{size}\""))
            .header(header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT");
        response.body(Body::from(bytes)).ok()
    }
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let is_of_block = request.method() == Method::GET && request.uri().path().contains("/blocks/");
    if is_of_block {
        proxy.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(response) = proxy.part((request.uri().clone(), request.headers().clone())).await {
            return response;
        }
    }
    tokio::time::sleep(LATENCY).await;
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::HOST);
    let failed = |status, error: String| Response::builder().status(status).body(Body::from(error)).expect("a response");
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return failed(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let url = format!("{}{}", proxy.upstream, parts.uri);
    let sent = proxy.http.request(parts.method, url).headers(parts.headers).body(body).send().await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return failed(StatusCode::BAD_GATEWAY, error.to_string()),
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return failed(StatusCode::BAD_GATEWAY, error.to_string()),
    };
    if is_of_block {
        proxy.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    }
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    response.headers_mut().remove(header::CONNECTION);
    response
}

/// Copies the store of a weir that has ended, starts one over the copy, asks, prints a row a question, and returns the figures.
pub async fn ask((subject, config): (&Subject, &Path), data: &Path, wanted: &Wanted) -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a folder");
    let s3 = S3::start(folder.path()).await;
    copy(&*s3.open(PREFIX), &data.join("store"), "").await;
    let (proxy, endpoint) = Proxy::start(&s3.endpoint, data.join("store")).await;
    let mut environment: Vec<(&str, &str)> = s3.environment();
    environment.retain(|(name, _)| *name != "AWS_ENDPOINT");
    environment.push(("AWS_ENDPOINT", &endpoint));
    let (url, config) = (S3::url(PREFIX), config.display().to_string());
    let arguments = ["--no-node", "--config", &config, "--store", &url];
    let mut weir = Weir::start_binary(&subject.binary, data, &arguments, &environment).await;
    println!(
        "| cold, from S3 after {} ms | ms | requests | at once, at most | kB | answer, bytes | found |\n| --- | --- | --- | --- | --- | --- |",
        LATENCY.as_millis()
    );
    let mut figures = Vec::new();
    for question in questions(wanted).into_iter().filter(|question| question.cold_goal().is_some()) {
        proxy.take();
        cold::restart(&mut weir).await;
        let Asked { requests, bytes, most_at_once } = proxy.take();
        if figures.is_empty() {
            println!("| a start, until every block is open | | {requests} | {most_at_once} | {} | | |", bytes / 1000);
        }
        let answer = question.answer(&weir, wanted).await;
        let Asked { requests, bytes, most_at_once } = proxy.take();
        let took = answer.took.as_secs_f64() * 1e3;
        println!(
            "| {} | {took:.0} | {requests} | {most_at_once} | {} | {} |",
            question.what,
            bytes / 1000,
            answer.found(&question)
        );
        let mut figure = question.figure("cold from S3", "", (took, 0), answer.failed());
        figure.shown.push_str(&format!(" ({requests} requests, {most_at_once} at once, {} kB)", bytes / 1000));
        figures.push(figure);
    }
    figures
}

async fn copy(store: &dyn ObjectStore, folder: &Path, below: &str) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder is read").path();
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let place = if below.is_empty() { name } else { format!("{below}/{name}") };
        if path.is_dir() {
            Box::pin(copy(store, &path, &place)).await;
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let put = store.put(&object_store::path::Path::from(place), bytes.into()).await;
        put.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
