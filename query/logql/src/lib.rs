//! LogQL: `lex ast parse eval`, and the pipeline that runs on every line.
//!
//! - [`lex`] cuts the text into tokens with positions; [`parse`] makes the tree of [`ast`] out of them; both are pure.
//! - [`pipeline`]: parsers, filters and formats of one line, compiled once a query.
//! - [`eval`]: log queries (the newest or oldest lines that pass) and metric queries over a `LogReader`.
//! - [`search`]: what people type into a search box, as LogQL.
//! - [`error`]: what is wrong with a query, and where.
//!
//! What is not understood yet is refused by name and position; it is never ignored.

pub mod ast;
pub mod error;
pub mod eval;
pub mod lex;
pub mod parse;
pub mod pipeline;
mod print;
pub mod search;

#[doc(hidden)]
pub mod memory;
#[cfg(test)]
mod tests;

pub use ast::{Expr, LogExpr};
pub use error::{ParseError, QueryError};
pub use parse::{parse, parse_open};
