//! The labels of one line on its way through the pipeline, and the label sets of answers.
//!
//! Unlike `weir_model::label::Labels`, a value may be empty here: LogQL tells empty from absent.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::log::{LogRecord, detected_level};

use crate::ast::{Grouping, LabelChoice};

/// Name of the label that says what went wrong.
pub const ERROR: &str = "__error__";
/// Name of the label that says more about it.
pub const ERROR_DETAILS: &str = "__error_details__";

/// Name of the label with a line's level.
pub const LEVEL: &str = "detected_level";

/// Behind the name of a label that makes way for one of the stream or of the metadata.
pub(crate) const EXTRACTED: &str = "_extracted";

/// What parsers may make of one line: labels are looked up one by one.
const LABELS_MAX: usize = 4_096;
const TOO_MANY: &str = "LabelLimitErr";

/// Labels of an answer: ascending by name, names unique, values may be empty. Cloning copies a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet(Arc<Vec<(String, String)>>);

impl LabelSet {
    /// From pairs in any order; of a repeated name the last wins.
    pub fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(Arc::new(pairs))
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(name, value)| (48 + name.len() + value.len()) as u64).sum::<u64>() + 40
    }

    /// Pairs, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok().map(|at| self.0[at].1.as_str())
    }

    /// Those whose name passes.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(Arc::new(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect()))
    }

    /// As `by` and `without` group.
    pub fn grouped(&self, grouping: Option<&Grouping>) -> Self {
        match grouping {
            None => Self::default(),
            Some(Grouping { without, labels }) => self.filtered(|name| labels.iter().any(|label| label == name) != *without),
        }
    }

    /// With one label set; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.0.iter().filter(|(own, _)| own != name).cloned().collect();
        if !value.is_empty() {
            pairs.push((name.into(), value.into()));
        }
        Self::new(pairs)
    }

    /// As a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(self.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}

impl From<&Labels> for LabelSet {
    fn from(labels: &Labels) -> Self {
        Self(Arc::new(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(out, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        out.write_str("}")
    }
}

/// Where a label comes from: who keeps the plain name on a collision, and where an answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Metadata,
    Parsed,
}

#[derive(Clone, Debug)]
struct Extra {
    name: String,
    value: Cow<'static, str>,
    category: Category,
    /// The stage that set it: within one parser the first of equal keys wins.
    stage: u32,
}

/// What an answer shows of a line's labels, by origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    /// The stream's own.
    pub stream: LabelSet,
    /// Structured metadata.
    pub metadata: LabelSet,
    /// Made by the pipeline.
    pub parsed: LabelSet,
}

/// Labels of the line at hand.
#[derive(Clone, Debug, Default)]
pub struct LineLabels {
    /// Names of what is kept beside the stream's labels; `None`: all.
    wanted: Option<Vec<String>>,
    stream: Labels,
    /// The stream's labels as an answer's, made once a stream.
    stream_set: LabelSet,
    extra: Vec<Extra>,
    gone: Vec<String>,
    /// `__error__` and its details. The first is empty where a stage has dropped it: the details stay.
    error: Option<(&'static str, String)>,
    stage: u32,
}

impl LineLabels {
    /// Of the stream's labels, what stages set, and of metadata and what parsers find only these; all when `None`.
    pub fn only(names: Option<&BTreeSet<String>>) -> Self {
        // Also what these names make way for: whether a name is taken shows by what has it.
        fn without_suffix<'a>(name: &&'a str) -> Option<&'a str> {
            name.strip_suffix(EXTRACTED)
        }
        let bases = |name: &String| {
            let all = std::iter::successors(Some(name.as_str()), without_suffix);
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        let wanted = names.map(|names| names.iter().flat_map(bases).collect());
        Self { wanted, ..Self::default() }
    }

