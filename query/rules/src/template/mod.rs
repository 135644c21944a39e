//! The templates of rule labels and annotations: the part of Go's text/template that rule files use.
//!
//! Text, pipelines, variables, `if`/`else`, `with`, `range`, and Prometheus' functions. No `define`, `template`, `block`:
//! an unknown function or action is an error when the file is loaded, never when the alert fires.

mod eval;
mod format;
mod functions;
mod parse;

use std::collections::BTreeMap;

use weir_model::label::Labels;

pub(crate) use format::{general, pad_exponent};
pub(crate) use functions::escape_query;

/// Evaluates a query at the instant of the alert.
pub(crate) type QueryFn<'a> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'a;

/// What a template sees.
pub(crate) struct Scope<'a> {
    /// `$labels`, `.Labels`
    pub labels: &'a Labels,
    /// `$value`, `.Value`
    pub value: f64,
    /// `$externalURL`, `.ExternalURL`
    pub external_url: &'a str,
    /// `$externalLabels`, `.ExternalLabels`
    pub external_labels: &'a BTreeMap<String, String>,
    /// Answers the function `query`.
    pub query: &'a QueryFn<'a>,
}

/// A compiled template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Compiles. Errors name the line within the text.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        Ok(Self { source: source.to_owned(), nodes: parse::parse(source).map_err(|error| clip(&error))? })
    }

    /// As written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Expands; an error becomes the text Prometheus puts in its place.
    pub(crate) fn expand(&self, scope: &Scope<'_>) -> String {
        eval::expand(&self.nodes, scope).unwrap_or_else(|error| format!("<error expanding template: {}>", clip(&error)))
    }
}

/// Errors repeat what was wrong, which may be long: at most so many bytes of it.
const ERROR_BYTES_MAX: usize = 400;

fn clip(error: &str) -> String {
    error[..error.floor_char_boundary(ERROR_BYTES_MAX)].to_owned()
}

/// What a pipeline yields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Number(f64),
    Integer(i64),
    Text(String),
    Map(BTreeMap<String, String>),
    Sample(Labels, f64),
    List(Vec<Self>),
}

impl Value {
    /// Go's idea of true: not the zero value.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0,
            Self::Integer(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Sample(..) => true,
            Self::List(items) => !items.is_empty(),
        }
    }

    /// About what it holds in memory.
    fn bytes(&self) -> usize {
        const OWN: usize = 64;
        match self {
            Self::Text(text) => OWN + text.len(),
            Self::Map(map) => map.iter().map(|(name, value)| OWN + name.len() + value.len()).sum(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            Self::Nil | Self::Bool(_) | Self::Number(_) | Self::Integer(_) | Self::Sample(..) => OWN,
        }
    }

    /// As `{{ }}` prints it.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Nil => "<no value>".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => general(*value, None),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Sample(labels, value) => format!("{labels} => {}", general(*value, None)),
            Self::List(items) => format!("[{}]", items.iter().map(Self::show).collect::<Vec<_>>().join(" ")),
        }
    }
}

#[cfg(test)]
mod tests;
