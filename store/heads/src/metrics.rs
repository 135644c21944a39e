//! Series of a head for another process: its tables, with only the columns and rows that were asked for.
//!
//! A table travels as a section whose schema has whole label sets and whose target is empty, one for each run of rows of the same
//! columns. Rows of one table are in the
//! order in which they arrived, and so are the sections of tables that share a series: which of two samples of one
//! millisecond came first is known to the temporary head as it was to the real one. There is no side data. Histograms and starts travel
//! with the samples; exemplars, of rows that have some, by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::metric::{ChosenColumns, Exemplar, Family, MetricBatch, MetricRow, RowExtras, Schema};
use weir_model::scope::Scope;
use weir_model::select::{Budget, MetricReader, MetricSelect, PartitionCoverage, ReadError};
use weir_model::wire::{self, Mark, Section, SectionHeader};

use crate::extract::{Packer, check_bytes, not_mine};
use crate::request::SamplesQuery;
use crate::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol, HeadQuery, RECORD_LIMITS};
use weir_blocks::engine::{Head, Position};
use weir_blocks::limits::pieces;
use weir_blocks::view::{Fixed, PartitionView};
use weir_metrics::rows::{HeadSeries, Row};
use weir_metrics::{MetricsEngine, MetricsHead, MetricsReader};

/// Values of one section: 4 MiB.
const SECTION_VALUES: usize = 512 << 10;
/// Label sets of one section where no samples travel.
const SECTION_SERIES: usize = 4096;
/// Bytes of label sets, or of families' texts, of one section: with a few MiB of values it stays far below a record's limit.
const SECTION_LABEL_BYTES: usize = 4 << 20;
/// Nanoseconds of a millisecond.
const MILLISECOND: i64 = 1_000_000;

impl HeadProtocol for MetricsEngine {
    fn extract(
        scope: &Scope,
        query: &HeadQuery,
        heads: &[Arc<MetricsHead>],
        limits: ExtractLimits,
        budget: &dyn Budget,
    ) -> Result<HeadExtract, ReadError> {
        let tenant = &*scope.one()?.tenant;
        match query {
            HeadQuery::Samples(samples) => {
                let select = select(samples, scope)?;
                let of =
                    |head: &Arc<MetricsHead>| extract_samples(head.select(&select)?, Travels::Samples, tenant, limits, budget);
                HeadExtract::of_heads(heads.iter().map(of))
            }
            HeadQuery::Exemplars(samples) => {
                let select = select(samples, scope)?;
                let travels = Travels::Exemplars { start_ms: select.start_ms, end_ms: select.end_ms };
                let of =
                    |head: &Arc<MetricsHead>| extract_samples(head.select_exemplars(&select)?, travels, tenant, limits, budget);
                HeadExtract::of_heads(heads.iter().map(of))
            }
            HeadQuery::Series(samples) => {
                let select = select(samples, scope)?;
                let series = reader(heads).series(&select, budget)?.value;
                let mut packer = packer(limits);
                for some in pieces(&series, SECTION_SERIES, SECTION_LABEL_BYTES, Labels::text_bytes) {
                    let row = MetricRow::new(nanos(select.start_ms), vec![0.0; some.len()]);
                    packer.push(&section(tenant, 0, of_series(some.to_vec()), vec![row]), &[])?;
                }
                packer.into_extract()
            }
            HeadQuery::Families => {
                let families = reader(heads).families(scope, budget)?.value;
                let mut packer = packer(limits);
                let bytes = |family: &Family| family.name.len() + family.help.len() + family.unit.len();
                for some in pieces(&families, SECTION_SERIES, SECTION_LABEL_BYTES, bytes) {
                    packer.push(&section(tenant, 0, Schema::new(Vec::new(), some.to_vec()), Vec::new()), &[])?;
                }
                packer.into_extract()
            }
            _ => Err(not_mine("metrics")),
        }
    }

    fn rebuild_head(&self, partition: u32, _: &str, records: &[ExtractRecord], bytes_max: u64) -> Result<MetricsHead, String> {
        let head = MetricsHead::selected();
        for record in records {
            let sections = wire::decode::<MetricBatch>(&record.record, &RECORD_LIMITS).map_err(|error| error.to_string())?;
            for section in sections {
                let position = Position { partition, offset: 0, ordinal: 0 };
                head.insert(position, &section).map_err(|error| error.to_string())?;
                check_bytes(head.bytes(), bytes_max)?;
            }
        }
        Ok(head)
    }
}

fn select(samples: &SamplesQuery, scope: &Scope) -> Result<MetricSelect, ReadError> {
    samples.select(scope).map_err(ReadError::Store)
}

fn packer(limits: ExtractLimits) -> Packer<MetricBatch> {
    Packer::new(limits, "bytes of unsealed samples")
}

/// The heads as one reader that has no blocks.
fn reader(heads: &[Arc<MetricsHead>]) -> MetricsReader {
    let (coverage, heads) = (PartitionCoverage::default(), heads.to_vec());
    MetricsReader::new(Arc::new(Fixed::new(vec![PartitionView { coverage, blocks: Vec::new(), heads, missing: Vec::new() }])))
}

fn nanos(milliseconds: i64) -> i64 {
    milliseconds.saturating_mul(MILLISECOND)
}

fn section(tenant: &str, table: u32, schema: Schema, rows: Vec<MetricRow>) -> Section<MetricBatch> {
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 0 };
    // By table, so that the temporary head finds its own table by its source.
    let header = SectionHeader { tenant: tenant.into(), source: format!("table {table}"), mark, records: 0 };
    Section::new(header, MetricBatch { target: Labels::EMPTY, schema: Arc::new(schema), rows })
}

