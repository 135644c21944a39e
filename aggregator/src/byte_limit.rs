//! What of blocks goes because a tenant has more of them than `retention_bytes` lets it keep. Pure: which blocks there are and whose
//! they are come in; `machine` publishes what goes.
//!
//! A tenant's bytes of a block are the block's, index and all, in the proportion in which its chunks are the tenant's. A tenant that is
//! beyond its limit loses its oldest records until it has seven eighths of it: the next time is an eighth of the limit later, and not
//! with the next seal. What all tenants of a block lose goes with the block; else the block is rewritten without it. A block that is
//! rewritten for one tenant is so for all that are beyond seven eighths: each of them would have it rewritten once more a little later.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::BlockEntry;
use weir_model::deletion::Deletion;
use weir_model::limits::{Limits, TenantLimits};
use weir_model::time::{TimeRange, UnixNanos};
use weir_model::usage::Amount;
use weir_model::wire::Kind;

/// A tenant that is beyond its limit loses one in so many of its bytes more than it must.
const SLACK: u64 = 8;

/// What tenants may keep of one kind. The limits are looked up when they are needed: a file that changes counts at once.
#[derive(Clone, Debug)]
pub(crate) struct ByteLimits {
    limits: Limits,
    kind: Kind,
}

impl ByteLimits {
    pub fn new(limits: Limits, kind: Kind) -> Self {
        Self { limits, kind }
    }

    /// Whether anybody has a limit.
    pub fn any(&self) -> bool {
        let overrides = self.limits.current();
        let defaults = overrides.of("");
        overrides.tenants().map(|(_, limits)| limits).chain([&*defaults]).any(|limits| self.whole(limits).is_some())
    }

    /// What a tenant may keep in one of so many partitions.
    pub fn share(&self, tenant: &str, partitions: u32) -> Option<u64> {
        self.whole(&self.limits.of(tenant)).map(|bytes| (bytes / u64::from(partitions.max(1))).max(1))
    }

    fn whole(&self, limits: &TenantLimits) -> Option<u64> {
        let own = match self.kind {
            Kind::Logs => limits.logs.retention_bytes,
            Kind::Metrics => limits.metrics.retention_bytes,
            Kind::Spans => limits.traces.retention_bytes,
        };
        own.map(weir_model::config::ByteSize::to_u64)
    }
}

/// Bytes of one block by tenant; also tenants that have none, of which a block may know more than records.
pub(crate) type BlockShares = BTreeMap<Arc<str>, u64>;

/// A block of `size` bytes whose chunks are theirs: what nobody's chunks are, names and indexes, is shared out in proportion.
pub(crate) fn block_shares(size: u64, chunks: Vec<(Arc<str>, Amount)>) -> BlockShares {
    let mut shares = BlockShares::new();
    for (tenant, amount) in chunks {
        *shares.entry(tenant).or_default() += amount.bytes;
    }
    let all = u128::from(shares.values().sum::<u64>()).max(1);
    let part = |own: u64| u64::try_from(u128::from(own) * u128::from(size) / all).unwrap_or(size);
    shares.values_mut().for_each(|own| *own = part(*own));
    shares
}

/// What a tenant loses of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub tenant: Arc<str>,
    /// What is earlier goes; `None` for all.
    pub before: Option<UnixNanos>,
}

/// What readers of a block would not see without what is cut: a rewrite leaves it behind.
pub(crate) fn hidden(cuts: &[Cut]) -> Hidden {
    let range = |cut: &Cut| cut.before.map_or(TimeRange::ALL, |end| TimeRange { start: UnixNanos::MIN, end });
    Hidden::by(cuts.iter().map(|cut| Arc::new(Deletion::everything_of(Arc::clone(&cut.tenant), range(cut)))).collect())
}

/// What goes, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    /// All of whose tenants lose all of it.
    pub gone: Vec<BlockEntry>,
    /// To be rewritten.
    pub cut: Vec<(BlockEntry, Vec<Cut>)>,
}

/// What is known of a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownBlock {
    pub shares: BlockShares,
    /// Before this nothing of the tenant is in it, as a rewrite has found.
    pub none_before: BTreeMap<Arc<str>, UnixNanos>,
}

