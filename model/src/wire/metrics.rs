//! The body of a metrics section: the schema, then timestamps, then values column by column, exact to the bit.

use std::sync::Arc;

use super::WireError;
use super::budget::{Budget, check_limit, invalid};
use super::columns::{ColumnsReader, ColumnsWriter, Reader, labels, put_labels, put_timestamps, timestamps};
use super::schema::PartColumns;
use super::{extras, schema};
use crate::metric::{MetricBatch, MetricRow, Schema};
use crate::varint::put_varint;

const TARGET: u8 = 1;
/// Of version 1, which has no column 7.
const SERIES: u8 = 2;
const FAMILIES: u8 = 3;
const ROW_COUNT: u8 = 4;
const TIMESTAMPS: u8 = 5;
const VALUES: u8 = 6;
const SCHEMA: u8 = 7;
/// Of version 4; 8 to 10 are those of [`extras`].
pub(super) const PART: u8 = 11;

/// Memory of a row beside its values.
const ROW_BYTES: usize = size_of::<MetricRow>();

/// Appends the body to `out`. Errors with `Invalid` when a row is not as long as the schema.
pub(crate) fn encode(batch: &MetricBatch, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    let series = batch.schema.series.len();
    if let Some(row) = batch.rows.iter().find(|row| row.values.len() != series) {
        return Err(invalid("metric row", format!("{} values for {series} series", row.values.len())));
    }
    charge(batch.rows.len(), series, budget)?;
    let mut columns = ColumnsWriter::default();
    columns.put(TARGET, &put_labels(&batch.target, budget)?);
    let mut count = Vec::new();
    put_varint(&mut count, batch.rows.len() as u64);
    columns.put(ROW_COUNT, &count);
    columns.put(TIMESTAMPS, &put_timestamps(batch.rows.iter().map(|row| row.timestamp)));
    columns.put(VALUES, &put_values(&batch.rows, series));
    columns.put(SCHEMA, &schema::encode(&batch.schema, budget)?);
    extras::put(&batch.rows, series, budget, &mut columns)?;
    if let Some(part) = PartColumns::of(&batch.schema) {
        columns.put(PART, &part.bytes());
    }
    columns.finish(out);
    Ok(())
}

/// Reads a body of `values` values (rows × series).
pub(crate) fn decode(body: &[u8], values: u32, budget: &mut Budget) -> Result<MetricBatch, WireError> {
    let columns = ColumnsReader::new(body)?;
    let target = labels(columns.need(TARGET, "target labels")?, budget)?;
    let schema = match columns.find(SCHEMA, "schema") {
        Some(mut column) => schema::decode(column.take(column.remaining())?, budget)?,
        None => schema_1(&columns, budget)?,
    };
    let schema = match columns.find(PART, "part of a schema") {
        Some(column) => PartColumns::read(column)?.part(&schema, budget)?,
        None => schema,
    };
    let series = schema.series.len();
    let rows = columns.need(ROW_COUNT, "row count")?.all(1, |count| count)?[0];
    let times = columns.need(TIMESTAMPS, "row timestamps")?;
    if rows > times.remaining() as u64 {
        return Err(WireError::Truncated { what: "row timestamps" });
    }
    let rows = rows as usize;
    charge(rows, series, budget)?;
    if rows * series != values as usize {
        let detail = format!("{rows} rows of {series} series, the header says {values} values");
        return Err(invalid("row count", detail));
    }
    let times = timestamps(times, rows)?;
    let mut rows = read_values(columns.need(VALUES, "values")?, &times, series)?;
    extras::read(&columns, &mut rows, series, budget)?;
    Ok(MetricBatch { target, schema, rows })
}

fn charge(rows: usize, series: usize, budget: &mut Budget) -> Result<(), WireError> {
    check_limit("metric values", rows as u64 * series as u64, budget.limits.records)?;
    check_limit("metric series", series as u64, budget.limits.records)?;
    check_limit("metric rows", rows as u64, budget.limits.records)?;
    budget.charge(rows * ROW_BYTES + rows * series * size_of::<f64>())
}

fn schema_1(columns: &ColumnsReader<'_>, budget: &mut Budget) -> Result<Arc<Schema>, WireError> {
    let series = schema::series(columns.need(SERIES, "series labels")?, budget)?;
    let families = columns.find(FAMILIES, "families").map(|column| schema::families(column, budget)).transpose()?;
    Ok(Arc::new(Schema::new(series, families.unwrap_or_default())))
}

