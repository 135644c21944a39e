//! The templates of `line_format` and `label_format`: Go's `text/template` with Loki's functions, a table of them in [`functions`].
//!
//! A template is compiled with its query and executed for every line: functions are pointers and literal patterns compiled by then.

mod date;
mod functions;
mod layout;
mod number;
#[cfg(test)]
mod tests;
mod text;

use weir_model::pattern::PatternBudget;
use weir_model::time::UnixNanos;
use weir_template::{Function, Language, Limits, Map, Text, Value};

use super::labels::LineLabels;

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template(weir_template::Template<LineTemplates>);

/// What functions make in one go, and all of a line's variables.
const ARGUMENT_BYTES_MAX: usize = 1 << 20;

impl Template {
    /// Errors say what is wrong and where in the template. `patterns` is the budget of the whole pipeline.
    pub fn parse(text: &str, patterns: &mut PatternBudget) -> Result<Self, String> {
        weir_template::Template::parse(text, patterns).map(Self).map_err(|error| format!("invalid template: {error}"))
    }

    /// Fills it in. Errors when a function fails or a limit is reached.
    pub fn render(&self, line: &str, at: UnixNanos, labels: &LineLabels) -> Result<String, String> {
        self.0.execute(&Line { text: line, at, labels }).map_err(|error| format!("template: {error}"))
    }
}

/// The language of templates for lines; dot is the line's labels.
#[derive(Clone, Copy, Debug)]
struct LineTemplates;

/// What one execution looks at.
struct Line<'a> {
    text: &'a str,
    at: UnixNanos,
    labels: &'a LineLabels,
}

impl Language for LineTemplates {
    type Scope<'a> = Line<'a>;

    const LIMITS: Limits = Limits {
        // weir's limit of a log line.
        output_bytes: 256 << 10,
        argument_bytes: ARGUMENT_BYTES_MAX,
        // A tenth of a second or so, half a second of matching: between lines, the query's own limit of time is looked at.
        actions: 100_000,
    };

    fn functions() -> &'static [Function<Self>] {
        &functions::FUNCTIONS
    }

    /// A label that is not there is "".
    fn field<'a>(line: &Self::Scope<'a>, name: &str) -> Result<Value<'a>, String> {
        Ok(line.labels.get(name).unwrap_or_default().into())
    }

    fn dot<'a>(line: &Self::Scope<'a>) -> Value<'a> {
        let labels = line.labels.all();
        Map::of_texts(labels.iter().map(|(name, value)| (name, Text::Made(value.into())))).into()
    }
}
