//! Which lines with an `__error__` a metric query counts all the same.

use crate::ast::{Grouping, LabelFilter, RangeAgg, StageKind};
use crate::pipeline::labels::ERROR;

/// Whether lines that a parser could not read are counted: where the labels of the answer are named (`sum`, `by`), and
/// `__error__` is among them or among what filters ask for, somebody wants to count them, as Loki has it. `summed` is the
/// grouping of an enclosing `sum`.
pub(super) fn counts_unparsed(agg: &RangeAgg, summed: Option<Option<&Grouping>>) -> bool {
    let labels: &[String] = match agg.grouping.as_ref().map_or(summed, |own| Some(Some(own))) {
        None | Some(Some(Grouping { without: true, .. })) => return false,
        Some(None) => &[],
        Some(Some(Grouping { labels, .. })) => labels,
    };
    let after_unwrap = agg.unwrap.iter().flat_map(|unwrap| &unwrap.filters);
    let filters = agg.log.stages.iter().filter_map(|stage| match &stage.kind {
        StageKind::Filter(filter) => Some(filter),
        _ => None,
    });
    labels.iter().any(|label| label == ERROR) || filters.chain(after_unwrap).any(asks_for_error)
}

fn asks_for_error(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::And(filters) | LabelFilter::Or(filters) => filters.iter().any(asks_for_error),
        LabelFilter::Text(matcher) => matcher.name == ERROR,
        LabelFilter::Number { name, .. } | LabelFilter::Ip { name, .. } => name == ERROR,
    }
}
