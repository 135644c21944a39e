//! One request over HTTP and its whole answer, of a limited size.

use axum::http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use serde_json::Value;
use weir_tls::why;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the answer is not JSON: {error}"))
    }
}

/// The answer, whatever its status. Errors where its body is larger than `bytes_max`.
pub(crate) async fn exchange(request: RequestBuilder, bytes_max: usize) -> Result<Reply, String> {
    let mut response = request.send().await.map_err(why)?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("the answer is larger than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body })
}
