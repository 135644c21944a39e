//! An OTLP client as exporters are: several requests under way, each counted only when it was answered with success.

use std::time::Duration;

use futures_util::StreamExt;

/// Requests under way: as many exporters on a busy node; below the collector's `push.requests_max`.
const UNDER_WAY: usize = 32;

/// Sends protobuf export requests; panics when one is refused or not answered in time.
pub async fn send(url: &str, requests: &[Vec<u8>], patience: Duration) {
    let http = weir_tls::client();
    let send = |body: &Vec<u8>| {
        let request = http.post(url).header("content-type", "application/x-protobuf").body(body.clone());
        async move {
            let answer = request.timeout(patience).send().await.expect("the collector answers");
            let status = answer.status();
            assert!(status.is_success(), "{url}: {status} {}", answer.text().await.unwrap_or_default());
        }
    };
    futures_util::stream::iter(requests.iter().map(send)).buffer_unordered(UNDER_WAY).collect::<()>().await;
}
