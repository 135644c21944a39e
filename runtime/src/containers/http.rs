//! One GET over a unix socket. HTTP/1.0 on purpose: the answer then ends where the connection does, and neither chunks
//! nor keep-alive need be understood. Used by [`super::docker`] and [`super::events`].

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A list of 1,000 containers has about 2 MB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A line of a header or of a stream: an event of a container with all of its labels has a few kilobytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Lines of a head.
const HEAD_LINES_MAX: usize = 100;

async fn request(socket: &Path, target: &str) -> Result<UnixStream, String> {
    let mut stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The body of a 200, line by line as it comes, until the server ends it.
pub(super) struct Lines {
    stream: BufReader<UnixStream>,
}

impl Lines {
    /// Waits for the head, which some servers send with the first line only.
    pub async fn get(socket: &Path, target: &str) -> Result<Self, String> {
        let mut lines = Self { stream: BufReader::new(request(socket, target).await?) };
        let status = lines.next().await?.ok_or("no HTTP answer")?;
        let status = String::from_utf8_lossy(&status).into_owned();
        if status.strip_prefix("HTTP/1.").and_then(|status| status.split(' ').nth(1)) != Some("200") {
            return Err(format!("{target}: {}", status.trim()));
        }
        for _ in 0..HEAD_LINES_MAX {
            let header = lines.next().await?.ok_or("the head of the answer has no end")?;
            if header.is_empty() {
                return Ok(lines);
            }
            if header.to_ascii_lowercase().starts_with(b"transfer-encoding:") {
                return Err(format!("{target}: the answer is chunked, which HTTP/1.0 does not know"));
            }
        }
        Err(format!("{target}: the head has more than {HEAD_LINES_MAX} lines"))
    }

    /// Without its end; `None` behind the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
        if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        line.truncate(line.trim_ascii_end().len());
        Ok((read > 0).then_some(line))
    }
}

/// The body of a 200; else what the server said. The caller bounds the time.
pub(super) async fn get(socket: &Path, target: &str) -> Result<Vec<u8>, String> {
    let stream = request(socket, target).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(format!("{target}: the answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    body(answer).map_err(|reason| format!("{target}: {reason}"))
}

fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)).ok_or("no HTTP answer")?.to_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Err("the answer is chunked, which HTTP/1.0 does not know".to_owned());
    }
    let body = answer.split_off(end + 4);
    if status != "200" {
        let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(format!("status {status}: {}", said.trim()));
    }
    let announced = header("content-length").and_then(|length| length.parse::<usize>().ok());
    match announced {
        Some(length) if length != body.len() => Err(format!("{} bytes of {length}", body.len())),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = body(text.as_bytes().to_vec()).map(|body| String::from_utf8(body).unwrap());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text:?}");
        };
        check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]", Ok("[]"));
        check("HTTP/1.1 200 OK\r\n\r\n", Ok(""));
        check("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[]", Err("2 bytes of 3"));
        check("HTTP/1.0 404 Not Found\r\n\r\ngone\n", Err("status 404: gone"));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err("the answer is chunked, which HTTP/1.0 does not know"),
        );
        check("", Err("no HTTP answer"));
        check("\r\n\r\n", Err("no HTTP answer"));
    }
}
