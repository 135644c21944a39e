//! The logs engine: chunks of lines, and an index of the tokens that occur in each. Format: `docs/formats/logs_block.md`.
//!
//! From a line to an answer:
//! - [`engine`]: what the aggregator asks;
//! - [`head`]: takes sections (`part`), gathers each stream's lines, encodes a chunk when enough are there;
//! - `builder`: lines on their way into chunks; `chunk`: at most ~512 KiB of lines of one stream; `packs`: small chunks of several streams,
//!   which are stored as one; `schema` says what is known of a chunk from outside, `rollup` counts its lines by time and level;
//! - `encode`: a pack as columns, `stored`: these read, as far as asked, `frame`: what is around them; `template`: bodies as constant
//!   text and variables, `words`, `clock` and `fixed`: what variables are; `times`: those of lines; `context`: ids and attributes, `context_filter`: which of
//!   them have what is looked for; `outline`: bodies without their variables, `constant` tells lines by it and `literals` where a text lies; `templates`: where values of variables lie, `bodies`: bodies
//!   rendered, `needle`: which need not be; `passing`: lines that pass; `patterns` counts templates; `opened` keeps what was unpacked lately, `asked` what filters
//!   leave of the pack at hand;
//! - `tokens`: which words a chunk holds; `index` (the only place that knows tantivy) turns them round: which chunks hold
//!   a word;
//! - `writer`: chunks and index as a block, `details` what a block says of each chunk besides; `merge`: several blocks as one, whose chunks
//!   `chunks_in_order` reads many at a time;
//! - `places`: where lines lie, so that one line's chunk is known; `block`: an opened block, `directory` how what is held of it is read; `source`: one chunk wherever it lies;
//! - `plan`: a compiled select; `filter`: its line filters, `required`: texts that their expressions ask for, `sequence`: expressions that are nothing else; `predicate`: what
//!   they need of a chunk's words, so that most chunks stay closed;
//! - `selected`: chunks of a block that a plan has; `segment`: blocks and heads give their chunks by time; `lookahead`: indexes of several blocks are read at once; `chunks_ahead`: packs are read before their turn; [`reader`] merges and opens them, `newest` reads them from behind, `count` counts, `counting` by several threads, `line` finds one
//!   line; `tail` follows the head.
//!
//! A head's lines for another process are `weir-heads`' affair.
//!
//! The index only ever skips: every line is verified before it is given out, and a chunk is skipped only when no line of
//! it can pass.

mod asked;
mod block;
mod bodies;
mod builder;
mod chunk;
mod chunks_ahead;
mod chunks_in_order;
mod clock;
mod constant;
mod context;
mod context_filter;
mod count;
mod counting;
mod details;
mod directory;
mod encode;
#[cfg(test)]
mod encode_tests;
mod engine;
mod filter;
mod fixed;
mod frame;
#[cfg(test)]
mod fuzz_tests;
mod head;
mod index;
#[cfg(test)]
mod limits_tests;
mod line;
mod literals;
mod lookahead;
#[cfg(test)]
mod memory_tests;
mod merge;
mod needle;
mod newest;
mod opened;
mod outline;
#[cfg(test)]
mod pack_tests;
mod packs;
mod part;
mod passing;
mod patterns;
mod places;
mod plan;
mod predicate;
mod reader;
mod required;
mod rollup;
mod schema;
mod segment;
mod selected;
mod sequence;
mod source;
mod source_lines;
mod stored;
mod tail;
mod take;
mod template;
mod templates;
#[cfg(test)]
mod tests;
mod times;
mod tokens;
mod words;
mod writer;

pub use block::LogsBlock;
pub use engine::{LogsEngine, LogsOptions};
pub use head::LogsHead;
pub use patterns::take_line;
pub use plan::{ChunkOrder, LogsPlan};
pub use reader::LogsReader;
pub use schema::Place;
pub use segment::Chunk;
pub use tail::Tail;
