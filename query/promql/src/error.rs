//! What can go wrong with a query: its text, its evaluation, the store beneath it.

use std::fmt;

use thiserror::Error;
use weir_model::select::ReadError;

/// A query that is not PromQL. Prints as Prometheus does: `1:12: parse error: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Messages repeat what is wrong, which may be long.
const MESSAGE_CHARS_MAX: usize = 400;

impl ParseError {
    /// An error at a byte of `text`.
    pub(crate) fn at(text: &str, byte: usize, message: String) -> Self {
        let (line, column) = line_column(text, byte);
        Self { line, column, message: message.chars().take(MESSAGE_CHARS_MAX).collect() }
    }
}

/// Line and column, both from 1, of a byte of `text`.
pub(crate) fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// Its text is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Its meaning fails on the data at hand: duplicate series of a match, a bad regular expression in an argument.
    #[error("{0}")]
    Execution(String),
    /// The store or the budget stopped it.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl QueryError {
    /// For `map_err` and early returns.
    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }
}
