//! The templates of rule labels and annotations: Go's `text/template` with Prometheus' functions.
//!
//! An unknown function, variable or action is an error when the file is loaded, never when the alert fires.

mod functions;

use std::collections::BTreeMap;

use weir_model::label::Labels;
use weir_model::pattern::PatternBudget;
use weir_template::{Function, Language, Limits, Map, Struct, Text, Value};

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
pub(crate) struct Template(weir_template::Template<Rules>);

impl Template {
    /// Compiles. Errors name the line within the text.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        let template = weir_template::Template::parse(source, &mut PatternBudget::default());
        template.map(Self).map_err(|error| format!("line {}: {}", error.line, error.message))
    }

    /// As written.
    pub(crate) fn source(&self) -> &str {
        self.0.source()
    }

    /// Expands; an error becomes the text Prometheus puts in its place.
    pub(crate) fn expand<'a>(&'a self, scope: &Scope<'a>) -> String {
        self.0.execute(scope).unwrap_or_else(|error| format!("<error expanding template: {}>", error.message))
    }
}

/// The language of rule templates.
#[derive(Clone, Copy, Debug)]
struct Rules;

impl Language for Rules {
    type Scope<'a> = Scope<'a>;

    const LIMITS: Limits = Limits {
        // Alertmanager's own limit on an alert is of that order.
        output_bytes: 64 << 10,
        argument_bytes: 16 << 20,
        actions: 1_000_000,
    };
    const VARIABLES: &'static [(&'static str, &'static str)] =
        &[("labels", "Labels"), ("value", "Value"), ("externalURL", "ExternalURL"), ("externalLabels", "ExternalLabels")];

    fn functions() -> &'static [Function<Self>] {
        &functions::FUNCTIONS
    }

    fn field<'a>(scope: &Self::Scope<'a>, name: &str) -> Result<Value<'a>, String> {
        match name {
            "Labels" => Ok(texts(scope.labels.iter())),
            "Value" => Ok(scope.value.into()),
            "ExternalURL" => Ok(scope.external_url.into()),
            "ExternalLabels" => Ok(texts(scope.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))),
            _ => Err(format!("can't evaluate field {name}")),
        }
    }

    fn dot<'a>(scope: &Self::Scope<'a>) -> Value<'a> {
        let names = Self::VARIABLES.iter().map(|(_, name)| *name);
        let fields = names.map(|name| (name, Self::field(scope, name).unwrap_or(Value::Nil))).collect();
        Struct { kind: "rule data", fields }.into()
    }
}

/// A missing entry is "", as Prometheus sets it up.
fn texts<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value<'a> {
    Map::of_texts(pairs.map(|(name, value)| (name, Text::Borrowed(value)))).into()
}

#[cfg(test)]
mod tests;
