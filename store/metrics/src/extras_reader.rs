//! What samples of a block have beside numbers, a series at a time: each group unpacked once while neighbours are read.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::metric::Exemplar;
use weir_model::select::{Budget, Reservation};

use super::block::MetricsBlock;
use super::chunks::{ChunkEntry, ChunkGroup, of_series, parse_entries};
use super::histogram_runs::Run;
use super::samples::Samples;
use super::schema::{EXEMPLARS, HISTOGRAMS, MILLISECOND, STARTS};
use super::{exemplars, starts};
use weir_blocks::StoreError;
use weir_blocks::packed::Cursor;
use weir_blocks::segment::SegmentError;

/// The directories of a block.
#[derive(Default)]
pub(crate) struct Extras {
    pub histograms: Vec<ChunkEntry>,
    pub starts: Vec<ChunkEntry>,
    pub exemplars: Vec<ChunkEntry>,
}

impl Extras {
    /// Of a block with so many series. Errors with a sentence.
    pub(crate) fn parse(raw: &[u8], series: usize) -> Result<Self, String> {
        let mut cursor = Cursor::new(raw);
        let mut next = || parse_entries(&mut cursor, series);
        let found = Self { histograms: next()?, starts: next()?, exemplars: next()? };
        cursor.end()?;
        Ok(found)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ChunkEntry> {
        self.histograms.iter().chain(&self.starts).chain(&self.exemplars)
    }

    /// Whether a series may have an exemplar within `start..=end`, milliseconds.
    pub(crate) fn may_have_exemplars(&self, series: u32, start: i64, end: i64) -> bool {
        let entries = &self.exemplars[of_series(&self.exemplars, series)];
        entries.iter().any(|entry| entry.times.0 <= end && entry.times.1 >= start)
    }
}

/// A group that is unpacked, by its place.
type Known = Option<(usize, Rc<ChunkGroup>)>;

pub struct ExtrasReader<'a> {
    block: Arc<MetricsBlock>,
    budget: &'a dyn Budget,
    /// The last one of histograms, of starts and of exemplars.
    known: RefCell<[Known; 3]>,
    held: RefCell<Reservation<'a>>,
}

impl<'a> ExtrasReader<'a> {
    pub(super) fn new(block: Arc<MetricsBlock>, budget: &'a dyn Budget) -> Self {
        Self { block, budget, known: RefCell::default(), held: RefCell::new(Reservation::new(budget)) }
    }

