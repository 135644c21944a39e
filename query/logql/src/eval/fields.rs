//! Fields that lines have beside their stream's labels: structured metadata, what the query's parsers made, and what a JSON or logfmt line
//! holds without a parser. Loki calls them detected fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use weir_model::label::{Labels, normalise_label_name};
use weir_model::select::{Budget, ReadError};

use super::lines::Entry;
use crate::pipeline::filter::{read_bytes, read_duration};
use crate::pipeline::labels::{LabelSet, LineLabels};
use crate::pipeline::{json, logfmt, readable};

/// What values of a field look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Int,
    Float,
    Boolean,
    Duration,
    Bytes,
    Text,
}

impl FieldKind {
    /// As Loki names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::Text => "string",
        }
    }

    fn of(value: &str) -> Self {
        match value {
            _ if value.parse::<i64>().is_ok() => Self::Int,
            _ if value.parse::<f64>().is_ok() => Self::Float,
            "t" | "T" | "true" | "True" | "TRUE" | "f" | "F" | "false" | "False" | "FALSE" => Self::Boolean,
            _ if read_duration(value).is_ok() => Self::Duration,
            _ if read_bytes(value).is_ok() => Self::Bytes,
            _ => Self::Text,
        }
    }

    /// Of values of both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Int | Self::Float, Self::Int | Self::Float) => Self::Float,
            _ => Self::Text,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub kind: FieldKind,
    /// All that were seen.
    pub values: BTreeSet<String>,
    /// `json`, `logfmt`: which make it out of a line. None for structured metadata.
    pub parsers: BTreeSet<&'static str>,
    /// Keys that lead to it in a JSON line.
    pub json_path: Vec<String>,
}

/// The fields of these lines by name.
pub fn fields(entries: &[Entry], budget: &dyn Budget) -> Result<BTreeMap<String, Field>, ReadError> {
    let mut found = Found { fields: BTreeMap::new(), budget };
    for entry in entries {
        budget.check()?;
        found.add(&entry.categories.metadata, None, &BTreeMap::new())?;
        let line = readable(entry.text());
        let mut fresh = LineLabels::default();
        fresh.set_stream(&stream_and_metadata(entry));
        let mut labels = fresh.clone();
        json::parse(&line, &mut labels);
        let is_json = labels.error().is_none() && labels.categories().parsed.iter().next().is_some();
        let (parser, paths) = if is_json {
            ("json", json_paths(&line))
        } else {
            labels = fresh;
            logfmt::parse(&line, logfmt::Options::default(), &[], &mut labels);
            ("logfmt", BTreeMap::new())
        };
        let parsed = labels.categories().parsed.filtered(|name| !name.starts_with("__"));
        found.add(&parsed, Some(parser), &paths)?;
        // What the query's own stages made and the line does not say.
        let made = entry.categories.parsed.filtered(|name| !name.starts_with("__") && parsed.get(name).is_none());
        found.add(&made, None, &BTreeMap::new())?;
    }
    Ok(found.fields)
}

/// What keeps the plain name where a parsed field has the same.
fn stream_and_metadata(entry: &Entry) -> Labels {
    let metadata = entry.categories.metadata.iter();
    Labels::from_pairs(entry.categories.stream.iter().chain(metadata).filter(|(_, value)| !value.is_empty()))
}

struct Found<'a> {
    fields: BTreeMap<String, Field>,
    budget: &'a dyn Budget,
}

impl Found<'_> {
    fn add(
        &mut self,
        labels: &LabelSet,
        parser: Option<&'static str>,
        paths: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), ReadError> {
        for (name, value) in labels.iter() {
            let kind = FieldKind::of(value);
            if !self.fields.contains_key(name) {
                self.budget.reserve(256 + 2 * name.len() as u64)?;
                let field = Field { kind, values: BTreeSet::new(), parsers: BTreeSet::new(), json_path: Vec::new() };
                self.fields.insert(name.to_owned(), field);
            }
            let Some(field) = self.fields.get_mut(name) else { continue };
            field.kind = field.kind.and(kind);
            field.parsers.extend(parser);
            let path = paths.get(name).or_else(|| paths.get(name.strip_suffix("_extracted")?));
            if let Some(path) = path.filter(|_| field.json_path.is_empty()) {
                field.json_path.clone_from(path);
            }
            if !field.values.contains(value) {
                self.budget.reserve(48 + value.len() as u64)?;
                field.values.insert(value.to_owned());
            }
        }
        Ok(())
    }
}

