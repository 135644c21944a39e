//! How many series carry what: counted while the label sets of heads and blocks are merged, so that a series of several counts
//! once, and none is kept. No samples are read but those of blocks with something hidden.

use weir_model::select::{Budget, Cardinality, CountSeries, Covered, ReadError};

use super::reader::Merged;

/// Counts what is left of a merge.
pub(super) fn count(mut merged: Merged<'_>, tenant: &str, budget: &dyn Budget) -> Result<Covered<Cardinality>, ReadError> {
    let mut count = CountSeries::new(budget);
    while let Some(labels) = merged.next_shown()? {
        count.add(&labels)?;
    }
    Ok(Covered { value: count.finish(tenant)?, coverage: merged.coverage })
}
