//! GET over a unix socket: as much of HTTP as Docker's API needs. One connection a request, which ends with the answer.
//! Used by [`super::docker`] and [`super::docker_events`].

use std::io;
use std::path::Path;

use futures_util::stream::MapErr;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyDataStream, BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use crate::error::with_causes;

/// A list of 1,000 containers has about 2 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A line of a stream: an event of a container with all of its labels has a few kilobytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Status and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What is read of an answer that says what is wrong.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    Connect(#[source] io::Error),
    #[error("{target}: {}", with_causes(.source))]
    Exchange { target: String, source: hyper::Error },
    #[error("{target}: no such address: {source}")]
    Target { target: String, source: hyper::http::Error },
    #[error("{target}: status {}: {said}", .status.as_u16())]
    Status { target: String, status: StatusCode, said: String },
    #[error("{target}: the answer is longer than {limit} bytes")]
    TooLong { target: String, limit: usize },
    #[error("{target}: {}", with_causes(.source))]
    Line { target: String, source: LinesCodecError },
}

/// An answer whose body has not been read, and the task that moves its bytes, which ends when this is dropped.
struct Reply {
    response: Response<Incoming>,
    connection: JoinSet<()>,
}

async fn request(socket: &Path, target: &str) -> Result<Reply, HttpError> {
    let wrong = |source| HttpError::Exchange { target: target.to_owned(), source };
    let request = Request::get(target).header(HOST, "localhost").header(ACCEPT, "application/json").body(Empty::<Bytes>::new());
    let request = request.map_err(|source| HttpError::Target { target: target.to_owned(), source })?;
    let stream = UnixStream::connect(socket).await.map_err(HttpError::Connect)?;
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, driver) = handshake.map_err(wrong)?;
    let mut connection = JoinSet::new();
    connection.spawn(async move {
        // What goes wrong with it is the error of the request or of its body as well.
        let _ = driver.await;
    });
    let response = sender.send_request(request).await.map_err(wrong)?;
    if response.status() == StatusCode::OK {
        return Ok(Reply { response, connection });
    }
    let status = response.status();
    let body = read(target, response.into_body(), REFUSAL_BYTES_MAX).await?;
    let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(HttpError::Status { target: target.to_owned(), status, said: said.trim().to_owned() })
}

/// A whole body.
async fn read(target: &str, body: Incoming, limit: usize) -> Result<Bytes, HttpError> {
    let collected = Limited::new(body, limit).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(source) => HttpError::Exchange { target: target.to_owned(), source: *source },
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "{error}");
            HttpError::TooLong { target: target.to_owned(), limit }
        }
    })
}

/// The body of a 200. The caller bounds the time.
pub(super) async fn get(socket: &Path, target: &str) -> Result<Bytes, HttpError> {
    get_within(socket, target, ANSWER_BYTES_MAX).await
}

async fn get_within(socket: &Path, target: &str, limit: usize) -> Result<Bytes, HttpError> {
    let reply = request(socket, target).await?;
    read(target, reply.response.into_body(), limit).await
}

type Body = MapErr<BodyDataStream<Incoming>, fn(hyper::Error) -> io::Error>;

/// The body of a 200, line by line as it comes, until the server ends it.
pub(super) struct Lines {
    target: String,
    lines: FramedRead<StreamReader<Body, Bytes>, LinesCodec>,
    _connection: JoinSet<()>,
}

impl Lines {
    /// Waits for the head, which some servers send with the first line only.
    pub async fn get(socket: &Path, target: &str) -> Result<Self, HttpError> {
        let Reply { response, connection } = request(socket, target).await?;
        let body: Body = response.into_body().into_data_stream().map_err(io::Error::other);
        let lines = FramedRead::new(StreamReader::new(body), LinesCodec::new_with_max_length(LINE_BYTES_MAX));
        Ok(Self { target: target.to_owned(), lines, _connection: connection })
    }

    /// Without its end; `None` behind the last one.
    pub async fn next(&mut self) -> Result<Option<String>, HttpError> {
        let line = self.lines.next().await.transpose();
        line.map_err(|source| HttpError::Line { target: self.target.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::PathBuf;

    use super::*;

    /// A server that answers the first request with these bytes and hangs up.
    fn server(directory: &tempfile::TempDir, answer: Vec<u8>) -> PathBuf {
        let socket = directory.path().join("sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0, "the request has no end");
                request.extend_from_slice(&buffer[..length]);
            }
            assert!(request.starts_with(b"GET /x HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
            // Who has read enough hangs up.
            let _ = stream.write_all(&answer);
        });
        socket
    }

    async fn check(answer: &str, expected: Result<&str, &str>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = server(&directory, answer.into());
        let found = get_within(&socket, "/x", 8).await;
        let found = found.map(|body| String::from_utf8(body.to_vec()).unwrap()).map_err(|error| error.to_string());
        match expected {
            Ok(body) => assert_eq!(found.as_deref(), Ok(body), "{answer:?}"),
            Err(word) => {
                let error = found.unwrap_err();
                assert!(error.starts_with("/x: ") && error.contains(word), "{answer:?}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn answers() {
        check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]", Ok("[]")).await;
        check("HTTP/1.0 200 OK\r\n\r\n[]", Ok("[]")).await;
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n", Ok("[]")).await;
        check("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678", Ok("12345678")).await;
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789", Err("longer than 8 bytes")).await;
        check("HTTP/1.1 200 OK\r\n\r\n123456789", Err("longer than 8 bytes")).await;
        check("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[]", Err("end of file before message length reached")).await;
        check("HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\ngone\n", Err("status 404: gone")).await;
        check(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(4 * HEAD_BYTES_MAX)), Err("too large")).await;
        check("", Err("connection closed before message completed")).await;
        check("\u{1}\r\n\r\n", Err("invalid")).await;
    }

    #[tokio::test]
    async fn lines_as_they_come() {
        let directory = tempfile::tempdir().unwrap();
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}\n{\r\n3\r\n}\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        let mut lines = Lines::get(&server(&directory, chunks.into()), "/x").await.unwrap();
        for expected in [Some("{}"), Some("{}"), Some("x"), None] {
            assert_eq!(lines.next().await.unwrap().as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(answer.len() + LINE_BYTES_MAX + 1, b'x');
        let mut lines = Lines::get(&server(&directory, answer), "/x").await.unwrap();
        let error = lines.next().await.unwrap_err().to_string();
        assert_eq!(error, "/x: max line length exceeded");
    }

    #[tokio::test]
    async fn nobody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let error = get(&directory.path().join("none"), "/x").await.unwrap_err().to_string();
        assert!(error.contains("No such file"), "{error}");
        let bad = get(&directory.path().join("none"), "/a b").await.unwrap_err().to_string();
        assert!(bad.starts_with("/a b: no such address"), "{bad}");
    }
}
