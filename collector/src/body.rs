//! What clients send: bounded reading and bounded decompression.
//! Used by every push protocol; knows none of them.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::config::PushConfig;
use crate::push_error::PushError;

/// What a decoder is asked for at once.
const PIECE_BYTES: usize = 16 << 10;
/// The window that a zstd frame may ask for: 8 MiB, which RFC 8878 recommends every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Snappy's copies make at most 64 bytes of 3.
const SNAPPY_EXPANSION_MAX: usize = 22;

/// Reads a body of at most `push.body_max` bytes; a declared length above it is refused before a byte is read. Its bytes
/// are charged as they come, not as they are declared: who only declares holds nothing.
pub(crate) async fn read(
    config: &PushConfig,
    admission: &Admission,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, PushError> {
    let limit = config.body_max.to_usize();
    let too_large = || PushError::TooLarge { what: "body", limit, key: "push.body_max" };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let end = Instant::now() + config.body_time_max;
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let idle = Instant::now() + config.body_idle_max;
        let next = tokio::time::timeout_at(end.min(idle), stream.next()).await;
        let next = next.map_err(|_| PushError::Slow(if end < idle { "push.body_time_max" } else { "push.body_idle_max" }))?;
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|error| PushError::Malformed(format!("body: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        reserve(&mut bytes, chunk.len(), declared.unwrap_or(limit), admission)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Room for `more` bytes, charged before it is taken. Doubles, but not beyond `limit`.
fn reserve(bytes: &mut Vec<u8>, more: usize, limit: usize, admission: &Admission) -> Result<(), PushError> {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let capacity = needed.max((bytes.capacity() * 2).min(limit));
        admission.charge(capacity - bytes.capacity())?;
        bytes.reserve_exact(capacity - bytes.len());
    }
    Ok(())
}

/// The name of a request's `Content-Encoding`.
pub(crate) fn content_encoding(headers: &HeaderMap) -> String {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str());
    encoding.map_or("?", str::trim).to_owned()
}

/// Undoes an encoding: none, `identity`, `gzip` (also `x-gzip`), `deflate` (zlib, or without its header as Loki and others have it), `zstd`.
/// At most `limit` bytes come out.
pub(crate) fn decode_content(encoding: &str, bytes: Bytes, limit: usize, admission: &Admission) -> Result<Bytes, PushError> {
    match encoding {
        "" | "identity" => Ok(bytes),
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(&bytes[..]), "gzip", limit, admission),
        "deflate" if is_zlib(&bytes) => bounded(flate2::read::ZlibDecoder::new(&bytes[..]), "deflate", limit, admission),
        "deflate" => bounded(flate2::read::DeflateDecoder::new(&bytes[..]), "deflate", limit, admission),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::new(&bytes[..]).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            match decoder {
                Ok(decoder) => bounded(decoder, "zstd", limit, admission),
                Err(error) => Err(PushError::Malformed(format!("zstd: {error}"))),
            }
        }
        other => Err(PushError::Unsupported(format!("content encoding {other:?} is not one of identity, gzip, deflate, zstd"))),
    }
}

/// Whether zlib's header stands there (RFC 1950): method 8, and a multiple of 31. A bare stream that begins so would be a stored block whose
/// padding is not zero.
fn is_zlib(bytes: &[u8]) -> bool {
    bytes.len() >= 2 && bytes[0] & 0x0f == 8 && (u16::from(bytes[0]) << 8 | u16::from(bytes[1])).is_multiple_of(31)
}

fn bounded(mut reader: impl Read, what: &'static str, limit: usize, admission: &Admission) -> Result<Bytes, PushError> {
    let mut bytes = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => return Ok(bytes.into()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PushError::Malformed(format!("{what}: {error}"))),
        };
        if bytes.len() + count > limit {
            return Err(PushError::TooLarge { what: "decompressed body", limit, key: "push.decompressed_max" });
        }
        reserve(&mut bytes, count, limit, admission)?;
        bytes.extend_from_slice(&piece[..count]);
    }
}

/// Undoes snappy's block format. The declared size is checked before anything is allocated for it.
pub(crate) fn decode_snappy(bytes: &[u8], limit: usize, admission: &Admission) -> Result<Bytes, PushError> {
    let malformed = |error: snap::Error| PushError::Malformed(format!("snappy: {error}"));
    let declared = snap::raw::decompress_len(bytes).map_err(malformed)?;
    if declared > limit {
        return Err(PushError::TooLarge { what: "decompressed body", limit, key: "push.decompressed_max" });
    }
    if declared > bytes.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        return Err(PushError::Malformed(format!("snappy: {} bytes cannot become the declared {declared}", bytes.len())));
    }
    admission.charge(declared)?;
    snap::raw::Decoder::new().decompress_vec(bytes).map(Bytes::from).map_err(malformed)
}