/// The keys behind each label that the parser makes of a JSON line.
fn json_paths(line: &str) -> BTreeMap<String, Vec<String>> {
    fn walk(value: &Json, path: &mut Vec<String>, paths: &mut BTreeMap<String, Vec<String>>) {
        match value {
            Json::Object(members) => {
                for (key, value) in members {
                    path.push(key.clone());
                    walk(value, path, paths);
                    path.pop();
                }
            }
            Json::Null | Json::Array(_) => {}
            _ => {
                let name = normalise_label_name(&path.join("_")).into_owned();
                paths.entry(name).or_insert_with(|| path.clone());
            }
        }
    }
    let mut paths = BTreeMap::new();
    // Something may follow the object, as for the parser.
    if let Some(Ok(value)) = serde_json::Deserializer::from_str(line).into_iter().next() {
        walk(&value, &mut Vec::new(), &mut paths);
    }
    paths
}

#[cfg(test)]
mod tests {
    use weir_model::scope::Scope;
    use weir_model::select::NoBudget;
    use weir_model::time::{SECOND, TimeRange};

    use super::*;
    use crate::eval::lines::{LogOptions, lines};
    use crate::memory::MemoryLogs;
    use crate::{Expr, parse};

    fn ask(query: &str, store: &MemoryLogs) -> BTreeMap<String, Field> {
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let range = TimeRange { start: 0, end: 100 * SECOND };
        let options = LogOptions { scope: Scope::of("t"), range, limit: 10, newest_first: true, detected_level: false };
        fields(&lines(store, query, &log, &options, &NoBudget).unwrap().value, &NoBudget).unwrap()
    }

    #[test]
    fn metadata_json_and_logfmt_are_fields() {
        let mut store = MemoryLogs::default();
        let line = store.push(&[("app", "x")], SECOND, br#"{"took": "5ms", "http": {"code": 200}, "app": "y", "list": [1]}"#);
        line.attributes = Labels::from_pairs([("user", "u")]);
        store.push(&[("app", "x")], 2 * SECOND, b"took=1.5s ok=true size=2KB n=1 http_code=4.5");
        store.push(&[("app", "x")], 3 * SECOND, b"nothing here");
        let found = ask(r#"{app="x"} | label_format made="m""#, &store);
        let check = |name: &str, kind: FieldKind, values: &[&str], parsers: &[&str], path: &[&str]| {
            let field = found.get(name).unwrap_or_else(|| panic!("{name} in {found:?}"));
            assert_eq!(field.kind, kind, "{name}");
            assert!(
                field.values.iter().eq(values) && field.parsers.iter().eq(parsers) && field.json_path == path,
                "{name}: {field:?}"
            );
        };
        check("user", FieldKind::Text, &["u"], &[], &[]);
        check("made", FieldKind::Text, &["m"], &[], &[]);
        check("took", FieldKind::Duration, &["1.5s", "5ms"], &["json", "logfmt"], &["took"]);
        check("http_code", FieldKind::Float, &["200", "4.5"], &["json", "logfmt"], &["http", "code"]);
        check("app_extracted", FieldKind::Text, &["y"], &["json"], &["app"]);
        check("ok", FieldKind::Boolean, &["true"], &["logfmt"], &[]);
        check("size", FieldKind::Bytes, &["2KB"], &["logfmt"], &[]);
        check("n", FieldKind::Int, &["1"], &["logfmt"], &[]);
        assert_eq!(found.len(), 8, "{:?}", found.keys());
    }

    #[test]
    fn kinds_of_unlike_values_are_text() {
        assert_eq!(FieldKind::Int.and(FieldKind::Float), FieldKind::Float);
        assert_eq!(FieldKind::Int.and(FieldKind::Duration), FieldKind::Text);
        assert_eq!(FieldKind::Boolean.and(FieldKind::Boolean).name(), "boolean");
    }
}