fn of_series(series: Vec<Labels>) -> Schema {
    Schema::new(series, Vec::new())
}

/// A table's columns that were asked for.
type Columns = Vec<(Labels, u32)>;

/// What of rows is sent.
#[derive(Clone, Copy)]
enum Travels {
    /// All but exemplars.
    Samples,
    /// Those within the range, both ends inclusive; numbers are zeros.
    Exemplars { start_ms: i64, end_ms: i64 },
}

impl Travels {
    fn is_sent(self, exemplar: &Exemplar) -> bool {
        match self {
            Self::Samples => false,
            Self::Exemplars { start_ms, end_ms } => (start_ms..=end_ms).contains(&exemplar.timestamp.div_euclid(MILLISECOND)),
        }
    }

    fn extras(self, chosen: &mut ChosenColumns, all: &RowExtras) -> Option<Box<RowExtras>> {
        let mut extras = chosen.of(all)?;
        if matches!(self, Self::Exemplars { .. }) {
            (extras.histograms, extras.starts) = (Vec::new(), None);
        }
        extras.exemplars.retain(|(_, exemplar)| self.is_sent(exemplar));
        (!extras.is_empty()).then_some(extras)
    }
}

/// Rows with only these columns, which all of them have; their own columns begin with `first`.
fn narrowed(columns: &[(Labels, u32)], first: u32, rows: &[&Row], travels: Travels) -> Vec<MetricRow> {
    let mut chosen = ChosenColumns::new(columns.iter().map(|(_, column)| column - first));
    let narrow = |row: &&Row| {
        let value = |column: u32| if matches!(travels, Travels::Samples) { row.value(column) } else { None };
        let values = columns.iter().map(|(_, column)| value(*column).unwrap_or(0.0)).collect();
        let extras = row.extras.as_ref().and_then(|extras| travels.extras(&mut chosen, extras));
        MetricRow { extras, ..MetricRow::new(nanos(row.timestamp), values) }
    };
    // A row of no exemplar that is asked for says nothing.
    let says = |row: &MetricRow| matches!(travels, Travels::Samples) || row.extras.is_some();
    rows.iter().map(narrow).filter(says).collect()
}

/// How many values a column of these rows is worth, rounded up: one, and what it has beside.
fn values_a_column(rows: &[&Row], travels: Travels) -> usize {
    let all = rows.iter().filter_map(|row| row.extras.as_deref());
    let bytes = |extras: &RowExtras| match travels {
        Travels::Samples => extras.histograms.iter().map(|(_, own)| own.memory()).max().unwrap_or_default() + 8,
        // A row has several of one column.
        Travels::Exemplars { .. } => extras.exemplars.iter().map(|(_, own)| own.labels.text_bytes() + 32).sum(),
    };
    1 + all.map(bytes).max().unwrap_or_default() / 8
}

fn extract_samples(
    found: HeadSeries,
    travels: Travels,
    tenant: &str,
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<Vec<ExtractRecord>, ReadError> {
    let mut tables: BTreeMap<u32, Columns> = BTreeMap::new();
    let mut shared: BTreeSet<u32> = BTreeSet::new();
    for (labels, places) in found.iter() {
        for (table, column) in places {
            tables.entry(*table).or_default().push((labels.clone(), *column));
        }
        if places.len() > 1 {
            shared.extend(places.iter().map(|(table, _)| *table));
        }
    }
    let mut packer = packer(limits);
    for (table, columns) in tables.iter().filter(|(table, _)| !shared.contains(table)) {
        budget.check()?;
        let rows: Vec<&Row> = found.rows(*table).iter().collect();
        push_rows(&mut packer, (tenant, *table), columns, &rows, travels)?;
    }
    let mut arrived: Vec<(u32, &Row)> =
        shared.iter().flat_map(|table| found.rows(*table).iter().map(move |row| (*table, row))).collect();
    arrived.sort_by_key(|(_, row)| row.arrival);
    for run in arrived.chunk_by(|a, b| a.0 == b.0) {
        budget.check()?;
        let rows: Vec<&Row> = run.iter().map(|(_, row)| *row).collect();
        push_rows(&mut packer, (tenant, run[0].0), &tables[&run[0].0], &rows, travels)?;
    }
    packer.finish()
}

fn push_rows(
    packer: &mut Packer<MetricBatch>,
    of: (&str, u32),
    columns: &Columns,
    rows: &[&Row],
    travels: Travels,
) -> Result<(), ReadError> {
    for run in rows.chunk_by(|a, b| a.columns() == b.columns()) {
        let all = run[0].columns();
        let own: Columns = columns.iter().filter(|(_, column)| all.contains(column)).cloned().collect();
        push_run(packer, of, &own, run, travels)?;
    }
    Ok(())
}

/// Rows of the same columns. Of two columns of one series the one before comes first in every row, so it does when they travel apart.
fn push_run(
    packer: &mut Packer<MetricBatch>,
    (tenant, table): (&str, u32),
    columns: &Columns,
    rows: &[&Row],
    travels: Travels,
) -> Result<(), ReadError> {
    let first = rows.first().map_or(0, |row| row.first);
    let most = (SECTION_VALUES / values_a_column(rows, travels)).max(1);
    for columns in pieces(columns, most, SECTION_LABEL_BYTES, |(labels, _)| labels.text_bytes()) {
        let labels: Vec<Labels> = columns.iter().map(|(labels, _)| labels.clone()).collect();
        for some in rows.chunks((most / columns.len()).max(1)) {
            let rows = narrowed(columns, first, some, travels);
            if !rows.is_empty() {
                packer.push(&section(tenant, table, of_series(labels.clone()), rows), &[])?;
            }
        }
    }
    Ok(())
}
