//! The samples of one series as a head or a block has them: decoded when a reader asks for them.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use weir_model::metric::Exemplar;
use weir_model::select::{Budget, ReadError, Reservation};

use super::block::MetricsBlock;
use super::extras_reader::ExtrasReader;
use super::group::{Group, GroupEntry};
use super::plan::MetricsPlan;
use super::rows::HeadSeries;
use super::samples::Samples;
use super::schema::MILLISECOND;
use weir_blocks::StoreError;
use weir_blocks::segment::SegmentError;

/// What a cursor of the engine gives beside the labels.
pub enum StoredSeries<'a> {
    Head(HeadSamples<'a>),
    Block(BlockSamples<'a>),
    /// A series of a block of which only exemplars were asked for.
    Exemplars(Rc<ExtrasReader<'a>>, u32),
    /// Only its labels were asked for.
    Unread,
}

/// The series at a place of [`HeadSeries`].
pub struct HeadSamples<'a> {
    pub(super) found: Rc<Found<'a>>,
    pub(super) at: usize,
}

/// Keeps its group for as long as it is there.
pub struct BlockSamples<'a> {
    pub(super) block: Arc<MetricsBlock>,
    pub(super) group: Rc<LazyGroup<'a>>,
    pub(super) extras: Rc<ExtrasReader<'a>>,
    /// In the group, and in the block.
    pub(super) at: usize,
    pub(super) id: u32,
}

/// Series of a head that pass, and the memory that is reserved for them.
pub(super) struct Found<'a> {
    pub series: HeadSeries,
    _held: Reservation<'a>,
}

impl<'a> Found<'a> {
    pub fn new(series: HeadSeries, budget: &'a dyn Budget) -> Result<Self, ReadError> {
        let mut held = Reservation::new(budget);
        held.settle(series.memory() as u64)?;
        Ok(Self { series, _held: held })
    }
}

/// A group of a block, unpacked when a series of it is first read, and the memory that is reserved for it.
pub(super) struct LazyGroup<'a> {
    block: Arc<MetricsBlock>,
    /// Among the groups of the block.
    place: usize,
    budget: &'a dyn Budget,
    /// `None` of one that cannot be read.
    group: OnceCell<Option<Group>>,
    held: RefCell<Reservation<'a>>,
}

impl<'a> LazyGroup<'a> {
    pub fn new(block: Arc<MetricsBlock>, place: usize, budget: &'a dyn Budget) -> Self {
        let held = RefCell::new(Reservation::new(budget));
        Self { block, place, budget, group: OnceCell::new(), held }
    }

    pub fn place(&self) -> usize {
        self.place
    }

    pub fn entry(&self) -> &GroupEntry {
        &self.block.groups()[self.place]
    }

    /// `None` when it cannot be read, which was said when it was tried.
    fn unpacked(&self) -> Result<Option<&Group>, SegmentError> {
        if let Some(known) = self.group.get() {
            return Ok(known.as_ref());
        }
        let entry = self.entry();
        self.budget.check()?;
        self.budget.read(entry.bytes.end - entry.bytes.start)?;
        match self.block.group(entry) {
            Ok(group) => {
                self.held.borrow_mut().settle(group.memory() as u64)?;
                Ok(self.group.get_or_init(|| Some(group)).as_ref())
            }
            Err(error) => {
                self.group.get_or_init(|| None);
                Err(error.into())
            }
        }
    }
}

/// A budget is told of so many samples at once, since it looks at the clock each time: decoding them takes some tens of microseconds.
const SPEND_AT: u64 = 4096;

/// Samples that a request reads.
pub(super) struct Spending<'a> {
    budget: &'a dyn Budget,
    untold: u64,
}

impl<'a> Spending<'a> {
    pub fn new(budget: &'a dyn Budget) -> Self {
        Self { budget, untold: 0 }
    }

    /// Before so many more are read.
    pub fn spend(&mut self, count: usize) -> Result<(), ReadError> {
        self.untold += count as u64;
        if self.untold < SPEND_AT { Ok(()) } else { self.tell() }
    }

    /// Errors when what has been read was too much.
    pub fn tell(&mut self) -> Result<(), ReadError> {
        match std::mem::take(&mut self.untold) {
            0 => Ok(()),
            count => self.budget.spend(count),
        }
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        // Nobody reads on, so there is nobody to stop.
        let _ = self.tell();
    }
}

/// Arrivals of several tables are sorted: a row and a column each, and half as much again for the sort.
const ARRIVED_BYTES: usize = 24;

