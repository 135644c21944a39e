//! What rows of samples have beside numbers, as columns of their body: histograms, starts, exemplars. Called by [`super::metrics`].

use std::collections::HashMap;
use std::sync::Arc;

use super::WireError;
use super::budget::{Budget, invalid};
use super::columns::{ColumnsReader, ColumnsWriter, Reader, label_sets, put_label_sets};
use super::histograms;
use crate::label::Labels;
use crate::metric::{Exemplar, MetricRow, RowExtras};
use crate::time::UnixNanos;
use crate::varint::{put_varint, put_zigzag, unzigzag};

pub(super) const HISTOGRAMS: u8 = 8;
pub(super) const STARTS: u8 = 9;
pub(super) const EXEMPLARS: u8 = 10;

/// An entry of a list that grows.
const EXEMPLAR_BYTES: usize = 2 * size_of::<(u32, Exemplar)>();

/// Puts the columns that are not empty. Errors with `Invalid` where something does not belong to a row of so many series.
pub(super) fn put(
    rows: &[MetricRow],
    series: usize,
    budget: &mut Budget,
    columns: &mut ColumnsWriter<'_>,
) -> Result<(), WireError> {
    for extras in rows.iter().filter_map(present) {
        extras.check(series).map_err(|detail| invalid("metric row", detail))?;
        budget.charge(size_of::<RowExtras>())?;
    }
    if rows.iter().filter_map(present).any(|extras| !extras.histograms.is_empty()) {
        columns.put(HISTOGRAMS, &histograms::put(rows, budget)?);
    }
    if rows.iter().filter_map(present).any(|extras| extras.starts.is_some()) {
        columns.put(STARTS, &put_starts(rows, budget)?);
    }
    if rows.iter().filter_map(present).any(|extras| !extras.exemplars.is_empty()) {
        columns.put(EXEMPLARS, &put_exemplars(rows, budget)?);
    }
    Ok(())
}

/// Reads what [`put`] has put into the rows, whose values are there.
pub(super) fn read(
    columns: &ColumnsReader<'_>,
    rows: &mut [MetricRow],
    series: usize,
    budget: &mut Budget,
) -> Result<(), WireError> {
    if let Some(column) = columns.find(HISTOGRAMS, "histograms") {
        histograms::read(column, rows, series, budget)?;
    }
    if let Some(column) = columns.find(STARTS, "starts") {
        read_starts(column, rows, series, budget)?;
    }
    if let Some(column) = columns.find(EXEMPLARS, "exemplars") {
        read_exemplars(column, rows, series, budget)?;
    }
    for row in rows.iter_mut() {
        let Some(extras) = &mut row.extras else { continue };
        budget.charge(size_of::<RowExtras>())?;
        extras.histograms.shrink_to_fit();
        extras.exemplars.shrink_to_fit();
    }
    Ok(())
}

/// What a row has, unless that is nothing.
pub(super) fn present(row: &MetricRow) -> Option<&RowExtras> {
    row.extras.as_deref().filter(|extras| !extras.is_empty())
}

/// The place of a cell in a body: series after series, rows ascending in each.
pub(super) fn cell(column: u32, row: usize, rows: usize) -> u64 {
    u64::from(column) * rows as u64 + row as u64
}

/// Row and column of a cell, of which there are `rows` × `series`.
pub(super) fn place(cell: u64, rows: usize, series: usize, what: &'static str) -> Result<(usize, u32), WireError> {
    let count = rows as u64 * series as u64;
    if cell >= count {
        return Err(invalid(what, format!("one of value {cell} of {count}")));
    }
    Ok(((cell % rows as u64) as usize, (cell / rows as u64) as u32))
}

