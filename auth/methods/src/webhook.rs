//! Sends reviews to the webhook of `[authorization.webhook]`, over HTTP. What they say, and what becomes of the answers, is
//! `weir_access`' business.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;
use weir_access::{Reviewer, WebhookConfig};
use weir_tls::ClientTls;

/// A review comes back as it was sent, with a status.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A service account's token is about 1 KiB.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug)]
struct HttpReviewer {
    client: reqwest::Client,
    url: Url,
    /// Read for each review, because tokens are renewed.
    token_file: Option<PathBuf>,
}

/// What reaches the webhook. Errors name the key below `[authorization.webhook]`, or the file that cannot be used.
pub fn webhook(config: &WebhookConfig) -> Result<Arc<dyn Reviewer>, String> {
    let url: Url = config.url.parse().map_err(|error| format!("url: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url: must not hold credentials; put a token into token_file".into());
    }
    let tls = ClientTls {
        ca_file: config.ca_file.clone(),
        cert_file: config.cert_file.clone(),
        key_file: config.key_file.clone(),
        ..ClientTls::default()
    };
    let builder = weir_tls::client_builder_with(&tls).map_err(|error| error.to_string())?;
    let client = builder.timeout(config.timeout).redirect(Policy::none()).build();
    let client = client.map_err(|error| error.without_url().to_string())?;
    let token_file = Some(config.token_file.clone()).filter(|path| !path.as_os_str().is_empty());
    Ok(Arc::new(HttpReviewer { client, url, token_file }))
}

#[async_trait]
impl Reviewer for HttpReviewer {
    async fn review(&self, body: String) -> Result<Vec<u8>, String> {
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(path) = &self.token_file {
            request = request.header(AUTHORIZATION, bearer(path.clone()).await?);
        }
        let mut response = request.send().await.map_err(said)?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            answer.extend_from_slice(&chunk);
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes"));
            }
        }
        Ok(answer)
    }
}

/// An error with what caused it, without the URL.
fn said(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Errors name the file, never what it holds.
async fn bearer(path: PathBuf) -> Result<HeaderValue, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("token_file: {}: {why}", path.display());
    let size = tokio::fs::metadata(&path).await.map_err(|error| wrong(&error))?.len();
    if size > TOKEN_BYTES_MAX {
        return Err(wrong(&format!("is larger than {TOKEN_BYTES_MAX} bytes")));
    }
    let token = tokio::fs::read_to_string(&path).await.map_err(|error| wrong(&error))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| wrong(&"holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
