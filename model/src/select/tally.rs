//! What one evaluation holds, in bytes, as the budget of its request is told. Used by the languages and the APIs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series};
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
            Some(more) => self.take(more),
            None => {
                self.budget.release(self.bytes - bytes);
                self.bytes = bytes;
                Ok(())
            }
        }
    }
}

/// Memory of a label set: two boxes a label, and their text.
pub fn label_bytes(labels: &Labels) -> u64 {
    labels.iter().map(|(name, value)| (32 + name.len() + value.len()) as u64).sum::<u64>() + 16
}

/// Bytes of a sample: its time and its value.
const SAMPLE_BYTES: u64 = 16;

fn series_bytes(series: &Series) -> u64 {
    series.timestamps.len() as u64 * SAMPLE_BYTES + label_bytes(&series.labels) + 64
}

/// Reads series one at a time; what one takes is reserved before it is decoded, and given back when `take` has had it.
pub fn each_series<E: From<ReadError>>(
    reader: &dyn MetricReader,
    select: &MetricSelect,
    budget: &dyn Budget,
    mut take: impl FnMut(&mut Series) -> Result<(), E>,
) -> Result<Coverage, E> {
    let decoding = Decoding { budget, bytes: AtomicU64::new(0) };
    let mut cursor = reader.cursor(select, &decoding)?;
    let mut series = Series::default();
    while cursor.next(&mut series)? {
        take(&mut series)?;
        budget.release(decoding.bytes.swap(0, Ordering::Relaxed));
    }
    budget.release(decoding.bytes.swap(0, Ordering::Relaxed));
    Ok(cursor.coverage())
}

/// Reads series and holds all of them: gives them with what is reserved for them.
pub fn read_series(
    reader: &dyn MetricReader,
    select: &MetricSelect,
    budget: &dyn Budget,
) -> Result<(Covered<Vec<Series>>, u64), ReadError> {
    let (mut value, mut tally) = (Vec::new(), Tally::new(budget));
    let coverage = each_series(reader, select, budget, |series| {
        tally.take(series_bytes(series))?;
        value.push(std::mem::take(series));
        Ok::<_, ReadError>(())
    })?;
    Ok((Covered { value, coverage }, tally.bytes))
}

/// Samples that are decoded are held.
struct Decoding<'a> {
    budget: &'a dyn Budget,
    bytes: AtomicU64,
}

impl Budget for Decoding<'_> {
    fn check(&self) -> Result<(), ReadError> {
        self.budget.check()
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.budget.spend(count)?;
        let bytes = count.saturating_mul(SAMPLE_BYTES);
        self.budget.reserve(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.budget.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        self.budget.release(bytes);
    }
}
