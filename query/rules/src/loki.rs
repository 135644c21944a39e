//! `/loki/api/v1/rules`: groups of LogQL rules as Loki's ruler lists them, in YAML. A namespace is a file, by its name without its folders.
//! Texts are written as JSON's, which are YAML's.

use std::collections::BTreeMap;
use std::fmt::Write;

use weir_model::scope::Scope;
use weir_model::time::format_duration;

use super::ask::RuleLanguage;
use super::file::RuleKind;
use super::state::{Group, Rule, RuleSet};
use super::template::Template;

impl RuleSet {
    /// Groups of the scope's tenants by namespace; `None` where there are none, or none in this namespace.
    pub fn loki_groups(&self, scope: &Scope, namespace: Option<&str>) -> Option<String> {
        let mut namespaces: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
        for (group, _) in self.visible(scope, RuleLanguage::LogQl) {
            namespaces.entry(group.namespace()).or_default().push(group);
        }
        namespaces.retain(|name, _| namespace.is_none_or(|wanted| wanted == *name));
        let mut out = String::new();
        for (name, groups) in &namespaces {
            line(&mut out, "", name, None);
            groups.iter().for_each(|group| group.write(&mut out, "    - ", "      "));
        }
        (!namespaces.is_empty()).then_some(out)
    }

    /// One group.
    pub fn loki_group(&self, scope: &Scope, namespace: &str, name: &str) -> Option<String> {
        let mut groups = self.visible(scope, RuleLanguage::LogQl).map(|(group, _)| group);
        let group = groups.find(|group| group.namespace() == namespace && group.spec.name == name)?;
        let mut out = String::new();
        group.write(&mut out, "", "");
        Some(out)
    }
}

impl Group {
    fn namespace(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// `first` begins its first line, `indent` all others.
    fn write(&self, out: &mut String, first: &str, indent: &str) {
        line(out, first, "name", Some(&self.spec.name));
        duration(out, indent, "interval", self.spec.interval_ms);
        if self.spec.query_offset_ms > 0 {
            duration(out, indent, "query_offset", self.spec.query_offset_ms);
        }
        if self.spec.limit > 0 {
            _ = writeln!(out, "{indent}limit: {}", self.spec.limit);
        }
        line(out, indent, "rules", None);
        self.rules.iter().for_each(|rule| rule.write(out, indent));
    }
}

impl Rule {
    fn write(&self, out: &mut String, indent: &str) {
        let (first, indent) = (format!("{indent}    - "), format!("{indent}      "));
        let spec = &self.spec;
        let RuleKind::Alert(alert) = &spec.kind else {
            line(out, &first, "record", Some(&spec.name));
            line(out, &indent, "expr", Some(&spec.query));
            return pairs(out, &indent, "labels", &spec.labels);
        };
        line(out, &first, "alert", Some(&spec.name));
        line(out, &indent, "expr", Some(&spec.query));
        for (key, ms) in [("for", alert.for_ms), ("keep_firing_for", alert.keep_firing_ms)] {
            if ms > 0 {
                duration(out, &indent, key, ms);
            }
        }
        pairs(out, &indent, "labels", &spec.labels);
        pairs(out, &indent, "annotations", &alert.annotations);
    }
}

fn pairs(out: &mut String, indent: &str, key: &str, pairs: &[(String, Template)]) {
    if !pairs.is_empty() {
        line(out, indent, key, None);
        let inner = format!("{indent}    ");
        pairs.iter().for_each(|(name, template)| line(out, &inner, name, Some(template.source())));
    }
}

fn duration(out: &mut String, indent: &str, key: &str, ms: i64) {
    _ = writeln!(out, "{indent}{key}: {}", format_duration(ms.saturating_mul(1_000_000)));
}

/// A key, quoted unless it is a plain word, and a text; without one, what follows belongs to the key.
fn line(out: &mut String, indent: &str, key: &str, text: Option<&str>) {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && !["true", "false", "null", "y", "n", "yes", "no", "on", "off"].contains(&key);
    let key = if is_plain && !key.is_empty() { key.to_owned() } else { quoted(key) };
    match text {
        Some(text) => _ = writeln!(out, "{indent}{key}: {}", quoted(text)),
        None => _ = writeln!(out, "{indent}{key}:"),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
