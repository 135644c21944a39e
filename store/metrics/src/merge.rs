//! Several metrics blocks as one: every series once, its samples side by side. Called by compaction.
//!
//! The blocks' series are in one order, so their groups are read from front to back, each once: what is in memory is one
//! group a block (two where a series is the last of its group) and the output.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::label::NAME;
use weir_model::metric::Family;
use weir_model::select::{Budget, NoBudget, ReadError, Reservation};

use super::aggregates;
use super::block::MetricsBlock;
use super::counters::MetricsCounters;
use super::reader::has_series;
use super::samples::{Dropped, Samples};
use super::schema::{BlockOrder, MILLISECOND};
use super::stored::BlockSamples;
use super::walk::Walk;
use super::writer::{BlockWriter, Families, Resolution, Resolutions};
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Merge, SegmentError};

/// Memory of one series' samples of all blocks, histograms decoded: what `aggregator.compaction_memory_max` is by default. Numbers of a
/// second each take it after two years. Histograms of many buckets take it sooner, above all runs of before, whose spans and bounds were
/// not counted. Beyond it a merge is given up, and its blocks are left as they are.
pub(crate) const SERIES_BYTES_MAX: u64 = 1 << 30;

/// Blocks oldest first: where two have another value for one millisecond, the older one's stays, and of two metadata the
/// newer one's.
pub(crate) fn merge(blocks: &[Arc<MetricsBlock>], counters: &MetricsCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    merge_without(blocks, (&Hidden::default(), &mut 0), resolutions(blocks), (counters, SERIES_BYTES_MAX))
}

/// A block less its hidden samples and exemplars, and less the metadata of names that had samples and have none left, and of tenants of whom all is
/// deleted; `None` when it has nothing of the kind. Where metadata alone is left its block has no times: whoever knows the old ones
/// says them.
pub(crate) fn rewrite(
    block: &Arc<MetricsBlock>,
    without: &Hidden,
    counters: &MetricsCounters,
) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
    let nanos = |milliseconds: i64| milliseconds.saturating_mul(MILLISECOND);
    let may_hide = |tenant: &str, id: u32| {
        let group = &block.groups()[block.group_of(id)];
        let (first, last) = (nanos(group.first), nanos(group.last));
        without.touches(tenant, first, last) && without.of(tenant, &block.make_labels(id)).overlaps(first, last)
    };
    let is_told = |(tenant, own): (&String, &BTreeMap<String, Family>)| !own.is_empty() && without.is_whole(tenant);
    let mut series = block.tenants().iter().flat_map(|(tenant, ids)| ids.clone().map(move |id| (tenant, id)));
    if !block.families().iter().any(is_told) && !series.any(|(tenant, id)| may_hide(tenant, id)) {
        return Ok(None);
    }
    let mut left_out = 0;
    let blocks = std::slice::from_ref(block);
    let built = merge_without(blocks, (without, &mut left_out), resolutions(blocks), (counters, SERIES_BYTES_MAX))?;
    Ok((left_out > 0).then_some(built))
}

/// A block with each tenant's samples at the resolution that it is to have, seconds, or at the coarser one that they have already; 0 leaves
/// them as they are. `None` when that changes none.
pub(crate) fn downsample(
    block: &Arc<MetricsBlock>,
    wanted: &dyn Fn(&str) -> u32,
    counters: &MetricsCounters,
) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
    let (mut resolutions, mut is_changed) = (Resolutions::new(), false);
    for (tenant, own) in block.tenant_resolutions() {
        let wanted = wanted(tenant);
        let new = Resolution { finest: own.finest.max(wanted), coarsest: own.coarsest.max(wanted) };
        is_changed |= new != own;
        resolutions.insert(tenant.clone(), new);
    }
    if !is_changed {
        return Ok(None);
    }
    let nothing = (&Hidden::default(), &mut 0);
    merge_without(std::slice::from_ref(block), nothing, resolutions, (counters, SERIES_BYTES_MAX)).map(Some)
}

/// Of the samples of all blocks together.
fn resolutions(blocks: &[Arc<MetricsBlock>]) -> Resolutions {
    let mut resolutions = Resolutions::new();
    for (tenant, own) in blocks.iter().flat_map(|block| block.tenant_resolutions()) {
        let all = resolutions.entry(tenant.clone()).or_insert(own);
        (all.finest, all.coarsest) = (own.finest.min(all.finest), own.coarsest.max(all.coarsest));
    }
    resolutions
}

/// Samples of series of which all are hidden, as many a series as its group has on average.
pub(crate) fn count_hidden(block: &MetricsBlock, hidden: &Hidden) -> u64 {
    let nanos = |milliseconds: i64| milliseconds.saturating_mul(MILLISECOND);
    let of_tenant = |(tenant, ids): &(String, std::ops::Range<u32>)| {
        let samples = ids.clone().map(|id| {
            let group = &block.groups()[block.group_of(id)];
            let (first, last) = (nanos(group.first), nanos(group.last));
            let is_hidden = hidden.touches(tenant, first, last) && hidden.of(tenant, &block.make_labels(id)).covers(first, last);
            if is_hidden { group.samples / u64::from(group.series.max(1)) } else { 0 }
        });
        samples.sum::<u64>()
    };
    block.tenants().iter().map(of_tenant).sum()
}