    /// Whether a label of this name is kept.
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|own| own == name))
    }

    /// Lines of this stream follow. Whether it is another one than before.
    pub fn set_stream(&mut self, stream: &Labels) -> bool {
        let is_other = self.stream != *stream;
        if is_other {
            self.stream = stream.clone();
            self.stream_set = LabelSet::from(stream);
        }
        is_other
    }

    /// The labels of the stream.
    pub(crate) fn stream(&self) -> &Labels {
        &self.stream
    }

    /// Another line: its structured metadata, trace and span id, and, when wanted, its level.
    pub fn begin_line(&mut self, record: &LogRecord<'_>, level: bool) {
        self.extra.clear();
        self.gone.clear();
        self.error = None;
        self.stage = 0;
        if self.wanted.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        for (name, value) in record.attributes.iter() {
            if self.is_wanted(name) {
                self.metadata(name, value.to_owned().into());
            }
        }
        if !record.trace_id.is_none() && self.is_wanted("trace_id") {
            self.metadata("trace_id", record.trace_id.to_string().into());
        }
        if !record.span_id.is_none() && self.is_wanted("span_id") {
            self.metadata("span_id", record.span_id.to_string().into());
        }
        if level && self.is_wanted(LEVEL) && self.stream.get(LEVEL).is_empty() {
            // Metadata of this name was read on the way in: this is what it came to.
            self.extra.retain(|extra| extra.name != LEVEL);
            self.metadata(LEVEL, self::detected_level(record.severity).into());
        }
    }

    fn metadata(&mut self, name: &str, value: Cow<'static, str>) {
        let taken = !self.stream.get(name).is_empty() || self.extra.iter().any(|extra| extra.name == name);
        let name = if taken { format!("{name}{EXTRACTED}") } else { name.to_owned() };
        if !self.extra.iter().any(|extra| extra.name == name) {
            self.extra.push(Extra { name, value, category: Category::Metadata, stage: 0 });
        }
    }

    /// Another stage of the pipeline begins.
    pub fn begin_stage(&mut self) {
        self.stage += 1;
    }

    /// A label's value; `None` when the line has no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        // `__error_details__` is for people: filters read it as absent, as Loki's do.
        if let (ERROR, Some(error)) = (name, self.error()) {
            return Some(error);
        }
        if let Some(extra) = self.extra.iter().find(|extra| extra.name == name) {
            return Some(&extra.value);
        }
        let own = self.stream.get(name);
        if own.is_empty() || self.gone.iter().any(|gone| gone == name) { None } else { Some(own) }
    }

    /// A label that a parser found: stream and metadata keep the plain name, the first of equal keys wins.
    pub fn parsed(&mut self, name: &str, value: &str) {
        if !self.is_wanted(name) {
            return;
        }
        let on_stream = !self.stream.get(name).is_empty() && !self.gone.iter().any(|gone| gone == name);
        let in_metadata = self.extra.iter().any(|extra| extra.category == Category::Metadata && extra.name == name);
        let name = if on_stream || in_metadata { format!("{name}{EXTRACTED}") } else { name.to_owned() };
        let stage = self.stage;
        let full = self.extra.len() >= LABELS_MAX;
        match self.extra.iter_mut().find(|extra| extra.name == name) {
            Some(extra) if extra.stage == stage && extra.category == Category::Parsed => {}
            Some(extra) => *extra = Extra { name, value: value.to_owned().into(), category: Category::Parsed, stage },
            None if full => self.fail(TOO_MANY, format!("a line has more than {LABELS_MAX} labels")),
            None => self.extra.push(Extra { name, value: value.to_owned().into(), category: Category::Parsed, stage }),
        }
    }

    /// Sets a label, whatever it was.
    pub fn set(&mut self, name: &str, value: String) {
        let value = Cow::from(value);
        match self.extra.iter_mut().find(|extra| extra.name == name) {
            Some(extra) => (extra.value, extra.category) = (value, Category::Parsed),
            None => self.extra.push(Extra { name: name.into(), value, category: Category::Parsed, stage: self.stage }),
        }
    }

    /// Takes a label away.
    pub fn remove(&mut self, name: &str) {
        self.extra.retain(|extra| extra.name != name);
        if !self.stream.get(name).is_empty() && !self.gone.iter().any(|gone| gone == name) {
            self.gone.push(name.into());
        }
    }

    /// Marks the line as broken; the first failure owns the message.
    pub fn fail(&mut self, error: &'static str, details: impl Into<String>) {
        if self.error().is_none() {
            self.error = Some((error, details.into()));
        }
    }

    /// `__error__`, if any.
    pub fn error(&self) -> Option<&str> {
        self.error.as_ref().map(|(error, _)| *error).filter(|error| !error.is_empty())
    }

    /// Whether the labels are just the stream's.
    fn is_plain(&self) -> bool {
        self.extra.is_empty() && self.gone.is_empty() && self.error.is_none()
    }

    /// The level, when that is all that the labels have beside the stream's own; "" when they have nothing. Such sets are few
    /// a stream, so that what is made of them can be kept.
    pub fn only_level(&self) -> Option<&'static str> {
        match &self.extra[..] {
            _ if !self.gone.is_empty() || self.error.is_some() => None,
            [] => Some(""),
            [Extra { name, value: Cow::Borrowed(level), category: Category::Metadata, .. }] if name == LEVEL => Some(level),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        let own = self.stream.iter().map(|(name, _)| name.to_owned()).filter(|name| !self.gone.contains(name));
        own.chain(self.extra.iter().map(|extra| extra.name.clone())).collect()
    }

    /// `| drop a, b="c"`
    pub fn drop_choices(&mut self, choices: &[LabelChoice]) {
        for choice in choices {
            let (name, hit) = match choice {
                LabelChoice::Name(name) => (name, true),
                LabelChoice::Match(matcher) => (&matcher.name, matcher.matches(self.get(&matcher.name).unwrap_or_default())),
            };
            match name.as_str() {
                _ if !hit => {}
                ERROR => {
                    if let Some((error, _)) = &mut self.error {
                        *error = "";
                    }
                }
                ERROR_DETAILS => {
                    if let Some((_, details)) = &mut self.error {
                        details.clear();
                    }
                }
                _ => self.remove(name),
            }
        }
    }

    /// `| keep a, b="c"`; what went wrong is kept in any case.
    pub fn keep_choices(&mut self, choices: &[LabelChoice]) {
        for name in self.names() {
            let kept = choices.iter().any(|choice| match choice {
                LabelChoice::Name(wanted) => *wanted == name,
                LabelChoice::Match(matcher) => matcher.name == name && matcher.matches(self.get(&name).unwrap_or_default()),
            });
            if !kept {
                self.remove(&name);
            }
        }
    }

    /// All labels, for an answer.
    pub fn all(&self) -> LabelSet {
        if self.is_plain() {
            return self.stream_set.clone();
        }
        let overridden =
            |name: &str| self.gone.iter().any(|gone| gone == name) || self.extra.iter().any(|extra| extra.name == name);
        let own =
            self.stream_set.iter().filter(|(name, _)| !overridden(name)).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let extra = self.extra.iter().map(|extra| (extra.name.clone(), extra.value.to_string()));
        LabelSet::new(own.chain(extra).chain(self.error_pairs()).collect())
    }

    /// All labels by origin, for an answer.
    pub fn categories(&self) -> Categories {
        let overridden =
            |name: &str| self.gone.iter().any(|gone| gone == name) || self.extra.iter().any(|extra| extra.name == name);
        let of = |category| self.extra.iter().filter(move |extra| extra.category == category);
        let pairs = |category| of(category).map(|extra| (extra.name.clone(), extra.value.to_string())).collect::<Vec<_>>();
        let mut parsed = pairs(Category::Parsed);
        parsed.extend(self.error_pairs());
        Categories {
            stream: self.stream_set.filtered(|name| !overridden(name)),
            metadata: LabelSet::new(pairs(Category::Metadata)),
            parsed: LabelSet::new(parsed),
        }
    }

    fn error_pairs(&self) -> Vec<(String, String)> {
        let Some((error, details)) = &self.error else { return Vec::new() };
        let mut pairs = Vec::new();
        if !error.is_empty() {
            pairs.push((ERROR.into(), (*error).into()));
        }
        if !details.is_empty() {
            pairs.push((ERROR_DETAILS.into(), details.clone()));
        }
        pairs
    }
}
