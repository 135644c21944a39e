//! A way through a block: the series that are wanted, each group held as long as a series of it is to come or is there, and unpacked
//! when one is read.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::select::Budget;

use super::block::MetricsBlock;
use super::extras_reader::ExtrasReader;
use super::stored::{BlockSamples, LazyGroup};
use weir_blocks::segment::SegmentError;

/// Gives series in the order of its list. Where that is the block's, one group is unpacked at a time.
pub(super) struct Walk<'a> {
    block: Arc<MetricsBlock>,
    extras: Rc<ExtrasReader<'a>>,
    ids: std::vec::IntoIter<u32>,
    /// Groups with series to come, by place, and how many.
    groups: BTreeMap<usize, (Rc<LazyGroup<'a>>, u32)>,
}

impl<'a> Walk<'a> {
    /// Through the series with these ids, which exist.
    pub(super) fn new(block: Arc<MetricsBlock>, ids: Vec<u32>, budget: &'a dyn Budget) -> Self {
        let mut groups: BTreeMap<usize, (Rc<LazyGroup<'a>>, u32)> = BTreeMap::new();
        for id in &ids {
            let place = block.group_of(*id);
            let ahead = groups.entry(place).or_insert_with(|| (Rc::new(LazyGroup::new(Arc::clone(&block), place, budget)), 0));
            ahead.1 += 1;
        }
        let extras = Rc::new(ExtrasReader::new(Arc::clone(&block), budget));
        Self { block, extras, ids: ids.into_iter(), groups }
    }

    fn series(&mut self, id: u32) -> BlockSamples<'a> {
        let place = self.block.group_of(id);
        let (group, series) = self.groups.get_mut(&place).expect("invariant: every group of a listed series is ahead");
        let group = Rc::clone(group);
        *series -= 1;
        if *series == 0 {
            self.groups.remove(&place);
        }
        let at = (id - group.entry().series_first) as usize;
        BlockSamples { block: Arc::clone(&self.block), group, extras: Rc::clone(&self.extras), at, id }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<BlockSamples<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let id = self.ids.next()?;
        Some(Ok(self.series(id)))
    }
}