/// Names by tenant.
type Names<'a> = BTreeMap<&'a str, BTreeSet<String>>;

/// What one series may hold at once.
struct SeriesBudget {
    bytes_max: u64,
    held: AtomicU64,
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
        let text = format!("the samples of one series take {held} bytes of memory, and may take {}", self.bytes_max);
        Err(ReadError::Store(text))
    }

    fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Counts the samples, exemplars and metadata that it leaves out. A series may take so much memory. What a tenant's samples are finer than its resolution
/// is downsampled.
pub(crate) fn merge_without(
    blocks: &[Arc<MetricsBlock>],
    (without, left_out): (&Hidden, &mut usize),
    resolutions: Resolutions,
    (counters, bytes_max): (&MetricsCounters, u64),
) -> Result<Vec<BuiltBlock>, StoreError> {
    let (mut had, mut left) = (Names::new(), Names::new());
    let mut writer = BlockWriter::with_resolutions(resolutions.clone());
    let mut dropped = Dropped::default();
    let mut merge = Merge::new(blocks.iter().map(all).collect());
    let budget = SeriesBudget { bytes_max, held: AtomicU64::new(0) };
    let (mut found, mut samples, mut held) = (Vec::new(), Samples::default(), Reservation::new(&budget));
    while let Some(next) = merge.next_group(&mut found) {
        let (tenant, BlockOrder(labels)) = next.map_err(failed)?;
        samples.clear();
        let hides = (!without.is_nothing()).then(|| without.of(tenant, &labels));
        let hidden_exemplars = Cell::new(0);
        let shows = |at: i64| {
            let is_hidden = hides.as_ref().is_some_and(|hidden| hidden.has(at.saturating_mul(MILLISECOND), b""));
            hidden_exemplars.set(hidden_exemplars.get() + usize::from(is_hidden));
            !is_hidden
        };
        for (_, series) in found.drain(..) {
            series.read(i64::MIN, i64::MAX, &mut samples, &mut held).map_err(failed)?;
            series.exemplars((i64::MIN, i64::MAX), &shows, &mut samples.exemplars).map_err(failed)?;
        }
        if let Some(hidden) = &hides {
            had.entry(tenant).or_default().insert(labels.get(NAME).to_owned());
            *left_out += samples.hide(0, hidden) + hidden_exemplars.get();
            if !samples.timestamps.is_empty() {
                left.entry(tenant).or_default().insert(labels.get(NAME).to_owned());
            }
        }
        dropped += samples.settle_all();
        match resolutions.get(tenant).map_or(0, |own| own.finest) {
            0 => writer.push(tenant, &labels, &samples),
            seconds => writer.push(tenant, &labels, &aggregates::downsample(&samples, i64::from(seconds) * 1000)),
        }
    }
    let mut families = Families::new();
    for (tenant, newer) in blocks.iter().flat_map(|block| block.families()) {
        families.entry(tenant.clone()).or_default().extend(newer.clone());
    }
    if !without.is_nothing() {
        for (tenant, own) in &mut families {
            let (told, is_whole) = (own.len(), without.is_whole(tenant));
            let is_of =
                |names: &Names<'_>, family: &Family| names.get(tenant.as_str()).is_some_and(|names| has_series(family, names));
            // One that had no sample here has those elsewhere, or none yet.
            own.retain(|_, family| is_of(&left, family) || !is_whole && !is_of(&had, family));
            *left_out += told - own.len();
        }
        families.retain(|_, own| !own.is_empty());
    }
    let built = writer.finish_with_all(&families);
    // Only now: a merge that failed dropped nothing.
    counters.add(dropped);
    Ok(built)
}

type Entry<'a> = Result<((&'a str, BlockOrder), BlockSamples<'static>), SegmentError>;

/// All series of a block, in its order.
fn all(block: &Arc<MetricsBlock>) -> impl Iterator<Item = Entry<'_>> {
    let mut tenants = block.tenants().iter().peekable();
    let walk = Walk::new(Arc::clone(block), (0..block.series()).collect(), &NoBudget);
    walk.map(move |series| {
        let series = series?;
        while tenants.next_if(|(_, range)| range.end <= series.id).is_some() {}
        let tenant = tenants.peek().map_or("", |(tenant, _)| tenant);
        Ok(((tenant, BlockOrder(block.make_labels(series.id))), series))
    })
}

fn failed(error: SegmentError) -> StoreError {
    match error {
        SegmentError::Unreadable(error) => error,
        SegmentError::Ended(ReadError::Store(detail)) => StoreError::engine("merge metrics", detail),
        SegmentError::Ended(error) => StoreError::engine("merge metrics", error),
    }
}
