//! One question to a weir, and its answer.

use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use weir_tls::Endpoint;

use super::address::Address;
use super::unreachable;
use crate::Failure;
use crate::text::safe;

/// A weir that is there takes a connection at once; a firewall that drops packets is not waited for longer than this.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What of a body that is no JSON is shown.
const SHOWN_CHARS: usize = 500;

/// What was said.
#[derive(Debug)]
pub(super) struct Answer {
    pub body: Value,
    /// What it covers: of its body, or of its header in the shapes of other APIs.
    pub coverage: Value,
    /// Why new records are not stored now, a sentence each.
    pub outages: Vec<String>,
}

pub(super) async fn get(address: &Address, path: &str, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
    ask(address, Method::GET, path, parameters).await
}

/// The same of what may not be there: then weir's own words say so, with what they cover, and the answer is an `Err` within.
pub(super) async fn find(
    address: &Address,
    path: &str,
    parameters: &[(&str, String)],
) -> Result<Result<Answer, Answer>, Failure> {
    answered(address, Method::GET, path, parameters).await
}

/// Errors in words: what did not answer and what to do, or what weir refused.
pub(super) async fn ask(address: &Address, method: Method, path: &str, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
    let found = answered(address, method, path, parameters).await?;
    found.map_err(|Answer { body, .. }| refusal(StatusCode::NOT_FOUND, body["error"].as_str().unwrap_or_default()))
}

/// The answer; what weir says is not there is an `Err` within.
async fn answered(
    address: &Address,
    method: Method,
    path: &str,
    parameters: &[(&str, String)],
) -> Result<Result<Answer, Answer>, Failure> {
    // What is asked is what was named, whatever the environment says of proxies.
    let url = address.url(path, parameters);
    // No route that is asked here redirects, and credentials go to no other address than the one that was named.
    let endpoint = Endpoint::new(url.as_str(), &address.tls, |builder| {
        builder.no_proxy().connect_timeout(CONNECT_WITHIN).redirect(Policy::none())
    });
    let request = endpoint.map_err(Failure::input)?.request(method).headers(address.headers().clone());
    let unanswered = |error: reqwest::Error| Failure::failed(unreachable::in_words(address, &error));
    let answer = request.send().await.map_err(unanswered)?;
    let status = answer.status();
    let header = answer.headers().get("x-weir-coverage").and_then(|header| serde_json::from_slice(header.as_bytes()).ok());
    let outages = outages(answer.headers());
    let elsewhere = answer.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
    let text = answer.text().await.map_err(unanswered)?;
    if status == StatusCode::NO_CONTENT {
        return Ok(Ok(Answer { body: Value::Null, coverage: Value::Null, outages }));
    }
    let said = |body: Value| {
        let coverage = header.clone().unwrap_or_else(|| body["coverage"].clone());
        Answer { body, coverage, outages: outages.clone() }
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(body) if status.is_success() => Ok(Ok(said(body))),
        Ok(body) if status == StatusCode::NOT_FOUND && body["error"].is_string() => Ok(Err(said(body))),
        Ok(body) if body["error"].is_string() => Err(refusal(status, body["error"].as_str().unwrap_or_default())),
        _ if status.is_success() => {
            Err(Failure::failed(format!("{address} answers, but not as weir does: is it another program's address?")))
        }
        _ if status.is_redirection() => {
            let to = safe::line(&elsewhere.unwrap_or_default()).chars().take(SHOWN_CHARS).collect::<String>();
            Err(Failure::failed(format!(
                "{address} answered {status} and is not followed to {to:?}: give --addr weir's own address"
            )))
        }
        _ if status == StatusCode::NOT_FOUND => {
            Err(Failure::failed(format!("{address} does not know {path} ({status}): give --addr the address of weir's page")))
        }
        _ => {
            let said = safe::line(text.trim()).chars().take(SHOWN_CHARS).collect::<String>();
            Err(refusal(status, format!("{address} answered {status}: {said}").trim_end_matches([':', ' '])))
        }
    }
}

/// That new records are not stored now, as weir says with every answer.
fn outages(headers: &HeaderMap) -> Vec<String> {
    let told = headers.get("x-weir-outage").and_then(|header| serde_json::from_slice::<Value>(header.as_bytes()).ok());
    let all = told.as_ref().and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|outage| Some(outage["text"].as_str()?.to_owned())).collect()
}

/// What weir refused, in its words.
pub(super) fn refusal(status: StatusCode, message: &str) -> Failure {
    let message = safe::block(message);
    match status {
        StatusCode::BAD_REQUEST => Failure::input(message),
        StatusCode::UNAUTHORIZED => Failure::failed(format!("{message} (`weir login URL` signs in)")),
        _ => Failure::failed(message),
    }
}