/// Lists of starts, each once while rows share it, then the number of each row's: 0 for none.
fn put_starts(rows: &[MetricRow], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let (mut lists, mut numbers): (Vec<&[UnixNanos]>, _) = (Vec::new(), Vec::with_capacity(rows.len()));
    for row in rows {
        let Some(own) = present(row).and_then(|extras| extras.starts.as_deref()) else {
            numbers.push(0);
            continue;
        };
        if lists.last() != Some(&own) {
            budget.charge(size_of_val(own))?;
            lists.push(own);
        }
        numbers.push(lists.len() as u64);
    }
    let mut out = Vec::new();
    put_varint(&mut out, lists.len() as u64);
    for list in lists {
        let mut before = 0_i64;
        for start in list {
            put_zigzag(&mut out, start.wrapping_sub(before));
            before = *start;
        }
    }
    numbers.into_iter().for_each(|number| put_varint(&mut out, number));
    Ok(out)
}

fn read_starts(mut column: Reader<'_>, rows: &mut [MetricRow], series: usize, budget: &mut Budget) -> Result<(), WireError> {
    let mut lists: Vec<Arc<[UnixNanos]>> = Vec::new();
    for _ in 0..column.count()? {
        if series > column.remaining() {
            return Err(WireError::Truncated { what: "starts" });
        }
        budget.charge(series * size_of::<UnixNanos>())?;
        let mut before = 0_i64;
        let mut list = Vec::with_capacity(series);
        for _ in 0..series {
            before = before.wrapping_add(unzigzag(column.varint()?));
            list.push(before);
        }
        lists.push(list.into());
    }
    let count = lists.len();
    let numbers = column.all(rows.len(), |number| number)?;
    for (row, number) in rows.iter_mut().zip(numbers) {
        let Some(at) = number.checked_sub(1) else { continue };
        let list = usize::try_from(at).ok().and_then(|at| lists.get(at));
        let list = list.ok_or_else(|| invalid("starts", format!("no list {number} of {count}")))?;
        row.extras.get_or_insert_default().starts = Some(Arc::clone(list));
    }
    Ok(())
}

/// Distinct label sets, then the exemplars by cell.
fn put_exemplars(rows: &[MetricRow], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut cells: Vec<(u64, &Exemplar, UnixNanos)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let own = present(row).into_iter().flat_map(|extras| &extras.exemplars);
        cells.extend(own.map(|(column, exemplar)| (cell(*column, at, rows.len()), exemplar, row.timestamp)));
    }
    cells.sort_by_key(|(cell, ..)| *cell);
    let (mut numbers, mut sets): (HashMap<&Labels, u64>, Vec<&Labels>) = (HashMap::new(), Vec::new());
    let mut list = Vec::new();
    put_varint(&mut list, cells.len() as u64);
    let mut before = 0;
    for (cell, exemplar, of_row) in cells {
        budget.charge(EXEMPLAR_BYTES)?;
        let number = *numbers.entry(&exemplar.labels).or_insert_with(|| {
            sets.push(&exemplar.labels);
            sets.len() as u64 - 1
        });
        put_varint(&mut list, cell - before);
        put_varint(&mut list, number);
        list.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_zigzag(&mut list, exemplar.timestamp.wrapping_sub(of_row));
        before = cell;
    }
    let mut out = put_label_sets(&sets, budget)?;
    out.extend_from_slice(&list);
    Ok(out)
}

fn read_exemplars(mut column: Reader<'_>, rows: &mut [MetricRow], series: usize, budget: &mut Budget) -> Result<(), WireError> {
    let sets = label_sets(&mut column, budget)?;
    let (count, mut cell) = (column.count()?, 0_u64);
    for _ in 0..count {
        budget.charge(EXEMPLAR_BYTES)?;
        cell = cell.saturating_add(column.varint()?);
        let (row, of) = place(cell, rows.len(), series, "exemplars")?;
        let number = column.varint()?;
        let labels = usize::try_from(number).ok().and_then(|number| sets.get(number)).cloned();
        let labels = labels.ok_or_else(|| invalid("exemplars", format!("no label set {number} of {}", sets.len())))?;
        let value = f64::from_bits(u64::from_le_bytes(column.array()?));
        let timestamp = rows[row].timestamp.wrapping_add(unzigzag(column.varint()?));
        rows[row].extras.get_or_insert_default().exemplars.push((of, Exemplar { labels, value, timestamp }));
    }
    column.end()
}