/// What is to go of these blocks; those that are not known stay, and are nobody's. `cut_before`: what was earlier of a tenant is gone, but
/// for what came late.
pub(crate) fn excess(
    blocks: &[BlockEntry],
    (known, cut_before): (&BTreeMap<String, KnownBlock>, &BTreeMap<Arc<str>, UnixNanos>),
    limit: impl Fn(&str) -> Option<u64>,
) -> Excess {
    let mut found: Vec<(&BlockEntry, &KnownBlock)> =
        blocks.iter().filter_map(|entry| Some((entry, known.get(&entry.id)?))).collect();
    found.sort_by_key(|(entry, _)| (entry.summary.last, entry.first_offset));
    let mut totals = BlockShares::new();
    for (tenant, bytes) in found.iter().flat_map(|(_, known)| &known.shares) {
        *totals.entry(Arc::clone(tenant)).or_default() += bytes;
    }
    let mut excess = Excess::default();
    let mut losing: BTreeMap<Arc<str>, Losing> = totals
        .into_iter()
        .filter_map(|(tenant, total)| Losing::of(total, limit(&tenant)?).map(|losing| (tenant, losing)))
        .collect();
    for (entry, known) in found {
        let mut must = false;
        let mut cuts = Vec::new();
        for (tenant, losing) in &mut losing {
            let Some(before) = losing.cut(entry, (known, cut_before), tenant) else { continue };
            must |= losing.must;
            cuts.push(Cut { tenant: Arc::clone(tenant), before });
        }
        if !must {
            continue;
        }
        if cuts.len() == known.shares.len() && cuts.iter().all(|cut| cut.before.is_none()) {
            excess.gone.push(entry.clone());
        } else {
            excess.cut.push((entry.clone(), cuts));
        }
    }
    excess
}

/// A tenant that has more than seven eighths of its limit.
struct Losing {
    /// Bytes that are still to go.
    left: u64,
    /// Less is not worth cutting a block in two.
    least: u64,
    /// It has more than its limit.
    must: bool,
}

impl Losing {
    fn of(total: u64, limit: u64) -> Option<Self> {
        let slack = limit / SLACK;
        let left = total.saturating_sub(limit - slack);
        (left > 0).then_some(Self { left, least: (slack / 2).max(1), must: total > limit })
    }

    /// What goes of this block, the oldest that is left.
    fn cut(
        &mut self,
        entry: &BlockEntry,
        (known, cut_before): (&KnownBlock, &BTreeMap<Arc<str>, UnixNanos>),
        tenant: &Arc<str>,
    ) -> Option<Option<UnixNanos>> {
        let own = known.shares.get(tenant).copied().filter(|own| *own > 0)?;
        let left = self.left;
        self.left = left.saturating_sub(own);
        if left >= own {
            return Some(None);
        }
        if left < self.least {
            return None;
        }
        // As if its bytes were spread evenly over the block's time, less what was cut before; what remains beyond the limit goes when it is
        // looked at again.
        let last = entry.summary.last;
        // A block that is all before the last cut came after it.
        let cut = cut_before.get(tenant).filter(|before| **before <= last);
        let none_before = known.none_before.get(tenant).into_iter().chain(cut).max();
        let first = none_before.map_or(entry.summary.first, |before| entry.summary.first.max(*before)).min(last);
        let span = i128::from(last) - i128::from(first) + 1;
        let part = (span * i128::from(left) / i128::from(own)).max(1);
        let before = i64::try_from(i128::from(first) + part).unwrap_or(UnixNanos::MAX);
        Some((before <= last).then_some(before))
    }
}

#[cfg(test)]
mod tests {
    use weir_blocks::engine::BlockSummary;
    use weir_model::config::ByteSize;
    use weir_model::limits::{MetricLimits, Overrides, OverridesFile};

    use super::*;

    /// A block for each, a thousand nanoseconds after the one before, of which tenants have so many bytes.
    fn blocks(of: &[&[(&str, u64)]]) -> (Vec<BlockEntry>, BTreeMap<String, KnownBlock>) {
        let entry = |at: usize| {
            let first = at as i64 * 1000;
            let summary = BlockSummary { first, last: first + 999, ..BlockSummary::default() };
            BlockEntry { id: at.to_string(), summary, ..BlockEntry::default() }
        };
        let known = |shares: &[(&str, u64)]| {
            let shares = shares.iter().map(|(tenant, bytes)| (Arc::from(*tenant), *bytes)).collect();
            KnownBlock { shares, ..KnownBlock::default() }
        };
        let all = of.iter().enumerate().map(|(at, shares)| (at.to_string(), known(shares))).collect();
        ((0..of.len()).map(entry).collect(), all)
    }

    /// What goes, "3" a whole block, "3:t" all that a tenant has of it, "3:t<5" what it has earlier.
    #[track_caller]
    fn check(of: &[&[(&str, u64)]], limits: &[(&str, u64)], expected: &[&str]) {
        let (mut blocks, known) = blocks(of);
        // By their times, not by their places.
        blocks.reverse();
        assert_eq!(brief(&excess(&blocks, (&known, &BTreeMap::new()), limit(limits))), expected);
    }

    fn limit(limits: &[(&str, u64)]) -> impl Fn(&str) -> Option<u64> {
        move |tenant| limits.iter().find(|(name, _)| *name == tenant).map(|(_, bytes)| *bytes)
    }

