//! Histograms of a body of samples: what is alike of many is written once, counts as differences to those of the row before. Every
//! bit is kept. Called by [`super::extras`].

use std::collections::HashMap;
use std::sync::Arc;

use super::WireError;
use super::budget::{Budget, check_limit, invalid};
use super::columns::Reader;
use super::extras::{cell, place, present};
use crate::histogram::{BUCKETS_MAX, Buckets, Histogram, ResetHint, Span};
use crate::metric::MetricRow;
use crate::varint::{put_varint, put_zigzag, unzigzag};

/// Bits of a histogram's flags: its reset hint, and these two.
const RESET: u8 = 0b11;
const INTEGER: u8 = 0b100;
/// Its counts are whole numbers and written as differences; else their bits.
const WHOLE: u8 = 0b1000;

/// Beyond it, not all integers are an `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Of a list that grows.
const ENTRY_BYTES: usize = 2 * size_of::<(u32, Arc<Histogram>)>();

/// Histograms with their cells, series after series.
pub(super) fn put(rows: &[MetricRow], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut cells: Vec<(u64, u32, &Histogram)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let own = present(row).into_iter().flat_map(|extras| &extras.histograms);
        cells.extend(own.map(|(column, own)| (cell(*column, at, rows.len()), *column, &**own)));
    }
    cells.sort_by_key(|(cell, ..)| *cell);
    let mut layouts: HashMap<Vec<u8>, u64> = HashMap::new();
    let (mut directory, mut list) = (Vec::new(), Vec::new());
    put_varint(&mut list, cells.len() as u64);
    let (mut cell_before, mut before) = (0, Before::default());
    for (cell, column, own) in cells {
        budget.charge(own.memory() + ENTRY_BYTES)?;
        let layout = layout_bytes(own);
        let next = layouts.len() as u64;
        let layout = match layouts.get(&layout) {
            Some(known) => *known,
            None => {
                budget.charge(own.memory())?;
                directory.extend_from_slice(&layout);
                *layouts.entry(layout).or_insert(next)
            }
        };
        put_varint(&mut list, cell - cell_before);
        put_varint(&mut list, layout);
        put_counts(own, before.of(column, layout), &mut list);
        cell_before = cell;
    }
    let mut out = Vec::new();
    put_varint(&mut out, layouts.len() as u64);
    out.extend_from_slice(&directory);
    out.extend_from_slice(&list);
    Ok(out)
}

/// Gives the rows their histograms. Errors with `Invalid` or `Limit` where one is none that could be stored.
pub(super) fn read(mut column: Reader<'_>, rows: &mut [MetricRow], series: usize, budget: &mut Budget) -> Result<(), WireError> {
    let mut layouts = Vec::new();
    for _ in 0..column.count()? {
        let layout = read_layout(&mut column, budget)?;
        layouts.push(layout);
    }
    let (mut cell, mut before) = (0_u64, Before::default());
    for i in 0..column.count()? {
        let step = column.varint()?;
        cell = cell.saturating_add(step);
        if i > 0 && step == 0 {
            return Err(invalid("histograms", format!("two of value {cell}")));
        }
        let (row, of) = place(cell, rows.len(), series, "histograms")?;
        let number = column.varint()?;
        let layout = usize::try_from(number).ok().and_then(|number| layouts.get(number));
        let layout: &Histogram =
            layout.ok_or_else(|| invalid("histograms", format!("no layout {number} of {}", layouts.len())))?;
        budget.charge(layout.memory() + ENTRY_BYTES)?;
        let own = read_counts(&mut column, layout, before.of(of, number))?;
        own.check_shape().map_err(|error| invalid("histograms", error.to_string()))?;
        rows[row].extras.get_or_insert_default().histograms.push((of, Arc::new(own)));
    }
    column.end()
}

/// Whole counts of the histogram before.
#[derive(Default)]
struct Before {
    of: Option<(u32, u64)>,
    counts: Vec<i64>,
}

impl Before {
    /// Those of the same column and layout, or none.
    fn of(&mut self, column: u32, layout: u64) -> &mut Vec<i64> {
        if self.of.replace((column, layout)) != Some((column, layout)) {
            self.counts.clear();
        }
        &mut self.counts
    }
}

fn layout_bytes(own: &Histogram) -> Vec<u8> {
    let mut out = vec![own.schema as u8];
    out.extend_from_slice(&own.zero_threshold.to_bits().to_le_bytes());
    for side in [&own.positive, &own.negative] {
        put_varint(&mut out, side.spans.len() as u64);
        for span in &side.spans {
            put_zigzag(&mut out, i64::from(span.offset));
            put_varint(&mut out, u64::from(span.length));
        }
    }
    put_varint(&mut out, own.custom_bounds.len() as u64);
    own.custom_bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_bits().to_le_bytes()));
    out
}

