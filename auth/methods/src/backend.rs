//! HTTP to issuers and to whoever else is asked who somebody is: few requests at once, each with an end, answers of a limited size.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use reqwest::RequestBuilder;
use tokio::sync::{Semaphore, SemaphorePermit};
use weir_tls::ClientTls;

use super::exchange::{Reply, exchange};
use super::metrics::AuthMetrics;
use super::verdict::Undecided;

/// Questions under way; further ones wait.
const AT_ONCE: usize = 16;
/// Keys of an issuer take some KiB, a TokenReview with a thousand groups 100.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One server.
pub(crate) struct Backend {
    /// The method that asks: in metrics, logs, and errors to clients.
    name: &'static str,
    client: reqwest::Client,
    slots: Semaphore,
    timeout: Duration,
    metrics: AuthMetrics,
    /// Whether it was said that it does not answer.
    is_silent: AtomicBool,
}

/// A place among the questions under way, for one after the other. They and the wait for it have one `timeout` together.
pub(crate) struct Slot<'a> {
    begun: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Backend {
    /// `ca_file`: authorities of its certificate; the machine's where it is empty. Errors name `key` and the file.
    pub fn new(name: &'static str, key: &str, ca_file: &Path, timeout: Duration, metrics: AuthMetrics) -> Result<Self, String> {
        let tls = ClientTls { ca_file: ca_file.to_owned(), ..ClientTls::default() };
        let builder = weir_tls::client_builder_with(&tls).map_err(|error| format!("{key}: {error}"))?;
        // A redirection would carry weir's own token, or bring keys from elsewhere.
        let builder = builder.redirect(reqwest::redirect::Policy::none()).connect_timeout(timeout);
        let client = builder.build().map_err(|error| format!("{key}: {error}"))?;
        let (slots, is_silent) = (Semaphore::new(AT_ONCE), AtomicBool::new(false));
        Ok(Self { name, client, slots, timeout, metrics, is_silent })
    }

    /// With so many questions at once.
    pub fn with_slots(self, slots: usize) -> Self {
        Self { slots: Semaphore::new(slots), ..self }
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Its answer, unless there is none in time or it says that it cannot.
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply, Undecided> {
        let slot = self.slot().await?;
        self.send_in(&slot, request).await
    }

    /// Waits for a place.
    pub async fn slot(&self) -> Result<Slot<'_>, Undecided> {
        let begun = Instant::now();
        if let Ok(Ok(permit)) = tokio::time::timeout(self.timeout, self.slots.acquire()).await {
            return Ok(Slot { begun, _permit: permit });
        }
        self.metrics.backend(self.name, begun.elapsed().as_secs_f64(), false);
        Err(self.undecided(&format!("too many questions are under way; none has ended within {:?}", self.timeout)))
    }

    /// As `send`, in a place that the caller has.
    pub async fn send_in(&self, slot: &Slot<'_>, request: RequestBuilder) -> Result<Reply, Undecided> {
        let begun = Instant::now();
        let left = self.timeout.saturating_sub(slot.begun.elapsed());
        let outcome = tokio::time::timeout(left, ask(request)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
        self.metrics.backend(self.name, begun.elapsed().as_secs_f64(), outcome.is_ok());
        match outcome {
            Ok(reply) => {
                if self.is_silent.swap(false, Ordering::Relaxed) {
                    tracing::info!(backend = self.name, "it answers again");
                }
                Ok(reply)
            }
            Err(error) => Err(self.undecided(&error)),
        }
    }

    /// For an answer that decides nothing. `error` goes to the log, once until it answers again.
    pub fn undecided(&self, error: &str) -> Undecided {
        if !self.is_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(backend = self.name, error, "it does not say who somebody is");
        }
        Undecided::Silent(format!("{} does not answer who this is; try again later", self.name))
    }
}

async fn ask(request: RequestBuilder) -> Result<Reply, String> {
    let reply = exchange(request, ANSWER_BYTES_MAX).await?;
    let status = reply.status;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status.is_redirection() {
        return Err(format!("status {status}"));
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_read_and_wrong_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let backend = || Backend::new("issuer", "auth.oidc.ca_file", &path, Duration::from_secs(1), AuthMetrics::default());
        assert!(backend().err().unwrap().contains("auth.oidc.ca_file"));
        std::fs::write(&path, "nothing\n").unwrap();
        assert!(backend().err().unwrap().contains("no PEM certificate"));
        let authority = rcgen::generate_simple_self_signed(["issuer.example".to_owned()]).unwrap();
        std::fs::write(&path, authority.cert.pem()).unwrap();
        assert!(backend().is_ok());
    }
}