    fn brief(excess: &Excess) -> Vec<String> {
        let cuts = |(entry, cuts): &(BlockEntry, Vec<Cut>)| {
            let cut = |cut: &Cut| format!("{}{}", cut.tenant, cut.before.map(|before| format!("<{before}")).unwrap_or_default());
            format!("{}:{}", entry.id, cuts.iter().map(cut).collect::<Vec<_>>().join(","))
        };
        excess.gone.iter().map(|entry| entry.id.clone()).chain(excess.cut.iter().map(cuts)).collect()
    }

    #[test]
    fn a_tenant_beyond_its_limit_keeps_the_newest_seven_eighths_of_it() {
        let ten: [&[(&str, u64)]; 10] = [&[("t", 100)]; 10];
        check(&ten, &[("t", 1000)], &[]);
        check(&ten, &[("t", 800)], &["0", "1", "2"]);
        check(&ten, &[], &[]);
        check(&ten, &[("t", 1)], &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9:t<9990"]);
    }

    #[test]
    fn the_block_in_which_the_excess_ends_is_cut_in_two_by_time() {
        check(&[&[("t", 1000)], &[("t", 10)]], &[("t", 800)], &["0:t<310"]);
        // What a rewrite has not found is not looked for again.
        let (blocks, mut known) = blocks(&[&[("t", 1000)]]);
        known.get_mut("0").expect("known").none_before.insert("t".into(), 500);
        let cut = |before: &[(Arc<str>, UnixNanos)]| {
            brief(&excess(&blocks, (&known, &before.iter().cloned().collect()), limit(&[("t", 800)])))
        };
        assert_eq!(cut(&[]), ["0:t<650"]);
        // Nor what was cut of blocks that it was made of; a block that is all before that came late, and loses no more than it must.
        assert_eq!(cut(&[("t".into(), 800)]), ["0:t<860"]);
        assert_eq!(cut(&[("t".into(), 5000)]), ["0:t<650"]);
    }

    #[test]
    fn others_in_the_block_keep_what_they_have_and_those_who_are_near_their_limit_go_along() {
        let shared: [&[(&str, u64)]; 4] = [&[("t", 100), ("u", 50)]; 4];
        check(&shared, &[("t", 250)], &["0:t", "1:t<1810"]);
        // It has 200 of 210, of which seven eighths are 184: of no consequence alone.
        check(&shared, &[("u", 210)], &[]);
        check(&shared, &[("t", 250), ("u", 210)], &["0:t,u<320", "1:t<1810"]);
        check(&shared, &[("t", 250), ("u", 150)], &["0", "1:t<1810,u<1360"]);
        // Something that takes no bytes may be more than records: the block stays for it.
        check(&[&[("t", 100), ("u", 0)], &[("t", 60)]], &[("t", 50)], &["0:t", "1:t<1266"]);
    }

    #[test]
    fn what_is_not_known_is_nobodys() {
        let four: [&[(&str, u64)]; 4] = [&[("t", 100)]; 4];
        let (blocks, mut known) = blocks(&four);
        known.remove("0");
        assert_eq!(brief(&excess(&blocks, (&known, &BTreeMap::new()), limit(&[("t", 200)]))), ["1", "2:t<2250"]);
    }

    #[test]
    fn names_and_indexes_are_shared_out_by_chunks() {
        let amount = |bytes| Amount { records: 1, bytes };
        let shares = block_shares(
            200,
            vec![("t".into(), amount(30)), ("u".into(), amount(60)), ("t".into(), amount(10)), ("v".into(), amount(0))],
        );
        assert_eq!(shares, BlockShares::from([("t".into(), 80), ("u".into(), 120), ("v".into(), 0)]));
        assert_eq!(block_shares(200, Vec::new()), BlockShares::new());
    }

    #[test]
    fn partitions_divide_a_limit() {
        let of = |size| TenantLimits {
            metrics: MetricLimits { retention_bytes: size, ..MetricLimits::default() },
            ..TenantLimits::default()
        };
        let limits = |defaults, shop| {
            let file = OverridesFile { defaults: of(defaults), tenants: [("shop".to_owned(), of(shop))].into() };
            Limits::new(Overrides::try_from(file).unwrap())
        };
        let all = |limits: &Limits, kind| {
            let limits = ByteLimits::new(limits.clone(), kind);
            (limits.any(), limits.share("shop", 4), limits.share("bank", 4))
        };
        let size = ByteSize::bytes;
        assert_eq!(all(&limits(Some(size(100)), Some(size(2))), Kind::Metrics), (true, Some(1), Some(25)));
        assert_eq!(all(&limits(None, Some(size(40))), Kind::Metrics), (true, Some(10), None));
        assert_eq!(all(&limits(Some(size(40)), None), Kind::Metrics), (true, Some(10), Some(10)));
        assert_eq!(all(&limits(Some(size(40)), None), Kind::Logs), (false, None, None));
    }
}
