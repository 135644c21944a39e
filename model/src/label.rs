//! Labels: the sets of them ([`Labels`]), their names, and the matchers over them.

mod pairs;
mod set;

use std::borrow::Cow;
use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};

pub(crate) use pairs::Pairs;
pub use set::Labels;

use crate::pattern::{PatternBudget, PatternError};

/// The label that carries a metric's name.
pub const NAME: &str = "__name__";

/// Whether `name` is a classic label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `name` is a classic metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b':'))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// `name` with everything a label name may not hold replaced by `_`, as Loki does it: `a-b.c` → `a_b_c`, `9x` → `_9x`.
pub fn normalise_label_name(name: &str) -> Cow<'_, str> {
    if is_label_name(name) {
        return Cow::Borrowed(name);
    }
    let mut fixed: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' }).collect();
    if fixed.is_empty() || fixed.as_bytes()[0].is_ascii_digit() {
        fixed.insert(0, '_');
    }
    Cow::Owned(fixed)
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    #[serde(rename = "=")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `=~`, anchored at both ends
    #[serde(rename = "=~")]
    Regex,
    /// `!~`, anchored at both ends
    #[serde(rename = "!~")]
    NotRegex,
}

impl MatchOp {
    /// As the query languages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A label matcher. An absent label reads as "".
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Literal or pattern as written.
    pub value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Errors when `op` is a regex one and `value` does not compile.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, PatternError> {
        Self::within(&mut PatternBudget::default(), name, op, value)
    }

    /// The same as one of several of a query.
    pub fn within(
        budget: &mut PatternBudget,
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, PatternError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(budget.compile_anchored(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// Whether a label value passes.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, regex) => regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            (MatchOp::NotRegex, regex) => !regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }

    /// Whether a label set passes.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_read_an_absent_label_as_empty_and_anchor_patterns() {
        let labels = Labels::from_pairs([("pod", "web-1")]);
        let check = |name: &str, op, value: &str, expected| {
            assert_eq!(Matcher::new(name, op, value).unwrap().matches_labels(&labels), expected, "{name} {op:?} {value}");
        };
        check("pod", MatchOp::Equal, "web-1", true);
        check("pod", MatchOp::Regex, "web", false);
        check("pod", MatchOp::Regex, "web-.*|x", true);
        check("pod", MatchOp::NotRegex, "web-.*", false);
        check("zone", MatchOp::Equal, "", true);
        check("zone", MatchOp::NotEqual, "a", true);
        check("zone", MatchOp::Regex, ".*", true);
        check("zone", MatchOp::Regex, ".+", false);
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }

    #[test]
    fn names_normalise_as_loki_does() {
        assert_eq!(normalise_label_name("a-b.c"), "a_b_c");
        assert_eq!(normalise_label_name("9x"), "_9x");
        assert_eq!(normalise_label_name(""), "_");
    }
}
