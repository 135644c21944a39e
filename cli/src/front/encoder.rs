//! A body that is compressed piece by piece as the client reads it: what it holds is one compressor and one piece, however large
//! the answer and however slow the client.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;

use super::coding::Coding;

/// Compressed without a pause for others: half a millisecond.
const PIECE_BYTES: usize = 64 << 10;

/// Levels and windows by measurement: docs/decisions/0121.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_LOG: u32 = 18;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW_LOG: u32 = 18;
/// Brotli hands its output on in steps of so many bytes.
const BROTLI_STEP_BYTES: usize = 4 << 10;

/// A compressor and what it has put out.
pub(crate) enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Errors when there is no memory for it.
    pub fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let (step, quality, window) = (BROTLI_STEP_BYTES, BROTLI_QUALITY, BROTLI_WINDOW_LOG);
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), step, quality, window)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    /// What has come out since the last call.
    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?.into(),
            Self::Brotli(encoder) => encoder.into_inner().into(),
            Self::Zstd(encoder) => encoder.finish()?.into(),
        })
    }
}

/// A response's body, compressed.
pub(crate) struct Compressed {
    body: Body,
    /// What is to be compressed next.
    rest: Bytes,
    /// Went in, and may not have come out yet.
    unflushed: bool,
    /// Until the end; the place is given back with it.
    encoder: Option<(Encoder, OwnedSemaphorePermit)>,
}

impl Compressed {
    pub fn new(body: Body, encoder: Encoder, place: OwnedSemaphorePermit) -> Self {
        Self { body, rest: Bytes::new(), unflushed: false, encoder: Some((encoder, place)) }
    }

    /// Compresses the next piece, or the end; a body that has paused is flushed, so that a stream stays one.
    fn step(&mut self, context: &mut Context<'_>) -> Result<Poll<Option<Bytes>>, axum::Error> {
        let Some((encoder, _)) = &mut self.encoder else { return Ok(Poll::Ready(None)) };
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                // Only gRPC has trailers, and is not compressed here.
                Poll::Ready(Some(frame)) => self.rest = frame?.into_data().unwrap_or_default(),
                Poll::Ready(None) => {
                    let last = self.encoder.take().map(|(encoder, _place)| encoder.finish());
                    return Ok(Poll::Ready(last.transpose().map_err(axum::Error::new)?));
                }
                Poll::Pending if self.unflushed => {
                    self.unflushed = false;
                    encoder.writer().flush().map_err(axum::Error::new)?;
                    let out = encoder.take();
                    return Ok(if out.is_empty() { Poll::Pending } else { Poll::Ready(Some(out)) });
                }
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        encoder.writer().write_all(&piece).map_err(axum::Error::new)?;
        self.unflushed = true;
        let out = encoder.take();
        if !out.is_empty() {
            return Ok(Poll::Ready(Some(out)));
        }
        // Nothing to send yet: the next piece is compressed after others have had their turn.
        context.waker().wake_by_ref();
        Ok(Poll::Pending)
    }
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut().step(context) {
            Ok(polled) => polled.map(|out| out.map(|bytes| Ok(Frame::data(bytes)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}
