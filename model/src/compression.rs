//! zstd with contexts that are used again: making one takes and clears a mebibyte or two, which is a part of the work for a
//! record or a chunk of that size.

use std::io::{Cursor, Result};
use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// Contexts that are kept while nobody uses them: as many as threads commonly compress at once.
const KEPT: usize = 4;

static COMPRESSORS: Pool<Compressor<'static>> = Pool(Mutex::new(Vec::new()));
static DECOMPRESSORS: Pool<Decompressor<'static>> = Pool(Mutex::new(Vec::new()));

/// Guards what nobody uses.
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    fn with<R>(&self, make: impl FnOnce() -> Result<T>, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().pop();
        let mut context = known.map_or_else(make, Ok)?;
        let result = work(&mut context);
        let mut kept = kept();
        if kept.len() < KEPT {
            kept.push(context);
        }
        result
    }
}

/// Appends a frame with its content size to `out`.
pub fn compress_to(bytes: &[u8], level: i32, out: &mut Vec<u8>) -> Result<()> {
    out.reserve(compress_bound(bytes.len()));
    let make = || Compressor::new(level);
    COMPRESSORS.with(make, |compressor| {
        compressor.set_compression_level(level)?;
        let mut out = Cursor::new(out);
        out.set_position(out.get_ref().len() as u64);
        compressor.compress_to_buffer(bytes, &mut out).map(drop)
    })
}

/// A frame with its content size.
pub fn compress(bytes: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    compress_to(bytes, level, &mut out)?;
    out.shrink_to_fit();
    Ok(out)
}

/// What frames hold, of at most `bytes_max`. As much is allocated at once: ask for no more than can be trusted.
pub fn decompress(frames: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
    DECOMPRESSORS.with(Decompressor::new, |decompressor| decompressor.decompress(frames, bytes_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_used_again_and_an_error_harms_none() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for level in [1, 3, 1] {
            let mut out = b"head".to_vec();
            compress_to(&bytes, level, &mut out).unwrap();
            assert_eq!(&out[..4], b"head");
            assert_eq!(out[4..], compress(&bytes, level).unwrap());
            assert_eq!(out[4..], zstd::bulk::compress(&bytes, level).unwrap());
            assert_eq!(decompress(&out[4..], bytes.len()).unwrap(), bytes);
            assert!(decompress(&out[4..], bytes.len() - 1).is_err() && decompress(b"no frame", 10).is_err());
        }
        assert!(DECOMPRESSORS.0.lock().unwrap().len() <= KEPT);
    }
}
