//! What is no proper HTTP: answered or ended, and the next client is served.

use axum::routing::get;

use super::*;

fn router() -> Router {
    Router::new().route("/", get(|| async { "here\n" }))
}

async fn served(door: &Door) {
    let answer = door.send("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("here\n"), "{answer}");
}

#[tokio::test]
async fn heads_have_an_end() {
    let door = Door::open(FrontConfig::default(), router()).await;
    let long = "x".repeat(1 << 20);
    let check = async |text: String, expected: &[u16]| {
        let mut stream = door.connect().await;
        // The other side may have seen enough before all of it is sent.
        let _ = stream.write_all(text.as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        // Of an answer before the end of what is sent nothing may be left.
        assert!(answer.is_empty() || expected.contains(&status(&answer)), "{answer}");
        served(&door).await;
    };
    check(format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"), &[431]).await;
    check(format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"), &[414, 431]).await;
    check(format!("{long}{long}"), &[400, 431]).await;
    let many = "a: b\r\n".repeat(10_000);
    check(format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), &[431]).await;
    // What a long query needs passes.
    let query = "x".repeat(60_000);
    let answer = door.send(&format!("GET /?{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    door.close().await;
}

#[tokio::test]
async fn garbage_after_a_request_is_no_request() {
    let door = Door::open(FrontConfig::default(), router()).await;
    let garbage = "\u{0}\u{1}\u{2}garbage\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(10);
    let answer = door.send(&format!("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n{garbage}")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("here\n").count() == 1, "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    served(&door).await;
    door.close().await;
}