/// Series after series, each value as its bits XOR those of the row before; then byte planes, the most significant
/// bytes first. Values of one series share sign, exponent and upper digits, so the upper planes are runs of zeros.
fn put_values(rows: &[MetricRow], series: usize) -> Vec<u8> {
    let mut mixed = vec![0_u64; rows.len() * series];
    for (at, row) in rows.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &rows[before].values);
        for (column, mixed) in mixed.iter_mut().skip(at).step_by(rows.len()).enumerate() {
            *mixed = row.values[column].to_bits() ^ before.map_or(0, |before| before[column].to_bits());
        }
    }
    let mut planes = Vec::with_capacity(mixed.len() * 8);
    for plane in (0..8).rev() {
        planes.extend(mixed.iter().map(|bits| (bits >> (8 * plane)) as u8));
    }
    planes
}

fn read_values(column: Reader<'_>, times: &[i64], series: usize) -> Result<Vec<MetricRow>, WireError> {
    let count = times.len() * series;
    let planes = column.arrays::<1>(count * 8)?.as_flattened();
    let mut mixed = vec![0_u64; count];
    for plane in planes.chunks_exact(count.max(1)) {
        mixed.iter_mut().zip(plane).for_each(|(bits, byte)| *bits = *bits << 8 | u64::from(*byte));
    }
    let mut rows: Vec<MetricRow> = Vec::with_capacity(times.len());
    for (at, timestamp) in times.iter().enumerate() {
        let own = mixed.iter().skip(at).step_by(times.len());
        let values = match rows.last() {
            Some(before) => own.zip(&before.values).map(|(bits, before)| f64::from_bits(bits ^ before.to_bits())).collect(),
            None => own.map(|bits| f64::from_bits(*bits)).collect(),
        };
        rows.push(MetricRow::new(*timestamp, values));
    }
    Ok(rows)
}

/// A body's columns one after the other, its schema without compression.
#[cfg(test)]
pub(super) fn unpacked(body: &[u8]) -> Vec<u8> {
    let columns = ColumnsReader::new(body).expect("columns");
    let extras = [extras::HISTOGRAMS, extras::STARTS, extras::EXEMPLARS, PART];
    let others = [TARGET, ROW_COUNT, TIMESTAMPS, VALUES].into_iter().chain(extras).filter_map(|id| columns.find(id, "column"));
    let others = others.flat_map(|mut column| column.take(column.remaining()).expect("its own bytes").to_vec());
    others.chain(unpacked_schema(body)).collect()
}

#[cfg(test)]
pub(super) fn unpacked_schema(body: &[u8]) -> Vec<u8> {
    let mut column = ColumnsReader::new(body).expect("columns").need(SCHEMA, "schema").expect("a schema");
    zstd::bulk::decompress(column.take(column.remaining()).expect("its own bytes"), 1 << 20).expect("zstd")
}

/// A body of no rows around a schema's bytes.
#[cfg(test)]
pub(super) fn around(schema: &[u8]) -> Vec<u8> {
    let mut columns = ColumnsWriter::default();
    [(TARGET, &[0][..]), (ROW_COUNT, &[0]), (TIMESTAMPS, &[]), (VALUES, &[]), (SCHEMA, schema)]
        .into_iter()
        .for_each(|(id, column)| columns.put(id, column));
    let mut body = Vec::new();
    columns.finish(&mut body);
    body
}

/// A body of one row of zeros of these series, with a column more.
#[cfg(test)]
pub(super) fn around_rows(series: &[(&str, &str)], (id, column): (u8, &[u8])) -> Vec<u8> {
    let own = series.iter().map(|pair| crate::label::Labels::from_pairs([*pair])).collect();
    let schema = Arc::new(Schema::new(own, Vec::new()));
    let schema = schema::encode(&schema, &mut Budget::new(super::Limits::DEFAULT)).expect("fits");
    let mut columns = ColumnsWriter::default();
    let values = vec![0; series.len() * 8];
    [(TARGET, &[0][..]), (ROW_COUNT, &[1]), (TIMESTAMPS, &[0]), (VALUES, &values), (SCHEMA, &schema), (id, column)]
        .into_iter()
        .for_each(|(id, column)| columns.put(id, column));
    let mut body = Vec::new();
    columns.finish(&mut body);
    body
}
