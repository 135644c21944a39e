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
    pub(crate) at_start: Rollups,
    /// Names of its lines' metadata, ascending; `None` when there are more than [`NAMES_MAX`].
    pub(crate) metadata: Option<Names>,
}

/// Roll-ups, ascending by bucket and level, packed as they are written: those of all opened blocks are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rollups {
    /// Each with its bucket as a delta to the one before.
    packed: Box<[u8]>,
    len: u32,
    /// A bit a level.
    levels: u8,
}

impl Rollups {
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one of them is of this level; told without unpacking.
    pub(crate) fn has_level(&self, level: u8) -> bool {
        1_u8.checked_shl(level.into()).is_some_and(|bit| self.levels & bit != 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Rollup> {
        let (mut reader, mut bucket) = (Reader::new(&self.packed), 0);
        (0..self.len).map_while(move |_| read_one(&mut reader, &mut bucket).ok())
    }

    /// Memory held beside this.
    pub(crate) fn memory(&self) -> usize {
        allocation(self.packed.len())
    }
}

impl FromIterator<Rollup> for Rollups {
    fn from_iter<I: IntoIterator<Item = Rollup>>(rollups: I) -> Self {
        let (mut packed, mut len, mut levels, mut bucket) = (Vec::new(), 0, 0, 0);
        for rollup in rollups {
            put_zigzag(&mut packed, rollup.bucket.wrapping_sub(bucket));
            packed.push(rollup.level);
            put_varint(&mut packed, rollup.lines);
            put_varint(&mut packed, rollup.bytes);
            bucket = rollup.bucket;
            len += 1;
            levels |= 1_u8.checked_shl(rollup.level.into()).unwrap_or(0);
        }
        Self { packed: packed.into(), len, levels }
    }
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
        self.at_start.memory() + self.metadata.as_ref().map_or(0, names)
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
pub(crate) fn of_lines(lines: impl Iterator<Item = (UnixNanos, u8, usize)>) -> (Rollups, Rollups) {
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
pub(crate) fn critical(rollups: &Rollups) -> Rollups {
    rollups.iter().filter(|rollup| rollup.level == LEVEL_CRITICAL).collect()
}

/// With critical lines among the fatal ones.
pub(crate) fn joined(rollups: &Rollups) -> Rollups {
    let mut joined: Vec<Rollup> = Vec::with_capacity(rollups.len());
    for rollup in rollups.iter() {
        let rollup = Rollup { level: rollup.level.min(LEVEL_FATAL), ..rollup };
        match joined.last_mut() {
            Some(last) if (last.bucket, last.level) == (rollup.bucket, rollup.level) => {
                last.lines += rollup.lines;
                last.bytes += rollup.bytes;
            }
            _ => joined.push(rollup),
        }
    }
    joined.into_iter().collect()
}

/// The inverse of [`joined`]; both ascend. Errors with a sentence when they are not of the same lines.
pub(crate) fn parted(rollups: &mut Rollups, critical: &Rollups) -> Result<(), String> {
    if critical.is_empty() {
        return Ok(());
    }
    let mut critical = critical.iter().peekable();
    let mut parted = Vec::with_capacity(rollups.len());
    for rollup in rollups.iter() {
        let Some(own) = critical.next_if(|own| (own.bucket, LEVEL_FATAL) == (rollup.bucket, rollup.level)) else {
            parted.push(rollup);
            continue;
        };
        let wrong = || format!("more critical lines than fatal ones at bucket {}", own.bucket);
        let (lines, bytes) = rollup.lines.checked_sub(own.lines).zip(rollup.bytes.checked_sub(own.bytes)).ok_or_else(wrong)?;
        parted.extend((lines > 0).then_some(Rollup { lines, bytes, ..rollup }));
        parted.push(Rollup { level: LEVEL_CRITICAL, ..own });
    }
    *rollups = parted.into_iter().collect();
    critical.next().map_or(Ok(()), |own| Err(format!("critical lines without fatal ones at bucket {}", own.bucket)))
}

/// Bytes of one roll-up as written, at most.
pub(crate) const ROLLUP_BYTES_MAX: usize = 31;

/// Their count, then each: bucket as a delta, level, lines, bytes.
pub(crate) fn put(out: &mut Vec<u8>, rollups: &Rollups) {
    put_varint(out, rollups.len.into());
    out.extend_from_slice(&rollups.packed);
}

/// What [`put`] wrote.
pub(crate) fn read(reader: &mut Reader<'_>, level_max: u8) -> Result<Rollups, String> {
    let (count, mut bucket) = (reader.count("roll-ups", 4)?, 0);
    let one = |_| {
        let rollup = read_one(reader, &mut bucket)?;
        if rollup.level > level_max { Err(format!("level {} is unknown", rollup.level)) } else { Ok(rollup) }
    };
    (0..count).map(one).collect()
}

/// The next after one of `bucket`, which it moves.
fn read_one(reader: &mut Reader<'_>, bucket: &mut i64) -> Result<Rollup, String> {
    *bucket = bucket.wrapping_add(reader.zigzag("bucket")?);
    let [level] = reader.array::<1>("level")?;
    Ok(Rollup { bucket: *bucket, level, lines: reader.varint("lines")?, bytes: reader.varint("bytes")? })
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
        let list = |rollups: &Rollups| rollups.iter().collect::<Vec<_>>();
        assert_eq!(list(&all), [row(0, 6, 2), row(0, 7, 1), row(2, 3, 1), row(2, 7, 1)]);
        assert_eq!(list(&at_start), [row(0, 6, 1), row(2, 7, 1)]);
        let mut directory = joined(&all);
        assert_eq!(list(&directory), [row(0, 6, 3), row(2, 3, 1), row(2, 6, 1)]);
        parted(&mut directory, &critical(&all)).unwrap();
        assert_eq!(directory, all);
        assert!(parted(&mut all.clone(), &[row(0, 7, 3)].into_iter().collect()).is_err());
        assert!(parted(&mut all.clone(), &[row(5, 7, 1)].into_iter().collect()).is_err());
    }

    #[test]
    fn roll_ups_are_held_as_they_are_written() {
        // As a pod writes: a few lines of two levels in each ten seconds.
        let rollups = (0..10_000_u64).map(|i| Rollup {
            bucket: 170_000_000 + (i / 2) as i64,
            level: 3 + 2 * (i % 2) as u8,
            lines: 1 + i % 5,
            bytes: 150 + i,
        });
        let packed: Rollups = rollups.clone().collect();
        assert!(packed.iter().eq(rollups));
        assert_eq!((packed.len(), packed.is_empty()), (10_000, false));
        assert!(packed.memory() < 6 * packed.len(), "{} bytes of {}", packed.memory(), packed.len());
        let levels: Vec<u8> = (0..=u8::MAX).filter(|level| packed.has_level(*level)).collect();
        assert_eq!(levels, [3, 5]);
        let mut bytes = Vec::new();
        put(&mut bytes, &packed);
        let mut reader = Reader::new(&bytes);
        assert_eq!(read(&mut reader, 5), Ok(packed));
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(read(&mut Reader::new(&bytes), 4), Err("level 5 is unknown".into()));
        for length in [0, 1, 3, bytes.len() - 1] {
            assert!(read(&mut Reader::new(&bytes[..length]), 5).is_err(), "cut at {length}");
        }
        let extreme = [i64::MIN, i64::MAX, 0].map(|bucket| Rollup { bucket, level: 7, lines: u64::MAX, bytes: u64::MAX });
        let packed: Rollups = extreme.into_iter().collect();
        assert!(packed.iter().eq(extreme));
    }

    #[test]
    fn a_level_has_one_severity() {
        for severity in 0..=u8::MAX {
            assert_eq!(detected_level(severity_of(level_of(severity))), detected_level(severity), "{severity}");
        }
    }
}
