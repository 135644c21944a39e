//! Rule files: Prometheus' and Loki's YAML, unmodified, read and checked. Errors name file line, group and rule.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;
use weir_model::label::{Labels, NAME};
use weir_model::yaml::{self, YamlError};

use super::ask::{RuleLanguage, RuleQuery};
use super::template::Template;

/// How often a group is evaluated when it does not say: Prometheus' default.
const INTERVAL_MS: i64 = 60_000;

/// What is wrong with a rule file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}{message}", .line.map_or_else(String::new, |line| format!("line {line}: ")))]
pub struct RuleFileError {
    /// Line of the file, from 1, where it is known.
    pub line: Option<usize>,
    /// Group, rule and what is wrong.
    pub message: String,
}

/// What a rule file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Groups.
    pub groups: usize,
    /// Alerting rules.
    pub alerting: usize,
    /// Recording rules.
    pub recording: usize,
}

/// Whether recording rules have somewhere to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// They do.
    Allowed,
    /// A file with recording rules is refused.
    Refused,
}

/// Checks a rule file as far as that goes without data.
pub fn check_rules(text: &str, language: RuleLanguage) -> Result<Summary, RuleFileError> {
    let groups = read_groups(text, language, Recording::Allowed)?;
    let rules = || groups.iter().flat_map(|group| &group.rules);
    let alerting = rules().filter(|rule| matches!(rule.kind, RuleKind::Alert(_))).count();
    Ok(Summary { groups: groups.len(), alerting, recording: rules().count() - alerting })
}

/// A group, checked and compiled.
#[derive(Clone, Debug)]
pub(super) struct GroupSpec {
    pub name: String,
    pub interval_ms: i64,
    pub query_offset_ms: i64,
    /// 0 is none.
    pub limit: usize,
    pub rules: Vec<RuleSpec>,
}

/// A rule, checked and compiled.
#[derive(Clone, Debug)]
pub(super) struct RuleSpec {
    /// Alert or metric name.
    pub name: String,
    pub query: String,
    pub expr: RuleQuery,
    /// The group's and the rule's own; templates in alerts, literal in recording rules.
    pub labels: Vec<(String, Template)>,
    pub kind: RuleKind,
}

#[derive(Clone, Debug)]
pub(super) enum RuleKind {
    Alert(AlertSpec),
    Record,
}

#[derive(Clone, Debug)]
pub(super) struct AlertSpec {
    pub for_ms: i64,
    pub keep_firing_ms: i64,
    pub annotations: Vec<(String, Template)>,
}

/// Labels or annotations; one without a value is empty.
type Pairs = BTreeMap<String, Option<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileYaml {
    #[serde(default, deserialize_with = "yaml::or_default")]
    groups: Vec<GroupYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupYaml {
    name: String,
    interval: Option<String>,
    query_offset: Option<String>,
    #[serde(default)]
    limit: usize,
    #[serde(default, deserialize_with = "yaml::or_default")]
    labels: Pairs,
    #[serde(default, deserialize_with = "yaml::or_default")]
    rules: Vec<RuleYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleYaml {
    record: Option<String>,
    alert: Option<String>,
    expr: Option<String>,
    #[serde(rename = "for")]
    hold: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default, deserialize_with = "yaml::or_default")]
    labels: Pairs,
    #[serde(default, deserialize_with = "yaml::or_default")]
    annotations: Pairs,
}

