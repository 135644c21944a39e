//! How many labels a stream or series may have, and how long they may be. Pure.

use weir_model::clip;
use weir_model::label::{Labels, NAME};
use weir_model::limits::LabelLimits;

/// The first thing because of which labels are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelFault<'a> {
    Count { count: u64, limit: u64 },
    Name(&'a str),
    Value(&'a str),
}

pub(super) fn fault<'a>(limits: &LabelLimits, labels: &'a Labels) -> Option<LabelFault<'a>> {
    if *limits == LabelLimits::default() {
        return None;
    }
    let own = || labels.iter().filter(|(name, _)| *name != NAME);
    if let Some(limit) = limits.count_max {
        let count = own().count() as u64;
        if count > limit {
            return Some(LabelFault::Count { count, limit });
        }
    }
    let is_over =
        |limit: Option<weir_model::config::ByteSize>, text: &str| limit.is_some_and(|max| text.len() as u64 > max.to_u64());
    own().find_map(|(name, value)| {
        if is_over(limits.name_max, name) {
            Some(LabelFault::Name(name))
        } else {
            is_over(limits.value_max, value).then_some(LabelFault::Value(value))
        }
    })
}

impl LabelFault<'_> {
    /// Of the counter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Count { .. } => "label_count",
            Self::Name(_) => "label_name_too_long",
            Self::Value(_) => "label_value_too_long",
        }
    }

    /// In Loki's words. `what`: a stream or a series, `labels` as they are shown.
    pub fn text(self, what: &str, labels: &str) -> String {
        match self {
            Self::Count { count, limit } => format!("entry for {what} '{labels}' has {count} label names; limit {limit}"),
            Self::Name(name) => format!("{what} '{labels}' has label name too long: '{}'", clip(name)),
            Self::Value(value) => format!("{what} '{labels}' has label value too long: '{}'", clip(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;

    use super::*;

    #[test]
    fn the_first_fault_is_told_and_the_name_of_a_metric_is_none() {
        let size = |bytes| Some(ByteSize::bytes(bytes));
        let limits = LabelLimits { count_max: Some(2), name_max: size(4), value_max: size(6) };
        let check = |pairs: &[(&str, &str)], expected: Option<&str>| {
            let labels = Labels::from_pairs(pairs.iter().copied());
            assert_eq!(fault(&limits, &labels).map(LabelFault::reason), expected, "{pairs:?}");
        };
        check(&[], None);
        check(&[(NAME, "a_long_name"), ("abcd", "123456"), ("b", "")], None);
        check(&[("a", "1"), ("b", "2"), ("c", "3")], Some("label_count"));
        check(&[("abcde", "1")], Some("label_name_too_long"));
        check(&[("a", "1"), ("b", "1234567")], Some("label_value_too_long"));
        let labels = Labels::from_pairs([("abcde", "1")]);
        assert_eq!(fault(&LabelLimits::default(), &labels), None);
        let text = fault(&limits, &labels).unwrap().text("stream", &labels.to_string());
        assert_eq!(text, r#"stream '{abcde="1"}' has label name too long: 'abcde'"#);
    }
}
