//! Prometheus' relabelling: eleven actions over a label set. Pure.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_model::label::is_label_name;
use weir_model::yaml;

/// One rule, checked and compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    target_label: String,
    regex: Regex,
    modulus: u64,
    replacement: String,
    action: Action,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets the target label to the expanded replacement when the pattern matches.
    #[default]
    Replace,
    /// Sets it to the source in lower case.
    Lowercase,
    /// In upper case.
    Uppercase,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops what differs from the target label.
    KeepEqual,
    /// Drops what equals it.
    DropEqual,
    /// Sets it to the source's MD5 modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to the expanded replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "super::config::texts")]
    source_labels: Vec<String>,
    #[serde(default = "semicolon", deserialize_with = "yaml::or_default")]
    separator: String,
    #[serde(default, deserialize_with = "yaml::or_default")]
    target_label: String,
    #[serde(default = "anything", deserialize_with = "yaml::or_default")]
    regex: String,
    #[serde(default, deserialize_with = "yaml::or_default")]
    modulus: u64,
    #[serde(default = "first_group", deserialize_with = "yaml::or_default")]
    replacement: String,
    #[serde(default)]
    action: Action,
}

fn semicolon() -> String {
    ";".into()
}

fn anything() -> String {
    "(.*)".into()
}

fn first_group() -> String {
    "$1".into()
}

