//! The tree of a query.

use regex::Regex;
use weir_model::span::{SpanKind, StatusCode};

/// Fields of a span that are no attributes.
pub const INTRINSICS: [&str; 4] = ["duration", "kind", "name", "status"];

/// Conditions that must hold on one span.
#[derive(Debug)]
pub struct Query(pub(crate) Vec<Compare>);

#[derive(Clone, Debug)]
pub(crate) struct Compare {
    pub(crate) field: Field,
    pub(crate) op: Op,
    pub(crate) value: Literal,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Name,
    Duration,
    Status,
    Kind,
    Resource(String),
    Span(String),
    Either(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Regex,
    NotRegex,
}

#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Text(String),
    Pattern(Regex),
    Int(i64),
    Number(f64),
    Bool(bool),
    Duration(i64),
    Status(StatusCode),
    Kind(SpanKind),
}
