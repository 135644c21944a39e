//! One attempt at sending a request, and what the receiver's answer means.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, redirect};
use weir_tls::{Endpoint, why};

use super::config::{Message, RemoteWriteConfig, secret};
use super::request::Counts;

/// What of a refusal's text is read, for the log.
const REASON_BYTES_MAX: usize = 512;
/// Answers that are about what is in a request: less of it may be taken. Thanos says 409 of samples that are late or twice.
const ABOUT_CONTENT: [StatusCode; 4] =
    [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
/// Answers that say nothing of the request: 408 is of a body that did not come in time.
const LATER: [StatusCode; 2] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
/// A receiver that asks for a longer pause is asked again after this one.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

const NO_SECRET: &str = "its credentials cannot be read";

/// How an attempt ended.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// So much of it is stored.
    Taken(Counts),
    /// It may be taken later, after the pause that the receiver has named.
    Later { failure: Failure, pause: Option<Duration> },
    /// So much of it is stored, and what is not never will be.
    Partly(Counts, Failure),
    /// Something in it will never be taken; other parts may be.
    Unfit(Failure),
    /// Nothing that is sent like this will be taken.
    Refused(Failure),
}

/// Why something is not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words of ours.
    pub what: String,
    /// For the log alone: the receiver's words, which may name a tenant's series, or the path of a secret.
    pub said: String,
}

impl Failure {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), said: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, said } = self;
        if said.is_empty() { formatter.write_str(what) } else { write!(formatter, "{what}: {said}") }
    }
}

pub(super) struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// Errors name the file of `tls_config` that cannot be used.
    pub fn new(config: &RemoteWriteConfig) -> Result<Self, String> {
        let made = Endpoint::new(&config.url, &config.tls_config, |builder| {
            // One that is followed would make a GET of a POST, or take the headers' secrets to another host.
            builder.user_agent(concat!("weir/", env!("CARGO_PKG_VERSION"))).redirect(redirect::Policy::none())
        });
        Ok(Self { endpoint: made.map_err(|error| error.to_string())? })
    }

    pub async fn send(&self, config: &RemoteWriteConfig, body: Bytes, counts: Counts) -> Outcome {
        let later = |what: String| Outcome::Later { failure: Failure::new(what), pause: None };
        let (kind, version) = match config.protobuf_message {
            Message::One => ("application/x-protobuf", "0.1.0"),
            Message::Two => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let request = self.endpoint.request(Method::POST).timeout(config.remote_timeout);
        let request = request.header("content-type", kind).header("content-encoding", "snappy");
        let mut request = request.header("x-prometheus-remote-write-version", version);
        for (name, value) in config.headers.iter() {
            request = request.header(name, value);
        }
        let request = match authorised(config, request).await {
            Ok(request) => request,
            // Where the secret is, is for the log alone.
            Err(reason) => return Outcome::Later { failure: Failure { what: NO_SECRET.into(), said: reason }, pause: None },
        };
        match request.body(body).send().await {
            Ok(response) => judge(config.protobuf_message, response, counts).await,
            Err(error) => later(why(error)),
        }
    }
}

/// With the secret as its file has it now.
async fn authorised(config: &RemoteWriteConfig, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, String> {
    let read = async |path: &std::path::PathBuf| {
        let path = path.clone();
        let read = tokio::task::spawn_blocking(move || secret(&path)).await;
        read.unwrap_or_else(|error| Err(error.to_string()))
    };
    if let Some(basic) = &config.basic_auth {
        return Ok(request.basic_auth(&basic.username, Some(read(&basic.password_file).await?)));
    }
    match &config.authorization {
        Some(own) => Ok(request.header(AUTHORIZATION, format!("{} {}", own.kind, read(&own.credentials_file).await?))),
        None => Ok(request),
    }
}

async fn judge(message: Message, response: Response, counts: Counts) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return taken(message, response.headers(), counts);
    }
    let pause = pause(response.headers(), SystemTime::now());
    if status.is_redirection() {
        let target = response.headers().get(LOCATION).map(|own| String::from_utf8_lossy(own.as_bytes()));
        let said = target.unwrap_or_default().chars().take(REASON_BYTES_MAX).collect();
        let what = format!("answered {status}, which is not followed: set `url` to where requests are taken; it points to");
        return Outcome::Later { failure: Failure { what, said }, pause };
    }
    let written = written(response.headers(), counts).filter(|_| message == Message::Two);
    let failure = Failure { what: format!("answered {status}"), said: text(response).await };
    if LATER.contains(&status) || status.is_server_error() {
        return Outcome::Later { failure, pause };
    }
    // Of nothing: a receiver that refuses a request as a whole may say so as well, and less of it may be taken.
    match written.filter(|own| own.points() + own.exemplars > 0) {
        Some(written) => Outcome::Partly(Counts { metadata: 0, ..written }, failure),
        None if ABOUT_CONTENT.contains(&status) => Outcome::Unfit(failure),
        None => Outcome::Refused(failure),
    }
}

