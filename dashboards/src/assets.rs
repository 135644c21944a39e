//! The embedded files of `dist/`: read once, compressed once, handed out by path.
//! Not the rules of serving; those are in `serve`, the only caller.

use std::collections::BTreeMap;
use std::io::Write;

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;

/// `dist/` at compile time, in debug builds too: what is tested is what is shipped.
#[derive(RustEmbed)]
#[folder = "dist/"]
struct Dist;

/// One file of the page.
pub(crate) struct Asset {
    /// As built.
    pub(crate) raw: Bytes,
    /// Compressed with gzip; absent where that saves less than a tenth.
    pub(crate) gzip: Option<Bytes>,
    /// For the `content-type` header.
    pub(crate) kind: &'static str,
    /// The strong validator: quotes around a hash of the content.
    pub(crate) etag: String,
}

/// All files, by their path without the leading slash (`assets/index-….js`).
pub(crate) struct Assets(BTreeMap<String, Asset>);

impl Assets {
    /// Reads and compresses everything: some 150 KB, a few milliseconds.
    pub(crate) fn load() -> Self {
        let read = |path: std::borrow::Cow<'static, str>| Dist::get(&path).map(|file| (path.into_owned(), file));
        Self(Dist::iter().filter_map(read).map(|(path, file)| (path.clone(), asset(&path, file))).collect())
    }

    /// The file at `path`, without a leading slash.
    pub(crate) fn get(&self, path: &str) -> Option<&Asset> {
        self.0.get(path)
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn asset(path: &str, file: rust_embed::EmbeddedFile) -> Asset {
    let hash: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let raw = Bytes::from(file.data.into_owned());
    Asset { gzip: compress(&raw), kind: kind(path), etag: format!("\"{hash}\""), raw }
}

fn compress(raw: &Bytes) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(raw).and_then(|()| encoder.finish()).ok()?;
    (packed.len() < raw.len() / 10 * 9).then(|| Bytes::from(packed))
}

/// The kinds of file that the build makes; anything else is handed out as bytes, which no browser runs.
fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("md" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
