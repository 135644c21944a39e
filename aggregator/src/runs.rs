//! Which neighbours are merged. Pure; `shell` merges them.

use weir_blocks::engine::BlockCost;
use weir_blocks::manifest::BlockEntry;

/// What a run has to fit into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits {
    /// So many neighbours of one level make a run.
    pub blocks: usize,
    /// Objects, summed.
    pub bytes: u64,
    /// Memory of the merge.
    pub memory: u64,
    /// Whatever fits together, of any level; else only of one.
    pub all: bool,
}

/// The next run: blocks in manifest order, unbroken by one that cannot be merged, and none on both sides of what `parts` them. Neighbours that would be a run but do not fit
/// together give a shorter one; none gives one that does not fit.
pub(crate) fn next_run(
    blocks: &[BlockEntry],
    (can, parts): (impl Fn(&BlockEntry) -> bool, impl Fn(&BlockEntry, &BlockEntry) -> bool),
    cost: BlockCost,
    limits: RunLimits,
) -> Option<&[BlockEntry]> {
    let wanted = if limits.all { 2 } else { limits.blocks.max(2) };
    let joins = |a: &BlockEntry, b: &BlockEntry| can(a) && can(b) && !parts(a, b) && (limits.all || a.level == b.level);
    for neighbours in blocks.chunk_by(joins).filter(|neighbours| neighbours.len() >= wanted) {
        for start in 0..=neighbours.len() - wanted.min(neighbours.len()) {
            let most = if limits.all { neighbours.len() } else { start + wanted };
            let fitting = fitting(&neighbours[start..most], cost, limits);
            if fitting >= 2 {
                return Some(&neighbours[start..start + fitting]);
            }
        }
    }
    None
}

/// How many of them fit together, from the first on.
fn fitting(blocks: &[BlockEntry], cost: BlockCost, limits: RunLimits) -> usize {
    let (mut bytes, mut memory) = (0_u64, cost.fixed);
    let fits = |entry: &&BlockEntry| {
        bytes = bytes.saturating_add(entry.size);
        memory = memory.saturating_add(cost.of(entry.size, entry.summary.raw_bytes));
        bytes <= limits.bytes && memory <= limits.memory
    };
    blocks.iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use weir_blocks::engine::BlockSummary;

    use super::*;

    const COST: BlockCost = BlockCost { fixed: 100, per_byte: 2, per_raw_kib: 10 };
    const LIMITS: RunLimits = RunLimits { blocks: 3, bytes: 1000, memory: 1000, all: false };

    /// Blocks as (level, size); level 9 cannot be merged.
    #[track_caller]
    fn check(blocks: &[(u8, u64)], limits: RunLimits, expected: Option<std::ops::Range<usize>>) {
        let entry = |(i, (level, size)): (usize, &(u8, u64))| BlockEntry {
            id: i.to_string(),
            level: *level,
            size: *size,
            summary: BlockSummary { raw_bytes: 1024, ..BlockSummary::default() },
            ..BlockEntry::default()
        };
        let entries: Vec<_> = blocks.iter().enumerate().map(entry).collect();
        let run = next_run(
            &entries,
            (|entry: &BlockEntry| entry.level != 9, |_: &BlockEntry, b: &BlockEntry| b.size == 77),
            COST,
            limits,
        );
        let ids = |run: &[BlockEntry]| run.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
        let expected = expected.map(|range| range.map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(run.map(ids), expected, "{blocks:?}");
    }

    #[test]
    fn a_run_is_of_one_level_and_unbroken() {
        check(&[], LIMITS, None);
        check(&[(0, 10), (0, 10)], LIMITS, None);
        check(&[(1, 10), (0, 10), (0, 10), (0, 10), (0, 10)], LIMITS, Some(1..4));
        check(&[(0, 10), (0, 10), (9, 10), (0, 10)], LIMITS, None);
        check(&[(9, 10), (9, 10), (9, 10)], LIMITS, None);
        // What stands before 77 is parted from it.
        check(&[(0, 10), (0, 77), (0, 10), (0, 10)], LIMITS, Some(1..4));
        check(&[(0, 10), (0, 10), (0, 77), (0, 10)], RunLimits { all: true, ..LIMITS }, Some(0..2));
        check(&[(2, 10), (0, 10), (1, 10), (9, 1), (0, 10)], RunLimits { all: true, ..LIMITS }, Some(0..3));
    }

    #[test]
    fn a_run_that_does_not_fit_is_shorter_or_none() {
        // By memory: 100 + 2 × 200 + 10 each.
        check(&[(0, 200), (0, 200), (0, 200)], LIMITS, Some(0..2));
        check(&[(0, 400), (0, 400), (0, 400)], LIMITS, None);
        check(&[(0, 450), (0, 100), (0, 100), (0, 100)], LIMITS, Some(1..4));
        check(&[(0, 400), (0, 10), (0, 10)], LIMITS, Some(0..3));
        // By size.
        check(&[(0, 10), (0, 10), (0, 10)], RunLimits { bytes: 25, ..LIMITS }, Some(0..2));
        check(&[(0, 400), (0, 400)], RunLimits { all: true, ..LIMITS }, None);
    }
}
