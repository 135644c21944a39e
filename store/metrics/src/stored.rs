//! The samples of one series as a head or a block has them: decoded when a reader asks for them.

use std::rc::Rc;
use std::sync::Arc;

use weir_model::select::Budget;

use super::block::MetricsBlock;
use super::group::Group;
use super::plan::MetricsPlan;
use super::rows::HeadSeries;
use super::samples::Samples;
use weir_blocks::StoreError;
use weir_blocks::segment::SegmentError;

/// What a cursor of the engine gives beside the labels.
pub enum StoredSeries {
    Head(HeadSamples),
    Block(BlockSamples),
    /// Only its labels were asked for.
    Unread,
}

/// The series at a place of [`HeadSeries::series`].
pub struct HeadSamples {
    pub(super) found: Rc<HeadSeries>,
    pub(super) at: usize,
}

/// Keeps its group unpacked for as long as it is there.
pub struct BlockSamples {
    pub(super) block: Arc<MetricsBlock>,
    pub(super) group: Rc<Group>,
    /// In the group, and in the block.
    pub(super) at: usize,
    pub(super) id: u32,
}

impl StoredSeries {
    /// Appends the samples in the plan's range, those of a head as they arrived.
    pub(super) fn read(&self, plan: &MetricsPlan, budget: &dyn Budget, samples: &mut Samples) -> Result<(), SegmentError> {
        match self {
            Self::Head(HeadSamples { found, at }) => {
                let (_, places) = &found.series[*at];
                let rows: usize = places.iter().map(|(table, _)| found.rows(*table).len()).sum();
                budget.spend(rows as u64)?;
                found.read(places, samples);
                Ok(())
            }
            Self::Block(own) => {
                budget.spend(own.group.count(own.at) as u64)?;
                own.read(plan.start_ms, plan.end_ms, samples).map_err(SegmentError::Unreadable)
            }
            Self::Unread => Ok(()),
        }
    }
}

impl BlockSamples {
    /// Appends the samples within `start..=end`, milliseconds.
    pub(super) fn read(&self, start: i64, end: i64, samples: &mut Samples) -> Result<(), StoreError> {
        let read = self.group.read(self.at, start, end, samples);
        read.map_err(|detail| StoreError::corrupt(self.block.path(), format!("samples of series {}: {detail}", self.id)))
    }
}
