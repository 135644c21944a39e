//! What happens to one line: filters, parsers and formats in order, on its text and its labels.
//!
//! Compiled once a query; pure. Line filters that see the line as it was stored are handed to the store
//! ([`Pipeline::pushed`]) and not run again. One file a parser or format; [`labels`] holds a line's labels.

pub mod filter;
pub mod ip;
pub mod json;
pub mod labels;
pub mod logfmt;
mod mention;
pub mod pattern;
pub(crate) mod reads;
pub mod template;

use std::borrow::Cow;
use std::fmt::Write;

use weir_model::log::replace_colours;
use weir_model::pattern::PatternBudget;
use weir_model::scope::Scope;
use weir_model::select::{LineFilter, LogSelect, Mention};
use weir_model::time::{TimeRange, UnixNanos};

use self::labels::LineLabels;
use self::template::Template;
use super::ast::{Extraction, LabelChoice, LabelFilter, LabelFormat, LineTest, LogExpr, StageKind};
use super::error::ParseError;

/// A compiled pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// For the store.
    pub pushed: Vec<LineFilter>,
    mention: Option<Mention>,
    /// Whether lines are given to templates, of which one may take a tenth of a second: who reads looks at the time between lines.
    pub has_templates: bool,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Line(LineTest),
    Json(Vec<(String, Vec<json::PathStep>)>),
    Logfmt { strict: bool, keep_empty: bool, fields: Vec<Extraction> },
    JsonOrLogfmt,
    Regexp(regex::Regex),
    Pattern(pattern::Pattern),
    Unpack,
    Decolorize,
    LineFormat(Template),
    LabelFormat(Vec<(String, Format)>),
    Filter(LabelFilter),
    Drop(Vec<LabelChoice>),
    Keep(Vec<LabelChoice>),
}

#[derive(Debug)]
enum Format {
    Rename(String),
    Template(Template),
}

/// Whether the text of the line matters after the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// It is shown or measured.
    Needed,
    /// Lines are only counted: a `line_format` that nothing reads is left out, as Loki does.
    Counted,
}

impl Pipeline {
    /// The lines that this pipeline, compiled from `log`, is to see.
    pub fn select(&self, log: &LogExpr, scope: &Scope, range: TimeRange, newest_first: bool) -> LogSelect {
        let (scope, matchers, filters) = (scope.clone(), log.matchers.clone(), self.pushed.clone());
        LogSelect { scope, matchers, range, filters, newest_first }
    }

    /// Errors on a bad template, with its place in `text`.
    pub fn compile(text: &str, log: &LogExpr, lines: Lines) -> Result<Self, ParseError> {
        let reads_line = |kind: &StageKind| {
            !matches!(
                kind,
                StageKind::LabelFormat(_)
                    | StageKind::Filter(_)
                    | StageKind::Drop(_)
                    | StageKind::Keep(_)
                    | StageKind::LineFormat(_)
            )
        };
        let last_reader = log.stages.iter().rposition(|stage| reads_line(&stage.kind));
        let (mut pushed, mut steps) = (Vec::new(), Vec::new());
        let mut patterns = PatternBudget::default();
        let mut as_stored = true;
        for (i, stage) in log.stages.iter().enumerate() {
            let mut template =
                |source: &str| Template::parse(source, &mut patterns).map_err(|message| ParseError::at(text, stage.at, message));
            steps.push(match &stage.kind {
                StageKind::Line(line) => match &line.test {
                    LineTest::Store(filter) if as_stored => {
                        pushed.push(filter.clone());
                        continue;
                    }
                    test => Step::Line(test.clone()),
                },
                StageKind::LineFormat(_) if lines == Lines::Counted && last_reader.is_none_or(|last| last < i) => continue,
                StageKind::LineFormat(source) => Step::LineFormat(template(source)?),
                StageKind::LabelFormat(formats) => {
                    let mut one = |(name, format): &(String, LabelFormat)| {
                        Ok((
                            name.clone(),
                            match format {
                                LabelFormat::Rename(from) => Format::Rename(from.clone()),
                                LabelFormat::Template(source) => Format::Template(template(source)?),
                            },
                        ))
                    };
                    Step::LabelFormat(formats.iter().map(&mut one).collect::<Result<_, ParseError>>()?)
                }
                kind => plain_step(kind),
            });
            as_stored &= !matches!(stage.kind, StageKind::LineFormat(_) | StageKind::Unpack | StageKind::Decolorize);
        }
        let has_templates = steps.iter().any(|step| match step {
            Step::LineFormat(_) => true,
            Step::LabelFormat(formats) => formats.iter().any(|(_, format)| matches!(format, Format::Template(_))),
            _ => false,
        });
        Ok(Self { pushed, mention: mention::of(&log.stages), has_templates, steps })
    }

    /// What every line says that passes the conditions on labels, for the store, which skips by it; where lines have the label
    /// of their level.
    pub fn mention(&self, level: bool) -> Option<Mention> {
        self.mention.clone().filter(|_| level)
    }

