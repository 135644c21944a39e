//! A way through a block: the series that are wanted, each group unpacked once and held as long as a series of it is to come or
//! is there.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::select::Budget;

use super::block::MetricsBlock;
use super::extras_reader::ExtrasReader;
use super::stored::{BlockSamples, Unpacked};
use weir_blocks::segment::SegmentError;

/// Gives series in the order of its list. Where that is the block's, one group is unpacked at a time.
pub(super) struct Walk<'a> {
    block: Arc<MetricsBlock>,
    extras: Rc<ExtrasReader<'a>>,
    budget: &'a dyn Budget,
    ids: std::vec::IntoIter<u32>,
    /// Groups with series to come, by place.
    groups: BTreeMap<usize, Ahead<'a>>,
}

/// A group with series to come.
struct Ahead<'a> {
    series: u32,
    state: State<'a>,
}

enum State<'a> {
    Closed,
    Unpacked(Rc<Unpacked<'a>>),
    Unreadable,
}

impl<'a> Walk<'a> {
    /// Through the series with these ids, which exist.
    pub(super) fn new(block: Arc<MetricsBlock>, ids: Vec<u32>, budget: &'a dyn Budget) -> Self {
        let mut groups: BTreeMap<usize, Ahead<'a>> = BTreeMap::new();
        for id in &ids {
            groups.entry(block.group_of(*id)).or_insert(Ahead { series: 0, state: State::Closed }).series += 1;
        }
        let extras = Rc::new(ExtrasReader::new(Arc::clone(&block), budget));
        Self { block, extras, budget, ids: ids.into_iter(), groups }
    }

    /// The samples of one series; `None` when its group cannot be read, which was said when it was tried.
    fn series(&mut self, id: u32) -> Result<Option<BlockSamples<'a>>, SegmentError> {
        let place = self.block.group_of(id);
        let ahead = self.groups.get_mut(&place).expect("invariant: every group of a listed series is ahead");
        let entry = &self.block.groups()[place];
        if matches!(ahead.state, State::Closed) {
            self.budget.check()?;
            self.budget.read(entry.bytes.end - entry.bytes.start)?;
            ahead.state = match self.block.group(entry) {
                Ok(group) => State::Unpacked(Rc::new(Unpacked::new(group, self.budget)?)),
                Err(error) => {
                    ahead.state = State::Unreadable;
                    ahead.series -= 1;
                    return Err(error.into());
                }
            };
        }
        let samples = match &ahead.state {
            State::Unpacked(group) => {
                let (block, group) = (Arc::clone(&self.block), Rc::clone(group));
                let extras = Rc::clone(&self.extras);
                Some(BlockSamples { block, group, extras, at: (id - entry.series_first) as usize, id })
            }
            _ => None,
        };
        ahead.series -= 1;
        if ahead.series == 0 {
            self.groups.remove(&place);
        }
        Ok(samples)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<BlockSamples<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let id = self.ids.next()?;
            if let Some(series) = self.series(id).transpose() {
                return Some(series);
            }
        }
    }
}
