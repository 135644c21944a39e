//! The samples of one series of several blocks on their way into others: all at once or, where these would take more memory than they
//! may, in pieces of ascending times. Called by `merge`.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_blocks::hidden::HiddenRows;
use weir_blocks::segment::SegmentError;
use weir_model::metric::Exemplar;
use weir_model::select::{Budget, ReadError, Reservation};

use super::aggregates;
use super::exemplars;
use super::samples::{Dropped, Samples};
use super::schema::MILLISECOND;
use super::stored::BlockSamples;

/// Of a sample that is written: its integer, two differences, its share of a sort and of two copies, and its time once more.
const WRITING_BYTES: usize = 48;

/// What the samples of one series may take at once, read and written.
pub(super) struct SeriesBudget {
    bytes_max: u64,
    held: AtomicU64,
    was_exceeded: AtomicBool,
}

impl SeriesBudget {
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, held: AtomicU64::new(0), was_exceeded: AtomicBool::new(false) }
    }
}

impl Budget for SeriesBudget {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }

    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if held <= self.bytes_max {
            return Ok(());
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.was_exceeded.store(true, Ordering::Relaxed);
        let text = format!(
            "samples of one series that lie in one block take {held} bytes of memory, and may take {}: raise aggregator.compaction_memory_max",
            self.bytes_max
        );
        Err(ReadError::Store(text))
    }

    fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What was read of one series.
#[derive(Default)]
pub(super) struct SeriesRead {
    /// That have samples.
    pub pieces: usize,
    pub dropped: Dropped,
    /// Samples and exemplars.
    pub hidden: usize,
}

/// Reads one series after the other.
pub(super) struct Pieces<'a> {
    budget: &'a SeriesBudget,
    samples: Samples,
    held: Reservation<'a>,
}

impl<'a> Pieces<'a> {
    pub fn new(budget: &'a SeriesBudget) -> Self {
        Self { budget, samples: Samples::default(), held: Reservation::new(budget) }
    }

    /// Gives what is shown of a series, each piece with its number; mostly there is one. Errors where no piece is small enough. A copy at
    /// the resolution, where it is not 0, counts as well.
    pub fn each(
        &mut self,
        found: &[(usize, BlockSamples<'_>)],
        (hides, resolution_ms): (Option<&HiddenRows>, i64),
        mut take: impl FnMut(usize, &Samples),
    ) -> Result<SeriesRead, SegmentError> {
        let mut read = SeriesRead::default();
        let mut exemplars = shown_exemplars(found, hides, &mut read.hidden)?;
        // Earliest last.
        let mut ranges = vec![(i64::MIN, i64::MAX)];
        while let Some(range) = ranges.pop() {
            let had_room = self.samples.memory_with(0) > 0;
            if let Err(error) = self.read(found, range, resolution_ms) {
                if !self.budget.was_exceeded.swap(false, Ordering::Relaxed) {
                    return Err(error);
                }
                self.samples = Samples::default();
                self.held.settle(0)?;
                if had_room {
                    // Room for what was read before may be what was too much.
                    ranges.push(range);
                    continue;
                }
                let Some([earlier, later]) = halves(found, range) else { return Err(error) };
                ranges.extend([later, earlier]);
                continue;
            }
            read.hidden += hides.map_or(0, |hides| self.samples.hide(0, hides));
            if self.samples.timestamps.is_empty() {
                continue;
            }
            // What is told before the first sample goes with it.
            let until = exemplars.partition_point(|exemplar| exemplar.timestamp.div_euclid(MILLISECOND) <= range.1);
            self.samples.exemplars = exemplars.drain(..until).collect();
            read.dropped += self.samples.settle_all();
            take(read.pieces, &self.samples);
            read.pieces += 1;
        }
        if read.pieces > 0 {
            read.dropped.exemplars += exemplars.len() as u64;
        }
        Ok(read)
    }

    fn read(
        &mut self,
        found: &[(usize, BlockSamples<'_>)],
        (start, end): (i64, i64),
        resolution_ms: i64,
    ) -> Result<(), SegmentError> {
        self.samples.clear();
        for (_, series) in found {
            series.read(start, end, &mut self.samples, &mut self.held)?;
            series.forget_times();
            let copy = if resolution_ms == 0 { 0 } else { aggregates::memory(&self.samples, resolution_ms) };
            let work = self.samples.settling_memory().max(self.samples.timestamps.len() * WRITING_BYTES + copy);
            self.held.settle((self.samples.memory_with(0) + work) as u64)?;
        }
        Ok(())
    }
}

/// Both halves of a range, as far as there are samples; `None` of a millisecond.
fn halves(found: &[(usize, BlockSamples<'_>)], (start, end): (i64, i64)) -> Option<[(i64, i64); 2]> {
    let first = found.iter().map(|(_, series)| series.times().0).min()?.max(start);
    let last = found.iter().map(|(_, series)| series.times().1).max()?.min(end);
    let middle = (i128::from(first) + i128::from(last)).div_euclid(2) as i64;
    (first < last).then_some([(start, middle), (middle + 1, end)])
}

/// Those of all blocks, by time, and how many are hidden.
fn shown_exemplars(
    found: &[(usize, BlockSamples<'_>)],
    hides: Option<&HiddenRows>,
    hidden: &mut usize,
) -> Result<Vec<Exemplar>, SegmentError> {
    let (left_out, mut shown) = (Cell::new(0), Vec::new());
    let shows = |at: i64| {
        let is_hidden = hides.is_some_and(|hides| hides.has(at.saturating_mul(MILLISECOND), b""));
        left_out.set(left_out.get() + usize::from(is_hidden));
        !is_hidden
    };
    for (_, series) in found {
        series.exemplars((i64::MIN, i64::MAX), &shows, &mut shown)?;
    }
    exemplars::settle(&mut shown);
    *hidden += left_out.get();
    Ok(shown)
}
