//! Roll-ups: how many lines, and bytes of them, in each 10 s and of each level, told without opening a chunk. Those of lines
//! at the very start of their 10 s are kept apart besides, since LogQL's windows leave out their start and have their end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::log::{AttributeSets, SEVERITY_CRITICAL, level_severity};
use weir_model::memory::{allocation, shared};
use weir_model::time::UnixNanos;

use super::schema::{LEVEL_CRITICAL, LEVEL_FATAL, ROLLUP_NANOS, Rollup, level_of};
use weir_blocks::columns::{Reader, put_varint, put_zigzag};

/// What is known of a chunk beside its roll-ups. Blocks of earlier builds do not have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkDetails {
    /// Of lines at the very start of their bucket; ascending by bucket and level.
    pub(crate) at_start: Vec<Rollup>,
    /// Names of its lines' metadata, ascending; `None` when there are more than [`NAMES_MAX`].
    pub(crate) metadata: Option<Names>,
}

/// Shared by chunks that have the same ones.
pub(crate) type Names = Arc<[Box<str>]>;

/// Programs that have a name for each line are not worth listing.
const NAMES_MAX: usize = 256;

impl ChunkDetails {
    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        let names =
            |names: &Names| shared(size_of_val(&**names)) + names.iter().map(|name| allocation(name.len())).sum::<usize>();
        allocation(self.at_start.capacity() * size_of::<Rollup>()) + self.metadata.as_ref().map_or(0, names)
    }

    /// Whether a line of the chunk may have metadata of this name.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        self.metadata.as_ref().is_none_or(|names| names.binary_search_by(|own| (**own).cmp(name)).is_ok())
    }
}

/// The names in sets of attributes; `None` when there are more than [`NAMES_MAX`].
pub(crate) fn names_of(sets: &AttributeSets) -> Option<Names> {
    let mut numbers: Vec<u32> = (0..sets.len() as u32).flat_map(|set| sets.numbers(set)).map(|(name, _)| *name).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let names: BTreeSet<&str> = numbers.into_iter().map(|number| sets.text(number)).collect();
    (names.len() <= NAMES_MAX).then(|| names.into_iter().map(Box::from).collect())
}

/// Roll-ups of lines, and those of the ones at the very start of their bucket; each ascending by bucket and level.
pub(crate) fn of_lines(lines: impl Iterator<Item = (UnixNanos, u8, usize)>) -> (Vec<Rollup>, Vec<Rollup>) {
    let (mut all, mut at_start) = (BTreeMap::<(i64, u8), (u64, u64)>::new(), BTreeMap::<(i64, u8), (u64, u64)>::new());
    // Lines of one bucket and level mostly follow each other.
    let (mut key, mut run) = ((0, 0), (0, 0));
    for (timestamp, severity, length) in lines {
        let own = (timestamp.div_euclid(ROLLUP_NANOS), level_of(severity));
        if own != key && run.0 > 0 {
            add(&mut all, key, std::mem::take(&mut run));
        }
        key = own;
        run = (run.0 + 1, run.1 + length as u64);
        if timestamp.rem_euclid(ROLLUP_NANOS) == 0 {
            add(&mut at_start, own, (1, length as u64));
        }
    }
    if run.0 > 0 {
        add(&mut all, key, run);
    }
    let rollups = |sums: BTreeMap<(i64, u8), (u64, u64)>| {
        sums.into_iter().map(|((bucket, level), (lines, bytes))| Rollup { bucket, level, lines, bytes }).collect()
    };
    (rollups(all), rollups(at_start))
}

fn add(sums: &mut BTreeMap<(i64, u8), (u64, u64)>, key: (i64, u8), (lines, bytes): (u64, u64)) {
    let sum = sums.entry(key).or_default();
    sum.0 += lines;
    sum.1 += bytes;
}

/// The roll-ups of critical lines: a directory counts them among the fatal ones.
pub(crate) fn critical(rollups: &[Rollup]) -> Vec<Rollup> {
    rollups.iter().filter(|rollup| rollup.level == LEVEL_CRITICAL).copied().collect()
}

/// With critical lines among the fatal ones.
pub(crate) fn joined(rollups: &[Rollup]) -> Vec<Rollup> {
    let mut joined: Vec<Rollup> = Vec::with_capacity(rollups.len());
    for rollup in rollups {
        let rollup = Rollup { level: rollup.level.min(LEVEL_FATAL), ..*rollup };
        match joined.last_mut() {
            Some(last) if (last.bucket, last.level) == (rollup.bucket, rollup.level) => {
                last.lines += rollup.lines;
                last.bytes += rollup.bytes;
            }
            _ => joined.push(rollup),
        }
    }
    joined
}

