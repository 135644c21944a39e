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
    way: Way<'a>,
    ids: std::vec::IntoIter<u32>,
}

/// The same for who has the list: asks for each of its series once, or passes it.
pub(super) struct Way<'a> {
    block: Arc<MetricsBlock>,
    extras: Rc<ExtrasReader<'a>>,
    ahead: Ahead<'a>,
}

/// Groups with series to come.
struct Ahead<'a> {
    block: Arc<MetricsBlock>,
    budget: &'a dyn Budget,
    /// That of the series before, which mostly has the next one as well, and how many of it are to come.
    now: Option<(Rc<LazyGroup<'a>>, u32)>,
    /// The others, by place.
    others: BTreeMap<usize, (Rc<LazyGroup<'a>>, u32)>,
}

impl<'a> Ahead<'a> {
    /// The group of a series, and how many of it are to come.
    fn of(&mut self, id: u32) -> &mut (Rc<LazyGroup<'a>>, u32) {
        if !self.now.as_ref().is_some_and(|(group, _)| group.entry().has(id)) {
            if let Some(before) = self.now.take() {
                self.others.insert(before.0.place(), before);
            }
            let place = self.block.group_of(id);
            self.now = self.others.remove(&place);
        }
        let place = || self.block.group_of(id);
        self.now.get_or_insert_with(|| (Rc::new(LazyGroup::new(Arc::clone(&self.block), place(), self.budget)), 0))
    }
}

impl<'a> Walk<'a> {
    /// Through the series with these ids, which exist.
    pub(super) fn new(block: Arc<MetricsBlock>, ids: Vec<u32>, budget: &'a dyn Budget) -> Self {
        Self { way: Way::new(block, &ids, budget), ids: ids.into_iter() }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<BlockSamples<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let id = self.ids.next()?;
        Some(Ok(self.way.series(id)))
    }
}

impl<'a> Way<'a> {
    pub(super) fn new(block: Arc<MetricsBlock>, ids: &[u32], budget: &'a dyn Budget) -> Self {
        let mut ahead = Ahead { block: Arc::clone(&block), budget, now: None, others: BTreeMap::new() };
        ids.iter().for_each(|id| ahead.of(*id).1 += 1);
        let extras = Rc::new(ExtrasReader::new(Arc::clone(&block), budget));
        Self { block, extras, ahead }
    }

    pub(super) fn series(&mut self, id: u32) -> BlockSamples<'a> {
        let group = Rc::clone(&self.ahead.of(id).0);
        self.pass(id);
        let at = (id - group.entry().series_first) as usize;
        BlockSamples { block: Arc::clone(&self.block), group, extras: Rc::clone(&self.extras), at, id }
    }

    /// Lets go of a series' group when it was the last of it.
    pub(super) fn pass(&mut self, id: u32) {
        let (_, to_come) = self.ahead.of(id);
        *to_come -= 1;
        if *to_come == 0 {
            self.ahead.now = None;
        }
    }

    /// The newest millisecond that a series may have.
    pub(super) fn last(&mut self, id: u32) -> i64 {
        self.ahead.of(id).0.entry().last
    }
}
