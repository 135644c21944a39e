//! Sends reviews to the webhook of `[authorization.webhook]`, over HTTP. What they say, and what becomes of the answers, is
//! `weir_access`' business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;
use weir_access::{Reviewer, WebhookConfig};
use weir_tls::ClientTls;
use weir_watched::secret;

use super::exchange::exchange;

/// A review comes back as it was sent, with a status.
const ANSWER_BYTES_MAX: usize = 64 << 10;

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
            request = request.header(AUTHORIZATION, bearer(path).await?);
        }
        let reply = exchange(request, ANSWER_BYTES_MAX).await?;
        if !reply.status.is_success() {
            return Err(format!("it answers {}", reply.status));
        }
        Ok(reply.body)
    }
}

/// Errors name the file, never what it holds.
async fn bearer(path: &Path) -> Result<HeaderValue, String> {
    let token = secret(path).await.map_err(|error| format!("token_file: {error}"))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| format!("token_file: {}: holds no token", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
