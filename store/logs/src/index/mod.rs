//! Which chunks hold a token: what a block has beside its chunks so that most of them stay closed.
//!
//! - [`words`]: tantivy's index of the words; the only place of weir that knows tantivy. `files`: its files in a section;
//! - [`ids`]: tokens that look like ids and numbers, which repeat seldom: sorted rows without a dictionary, searched
//!   from end to end for a part of one;
//! - [`pairs`]: which chunks have a name with a value among their metadata, by a hash of both;
//! - [`grams`]: whether a block has a word at all; always in memory; [`long`]: whether a chunk has one in a token that is too long to be a word;
//! - `table`: sorted rows with the chunks of each, which ids and pairs are made of, `runs`: the sorted runs that it is merged of; `pages`: tables in pages, of which one is read
//!   for a row; `stored_table`: a table wherever it lies; `scan`: the rows of several of them read from end to end;
//! - `build`: the sections in the making; [`ask`]: one block's, asked; `sections` opens them, `cache` keeps what is open, `turns` bounds what is read at once.
//!
//! Tokens come folded (`tokens`): upper and lower case are the same here. What each byte means: `docs/formats/logs_block.md`.

mod ask;
mod build;
mod cache;
mod files;
mod grams;
mod ids;
mod long;
mod pages;
mod pairs;
mod runs;
mod scan;
mod sections;
mod stored_table;
mod table;
mod turns;
mod words;

pub(crate) use ask::{BlockIndex, Known};
pub(crate) use build::IndexBuilder;
pub(crate) use cache::IndexCache;
pub(crate) use grams::{Grams, open_grams};
pub(crate) use ids::{is_id, is_scanned_for};
pub(crate) use long::{LongGrams, LongGramsBuilder};
pub(crate) use pairs::{pair_hash, pair_name};
pub(crate) use sections::LISTS;
pub(crate) use turns::{THREADS_MAX, Turns};
/// A former index was made of all tokens as words are of words.
#[cfg(test)]
pub(crate) use words::WordsBuilder as FormerBuilder;