/// A receiver of 2.0 says what it has written. One that says nothing has read another message than that, if any.
fn taken(message: Message, headers: &HeaderMap, counts: Counts) -> Outcome {
    if message == Message::One {
        return Outcome::Taken(counts);
    }
    match written(headers, counts) {
        Some(written) => Outcome::Taken(written),
        None => Outcome::Refused(Failure::new("took the request and did not say what of it is written: it does not know 2.0")),
    }
}

/// What the receiver says to have written; `None` where it says nothing.
fn written(headers: &HeaderMap, counts: Counts) -> Option<Counts> {
    let written = |what: &str| headers.get(format!("x-prometheus-remote-write-{what}-written"))?.to_str().ok()?.parse().ok();
    let samples = written("samples")?;
    let (histograms, exemplars) = (written("histograms").unwrap_or(0), written("exemplars").unwrap_or(0));
    // No receiver has written more than it was sent, whatever it says.
    Some(Counts {
        samples: counts.samples.min(samples),
        histograms: counts.histograms.min(histograms),
        exemplars: counts.exemplars.min(exemplars),
        ..counts
    })
}

/// Seconds, or a date.
fn pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?;
            SystemTime::from(at.timestamp()).duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

async fn text(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < REASON_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(REASON_BYTES_MAX - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let check = |text: &str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            // Fri, 28 Nov 2025 12:00:00 GMT
            let now = UNIX_EPOCH + Duration::from_secs(1_764_331_200);
            assert_eq!(pause(&headers, now), expected.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check("Fri, 28 Nov 2025 12:00:30 GMT", Some(30));
        check("Fri, 28 Nov 2025 11:00:00 GMT", Some(0));
        check("999999999", Some(3600));
        check("soon", None);
        assert_eq!(pause(&HeaderMap::new(), UNIX_EPOCH), None);
    }

    #[test]
    fn a_receiver_of_two_says_what_it_has_written() {
        let counts = Counts { samples: 3, histograms: 1, exemplars: 1, metadata: 2 };
        let headers = |pairs: &[(&'static str, &str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()));
            HeaderMap::from_iter(pairs)
        };
        assert_eq!(taken(Message::One, &headers(&[]), counts), Outcome::Taken(counts));
        assert!(matches!(taken(Message::Two, &headers(&[]), counts), Outcome::Refused(_)));
        let said = headers(&[("x-prometheus-remote-write-samples-written", "2")]);
        assert_eq!(taken(Message::Two, &said, counts), Outcome::Taken(Counts { samples: 2, metadata: 2, ..Counts::default() }));
        let most = u64::MAX.to_string();
        let said = headers(&[
            ("x-prometheus-remote-write-samples-written", &most),
            ("x-prometheus-remote-write-histograms-written", &most),
            ("x-prometheus-remote-write-exemplars-written", &most),
        ]);
        assert_eq!(taken(Message::Two, &said, counts), Outcome::Taken(counts), "more than was sent");
    }

    #[tokio::test]
    async fn a_redirect_is_tried_again_and_names_its_target() {
        let response = axum::http::Response::builder().status(302).header("location", "https://b/write").body("").unwrap();
        let Outcome::Later { failure, .. } = judge(Message::One, response.into(), Counts::default()).await else { panic!() };
        assert!(failure.said.contains("https://b/write"), "{failure}");
    }

    #[tokio::test]
    async fn what_is_refused_for_its_content_may_be_divided() {
        let counts = Counts { samples: 3, histograms: 1, exemplars: 0, metadata: 1 };
        let judged = async |message, status: u16, header: Option<&'static str>| {
            let mut response = axum::http::Response::builder().status(status);
            if let Some(samples) = header {
                response = response.header("x-prometheus-remote-write-samples-written", samples);
            }
            judge(message, response.body("late").unwrap().into(), counts).await
        };
        for status in [400, 409, 413, 422] {
            assert!(matches!(judged(Message::One, status, None).await, Outcome::Unfit(_)), "{status}");
        }
        for status in [401, 403, 404, 415] {
            assert!(matches!(judged(Message::One, status, None).await, Outcome::Refused(_)), "{status}");
            assert!(matches!(judged(Message::Two, status, Some("0")).await, Outcome::Refused(_)), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(matches!(judged(Message::One, status, None).await, Outcome::Later { .. }), "{status}");
        }
        for status in [400, 413] {
            assert!(
                matches!(judged(Message::Two, status, Some("0")).await, Outcome::Unfit(_)),
                "nothing of it is written: {status}"
            );
        }
        // What a receiver of 2.0 has written needs no division, and one of 1.0 does not say.
        let failure = Failure { what: "answered 400 Bad Request".into(), said: "late".into() };
        let written = Counts { samples: 2, ..Counts::default() };
        assert_eq!(judged(Message::Two, 400, Some("2")).await, Outcome::Partly(written, failure.clone()));
        assert_eq!(judged(Message::One, 400, Some("2")).await, Outcome::Unfit(failure.clone()));
        assert_eq!(judged(Message::Two, 400, None).await, Outcome::Unfit(failure));
        assert!(matches!(judged(Message::Two, 500, Some("2")).await, Outcome::Later { .. }));
    }
}
