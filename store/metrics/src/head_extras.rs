//! What rows of a head have beside numbers: shared with the batch that brought it, and counted. Called by `head.rs`.

use std::sync::Arc;

use weir_model::metric::{MetricBatch, MetricRow, RowExtras, STALE_NAN};

use super::rows::Row;
use weir_blocks::StoreError;

/// Errors where a row has something that belongs to no column.
pub(super) fn check(source: &str, batch: &MetricBatch) -> Result<(), StoreError> {
    let width = batch.schema.series.len();
    for extras in batch.rows.iter().filter_map(|row| row.extras.as_ref()) {
        extras.check(width).map_err(|detail| StoreError::engine("take metrics", format!("{source} sent {detail}")))?;
    }
    Ok(())
}

/// The numbers of a row; that of a histogram is a staleness marker, for whoever reads numbers alone.
pub(super) fn values(row: &MetricRow) -> Arc<[f64]> {
    let mut values: Arc<[f64]> = row.values.as_slice().into();
    if let (Some(extras), Some(own)) = (&row.extras, Arc::get_mut(&mut values)) {
        extras.histograms.iter().for_each(|(column, _)| own[*column as usize] = STALE_NAN);
    }
    values
}

pub(super) fn kept(row: &MetricRow) -> Option<Arc<RowExtras>> {
    row.extras.as_deref().filter(|extras| !extras.is_empty()).cloned().map(Arc::new)
}

/// Memory of what neighbouring rows have; starts that they share are counted once.
pub(super) fn memory(rows: &[Row]) -> usize {
    let mut before = None;
    rows.iter().filter_map(|row| row.extras.as_deref()).map(|own| own.memory(before.replace(own))).sum()
}