    /// Whether nothing is left to do after the store's filters.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs it on a line; `None` when a filter drops it. What goes wrong is in the labels as `__error__`.
    pub fn run<'l>(&self, line: &'l [u8], at: UnixNanos, labels: &mut LineLabels) -> Option<Cow<'l, [u8]>> {
        let mut line = Cow::Borrowed(line);
        for step in &self.steps {
            labels.begin_stage();
            match step {
                Step::Line(test) if !filter::line_passes(test, &line) => return None,
                Step::Filter(filter) if !filter::passes(filter, &line, labels) => return None,
                Step::Line(_) | Step::Filter(_) => {}
                Step::Decolorize => {
                    if let Cow::Owned(clean) = replace_colours(&line, b"") {
                        line = Cow::Owned(clean);
                    }
                }
                Step::Unpack => {
                    if let Some(entry) = json::unpack(&readable(&line), labels) {
                        line = Cow::Owned(entry.into_bytes());
                    }
                }
                Step::LineFormat(template) => match template.render(&readable(&line), at, labels) {
                    Ok(text) => line = Cow::Owned(text.into_bytes()),
                    Err(message) => labels.fail("TemplateFormatErr", message),
                },
                Step::LabelFormat(formats) => format_labels(formats, &line, at, labels),
                Step::Drop(choices) => labels.drop_choices(choices),
                Step::Keep(choices) => labels.keep_choices(choices),
                parser => parse_line(parser, &readable(&line), labels),
            }
        }
        Some(line)
    }
}

fn plain_step(kind: &StageKind) -> Step {
    match kind {
        StageKind::Line(line) => Step::Line(line.test.clone()),
        StageKind::Json(fields) => Step::Json(
            fields.iter().map(|field| (field.label.clone(), json::parse_path(&field.path).unwrap_or_default())).collect(),
        ),
        StageKind::Logfmt { strict, keep_empty, fields } => {
            Step::Logfmt { strict: *strict, keep_empty: *keep_empty, fields: fields.clone() }
        }
        StageKind::JsonOrLogfmt => Step::JsonOrLogfmt,
        StageKind::Regexp(regex) => Step::Regexp(regex.clone()),
        StageKind::Pattern(pattern) => Step::Pattern(pattern.clone()),
        StageKind::Unpack => Step::Unpack,
        StageKind::Filter(filter) => Step::Filter(filter.clone()),
        StageKind::Drop(choices) => Step::Drop(choices.clone()),
        StageKind::Keep(choices) => Step::Keep(choices.clone()),
        StageKind::Decolorize | StageKind::LineFormat(_) | StageKind::LabelFormat(_) => Step::Decolorize,
    }
}

fn parse_line(step: &Step, line: &str, labels: &mut LineLabels) {
    match step {
        Step::Json(fields) if fields.is_empty() => json::parse(line, labels),
        Step::Json(fields) => json::extract(line, fields, labels),
        Step::Logfmt { strict, keep_empty, fields } => {
            logfmt::parse(line, logfmt::Options { strict: *strict, keep_empty: *keep_empty }, fields, labels);
        }
        Step::JsonOrLogfmt if json::parse_lenient(line, labels) => {}
        Step::JsonOrLogfmt => logfmt::parse(line, logfmt::Options::default(), &[], labels),
        Step::Regexp(regex) => {
            let is_wanted = regex.capture_names().flatten().any(|name| labels.is_wanted(name));
            if let Some(found) = regex.captures(line).filter(|_| is_wanted) {
                for name in regex.capture_names().flatten() {
                    labels.parsed(name, found.name(name).map_or("", |group| group.as_str()));
                }
            }
        }
        Step::Pattern(pattern) => pattern.captures(line).into_iter().for_each(|(name, value)| labels.parsed(name, value)),
        _ => {}
    }
}

/// Renames in order. All templates see the labels as they were at the first of them, as Loki's do.
fn format_labels(formats: &[(String, Format)], line: &[u8], at: UnixNanos, labels: &mut LineLabels) {
    let templates = formats.iter().filter(|(_, format)| matches!(format, Format::Template(_))).count();
    let mut before: Option<LineLabels> = None;
    for (name, format) in formats {
        match format {
            Format::Rename(from) => {
                if let Some(value) = labels.get(from).map(str::to_owned) {
                    labels.set(name, value);
                    if from != name {
                        labels.remove(from);
                    }
                }
            }
            Format::Template(template) => {
                if before.is_none() && templates > 1 {
                    before = Some(labels.clone());
                }
                match template.render(&readable(line), at, before.as_ref().unwrap_or(labels)) {
                    Ok(value) => labels.set(name, value),
                    Err(message) => labels.fail("TemplateFormatErr", message),
                }
            }
        }
    }
}

/// Bytes as text: what is not UTF-8 comes escaped as `\xff`.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}
