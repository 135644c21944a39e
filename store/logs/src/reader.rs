//! Answers requests over the blocks and heads of all partitions.
//!
//! A select is compiled to a plan; segments that may match give their chunks by time, and these are merged. A block's index is
//! asked when a chunk's turn comes, so that a request for the latest lines opens as few blocks as chunks.

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
use super::lookahead::{Lookahead, ROUND_MAX};
use super::newest::Newest;
use super::plan::LogsPlan;
use super::segment::{Chunk, ChunkEntries, Turn, cursors, missed, shown};
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
    /// What the segments that may match have for a plan, and the blocks among them.
    fn cursors<'a>(
        &self,
        plan: &Arc<LogsPlan>,
        budget: &'a dyn Budget,
        coverage: &mut Coverage,
    ) -> (Vec<ChunkEntries<'a>>, Vec<Arc<LogsBlock>>) {
        let (mut found, mut blocks) = (Vec::new(), Vec::new());
        let horizon = self.views.horizon();
        for view in self.views.views() {
            cover(&view, coverage);
            for block in &view.blocks {
                blocks.push(Arc::clone(&block.block));
                let hidden = block.hidden.clone().with(horizon.as_ref());
                found.extend(cursors([&block.block], plan, budget).map(|cursor| shown(cursor, hidden.clone())));
            }
            found.extend(self.of_heads(&view, plan, budget));
        }
        (found, blocks)
    }

    /// What the heads of a partition that may match have for a plan.
    fn of_heads<'a>(
        &self,
        view: &PartitionView<LogsEngine>,
        plan: &Arc<LogsPlan>,
        budget: &'a dyn Budget,
    ) -> Vec<ChunkEntries<'a>> {
        let hidden = Hidden::default().with(self.views.horizon().as_ref());
        cursors(&view.heads, plan, budget).map(|cursor| shown(cursor, hidden.clone())).collect()
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
        let (cursors, blocks) = self.cursors(&plan, budget, coverage);
        let mut lookahead = Lookahead::new(blocks, &plan);
        let each = || {
            for entry in cursors.into_iter().flatten() {
                match entry {
                    Ok((_, turn)) => {
                        lookahead.reach(&turn, &plan, budget)?;
                        if let Turn::Chunk(chunk) = turn
                            && take(chunk, &plan, coverage)?.is_break()
                        {
                            break;
                        }
                    }
                    Err(error) => missed(error, coverage)?,
                }
            }
            Ok(())
        };
        let result = each();
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
        let (cursors, mut blocks) = self.cursors(plan, budget, &mut coverage);
        blocks.sort_by_cached_key(|block| block.range().map(|times| plan.turn(times)));
        let mut lookahead = Lookahead::new(blocks, plan);
        let mut merge = Merge::new(cursors);
        let mut turns = Vec::new();
        while let Some(group) = merge.next_group(&mut turns) {
            if let Err(error) = group {
                missed(error, &mut coverage)?;
            }
            for (_, turn) in &turns {
                budget.check()?;
                let (first, last) = turn.times();
                if !visitor.wants(first, last) {
                    turn.pass_over();
                    continue;
                }
                lookahead.reach(turn, plan, budget)?;
                let Turn::Chunk(chunk) = turn else { continue };
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
        Ok(coverage)
    }
}

fn cover(view: &PartitionView<LogsEngine>, coverage: &mut Coverage) {
    coverage.partitions.push(view.coverage.clone());
    view.missing.iter().for_each(|sentence| coverage.miss(sentence.clone()));
}

impl LogReader for LogsReader {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        let plan = Arc::new(LogsPlan::new(select).with_mention(visitor.mention()).reading_ahead());
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
        let (mut coverage, own, horizon) = (Coverage::default(), Arc::new(plan()), self.views.horizon());
        let (views, mut shares) = (self.views.views(), Vec::new());
        views.iter().for_each(|view| cover(view, &mut coverage));
        for view in &views {
            for BlockView { block, hidden, .. } in view.blocks.iter().filter(|view| view.block.may_match(&own)) {
                shares.push(Share { block: Arc::clone(block), hidden: hidden.clone().with(horizon.as_ref()), left: None });
            }
            let mut counter = Counter::new(by, budget, &mut *take);
            for entry in self.of_heads(view, &own, budget).into_iter().flatten() {
                match entry {
                    Ok((_, Turn::Chunk(chunk))) if counter.add_chunk(&chunk, &own, &mut coverage)?.is_break() => {
                        return Ok(coverage);
                    }
                    Ok(_) => {}
                    Err(error) => missed(error, &mut coverage)?,
                }
            }
        }
        let counting = Counting { plan: &plan, by, budget };
        let mut lookahead = Lookahead::new(shares.iter().map(|share| Arc::clone(&share.block)), &own);
        while !shares.is_empty() {
            let mut round: Vec<Share> = shares.drain(..shares.len().min(ROUND_MAX)).collect();
            for share in &mut round {
                share.left = lookahead.left_of(&share.block, &own, budget)?;
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
