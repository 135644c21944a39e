//! One request to a target and what its answer says: OpenMetrics when the target speaks it, else the text format. Called by
//! [`super::run`].

use crate::exposition::openmetrics::{self, OpenMetricsError};
use crate::exposition::{Exposition, text};
use crate::scrape::config::Job;
use weir_model::panic_guard;

/// As Prometheus asks, in the order in which it prefers.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// What a target said.
pub(crate) struct Answer {
    pub exposition: Exposition,
    /// The first rule of OpenMetrics that it breaks.
    pub broken: Option<OpenMetricsError>,
}

/// The reason when the scrape failed.
pub(crate) async fn fetch(client: &reqwest::Client, job: &Job, url: &str) -> Result<Answer, String> {
    let request = client.get(url).header("accept", ACCEPT);
    let mut response = authorised(job, request)?.send().await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_openmetrics = media_type(kind).eq_ignore_ascii_case(openmetrics::CONTENT_TYPE);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        if (body.len() + chunk.len()) as u64 > job.body_size_limit.0 {
            return Err(format!("answer of more than {} bytes (body_size_limit)", job.body_size_limit.0));
        }
        body.extend_from_slice(&chunk);
    }
    let parsed = tokio::task::spawn_blocking(move || panic_guard::catch(|| parse(body, is_openmetrics)));
    parsed.await.unwrap_or_else(|error| Err(error.to_string())).flatten()
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn parse(body: Vec<u8>, is_openmetrics: bool) -> Result<Answer, String> {
    let body = String::from_utf8(body).map_err(|error| error.to_string())?;
    if !is_openmetrics {
        let exposition = text::parse(&body).map_err(|error| error.to_string())?;
        return Ok(Answer { exposition, broken: None });
    }
    let (exposition, broken) = openmetrics::read(&body).map_err(|error| error.to_string())?;
    if exposition.samples.iter().any(|sample| matches!(sample.timestamp, Some(i64::MAX | i64::MIN))) {
        return Err("a time beyond what nanoseconds can say".into());
    }
    Ok(Answer { exposition, broken })
}

fn authorised(job: &Job, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, String> {
    let secret = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(text.trim().to_owned())
    };
    if let Some(basic) = &job.basic_auth {
        let password = match &basic.password_file {
            Some(path) => Some(secret(path)?),
            None => basic.password.clone(),
        };
        return Ok(request.basic_auth(&basic.username, password));
    }
    if let Some(authorization) = &job.authorization {
        let credentials = match &authorization.credentials_file {
            Some(path) => secret(path)?,
            None => authorization.credentials.clone().unwrap_or_default(),
        };
        return Ok(request.header("authorization", format!("{} {credentials}", authorization.kind)));
    }
    match &job.bearer_token_file {
        Some(path) => Ok(request.bearer_auth(secret(path)?)),
        None => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::config::PrometheusConfig;

    /// Answers every request with the same body; the last request's `Accept`.
    async fn target(kind: &'static str, body: String) -> String {
        let answer = move |headers: axum::http::HeaderMap| async move {
            let asked = headers["accept"].to_str().unwrap();
            assert!(asked.starts_with("application/openmetrics-text;version=1.0.0"), "{asked}");
            ([("content-type", kind)], body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = axum::Router::new().route("/", axum::routing::get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        url
    }

    #[tokio::test]
    async fn the_content_type_decides() {
        let check = async |extra: &str, kind, body: &str, expected: Result<(usize, bool), &str>| {
            let config = format!("scrape_configs: [{{job_name: j{extra}}}]");
            let job = PrometheusConfig::parse(&config).unwrap().scrape_configs.remove(0);
            let url = target(kind, body.to_owned()).await;
            let seen = fetch(&reqwest::Client::new(), &job, &url).await;
            match (seen, expected) {
                (Ok(seen), Ok(expected)) => {
                    assert_eq!((seen.exposition.samples.len(), seen.broken.is_some()), expected, "{kind} {body}");
                }
                (Err(seen), Err(part)) => assert!(seen.contains(part), "{kind} {body}: {seen}"),
                (seen, _) => panic!("{kind} {body}: {:?}", seen.map(|seen| seen.exposition)),
            }
        };
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        check("", openmetrics, "a 1\n# EOF\n", Ok((1, false))).await;
        check("", openmetrics, "a 1\nb 2\na 3\n# EOF\n", Ok((3, true))).await;
        check("", openmetrics, "a 1\n", Err("line 2, column 1")).await;
        check("", openmetrics, "a 1 99999999999\n# EOF\n", Err("a time beyond")).await;
        check("", "text/plain; version=0.0.4", "a 1\n", Ok((1, false))).await;
        check("", "text/plain; version=0.0.4", "a\n", Err("line 1: a sample needs a value")).await;
        check(", body_size_limit: 8B", "text/plain", "a 1\nb 2\n", Ok((2, false))).await;
        check(", body_size_limit: 7", "text/plain", "a 1\nb 2\n", Err("more than 7 bytes (body_size_limit)")).await;
    }
}
