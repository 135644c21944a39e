//! Which words mean something to the language, and where a name may be one of them.

use weir_model::clip;

use crate::ast::{AggregateOp, BinaryOp};

/// Words that no function has for a name, since something else comes before their parenthesis.
pub(super) const RESERVED: [&str; 10] =
    ["by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "anchored", "smoothed"];

/// A word that is read, as an error names it.
pub(super) fn described(word: &str) -> String {
    let is = |own: &str| own.eq_ignore_ascii_case(word);
    match word {
        _ if RESERVED.iter().any(|own| is(own)) => format!("<{word}>"),
        _ if AggregateOp::by_name(word).is_some() => format!("<aggr:{word}>"),
        _ if BinaryOp::ALL.iter().any(|(own, ..)| is(own)) => format!("<op:{word}>"),
        _ if is_number(word) => format!("number {word:?}"),
        _ if word.contains(':') => format!("metric identifier {:?}", clip(word)),
        _ => format!("identifier {:?}", clip(word)),
    }
}

/// Whether a metric may have the word for its name where it is not quoted; `by` and `or` may.
pub(super) fn is_name(word: &str) -> bool {
    let not = ["on", "ignoring", "group_left", "group_right", "bool", "atan2"];
    !is_number(word) && !not.iter().any(|own| own.eq_ignore_ascii_case(word))
}

/// Whether a word in a list of labels is one of them.
pub(crate) fn is_unquoted_label(word: &str) -> bool {
    !is_number(word) && !word.eq_ignore_ascii_case("without")
}

pub(super) fn is_number(word: &str) -> bool {
    word.eq_ignore_ascii_case("nan") || word.eq_ignore_ascii_case("inf")
}

pub(super) fn is_grouping(word: &str) -> bool {
    word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without")
}
