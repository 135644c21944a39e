//! The body of a metrics section: the schema once, then timestamps, then values column by column, exact to the bit.

use std::sync::Arc;

use super::WireError;
use super::budget::{Budget, check_limit, invalid};
use super::columns::{
    ColumnsReader, ColumnsWriter, Reader, label_sets, labels, put_bytes, put_label_sets, put_labels, put_timestamps, put_varint,
    timestamps,
};
use crate::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};

const TARGET: u8 = 1;
const SERIES: u8 = 2;
const FAMILIES: u8 = 3;
const ROW_COUNT: u8 = 4;
const TIMESTAMPS: u8 = 5;
const VALUES: u8 = 6;

/// Memory of a family beside its texts.
const FAMILY_BYTES: usize = size_of::<Family>();
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
    let sets: Vec<_> = batch.schema.series.iter().collect();
    columns.put(SERIES, &put_label_sets(&sets, budget)?);
    if !batch.schema.families.is_empty() {
        columns.put(FAMILIES, &put_families(&batch.schema.families, budget)?);
    }
    let mut count = Vec::new();
    put_varint(&mut count, batch.rows.len() as u64);
    columns.put(ROW_COUNT, &count);
    columns.put(TIMESTAMPS, &put_timestamps(batch.rows.iter().map(|row| row.timestamp)));
    columns.put(VALUES, &put_values(&batch.rows, series));
    columns.finish(out);
    Ok(())
}

/// Reads a body of `values` values (rows × series).
pub(crate) fn decode(body: &[u8], values: u32, budget: &mut Budget) -> Result<MetricBatch, WireError> {
    let columns = ColumnsReader::new(body)?;
    let target = labels(columns.need(TARGET, "target labels")?, budget)?;
    let mut column = columns.need(SERIES, "series labels")?;
    let series = label_sets(&mut column, budget)?;
    column.end()?;
    let families = columns.find(FAMILIES, "families").map(|column| families(column, budget)).transpose()?.unwrap_or_default();
    let rows = columns.need(ROW_COUNT, "row count")?.all(1, |count| count)?[0];
    let times = columns.need(TIMESTAMPS, "row timestamps")?;
    if rows > times.remaining() as u64 {
        return Err(WireError::Truncated { what: "row timestamps" });
    }
    let rows = rows as usize;
    charge(rows, series.len(), budget)?;
    if rows * series.len() != values as usize {
        let detail = format!("{rows} rows of {} series, the header says {values} values", series.len());
        return Err(invalid("row count", detail));
    }
    let times = timestamps(times, rows)?;
    let rows = read_values(columns.need(VALUES, "values")?, &times, series.len())?;
    Ok(MetricBatch { target, schema: Arc::new(Schema { series, families }), rows })
}

fn charge(rows: usize, series: usize, budget: &mut Budget) -> Result<(), WireError> {
    check_limit("metric values", rows as u64 * series as u64, budget.limits.records)?;
    check_limit("metric series", series as u64, budget.limits.records)?;
    check_limit("metric rows", rows as u64, budget.limits.records)?;
    budget.charge(rows * ROW_BYTES + rows * series * size_of::<f64>())
}

fn put_families(families: &[Family], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    check_limit("metric families", families.len() as u64, budget.limits.records)?;
    put_varint(&mut out, families.len() as u64);
    for family in families {
        budget.charge(FAMILY_BYTES)?;
        out.push(family.kind as u8);
        for text in [&family.name, &family.help, &family.unit] {
            budget.charge_text(text)?;
            put_bytes(&mut out, text.as_bytes());
        }
    }
    Ok(out)
}

fn families(mut column: Reader<'_>, budget: &mut Budget) -> Result<Vec<Family>, WireError> {
    let count = column.count()?;
    check_limit("metric families", count as u64, budget.limits.records)?;
    let mut families = Vec::new();
    for _ in 0..count {
        budget.charge(FAMILY_BYTES)?;
        let kind = kind_of(column.byte()?)?;
        let mut text = || -> Result<String, WireError> {
            let text = column.text()?;
            budget.charge_text(text)?;
            Ok(text.to_owned())
        };
        families.push(Family { kind, name: text()?, help: text()?, unit: text()? });
    }
    column.end()?;
    Ok(families)
}

fn kind_of(number: u8) -> Result<MetricKind, WireError> {
    Ok(match number {
        0 => MetricKind::Unknown,
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::Summary,
        5 => MetricKind::Info,
        6 => MetricKind::StateSet,
        7 => MetricKind::GaugeHistogram,
        other => return Err(invalid("metric kind", other.to_string())),
    })
}

/// Series after series, each value as its bits XOR those of the row before; then byte planes, the most significant
/// bytes first. Values of one series share sign, exponent and upper digits, so the upper planes are runs of zeros.
fn put_values(rows: &[MetricRow], series: usize) -> Vec<u8> {
    let count = rows.len() * series;
    let mut planes = vec![0; count * 8];
    let mut at = 0;
    for column in 0..series {
        let mut last = 0;
        for row in rows {
            let bits = row.values[column].to_bits();
            for (plane, byte) in (bits ^ last).to_be_bytes().into_iter().enumerate() {
                planes[plane * count + at] = byte;
            }
            last = bits;
            at += 1;
        }
    }
    planes
}

fn read_values(column: Reader<'_>, times: &[i64], series: usize) -> Result<Vec<MetricRow>, WireError> {
    let count = times.len() * series;
    let planes = column.arrays::<1>(count * 8)?.as_flattened();
    let empty = |timestamp: &i64| MetricRow { timestamp: *timestamp, values: Vec::with_capacity(series) };
    let mut rows: Vec<_> = times.iter().map(empty).collect();
    let mut at = 0;
    for _ in 0..series {
        let mut last = 0;
        for row in &mut rows {
            let bytes = std::array::from_fn(|plane| planes[plane * count + at]);
            last ^= u64::from_be_bytes(bytes);
            row.values.push(f64::from_bits(last));
            at += 1;
        }
    }
    Ok(rows)
}
