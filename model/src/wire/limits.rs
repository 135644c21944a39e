//! What a decoder is willing to believe before it has seen the bytes.

/// Upper bounds; a record that declares more is refused before anything is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An encoded record. Kafka's default `message.max.bytes` is 1 MiB.
    pub record_bytes: u32,
    /// Its body once decompressed.
    pub body_bytes: u32,
    /// Sections of a record.
    pub sections: u32,
    /// Log lines, metric values or spans of a section.
    pub records: u32,
    /// Labels of a set, attributes of a list.
    pub labels: u32,
    /// A name, a label value, a tenant, a source.
    pub text_bytes: u32,
}

/// What a decoded record may take in memory, as a multiple of `Limits::body_bytes`: dictionaries and one-byte values
/// expand. Batches of real spans (1 KiB of attributes a span, 20 B a span on the wire) stay below 1.
const EXPANSION_MAX: u64 = 4;

impl Limits {
    /// On the bus.
    pub const DEFAULT: Self =
        Self { record_bytes: 1 << 20, body_bytes: 64 << 20, sections: 4096, records: 1 << 20, labels: 1024, text_bytes: 1 << 20 };

    /// Bytes of memory that a decoded record takes at most, and with it any one line, series or span: texts, 64 bytes a
    /// label and the like. A store whose limits hold so much never has to refuse what the bus has taken.
    pub const fn decoded_bytes(&self) -> u64 {
        self.body_bytes as u64 * EXPANSION_MAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
