//! What clients send: bounded reading, bounded decompression, and the answers when it cannot be taken.
//! Used by every push protocol; knows none of them.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use thiserror::Error;

use crate::error::ShipError;

/// Why a push is not taken. The text goes to the client.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PushError {
    /// 413
    #[error("{what} of more than {limit} bytes (limit {key})")]
    TooLarge { what: &'static str, limit: usize, key: &'static str },
    /// 400
    #[error("{0}")]
    Malformed(String),
    /// 400: some records lie outside of what is kept; the rest of the request is stored.
    #[error("{0}")]
    OutOfTime(String),
    /// 422
    #[error("{0}")]
    Empty(String),
    /// 415
    #[error("{0}")]
    Unsupported(String),
    /// 429: too many at once.
    #[error("too many requests at once, come again")]
    TooMany,
    /// 503: the bus is slow, or the collector is going down.
    #[error("{0}")]
    Unavailable(String),
}

impl PushError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::OutOfTime(_) => StatusCode::BAD_REQUEST,
            Self::Empty(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The number of gRPC's code, as OTLP's clients read it: 14 (unavailable) is what they try again.
    pub(crate) fn grpc_code(&self) -> i32 {
        match self {
            Self::Malformed(_) | Self::OutOfTime(_) | Self::Empty(_) | Self::Unsupported(_) => 3,
            Self::TooLarge { .. } => 8,
            Self::TooMany | Self::Unavailable(_) => 14,
        }
    }

    /// The counter's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::OutOfTime(_) => "out_of_time",
            Self::Empty(_) => "empty",
            Self::Unsupported(_) => "unsupported",
            Self::TooMany => "too_many_requests",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::TooMany | Self::Unavailable(_))
    }
}

impl From<ShipError> for PushError {
    fn from(error: ShipError) -> Self {
        match error {
            ShipError::Refused(reason) => Self::Malformed(reason),
            ShipError::Stopped | ShipError::Busy => Self::Unavailable(error.to_string()),
        }
    }
}

/// Reads a body of at most `limit` bytes; a declared length above it is refused before a byte is read.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, PushError> {
    let too_large = || PushError::TooLarge { what: "body", limit, key: "push.body_bytes_max" };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(1 << 20));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| PushError::Malformed(format!("body: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Undoes `Content-Encoding`: none, `identity`, `gzip` (also `x-gzip`), `deflate` (zlib), `zstd`. At most `limit` bytes come out.
pub(crate) fn decode_content(headers: &HeaderMap, bytes: Bytes, limit: usize) -> Result<Bytes, PushError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str());
    match encoding.map(str::trim).unwrap_or("?") {
        "" | "identity" => Ok(bytes),
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(&bytes[..]), "gzip", limit),
        "deflate" => bounded(flate2::read::ZlibDecoder::new(&bytes[..]), "deflate", limit),
        "zstd" => match zstd::stream::read::Decoder::new(&bytes[..]) {
            Ok(decoder) => bounded(decoder, "zstd", limit),
            Err(error) => Err(PushError::Malformed(format!("zstd: {error}"))),
        },
        other => Err(PushError::Unsupported(format!("content encoding {other:?} is not one of identity, gzip, deflate, zstd"))),
    }
}

fn bounded(reader: impl Read, what: &'static str, limit: usize) -> Result<Bytes, PushError> {
    let mut bytes = Vec::new();
    let read = reader.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| PushError::Malformed(format!("{what}: {error}")))?;
    if bytes.len() > limit {
        return Err(PushError::TooLarge { what: "decompressed body", limit, key: "push.decompressed_bytes_max" });
    }
    Ok(bytes.into())
}

/// Undoes snappy's block format. The declared size is checked before anything is allocated for it.
pub(crate) fn decode_snappy(bytes: &[u8], limit: usize) -> Result<Bytes, PushError> {
    let malformed = |error: snap::Error| PushError::Malformed(format!("snappy: {error}"));
    let declared = snap::raw::decompress_len(bytes).map_err(malformed)?;
    if declared > limit {
        return Err(PushError::TooLarge { what: "decompressed body", limit, key: "push.decompressed_bytes_max" });
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map(Bytes::from).map_err(malformed)
}
