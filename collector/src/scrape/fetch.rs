//! One request to a target and its answer, in whichever of the job's formats the target prefers. Called by [`super::run`].

use weir_tls::{Endpoint, why};

use crate::exposition::Format;
use crate::scrape::config::Job;
use crate::scrape::protocol;

/// A buffer of the declared length is believed up to here; a longer answer makes it grow.
const BODY_TRUSTED_BYTES: u64 = 4 << 20;

/// What a target said.
pub(crate) struct Answer {
    pub body: Vec<u8>,
    pub format: Format,
}

/// The reason when the scrape failed.
pub(crate) async fn fetch(target: &Endpoint, job: &Job) -> Result<Answer, String> {
    let request = target.request(reqwest::Method::GET).header("accept", protocol::accept(&job.scrape_protocols, job.escaping()));
    let mut response = authorised(job, request)?.send().await.map_err(why)?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let format = Format::of(kind);
    let declared = response.content_length().unwrap_or_default().min(job.body_size_limit.0).min(BODY_TRUSTED_BYTES);
    let mut body = Vec::with_capacity(declared as usize);
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if (body.len() + chunk.len()) as u64 > job.body_size_limit.0 {
            return Err(format!("answer of more than {} bytes (body_size_limit)", job.body_size_limit.0));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { body, format })
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
    use crate::scrape::file::PrometheusConfig;
    use crate::scrape::read::read;
    use weir_model::label::Labels;

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
            let seen = fetch(&Endpoint::of(weir_tls::client(), &url).unwrap(), &job).await;
            let seen = seen.and_then(|answer| read(&job, &Labels::EMPTY, answer, None));
            match (seen, expected) {
                (Ok(seen), Ok(expected)) => {
                    assert_eq!((seen.scraped, seen.broken.is_some()), expected, "{kind} {body}");
                }
                (Err(seen), Err(part)) => assert!(seen.contains(part), "{kind} {body}: {seen}"),
                (seen, _) => panic!("{kind} {body}: {:?}", seen.map(|seen| seen.row.samples)),
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
