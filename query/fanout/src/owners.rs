//! Asking an owner over HTTP: bounded in time, in bytes and in how many at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;
use weir_heads::{AdminResult, HEADS_PATH, HeadRequest, STATUS_PATH, TAIL_PATH, TailQuery};
use weir_model::deletion::DeletionOrder;
use weir_model::status::OwnerStatus;
use weir_tls::why;

use super::config::FanOutConfig;
use super::metrics::FanOutMetrics;

/// A status is some hundred bytes a partition; what a refusal says is cut here as well.
const SMALL_BYTES_MAX: u64 = 4 << 20;
/// What bounds an owner's whole answer.
pub(super) const ANSWER_MAX: &str = "fanout.answer_max";
/// Of a refusal's text.
const TEXT_CHARS: usize = 300;
/// An owner that does not take the connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// So long after it did not answer in time, an owner is expected to be still hanging,
const SILENT: Duration = Duration::from_secs(10);
/// and not waited for longer than this: a page that asks every few seconds stays usable.
const PATIENCE_SILENT: Duration = Duration::from_millis(300);

/// Why an owner did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Undone {
    /// A sentence without the owner's name.
    pub why: String,
    /// It may not be done, however often it is asked.
    pub is_refused: bool,
}

impl From<String> for Undone {
    fn from(why: String) -> Self {
        Self { why, is_refused: false }
    }
}

/// Why there are no bytes of an owner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// They are more than this.
    TooLarge(u64),
    /// A sentence without the owner's name.
    Failed(String),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Unread> for String {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge(bytes_max) => format!("its answer is larger than {bytes_max} bytes ({ANSWER_MAX})"),
            Unread::Failed(why) => why,
        }
    }
}

impl From<Unread> for Undone {
    fn from(unread: Unread) -> Self {
        String::from(unread).into()
    }
}

pub(super) struct Owners {
    client: reqwest::Client,
    requests: Arc<Semaphore>,
    timeout: Duration,
    bytes_max: u64,
    metrics: FanOutMetrics,
    /// Owners that did not answer in time, and when: those are not waited for as long again at once.
    silent: Mutex<BTreeMap<String, Instant>>,
}

impl Owners {
    pub(super) fn new(config: &FanOutConfig, metrics: FanOutMetrics) -> Result<Self, String> {
        let builder = weir_tls::client_builder_with(&config.tls).map_err(|error| format!("fanout.tls: {error}"))?;
        let client = builder.connect_timeout(CONNECT_TIMEOUT.min(config.owner_timeout)).build();
        let client = client.map_err(|error| format!("the HTTP client for owners: {error}"))?;
        let requests = Arc::new(Semaphore::new(config.requests_max));
        Ok(Self {
            client,
            requests,
            timeout: config.owner_timeout,
            bytes_max: config.answer_max.to_u64(),
            metrics,
            silent: Mutex::default(),
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long to wait for an owner.
    fn patience(&self, owner: &str) -> Duration {
        let silent = self.silent.lock().get(owner).is_some_and(|since| since.elapsed() < SILENT);
        if silent { self.timeout.min(PATIENCE_SILENT) } else { self.timeout }
    }

    /// An answer's bytes.
    pub(super) async fn ask(&self, owner: &str, request: &HeadRequest) -> Result<Vec<u8>, Unread> {
        let asked = async {
            let _slot = self.requests.acquire().await.map_err(|error| error.to_string())?;
            read(self.post(owner, HEADS_PATH, request).await?, self.bytes_max).await
        };
        let patience = self.patience(owner);
        let Ok(answered) = tokio::time::timeout(patience, asked).await else {
            let mut silent = self.silent.lock();
            silent.retain(|_, since| since.elapsed() < SILENT);
            silent.insert(owner.to_owned(), Instant::now());
            return Err(format!("no answer within {patience:?}").into());
        };
        self.silent.lock().remove(owner);
        let bytes = answered?;
        self.metrics.answer_bytes.inc_by(bytes.len() as u64);
        Ok(bytes)
    }

    /// How far its partitions are.
    pub(super) async fn status(&self, owner: &str) -> Result<Vec<OwnerStatus>, String> {
        let asked = async {
            let response = self.client.get(format!("{owner}{STATUS_PATH}")).send().await.map_err(why)?;
            let bytes = read(accept(response).await?, SMALL_BYTES_MAX).await?;
            serde_json::from_slice(&bytes).map_err(|error| format!("its status cannot be read: {error}"))
        };
        tokio::time::timeout(self.timeout, asked).await.map_err(|_| format!("no status within {:?}", self.timeout))?
    }

    /// Does what a `POST` of this body, or of none, to this path does there, and waits for it as long as the owner lives: sealing
    /// waits for the object store, merging reads and writes what there is. An owner that does not tell its status
    /// meanwhile is given up.
    pub(super) async fn command(&self, owner: &str, path: &str, body: Option<&DeletionOrder>) -> Result<AdminResult, Undone> {
        let commanded = async {
            let request = self.client.post(format!("{owner}{path}"));
            let request = if let Some(body) = body { request.json(body) } else { request };
            let response = request.send().await.map_err(why)?;
            let is_refused = response.status() == StatusCode::BAD_REQUEST;
            let response = accept(response).await.map_err(|why| Undone { why, is_refused })?;
            let bytes = read(response, SMALL_BYTES_MAX).await?;
            serde_json::from_slice(&bytes).map_err(|error| Undone::from(format!("its answer cannot be read: {error}")))
        };
        let silent = async {
            loop {
                tokio::time::sleep(self.timeout).await;
                if let Err(error) = self.status(owner).await {
                    return error;
                }
            }
        };
        tokio::select! {
            done = commanded => done,
            error = silent => Err(error.into()),
        }
    }

    /// A tail's frames as they come.
    pub(super) async fn tail(&self, owner: &str, query: &TailQuery) -> Result<reqwest::Response, String> {
        let asked = self.post(owner, TAIL_PATH, query);
        tokio::time::timeout(self.timeout, asked).await.map_err(|_| format!("no tail within {:?}", self.timeout))?
    }

    async fn post(&self, owner: &str, path: &str, body: &impl Serialize) -> Result<reqwest::Response, String> {
        let sent = self.client.post(format!("{owner}{path}")).json(body).send().await;
        accept(sent.map_err(why)?).await
    }
}

async fn accept(response: reqwest::Response) -> Result<reqwest::Response, String> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = read(response, SMALL_BYTES_MAX).await.unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).chars().take(TEXT_CHARS).collect();
    Err(format!("it answered {}: {text}", status.as_u16()))
}

async fn read(mut response: reqwest::Response, bytes_max: u64) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if (bytes.len() + chunk.len()) as u64 > bytes_max {
            return Err(Unread::TooLarge(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_owner_refuses_is_told_apart_from_what_it_cannot_do_now() {
        let refuse = |status: StatusCode| axum::routing::post(move || async move { (status, "its cancel period is over") });
        let router = axum::Router::new();
        let router = router.route("/refused", refuse(StatusCode::BAD_REQUEST));
        let router = router.route("/later", refuse(StatusCode::SERVICE_UNAVAILABLE));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let owner = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let owners = Owners::new(&FanOutConfig::default(), FanOutMetrics::default()).unwrap();
        for (path, status, is_refused) in [("/refused", 400, true), ("/later", 503, false)] {
            let why = format!("it answered {status}: its cancel period is over");
            assert_eq!(owners.command(&owner, path, None).await.map(drop), Err(Undone { why, is_refused }));
        }
        serving.abort();
    }
}