/// Reads, checks and compiles all groups of a file.
pub(super) fn read_groups(text: &str, language: RuleLanguage, recording: Recording) -> Result<Vec<GroupSpec>, RuleFileError> {
    let file: Option<FileYaml> = yaml::parse(text).map_err(|YamlError { line, message }| RuleFileError { line, message })?;
    // The n-th rule of the file stands where the n-th `alert:` or `record:` does.
    let mut lines = text.lines().enumerate().filter(|(_, line)| is_rule(line)).map(|(i, _)| i + 1);
    let mut groups: Vec<GroupSpec> = Vec::new();
    for group in file.map_or_else(Vec::new, |file| file.groups) {
        let name = group.name.clone();
        let wrong = |why: String| RuleFileError { line: None, message: format!("group {name:?}: {why}") };
        if name.is_empty() {
            return Err(wrong("the name must not be empty".into()));
        }
        if groups.iter().any(|own| own.name == name) {
            return Err(wrong("the name is repeated in the same file".into()));
        }
        let interval_ms = duration(group.interval.as_ref(), INTERVAL_MS).map_err(|why| wrong(format!("interval: {why}")))?;
        if interval_ms <= 0 {
            return Err(wrong("interval: must be above 0".into()));
        }
        let query_offset_ms = duration(group.query_offset.as_ref(), 0).map_err(|why| wrong(format!("query_offset: {why}")))?;
        let mut spec = GroupSpec { name: name.clone(), interval_ms, query_offset_ms, limit: group.limit, rules: Vec::new() };
        for (i, rule) in group.rules.into_iter().enumerate() {
            let line = lines.next();
            let title = rule.alert.as_ref().or(rule.record.as_ref()).cloned().unwrap_or_default();
            let at = |why: String| RuleFileError { line, message: format!("group {name:?}, rule {}, {title:?}: {why}", i + 1) };
            spec.rules.push(read_rule(rule, &group.labels, (language, recording)).map_err(at)?);
        }
        groups.push(spec);
    }
    Ok(groups)
}

fn is_rule(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ").trim_start();
    ["alert:", "record:", "\"alert\":", "\"record\":"].iter().any(|key| line.starts_with(key))
}

fn duration(text: Option<&String>, default: i64) -> Result<i64, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(default) };
    weir_model::time::parse_duration(text).map(|nanos| nanos / 1_000_000).map_err(|error| error.to_string())
}

fn read_rule(rule: RuleYaml, group_labels: &Pairs, (language, recording): (RuleLanguage, Recording)) -> Result<RuleSpec, String> {
    let (name, alert) = match (rule.alert, rule.record) {
        (Some(name), None) => (name, true),
        (None, Some(name)) => (name, false),
        (Some(_), Some(_)) => return Err("only one of 'record' and 'alert' must be set".into()),
        (None, None) => return Err("one of 'record' or 'alert' must be set".into()),
    };
    if name.is_empty() {
        return Err("the name must not be empty".into());
    }
    let query = rule.expr.unwrap_or_default();
    if query.trim().is_empty() {
        return Err("field 'expr' must be set in rule".into());
    }
    let expr = RuleQuery::parse(&query, language).map_err(|error| format!("could not parse expression: {error}"))?;
    let mut labels: BTreeMap<_, _> = group_labels.iter().collect();
    labels.extend(&rule.labels);
    let labels = templates("label", labels.into_iter())?;
    let kind = if alert {
        let for_ms = duration(rule.hold.as_ref(), 0).map_err(|why| format!("for: {why}"))?;
        let keep_firing_ms = duration(rule.keep_firing_for.as_ref(), 0).map_err(|why| format!("keep_firing_for: {why}"))?;
        RuleKind::Alert(AlertSpec { for_ms, keep_firing_ms, annotations: templates("annotation", rule.annotations.iter())? })
    } else {
        if rule.hold.is_some() || rule.keep_firing_for.is_some() || !rule.annotations.is_empty() {
            return Err("'for', 'keep_firing_for' and 'annotations' are for alerting rules only".into());
        }
        if recording == Recording::Refused {
            return Err("recording rules need somewhere to write their samples to, and this weir has none".into());
        }
        if Labels::from_pairs([(NAME, &name)]).is_empty() || name.contains(['{', '}']) {
            return Err(format!("invalid recording rule name {name:?}"));
        }
        RuleKind::Record
    };
    Ok(RuleSpec { name, query, expr, labels, kind })
}

fn templates<'a>(
    what: &str,
    pairs: impl Iterator<Item = (&'a String, &'a Option<String>)>,
) -> Result<Vec<(String, Template)>, String> {
    let compile = |(name, text): (&'a String, &'a Option<String>)| {
        if name.is_empty() || name == NAME {
            return Err(format!("invalid {what} name: {name:?}"));
        }
        let template =
            Template::compile(text.as_deref().unwrap_or_default()).map_err(|why| format!("{what} {name:?}: template: {why}"))?;
        Ok((name.clone(), template))
    };
    pairs.map(compile).collect()
}