    /// Gives the last samples, which are those at `places` of a series of `count`, what they have. `held` is settled to what that takes.
    pub(super) fn read(
        &self,
        id: u32,
        (count, places): (usize, Range<usize>),
        samples: &mut Samples,
        held: &mut Reservation<'_>,
    ) -> Result<(), SegmentError> {
        let first = samples.timestamps.len() - places.len();
        for at in of_series(&self.block.extras().histograms, id) {
            for chunk in self.group(HISTOGRAMS, at)?.of(id) {
                let run = Run::parse(chunk).map_err(|detail| self.wrong(HISTOGRAMS, id, detail))?;
                if run.places.end as usize > count {
                    return Err(self.wrong(HISTOGRAMS, id, format!("places {:?} of {count} samples", run.places)));
                }
                let wanted = run.places.start.max(places.start as u32)..run.places.end.min(places.end as u32);
                if wanted.is_empty() {
                    continue;
                }
                samples.decoded += run.memory(wanted.len());
                held.settle((samples.memory_with(0) + run.decoding_memory()) as u64)?;
                let own = run.decode(wanted.clone()).map_err(|detail| self.wrong(HISTOGRAMS, id, detail))?;
                let of_samples = wanted.map(|place| (first + place as usize - places.start) as u32);
                samples.histograms.extend(of_samples.zip(own));
            }
        }
        if !samples.histograms.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(self.wrong(HISTOGRAMS, id, "places do not ascend".to_owned()));
        }
        for at in of_series(&self.block.extras().starts, id) {
            for chunk in self.group(STARTS, at)?.of(id) {
                for (run, start) in starts::decode(chunk, count).map_err(|detail| self.wrong(STARTS, id, detail))? {
                    for place in run.start.max(places.start)..run.end.min(places.end) {
                        samples.set_start(first + place - places.start, start);
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends the exemplars of a series within `start..=end`, milliseconds, that are shown. One is hidden with the sample that is
    /// nearest to it, as far as the directory tells: so it goes when the block is rewritten, and does not come back.
    pub(super) fn read_exemplars(
        &self,
        id: u32,
        (start, end): (i64, i64),
        shows: &dyn Fn(i64) -> bool,
        out: &mut Vec<Exemplar>,
    ) -> Result<(), SegmentError> {
        let samples = &self.block.groups()[self.block.group_of(id)];
        for at in of_series(&self.block.extras().exemplars, id) {
            for chunk in self.group(EXEMPLARS, at)?.of(id) {
                let own = exemplars::decode(chunk).map_err(|detail| self.wrong(EXEMPLARS, id, detail))?;
                self.budget.spend(own.len() as u64)?;
                out.extend(own.into_iter().filter(|exemplar| {
                    let at = exemplar.timestamp.div_euclid(MILLISECOND);
                    (start..=end).contains(&at) && shows(at.clamp(samples.first, samples.last))
                }));
            }
        }
        Ok(())
    }

    fn wrong(&self, section: &str, id: u32, detail: String) -> SegmentError {
        StoreError::corrupt(self.block.path(), format!("{section} of series {id}: {detail}")).into()
    }

    fn group(&self, section: &'static str, at: usize) -> Result<Rc<ChunkGroup>, SegmentError> {
        let slot = [HISTOGRAMS, STARTS, EXEMPLARS].iter().position(|own| *own == section).unwrap_or_default();
        if let Some((place, group)) = &self.known.borrow()[slot]
            && *place == at
        {
            return Ok(Rc::clone(group));
        }
        let extras = self.block.extras();
        let entry = &[&extras.histograms, &extras.starts, &extras.exemplars][slot][at];
        self.budget.check()?;
        self.budget.read(entry.bytes.end - entry.bytes.start)?;
        // Not both at once.
        self.known.borrow_mut()[slot] = None;
        let group = Rc::new(self.block.chunk_group(section, entry)?);
        let mut known = self.known.borrow_mut();
        known[slot] = Some((at, Rc::clone(&group)));
        let bytes: usize = known.iter().flatten().map(|(_, group)| group.memory()).sum();
        self.held.borrow_mut().settle(bytes as u64)?;
        Ok(group)
    }
}

/// Reads all of it, and compares with the directories; `samples` are those of each series. Errors with `Corrupt`.
pub(crate) fn verify(block: &MetricsBlock, samples: &[usize]) -> Result<(), StoreError> {
    let extras = block.extras();
    for (section, entries) in [(HISTOGRAMS, &extras.histograms), (STARTS, &extras.starts), (EXEMPLARS, &extras.exemplars)] {
        for entry in entries {
            let mut records = 0;
            for (id, chunk) in block.chunk_group(section, entry)?.all() {
                let count = verify_chunk(section, chunk, samples[id as usize]);
                let wrong = |detail| StoreError::corrupt(block.path(), format!("{section} of series {id}: {detail}"));
                records += count.map_err(wrong)? as u64;
            }
            if records != entry.records {
                let (series, said) = (entry.series.0, entry.records);
                let detail = format!("{section} of series from {series}: {records} records, the directory says {said}");
                return Err(StoreError::corrupt(block.path(), detail));
            }
        }
    }
    Ok(())
}

/// How many records a chunk of a series of `samples` has.
pub(crate) fn verify_chunk(section: &str, chunk: &[u8], samples: usize) -> Result<usize, String> {
    if section == EXEMPLARS {
        return Ok(exemplars::decode(chunk)?.len());
    }
    if section == STARTS {
        return Ok(starts::decode(chunk, samples)?.last().map_or(0, |(places, _)| places.end));
    }
    let run = Run::parse(chunk)?;
    if run.places.end as usize > samples {
        return Err(format!("places {:?} of {samples} samples", run.places));
    }
    let places = run.places.clone();
    Ok(run.decode(places)?.len())
}
