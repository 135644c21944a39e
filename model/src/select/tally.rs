//! What one evaluation holds, in bytes, as the budget of its request is told. Used by the languages and the APIs.

use super::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series, SeriesCursor, TakeLabels};
use crate::label::Labels;

/// Reserves what one evaluation holds, and gives back what its parts hold no longer. What is left at its end is in its
/// answer, and is given back with the request's budget.
pub struct Tally<'a> {
    budget: &'a dyn Budget,
    bytes: u64,
}

impl<'a> Tally<'a> {
    pub fn new(budget: &'a dyn Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// What is held now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So much more.
    pub fn take(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.budget.reserve(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// So much in all.
    pub fn settle(&mut self, bytes: u64) -> Result<(), ReadError> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.take(more),
            None => {
                self.budget.release(self.bytes - bytes);
                self.bytes = bytes;
                Ok(())
            }
        }
    }
}

/// What one value holds of a budget: given back when it is dropped.
pub struct Reservation<'a>(Tally<'a>);

impl<'a> Reservation<'a> {
    /// Of nothing yet.
    pub fn new(budget: &'a dyn Budget) -> Self {
        Self(Tally::new(budget))
    }

    /// So much in all.
    pub fn settle(&mut self, bytes: u64) -> Result<(), ReadError> {
        self.0.settle(bytes)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.budget.release(self.0.bytes);
    }
}

/// Memory of a label set that nobody else holds.
pub fn label_bytes(labels: &Labels) -> u64 {
    (size_of::<Labels>() + labels.memory()) as u64
}

/// Bytes of a sample: its time and its value.
const SAMPLE_BYTES: usize = 16;

/// Histograms are counted in full, also where others hold them.
fn series_bytes(series: &Series) -> u64 {
    let histograms: usize = series.histograms.iter().map(|entry| size_of_val(entry) + entry.1.memory()).sum();
    let numbers = series.timestamps.len() * SAMPLE_BYTES + series.starts.len() * size_of::<i64>();
    let aggregates = size_of_val(&series.aggregates[..]);
    (numbers + aggregates + histograms) as u64 + label_bytes(&series.labels) + 64
}

/// Reads series one at a time; what one takes is given back when `take` has had it.
pub fn each_series<E: From<ReadError>>(
    reader: &dyn MetricReader,
    select: &MetricSelect,
    budget: &dyn Budget,
    take: impl FnMut(&mut Series) -> Result<(), E>,
) -> Result<Coverage, E> {
    each_pulled(reader.cursor(select, budget)?, take)
}

/// The same of a cursor.
pub fn each_pulled<E: From<ReadError>>(
    mut cursor: Box<dyn SeriesCursor + '_>,
    mut take: impl FnMut(&mut Series) -> Result<(), E>,
) -> Result<Coverage, E> {
    let mut series = Series::default();
    while cursor.next(&mut series)? {
        take(&mut series)?;
    }
    Ok(cursor.coverage())
}

/// Gives the labels of those of a cursor of [`MetricReader::newest`] whose newest sample is there.
pub fn each_present(cursor: Box<dyn SeriesCursor + '_>, take: TakeLabels<'_>) -> Result<Coverage, ReadError> {
    each_pulled(cursor, |series| if series.is_present() { take(&series.labels) } else { Ok(()) })
}

/// Reads series and holds what all of them have in the range: gives them with what is reserved for them.
pub fn read_series(
    reader: &dyn MetricReader,
    select: &MetricSelect,
    budget: &dyn Budget,
) -> Result<(Covered<Vec<Series>>, u64), ReadError> {
    let (mut value, mut tally) = (Vec::new(), Tally::new(budget));
    let coverage = each_series(reader, select, budget, |series| {
        if !series.drop_before(select.start_ms) {
            return Ok(());
        }
        series.shrink_to_fit();
        tally.take(series_bytes(series))?;
        value.push(std::mem::take(series));
        Ok::<_, ReadError>(())
    })?;
    Ok((Covered { value, coverage }, tally.bytes))
}
