//! What a query node asks the owner of a partition, and what it gets: the unsealed part, cut to the question.
//! Format: `docs/formats/heads.md`.
//!
//! The owner answers with the smallest head that answers the question as its own would, and with the manifest version of
//! the very same instant. The asker puts that head beside the blocks of that version and runs the reader that would run in
//! the owner's process: which of two samples stays, how far a trace has come and what a line is called are decided in one
//! place.
//!
//! - [`ask`]: the questions; [`frame`]: the bytes of an answer; [`answer`]: what the frames say;
//! - [`slice`]: what can be asked of an engine's heads from afar; `logs`, `metrics`, `traces`: how each is cut and put together; `log_page`: the lines that
//!   fit;
//! - [`orders`]: what it is told to do at once.
//!
//! Not here: sockets (the aggregator's and the query service's), and who owns what (the manifest).

pub mod answer;
pub mod ask;
pub mod frame;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod limits_tests;
mod log_page;
mod logs;
mod metrics;
pub mod orders;
pub mod slice;
#[cfg(test)]
mod tests;
mod traces;

pub use answer::{
    Beat, Instant, PartAnswer, Refusal, Row, bus_silent, decode, decode_beat, decode_record, decode_tail, encode_beat,
    encode_instant, encode_record, encode_refusal, encode_slice, encode_tail,
};
pub use ask::{Ask, Question, TailAsk};
pub use logs::{tail_lines, tail_records};
pub use orders::{COMPACT_PATH, Done, EXPIRE_PATH, SEAL_PATH};
pub use slice::{RECORD_LIMITS, Slice, SliceLimits, SliceRecord, Sliced};

/// The version that this one speaks, on both sides. Another is refused: nodes of one cluster are updated one after the
/// other, and the coverage says meanwhile what could not be asked.
pub const PROTOCOL: u32 = 1;

/// Where an owner is asked for its heads: `POST`, JSON [`Question`], answers frames.
pub const HEADS_PATH: &str = "/api/weir/internal/v1/heads";

/// Where a live tail begins: `POST`, JSON [`TailAsk`], answers frames until one side ends it.
pub const TAIL_PATH: &str = "/api/weir/internal/v1/tail";

/// Where an owner tells how far its partitions are: `GET`, JSON.
pub const STATUS_PATH: &str = "/api/weir/internal/v1/status";
