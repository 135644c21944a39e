//! What is wrong with a query: its text (with the place), its meaning, or the reading.

use thiserror::Error;
use weir_model::select::ReadError;

/// A query's text is wrong. Line and column count from 1; the column counts characters.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("parse error at line {line}, col {column}: {message}")]
pub struct ParseError {
    /// Line of the query.
    pub line: usize,
    /// Character of that line.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Messages repeat what is wrong, which may be long.
const MESSAGE_CHARS_MAX: usize = 400;

impl ParseError {
    /// At byte `at` of `text`.
    pub fn at(text: &str, at: usize, message: impl Into<String>) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, message: message.into().chars().take(MESSAGE_CHARS_MAX).collect() }
    }
}

/// More series than one query may make, in Loki's words and ours.
pub(crate) fn too_many_series(series_max: usize) -> QueryError {
    QueryError::Bad(format!(
        "maximum of series ({series_max}) reached for a single query: narrow the selector or the labels that series keep, or raise query.series_max"
    ))
}

/// Why a LogQL query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The text is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The parameters or the types do not fit: a log query where a number is wanted, a step of 0.
    #[error("{0}")]
    Bad(String),
    /// A line carries `__error__` and no later filter drops it, so that the numbers would be wrong.
    #[error(
        "pipeline error: '{error}' for series: '{series}'. Use a label filter to intentionally skip this error: | __error__!=\"{error}\" drops such lines, | __error__=\"\" all broken ones; it stands behind the stage that fails, also behind unwrap"
    )]
    Pipeline {
        /// The value of `__error__`.
        error: String,
        /// Labels of the line.
        series: String,
    },
    /// More than this query may take, too slow, or the store failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}
