//! One question to a weir: its answer as JSON, and whether it saw everything.

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

/// [`send`] of a GET.
pub async fn get(http: &Client, url: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    send(http.get(Url::parse_with_params(url, parameters).map_err(|error| error.to_string())?)).await
}

/// JSON with its `coverage`; errors with what was said instead. That a trace is not there is an answer too.
pub async fn send(request: RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (status, coverage) = (answer.status(), answer.headers().get("x-weir-coverage").cloned());
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if !status.is_success() && status != 404 {
        return Err(format!("{status} {text}"));
    }
    let mut answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    // Shapes that are not ours have no room for it.
    if let Some(coverage) = coverage {
        answer["coverage"] = serde_json::from_slice(coverage.as_bytes()).map_err(|error| error.to_string())?;
    }
    Ok(answer)
}

/// Errors with what an answer has not seen.
pub fn complete(answer: Value) -> Result<Value, String> {
    let open = (answer["coverage"]["complete"] != true).then(|| &answer["coverage"]);
    match open.or(answer.get("warnings")) {
        None => Ok(answer),
        Some(open) => Err(open.to_string()),
    }
}
