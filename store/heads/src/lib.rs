//! What a query node requests from the owner of a partition, and what it gets: an extract of the unsealed part.
//! Format: `docs/formats/heads.md`.
//!
//! The owner answers with the smallest head that answers the query as its own would, and with the manifest version of
//! the very same instant. The client puts that head beside the blocks of that version and runs the reader that would run in
//! the owner's process: which of two samples stays, how far a trace has come and what a line is called are decided in one
//! place.
//!
//! - [`request`]: the requests; [`frame`]: the bytes of an answer; [`response`]: what the frames say;
//! - [`extract`]: the part of a head that one request needs; `logs`, `metrics`, `traces`: how it is taken out of each engine's
//!   heads, and how a head is rebuilt from it; `log_page`: the lines that fit; `log_counts`: rows that are added up;
//! - [`admin`]: what it is told to do at once.
//!
//! Not here: sockets (the aggregator's and the query service's), and who owns what (the manifest).

pub mod admin;
pub mod extract;
#[cfg(test)]
mod extras_tests;
pub mod frame;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod limits_tests;
mod log_counts;
mod log_page;
mod logs;
mod metrics;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;
mod traces;

pub use admin::{APPLY_DELETIONS_PATH, AdminResult, COMPACT_PATH, DELETIONS_PATH, EXPIRE_PATH, SEAL_PATH};
pub use extract::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol, RECORD_LIMITS};
pub use logs::{tail_lines, tail_records};
pub use request::{HeadQuery, HeadRequest, TailQuery};
pub use response::{
    HeadInstant, HeadResponse, Heartbeat, Refusal, Row, bus_silent, decode, decode_heartbeat, decode_record, decode_tail,
    encode_extract, encode_heartbeat, encode_instant, encode_record, encode_refusal, encode_tail,
};

/// The version that this one speaks, on both sides. Another is refused: nodes of one cluster are updated one after the
/// other, and the coverage says meanwhile what could not be asked.
pub const PROTOCOL: u32 = 1;

/// Where an owner is asked for its heads: `POST`, JSON [`HeadRequest`], answers frames.
pub const HEADS_PATH: &str = "/api/weir/internal/v1/heads";

/// Where a live tail begins: `POST`, JSON [`TailQuery`], answers frames until one side ends it.
pub const TAIL_PATH: &str = "/api/weir/internal/v1/tail";

/// Where an owner tells how far its partitions are: `GET`, JSON.
pub const STATUS_PATH: &str = "/api/weir/internal/v1/status";
