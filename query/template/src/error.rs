//! What is wrong with a template, and where.

use std::fmt;

/// Messages repeat what was wrong, which may be long: at most so many bytes of it.
const MESSAGE_BYTES_MAX: usize = 400;

/// A template's text is wrong, or executing it failed. Line and column count from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub line: usize,
    pub column: usize,
    /// The function that failed.
    pub function: Option<&'static str>,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, col {}: ", self.line, self.column)?;
        if let Some(function) = self.function {
            write!(out, "error calling {function}: ")?;
        }
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An error on its way out: the innermost place and function stay. Boxed, as results of every operand carry it.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// Byte of the source.
    at: Option<usize>,
    function: Option<&'static str>,
    message: String,
}

impl Failure {
    pub(crate) fn at(at: usize, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { at: Some(at), function: None, message: message.into() }))
    }

    pub(crate) fn or_at(mut self, at: usize) -> Self {
        self.0.at.get_or_insert(at);
        self
    }

    pub(crate) fn within(mut self, function: &'static str) -> Self {
        self.0.function.get_or_insert(function);
        self
    }

    pub(crate) fn into_error(self, source: &str) -> Error {
        let Inner { at, function, mut message } = *self.0;
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let before = source.get(..at.unwrap_or(0)).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error { line, column, function, message }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self(Box::new(Inner { at: None, function: None, message }))
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}
