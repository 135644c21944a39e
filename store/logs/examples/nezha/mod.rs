//! Nezha's `logs.csv` and the clock of `index_rate`, `logs_rate` and `many_streams`, which measure the engine on its lines.

use std::error::Error;

use csv::StringRecord;
use weir_model::log::LogBatch;
use weir_model::wire::{Mark, Section, SectionHeader};

/// The table: `TimeUnixNano, Node, PodName, Container, TraceID, SpanID, Log` from column 1 on.
pub fn rows(path: &str) -> Result<impl Iterator<Item = csv::Result<StringRecord>>, Box<dyn Error>> {
    let file = zstd::Decoder::new(std::fs::File::open(path)?)?;
    let rows = csv::ReaderBuilder::new().flexible(true).from_reader(file).into_records();
    // Some rows have a comma too many; the first fields and the start of the line are still right.
    Ok(rows.filter(|row| row.as_ref().map_or(true, |row| row.len() >= 8)))
}

/// The line, out of Docker's JSON where it is whole.
pub fn body(row: &StringRecord) -> String {
    let json: serde_json::Value = serde_json::from_str(&row[7]).unwrap_or_default();
    json["log"].as_str().unwrap_or(&row[7]).trim_end_matches('\n').to_owned()
}

pub fn section(batch: LogBatch) -> Section<LogBatch> {
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 0 };
    let header = SectionHeader { tenant: "default".into(), source: "rate".into(), mark, records: batch.len() as u32 };
    Section::new(header, batch)
}

/// Seconds that this thread has been on a CPU: on a busy machine the wall clock says little.
pub fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("schedstat is empty")?.parse::<f64>()? / 1e9)
}