impl Written {
    /// What Prometheus refuses, in its words: what an action does not use must not be set.
    fn check(&self) -> Result<(), String> {
        let action = format!("{:?}", self.action).to_lowercase();
        let has_target = !self.target_label.is_empty();
        // A key without a value is the empty text, there as here.
        let (has_modulus, has_separator) = (self.modulus != 0, self.separator != semicolon());
        let has_replacement = self.replacement != first_group();
        match self.action {
            Action::HashMod if !has_modulus => Err("relabel configuration for hashmod requires non-zero modulus".into()),
            Action::LabelDrop | Action::LabelKeep
                if !self.source_labels.is_empty() || has_target || has_modulus || has_separator || has_replacement =>
            {
                Err(format!("{action} action requires only 'regex', and no other fields"))
            }
            Action::Keep | Action::Drop | Action::LabelMap | Action::LabelDrop | Action::LabelKeep => Ok(()),
            _ if !has_target => Err(format!("relabel configuration for {action} action requires 'target_label' value")),
            Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual if has_replacement => {
                Err(format!("'replacement' can not be set for {action} action"))
            }
            Action::KeepEqual | Action::DropEqual if self.regex != anything() || has_modulus || has_separator => {
                Err(format!("{action} action requires only 'source_labels' and `target_label`, and no other fields"))
            }
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        let custom = <D::Error as serde::de::Error>::custom::<String>;
        written.check().map_err(custom)?;
        let regex = regex::RegexBuilder::new(&format!("^(?s:{})$", written.regex)).size_limit(4 << 20).build();
        let regex = regex.map_err(|error| custom(format!("regex {:?}: {error}", written.regex)))?;
        Ok(Self {
            source_labels: written.source_labels,
            separator: written.separator,
            target_label: written.target_label,
            regex,
            modulus: written.modulus,
            replacement: written.replacement,
            action: written.action,
        })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.written().serialize(to)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

/// Applies all rules in order; `false` when the set is dropped.
pub fn apply(rules: &[Rule], labels: &mut BTreeMap<String, String>) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

impl Rule {
    /// As it is written in a configuration.
    pub fn written(&self) -> serde_json::Value {
        let regex = self.regex.as_str();
        let regex = regex.strip_prefix("^(?s:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(regex);
        let mut written = serde_json::json!({
            "separator": self.separator,
            "regex": regex,
            "replacement": self.replacement,
            "action": format!("{:?}", self.action).to_lowercase(),
        });
        if !self.source_labels.is_empty() {
            written["source_labels"] = self.source_labels.clone().into();
        }
        if !self.target_label.is_empty() {
            written["target_label"] = self.target_label.clone().into();
        }
        if self.modulus > 0 {
            written["modulus"] = self.modulus.into();
        }
        written
    }

    fn apply(&self, labels: &mut BTreeMap<String, String>) -> bool {
        let get = |name: &String| labels.get(name).map_or("", String::as_str);
        let source = self.source_labels.iter().map(get).collect::<Vec<_>>().join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return get(&self.target_label) == source,
            Action::DropEqual => return get(&self.target_label) != source,
            Action::Lowercase => set(labels, &self.target_label, source.to_lowercase()),
            Action::Uppercase => set(labels, &self.target_label, source.to_uppercase()),
            Action::HashMod => {
                let digest = Md5::digest(&source);
                let tail = u64::from_be_bytes(std::array::from_fn(|i| digest[8 + i]));
                set(labels, &self.target_label, (tail % self.modulus).to_string());
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
            Action::LabelMap => self.map_names(labels),
            Action::Replace => self.replace(labels, &source),
        }
        true
    }

    fn map_names(&self, labels: &mut BTreeMap<String, String>) {
        let matching = labels.iter().filter(|(name, _)| self.regex.is_match(name));
        let mapped = matching.map(|(name, value)| (self.regex.replace(name, &self.replacement).into_owned(), value.clone()));
        for (name, value) in mapped.collect::<Vec<_>>() {
            set(labels, &name, value);
        }
    }

    fn replace(&self, labels: &mut BTreeMap<String, String>, source: &str) {
        let Some(groups) = self.regex.captures(source) else { return };
        let (mut name, mut value) = (String::new(), String::new());
        groups.expand(&self.target_label, &mut name);
        groups.expand(&self.replacement, &mut value);
        if is_label_name(&name) {
            set(labels, &name, value);
        }
    }
}

/// An empty value removes.
fn set(labels: &mut BTreeMap<String, String>, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use weir_model::yaml;

    use super::*;

    #[test]
    fn actions() {
        let check = |rule: &str, expected: Option<&str>| {
            let rules: Vec<Rule> = yaml::parse(&format!("[{{{rule}}}]")).unwrap();
            let mut labels = [("a", "Foo"), ("b", "bar"), ("c", "bar")].map(|(name, value)| (name.into(), value.into())).into();
            let kept = apply(&rules, &mut labels);
            let text = labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
            assert_eq!(kept.then_some(text.as_str()), expected, "{rule}");
        };
        let same = Some("a=Foo,b=bar,c=bar");
        check(
            "source_labels: [a, b], target_label: d, regex: 'F(.*);(.*)', replacement: '$2-${1}x'",
            Some("a=Foo,b=bar,c=bar,d=bar-oox"),
        );
        check("source_labels: [a], target_label: d, regex: o", same);
        check("target_label: b, replacement: ''", Some("a=Foo,c=bar"));
        check("source_labels: [a], action: lowercase, target_label: a", Some("a=foo,b=bar,c=bar"));
        check("source_labels: [a], action: uppercase, target_label: a", Some("a=FOO,b=bar,c=bar"));
        check("source_labels: [a], action: keep, regex: Foo", same);
        check("source_labels: [a], action: keep, regex: Fo", None);
        check("source_labels: [a], action: drop, regex: Foo", None);
        check("source_labels: [b], action: keepequal, target_label: c", same);
        check("source_labels: [a], action: keepequal, target_label: c", None);
        check("source_labels: [b], action: dropequal, target_label: c", None);
        // As `md5sum` has it of "bar" and of "Foo;bar": the last eight bytes modulo 1000.
        check("source_labels: [c], action: hashmod, target_label: d, modulus: 1000", Some("a=Foo,b=bar,c=bar,d=922"));
        check("source_labels: [a, b], action: hashmod, target_label: d, modulus: 1000", Some("a=Foo,b=bar,c=bar,d=674"));
        check("action: labelmap, regex: '(a|b)', replacement: 'x_$1'", Some("a=Foo,b=bar,c=bar,x_a=Foo,x_b=bar"));
        check("action: labeldrop, regex: 'a|b'", Some("c=bar"));
        check("action: labelkeep, regex: a", Some("a=Foo"));
    }

    #[test]
    fn wrong_rules_are_refused() {
        let wrong = [
            ("action: replace", "requires 'target_label' value"),
            ("action: hashmod, target_label: a", "hashmod requires non-zero modulus"),
            ("target_label: a, regex: '('", "regex \"(\""),
            ("action: nonsense", "nonsense"),
            ("sources: []", "sources"),
            ("action: labeldrop, source_labels: [a]", "labeldrop action requires only 'regex', and no other fields"),
            ("action: labeldrop, target_label: a", "labeldrop action requires only 'regex'"),
            ("action: labelkeep, modulus: 8", "labelkeep action requires only 'regex'"),
            ("action: labelkeep, separator: ','", "labelkeep action requires only 'regex'"),
            ("action: labelkeep, replacement: a", "labelkeep action requires only 'regex'"),
            ("action: lowercase, target_label: a, replacement: b", "'replacement' can not be set for lowercase action"),
            ("action: keepequal, target_label: a, regex: b", "keepequal action requires only 'source_labels'"),
            ("action: dropequal, target_label: a, separator: b", "dropequal action requires only 'source_labels'"),
        ];
        for (rule, expected) in wrong {
            let error = yaml::parse::<Rule>(&format!("{{{rule}}}")).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{rule}: {error}");
        }
    }
}