impl StoredSeries<'_> {
    /// Appends the samples in the plan's range, those of a head as they arrived. `held` is settled to what `samples` take.
    pub(super) fn read(
        &self,
        plan: &MetricsPlan,
        spending: &mut Spending<'_>,
        samples: &mut Samples,
        held: &mut Reservation<'_>,
    ) -> Result<(), SegmentError> {
        match self {
            Self::Head(HeadSamples { found, at }) => {
                let Some(places) = found.series.places(*at) else { return Ok(()) };
                let count = found.series.count(places);
                spending.spend(count)?;
                let sorted = if places.len() > 1 { count * ARRIVED_BYTES } else { 0 };
                held.settle((samples.memory_with(count) + sorted) as u64)?;
                samples.reserve(count);
                found.series.read(places, samples);
            }
            Self::Block(own) => {
                let Some(group) = own.group.unpacked()? else { return Ok(()) };
                spending.spend(group.count(own.at))?;
                own.read(plan.start_ms, plan.end_ms, samples, held)?;
            }
            Self::Exemplars(..) | Self::Unread => {}
        }
        held.settle(samples.memory_with(0) as u64)?;
        Ok(())
    }

    /// The time of the newest sample, where that is known without decoding any.
    pub(super) fn newest(&self) -> Option<i64> {
        let Self::Head(HeadSamples { found, at }) = self else { return None };
        let places = found.series.places(*at)?;
        found.series.rows_of(places).map(|(row, _)| row.timestamp).max()
    }

    /// Whether all of its samples are known to be older.
    pub(super) fn is_before(&self, at: i64) -> bool {
        matches!(self, Self::Block(own) if own.group.entry().last < at)
    }

    /// Appends the exemplars in the plan's range whose sample is shown, which `shows` is asked by its millisecond.
    pub(super) fn exemplars(
        &self,
        plan: &MetricsPlan,
        spending: &mut Spending<'_>,
        shows: &dyn Fn(i64) -> bool,
        out: &mut Vec<Exemplar>,
    ) -> Result<(), SegmentError> {
        match self {
            Self::Head(HeadSamples { found, at }) => {
                let Some(places) = found.series.places(*at) else { return Ok(()) };
                let before = out.len();
                let in_range = |exemplar: &Exemplar| {
                    let at = exemplar.timestamp.div_euclid(MILLISECOND);
                    plan.overlaps(at, at)
                };
                let wanted = found.series.exemplars(places).filter(|(row, exemplar)| in_range(exemplar) && shows(*row));
                out.extend(wanted.map(|(_, exemplar)| exemplar.clone()));
                spending.spend(out.len() - before)?;
                Ok(())
            }
            Self::Block(own) => own.exemplars((plan.start_ms, plan.end_ms), shows, out),
            Self::Exemplars(extras, id) => extras.read_exemplars(*id, (plan.start_ms, plan.end_ms), shows, out),
            Self::Unread => Ok(()),
        }
    }
}

impl BlockSamples<'_> {
    /// Appends the samples within `start..=end`, milliseconds. `held` is settled to what that takes on the way.
    pub(super) fn read(
        &self,
        start: i64,
        end: i64,
        samples: &mut Samples,
        held: &mut Reservation<'_>,
    ) -> Result<(), SegmentError> {
        let (first, last) = self.times();
        if last < start || first > end {
            return Ok(());
        }
        let Some(group) = self.group.unpacked()? else { return Ok(()) };
        let count = group.count(self.at);
        self.group.held.borrow_mut().settle(group.memory_after(self.at) as u64)?;
        held.settle(samples.memory_with(count) as u64)?;
        let before = samples.timestamps.len();
        let read = group.read(self.at, start, end, samples);
        let corrupt = |detail| StoreError::corrupt(self.block.path(), format!("samples of series {}: {detail}", self.id));
        let places = read.map_err(corrupt)?;
        if places.is_empty() {
            return Ok(());
        }
        let extras = self.extras.read(self.id, (count, places), samples, held);
        if extras.is_err() {
            // Without its histogram a sample would be a staleness marker.
            samples.truncate(before);
        }
        extras
    }

    /// Earliest and latest millisecond of its group.
    pub(super) fn times(&self) -> (i64, i64) {
        let entry = self.group.entry();
        (entry.first, entry.last)
    }

    /// Gives back the timestamps that were decoded last, where these are many.
    pub(super) fn forget_times(&self) {
        let Some(group) = self.group.group.get().and_then(Option::as_ref) else { return };
        group.forget_times();
        // What is given back is no error.
        let _less = self.group.held.borrow_mut().settle(group.memory() as u64);
    }

    /// Appends the exemplars within `start..=end`, milliseconds, whose sample is shown.
    pub(super) fn exemplars(
        &self,
        range: (i64, i64),
        shows: &dyn Fn(i64) -> bool,
        out: &mut Vec<Exemplar>,
    ) -> Result<(), SegmentError> {
        self.extras.read_exemplars(self.id, range, shows, out)
    }
}
