//! The container file that all engines write: named sections with checksums. Format: `docs/formats/block.md`.
//!
//! ```text
//! "WBLK" | version u8 = 1 | kind u8 | reserved u16 = 0
//! section bytes, one after the other, each 8-byte aligned
//! directory: count u32, then per section: name length u8, name, offset u64, length u64, crc32c u32
//! directory length u32 | directory crc32c u32 | "WEND"
//! ```
//! Integers are little-endian. A reader takes the last 12 bytes, then the directory, then only the sections it needs.
//! What a section means is its engine's affair, and versioned by the section's name (`chunks.1`).

use weir_model::wire::Kind;

/// A block that is built and not yet stored.
#[derive(Clone, Debug, Default)]
pub struct BlockData {
    /// In the order they will lie in the file.
    pub sections: Vec<(&'static str, Vec<u8>)>,
}

/// Which kind of block; says which engine reads it.
pub type BlockKind = Kind;

/// Bytes of a stored block, by range. Implementations cache; a call may block on I/O and is made off the async threads.
pub trait Blob: Send + Sync {
    /// For messages: the object's path.
    fn path(&self) -> &str;
    /// Size of the object.
    fn len(&self) -> u64;
    /// Whether it is empty, which no block is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes of a range that lies within.
    fn read(&self, range: std::ops::Range<u64>) -> Result<bytes::Bytes, crate::StoreError>;
}