/// The inverse of [`joined`]; both ascend. Errors with a sentence when they are not of the same lines.
pub(crate) fn parted(rollups: &mut Vec<Rollup>, critical: &[Rollup]) -> Result<(), String> {
    if critical.is_empty() {
        return Ok(());
    }
    let mut critical = critical.iter().peekable();
    let mut parted = Vec::with_capacity(rollups.len());
    for rollup in rollups.drain(..) {
        let Some(own) = critical.next_if(|own| (own.bucket, LEVEL_FATAL) == (rollup.bucket, rollup.level)) else {
            parted.push(rollup);
            continue;
        };
        let wrong = || format!("more critical lines than fatal ones at bucket {}", own.bucket);
        let (lines, bytes) = rollup.lines.checked_sub(own.lines).zip(rollup.bytes.checked_sub(own.bytes)).ok_or_else(wrong)?;
        parted.extend((lines > 0).then_some(Rollup { lines, bytes, ..rollup }));
        parted.push(Rollup { level: LEVEL_CRITICAL, ..*own });
    }
    *rollups = parted;
    critical.next().map_or(Ok(()), |own| Err(format!("critical lines without fatal ones at bucket {}", own.bucket)))
}

/// Bytes of one roll-up as written, at most.
pub(crate) const ROLLUP_BYTES_MAX: usize = 31;

/// Their count, then each: bucket as a delta, level, lines, bytes.
pub(crate) fn put(out: &mut Vec<u8>, rollups: &[Rollup]) {
    put_varint(out, rollups.len() as u64);
    let mut bucket = 0_i64;
    for rollup in rollups {
        put_zigzag(out, rollup.bucket.wrapping_sub(bucket));
        out.push(rollup.level);
        put_varint(out, rollup.lines);
        put_varint(out, rollup.bytes);
        bucket = rollup.bucket;
    }
}

/// What [`put`] wrote.
pub(crate) fn read(reader: &mut Reader<'_>, level_max: u8) -> Result<Vec<Rollup>, String> {
    let mut rollups = Vec::new();
    let mut bucket = 0_i64;
    for _ in 0..reader.count("roll-ups", 4)? {
        bucket = bucket.wrapping_add(reader.zigzag("bucket")?);
        let [level] = reader.array::<1>("level")?;
        if level > level_max {
            return Err(format!("level {level} is unknown"));
        }
        rollups.push(Rollup { bucket, level, lines: reader.varint("lines")?, bytes: reader.varint("bytes")? });
    }
    Ok(rollups)
}

/// The severity that stands for a level.
pub(crate) fn severity_of(level: u8) -> u8 {
    if level == LEVEL_CRITICAL { SEVERITY_CRITICAL } else { level_severity(level * 4) }
}

#[cfg(test)]
mod tests {
    use weir_model::log::detected_level;

    use super::*;

    #[test]
    fn critical_lines_are_parted_from_fatal_ones() {
        let line = |at: i64, severity: u8| (at * ROLLUP_NANOS / 10, severity, 5);
        let (all, at_start) = of_lines([line(0, 21), line(1, 22), line(20, 22), line(21, 9), line(3, 24)].into_iter());
        let row = |bucket, level, lines| Rollup { bucket, level, lines, bytes: lines * 5 };
        assert_eq!(all, [row(0, 6, 2), row(0, 7, 1), row(2, 3, 1), row(2, 7, 1)]);
        assert_eq!(at_start, [row(0, 6, 1), row(2, 7, 1)]);
        let mut directory = joined(&all);
        assert_eq!(directory, [row(0, 6, 3), row(2, 3, 1), row(2, 6, 1)]);
        parted(&mut directory, &critical(&all)).unwrap();
        assert_eq!(directory, all);
        assert!(parted(&mut all.clone(), &[row(0, 7, 3)]).is_err());
        assert!(parted(&mut all.clone(), &[row(5, 7, 1)]).is_err());
    }

    #[test]
    fn a_level_has_one_severity() {
        for severity in 0..=u8::MAX {
            assert_eq!(detected_level(severity_of(level_of(severity))), detected_level(severity), "{severity}");
        }
    }
}
