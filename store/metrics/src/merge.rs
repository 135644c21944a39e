//! Several metrics blocks as one: every series once, its samples side by side. Called by compaction.
//!
//! The blocks' series are in one order, so their groups are read from front to back, each once: what is in memory is one
//! group a block (two where a series is the last of its group) and the output.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::label::NAME;
use weir_model::metric::Family;
use weir_model::select::{NoBudget, ReadError};

use super::aggregates;
use super::block::MetricsBlock;
use super::counters::MetricsCounters;
use super::pieces::{Pieces, SeriesBudget};
use super::reader::has_series;
use super::samples::Dropped;
use super::schema::{BlockOrder, MILLISECOND};
use super::stored::BlockSamples;
use super::walk::Walk;
use super::writer::{BlockWriter, Families, Resolution, Resolutions};
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Merge, SegmentError};

/// Blocks oldest first: where two have another value for one millisecond, the older one's stays, and of two metadata the
/// newer one's.
pub(crate) fn merge(
    blocks: &[Arc<MetricsBlock>],
    (counters, series_bytes_max): (&MetricsCounters, u64),
) -> Result<Vec<BuiltBlock>, StoreError> {
    merge_without(blocks, (&Hidden::default(), &mut 0), resolutions(blocks), (counters, series_bytes_max))
}

/// A block less its hidden samples and exemplars, and less the metadata of names that had samples and have none left, and of tenants of whom all is
/// deleted; `None` when it has nothing of the kind. Where metadata alone is left its block has no times: whoever knows the old ones
/// says them.
pub(crate) fn rewrite(
    block: &Arc<MetricsBlock>,
    without: &Hidden,
    (counters, series_bytes_max): (&MetricsCounters, u64),
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
    let built = merge_without(blocks, (without, &mut left_out), resolutions(blocks), (counters, series_bytes_max))?;
    Ok((left_out > 0).then_some(built))
}

/// A block with each tenant's samples at the resolution that it is to have, seconds, or at the coarser one that they have already; 0 leaves
/// them as they are. `None` when that changes none.
pub(crate) fn downsample(
    block: &Arc<MetricsBlock>,
    wanted: &dyn Fn(&str) -> u32,
    (counters, series_bytes_max): (&MetricsCounters, u64),
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
    merge_without(std::slice::from_ref(block), nothing, resolutions, (counters, series_bytes_max)).map(Some)
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

/// Counts the samples, exemplars and metadata that it leaves out. A series may take so much memory: of one that takes more, each piece but
/// the first goes into a block behind. What a tenant's samples are finer than its resolution is downsampled, each piece by itself.
pub(crate) fn merge_without(
    blocks: &[Arc<MetricsBlock>],
    (without, left_out): (&Hidden, &mut usize),
    resolutions: Resolutions,
    (counters, bytes_max): (&MetricsCounters, u64),
) -> Result<Vec<BuiltBlock>, StoreError> {
    let (mut had, mut left) = (Names::new(), Names::new());
    // One for each piece of a series.
    let mut writers = vec![BlockWriter::with_resolutions(resolutions.clone())];
    let mut dropped = Dropped::default();
    let mut merge = Merge::new(blocks.iter().map(all).collect());
    let budget = SeriesBudget::new(bytes_max);
    let (mut found, mut pieces) = (Vec::new(), Pieces::new(&budget));
    while let Some(next) = merge.next_group(&mut found) {
        let (tenant, BlockOrder(labels)) = next.map_err(failed)?;
        let hides = (!without.is_nothing()).then(|| without.of(tenant, &labels));
        if hides.is_some() {
            had.entry(tenant).or_default().insert(labels.get(NAME).to_owned());
        }
        let resolution_ms = resolutions.get(tenant).map_or(0, |own| i64::from(own.finest) * 1000);
        let read = pieces.each(&found, (hides.as_ref(), resolution_ms), |piece, samples| {
            if writers.len() == piece {
                writers.push(BlockWriter::with_resolutions(resolutions.clone()));
            }
            match resolution_ms {
                0 => writers[piece].push(tenant, &labels, samples),
                _ => writers[piece].push(tenant, &labels, &aggregates::downsample(samples, resolution_ms)),
            }
        });
        found.clear();
        let read = read.map_err(failed)?;
        dropped += read.dropped;
        *left_out += read.hidden;
        if hides.is_some() && read.pieces > 0 {
            left.entry(tenant).or_default().insert(labels.get(NAME).to_owned());
        }
    }
    let mut families = Families::new();
    for (tenant, newer) in blocks.iter().flat_map(|block| block.families()) {
        families.entry(tenant.clone()).or_default().extend(newer.clone());
    }
    if !without.is_nothing() {
        *left_out += leave_out(&mut families, without, (&had, &left));
    }
    // Of each series the first has a piece: what is deleted of all of a name is deleted where its metadata is.
    let mut writers = writers.into_iter();
    let mut built = writers.next().unwrap_or_default().finish_with_all(&families);
    built.extend(writers.flat_map(|writer| writer.finish(&Families::new())));
    // Only now: a merge that failed dropped nothing, nor does one that makes as many blocks as there are, which is not kept.
    if blocks.len() == 1 || built.len() < blocks.len() {
        counters.add(dropped);
    }
    Ok(built)
}

/// Leaves metadata out of names that had samples and have none left, and of tenants of whom all is hidden; how many.
fn leave_out(families: &mut Families, without: &Hidden, (had, left): (&Names<'_>, &Names<'_>)) -> usize {
    let mut left_out = 0;
    for (tenant, own) in &mut *families {
        let (told, is_whole) = (own.len(), without.is_whole(tenant));
        let is_of =
            |names: &Names<'_>, family: &Family| names.get(tenant.as_str()).is_some_and(|names| has_series(family, names));
        // One that had no sample here has those elsewhere, or none yet.
        own.retain(|_, family| is_of(left, family) || !is_whole && !is_of(had, family));
        left_out += told - own.len();
    }
    families.retain(|_, own| !own.is_empty());
    left_out
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
