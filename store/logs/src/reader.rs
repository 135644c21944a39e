//! Answers requests over the blocks and heads of all partitions.
//!
//! A select is compiled to a plan; segments that may match give their chunks by time, and these are merged. A block's index is
//! asked when the block's turn comes, so that a request for the latest lines opens as few blocks as chunks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogBatch;
use weir_model::scope::Scope;
use weir_model::select::{
    Buckets, Budget, CountBy, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, OwnedLine, ReadError, TakeCount,
    TakeTemplate,
};

use super::block::LogsBlock;
use super::count::Counter;
use super::counting::{Counting, Share};
use super::engine::LogsEngine;
use super::line::{self, LineSelect};
use super::lookahead::{Fetched, Lookahead, ROUND_MAX};
use super::newest::Newest;
use super::plan::LogsPlan;
use super::segment::{Chunk, ChunkEntries, cursors, each, missed, shown};
use super::tail::Tail;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Merge, Segment};
use weir_blocks::view::{BlockView, PartitionView, Tails, Views};

/// Reads logs.
pub struct LogsReader {
    /// Blocks and heads.
    pub views: Arc<dyn Views<LogsEngine>>,
    /// For live tails.
    pub tails: Arc<dyn Tails<LogBatch>>,
}

impl LogsReader {
    /// What the heads that may match have for a plan, and the blocks that may.
    fn segments<'a>(
        &self,
        plan: &Arc<LogsPlan>,
        budget: &'a dyn Budget,
        coverage: &mut Coverage,
    ) -> (Vec<ChunkEntries<'a>>, Vec<(Arc<LogsBlock>, Hidden)>) {
        let (mut heads, mut blocks, horizon) = (Vec::new(), Vec::new(), self.views.horizon());
        for view in self.views.views() {
            cover(&view, coverage);
            for BlockView { block, hidden, .. } in view.blocks.iter().filter(|view| view.block.may_match(plan)) {
                blocks.push((Arc::clone(block), hidden.clone().with(horizon.as_ref())));
            }
            let hidden = Hidden::default().with(horizon.as_ref());
            heads.extend(cursors(&view.heads, plan, budget).map(|cursor| shown(cursor, hidden.clone())));
        }
        (heads, blocks)
    }

    /// Every chunk for a plan, in no order, until `take` breaks.
    fn each_chunk(
        &self,
        plan: LogsPlan,
        budget: &dyn Budget,
        coverage: &mut Coverage,
        mut take: impl FnMut(Chunk, &LogsPlan, &mut Coverage) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let plan = Arc::new(plan);
        let (heads, blocks) = self.segments(&plan, budget, coverage);
        let mut lookahead = Lookahead::new(blocks.iter().map(|(block, _)| Arc::clone(block)), &plan);
        let mut take = |chunk: Chunk, coverage: &mut Coverage| take(chunk, &plan, coverage);
        let all = || {
            for cursor in heads {
                if each(cursor, &Fetched::default(), coverage, &mut take)?.is_break() {
                    return Ok(());
                }
            }
            for (block, hidden) in blocks {
                let left = lookahead.left_of(&block, &plan, budget)?;
                let cursor = shown(block.cursor_of(left, Arc::clone(&plan), budget), hidden);
                if each(cursor, lookahead.fetched(), coverage, &mut take)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        let result = all();
        plan.end(budget);
        result
    }

    /// Gives the lines of all chunks in the order of the plan.
    fn visit_in_order(
        &self,
        plan: &Arc<LogsPlan>,
        budget: &dyn Budget,
        visitor: &mut dyn LogVisitor,
    ) -> Result<Coverage, ReadError> {
        let mut coverage = Coverage::default();
        let (heads, mut blocks) = self.segments(plan, budget, &mut coverage);
        let turn = |block: &LogsBlock| block.range().map(|times| plan.turn(times));
        blocks.sort_by_cached_key(|(block, _)| turn(block));
        let mut lookahead = Lookahead::new(blocks.iter().map(|(block, _)| Arc::clone(block)), plan);
        let (mut merge, mut blocks, mut chunks) = (Merge::new(heads), blocks.into_iter().peekable(), Vec::new());
        loop {
            // Before the next chunk: the blocks that may have an earlier one.
            let next = merge.next_key()?;
            if let Some((block, hidden)) = blocks.next_if(|(block, _)| next.is_none_or(|next| turn(block).as_ref() <= Some(next)))
            {
                if block.range().is_some_and(|(first, last)| visitor.wants(first, last)) {
                    let left = lookahead.left_of(&block, plan, budget)?;
                    merge.add(shown(block.cursor_of(left, Arc::clone(plan), budget), hidden));
                }
                continue;
            }
            let Some(group) = merge.next_group(&mut chunks) else { return Ok(coverage) };
            if let Err(error) = group {
                missed(error, &mut coverage)?;
            }
            for (_, chunk) in &chunks {
                budget.check()?;
                let (first, last) = chunk.times();
                if !visitor.wants(first, last) {
                    continue;
                }
                lookahead.fetched().tell(chunk);
                if !chunk.may_match(plan) {
                    continue;
                }
                let Some(lines) = chunk.open(plan, budget, &mut coverage)? else { continue };
                let flow = if plan.newest_first() {
                    let mut newest = Newest::new(&chunk.stream, visitor);
                    lines.give(plan.range, &plan.filters, chunk.mention(plan), &mut newest)
                } else {
                    let mut announced = false;
                    lines.visit(plan.range, &plan.filters, chunk.mention(plan), &mut |id, record| {
                        if !std::mem::replace(&mut announced, true) {
                            visitor.stream(&chunk.stream);
                        }
                        visitor.line(id, record)
                    })
                };
                match flow {
                    Ok(ControlFlow::Break(())) => return Ok(coverage),
                    Ok(ControlFlow::Continue(())) => {}
                    Err(error) => coverage.miss(error.to_string()),
                }
            }
        }
    }
}

fn cover(view: &PartitionView<LogsEngine>, coverage: &mut Coverage) {
    coverage.partitions.push(view.coverage.clone());
    view.missing.iter().for_each(|sentence| coverage.miss(sentence.clone()));
}

impl LogReader for LogsReader {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        let plan = Arc::new(LogsPlan::new(select).with_mention(visitor.mention()).looking_ahead());
        let result = self.visit_in_order(&plan, budget, visitor);
        plan.end(budget);
        result
    }

    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let (mut coverage, mut streams) = (Coverage::default(), BTreeSet::new());
        self.each_chunk(LogsPlan::new(select), budget, &mut coverage, |chunk, plan, coverage| {
            // Of a stream whose lines are all hidden not even the name is told.
            if streams.contains(&chunk.stream) {
                return Ok(ControlFlow::Continue(()));
            }
            let lines =
                if chunk.source.may_hide() { chunk.open(plan, budget, coverage)?.map(|lines| lines.len()) } else { Some(Ok(1)) };
            match lines {
                Some(Err(error)) => coverage.miss(error.to_string()),
                Some(Ok(lines)) if lines > 0 => {
                    streams.insert(chunk.stream);
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Covered { value: streams.into_iter().collect(), coverage })
    }

    fn counts(&self, select: &LogSelect, by: &CountBy, budget: &dyn Budget, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        let plan = || {
            let plan = LogsPlan::new(select).with_mention(by.mention.clone());
            // Without filters roll-ups say most of it.
            if select.filters.is_empty() { plan } else { plan.reading_ahead() }
        };
        let (mut coverage, own) = (Coverage::default(), Arc::new(plan()));
        let (heads, blocks) = self.segments(&own, budget, &mut coverage);
        let mut counter = Counter::new(by, budget, &mut *take);
        for cursor in heads {
            let mut add = |chunk: Chunk, coverage: &mut Coverage| counter.add_chunk(&chunk, &own, coverage);
            if each(cursor, &Fetched::default(), &mut coverage, &mut add)?.is_break() {
                return Ok(coverage);
            }
        }
        let counting = Counting { plan: &plan, by, budget };
        let mut lookahead = Lookahead::new(blocks.iter().map(|(block, _)| Arc::clone(block)), &own);
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            let mut round = Vec::new();
            for (block, hidden) in blocks.by_ref().take(ROUND_MAX) {
                let left = lookahead.left_of(&block, &own, budget)?;
                round.push(Share { block, hidden, left });
            }
            if counting.count(round, lookahead.fetched(), &mut coverage, take)?.is_break() {
                break;
            }
        }
        Ok(coverage)
    }

    fn templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        let mut coverage = Coverage::default();
        self.each_chunk(LogsPlan::new(select).reading_ahead(), budget, &mut coverage, |chunk, plan, coverage| {
            budget.check()?;
            if !chunk.may_match(plan) {
                return Ok(ControlFlow::Continue(()));
            }
            let Some(lines) = chunk.open(plan, budget, coverage)? else { return Ok(ControlFlow::Continue(())) };
            Ok(lines.templates((plan.range, buckets), &plan.filters, take).unwrap_or_else(|error| {
                coverage.miss(error.to_string());
                ControlFlow::Continue(())
            }))
        })?;
        Ok(coverage)
    }

    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        let mut answer = Covered::default();
        let horizon = self.views.horizon();
        let select = LineSelect { scope, place: (id.offset, id.ordinal), context, horizon: horizon.as_ref() };
        for view in self.views.views().iter().filter(|view| view.coverage.partition == id.partition) {
            cover(view, &mut answer.coverage);
            answer.value = line::find(view, &select, budget, &mut answer.coverage)?;
            if !answer.value.is_empty() {
                break;
            }
        }
        Ok(answer)
    }

    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        Ok(Box::new(Tail::new(self.tails.subscribe(), &select)))
    }
}