/// A histogram whose counts are zeros, charged as what it holds.
fn read_layout(reader: &mut Reader<'_>, budget: &mut Budget) -> Result<Histogram, WireError> {
    let schema = reader.byte()? as i8;
    let zero_threshold = f64::from_bits(u64::from_le_bytes(reader.array()?));
    let mut sides = [Buckets::default(), Buckets::default()];
    for side in &mut sides {
        let count = reader.count()?;
        check_limit("spans of a histogram", count as u64, BUCKETS_MAX as u32)?;
        side.spans.reserve_exact(count);
        let mut buckets = 0_u64;
        for _ in 0..count {
            let (offset, length) = (unzigzag(reader.varint()?), reader.varint()?);
            let (Ok(offset), Ok(length)) = (i32::try_from(offset), u32::try_from(length)) else {
                return Err(invalid("histograms", format!("a span of {length} buckets after {offset}")));
            };
            buckets += u64::from(length);
            side.spans.push(Span { offset, length });
        }
        check_limit("buckets of a histogram", buckets, BUCKETS_MAX as u32)?;
        side.counts = vec![0.0; buckets as usize];
    }
    let bounds = reader.count()?;
    check_limit("bounds of a histogram", bounds as u64, BUCKETS_MAX as u32)?;
    let mut custom_bounds = Vec::with_capacity(bounds);
    for _ in 0..bounds {
        custom_bounds.push(f64::from_bits(u64::from_le_bytes(reader.array()?)));
    }
    let [positive, negative] = sides;
    let (reset, is_integer, count, sum, zero_count) = (ResetHint::Unknown, false, 0.0, 0.0, 0.0);
    let layout =
        Histogram { schema, reset, is_integer, count, sum, zero_threshold, zero_count, positive, negative, custom_bounds };
    budget.charge(layout.memory())?;
    Ok(layout)
}

fn put_counts(own: &Histogram, before: &mut Vec<i64>, out: &mut Vec<u8>) {
    let counts = || [own.count, own.zero_count].into_iter().chain(sides(own));
    let is_whole = counts().all(|count| count.abs() <= WHOLE_MAX && (count as i64 as f64).to_bits() == count.to_bits());
    let integer = if own.is_integer { INTEGER } else { 0 };
    out.push(own.reset as u8 | integer | if is_whole { WHOLE } else { 0 });
    out.extend_from_slice(&own.sum.to_bits().to_le_bytes());
    if !is_whole {
        before.clear();
        return counts().for_each(|count| out.extend_from_slice(&count.to_bits().to_le_bytes()));
    }
    before.resize(2 + own.positive.counts.len() + own.negative.counts.len(), 0);
    for (count, before) in counts().zip(before) {
        let count = count as i64;
        put_zigzag(out, count.wrapping_sub(std::mem::replace(before, count)));
    }
}

fn read_counts(reader: &mut Reader<'_>, layout: &Histogram, before: &mut Vec<i64>) -> Result<Histogram, WireError> {
    let flags = reader.byte()?;
    if flags & !(RESET | INTEGER | WHOLE) != 0 {
        return Err(invalid("histograms", format!("flags {flags:#04x}")));
    }
    let reset = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge][usize::from(flags & RESET)];
    let sum = f64::from_bits(u64::from_le_bytes(reader.array()?));
    let (positive, negative) = (layout.positive.counts.len(), layout.negative.counts.len());
    let is_whole = flags & WHOLE != 0;
    before.resize(if is_whole { 2 + positive + negative } else { 0 }, 0);
    let mut at = 0;
    let mut next = || -> Result<f64, WireError> {
        if !is_whole {
            return Ok(f64::from_bits(u64::from_le_bytes(reader.array()?)));
        }
        let count = before[at].wrapping_add(unzigzag(reader.varint()?));
        before[at] = count;
        at += 1;
        Ok(count as f64)
    };
    let (count, zero_count) = (next()?, next()?);
    let mut own = layout.clone();
    for bucket in own.positive.counts.iter_mut().chain(&mut own.negative.counts) {
        *bucket = next()?;
    }
    Ok(Histogram { reset, is_integer: flags & INTEGER != 0, count, sum, zero_count, ..own })
}

fn sides(own: &Histogram) -> impl Iterator<Item = f64> {
    own.positive.counts.iter().chain(&own.negative.counts).copied()
}
