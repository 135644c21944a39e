//! What samples have beside numbers, on its way into a block. Called by `writer.rs`.

use super::chunks::{ChunkEntry, ChunkWriter, encode_entries};
use super::samples::Samples;
use super::schema::{EXEMPLARS, EXTRAS, HISTOGRAMS, LEVEL, STARTS};
use super::{exemplars, histogram_runs, starts};
use weir_blocks::packed::packed;

#[derive(Default)]
pub(crate) struct ExtrasWriter {
    histograms: ChunkWriter,
    starts: ChunkWriter,
    exemplars: ChunkWriter,
    /// Of what it has, as it lay in memory.
    raw_bytes: u64,
}

impl ExtrasWriter {
    /// Of a series with at least one sample. Series ascend.
    pub(crate) fn push(&mut self, series: u32, samples: &Samples) {
        let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last()) else { return };
        let mut body = Vec::new();
        let mut rest = &samples.histograms[..];
        while !rest.is_empty() {
            let (run, after) = rest.split_at(histogram_runs::run_length(rest));
            body.clear();
            histogram_runs::encode(run, &mut body);
            let at = |place: u32| samples.timestamps[place as usize];
            let times = (at(run[0].0), at(run[run.len() - 1].0));
            self.histograms.push(series, run.len() as u64, times, &body);
            self.raw_bytes += run.iter().map(|(_, own)| own.memory() as u64).sum::<u64>();
            rest = after;
        }
        if samples.starts.iter().any(|start| *start != 0) {
            body.clear();
            starts::encode(&samples.starts, &mut body);
            self.starts.push(series, samples.starts.len() as u64, (*first, *last), &body);
            self.raw_bytes += samples.starts.len() as u64 * 8;
        }
        if let Some(times) = exemplars::times(&samples.exemplars) {
            body.clear();
            exemplars::encode(&samples.exemplars, &mut body);
            self.exemplars.push(series, samples.exemplars.len() as u64, times, &body);
            self.raw_bytes += exemplars::memory(&samples.exemplars) as u64;
        }
    }

    /// Groups so far.
    pub(crate) fn groups(&self) -> usize {
        self.histograms.groups() + self.starts.groups() + self.exemplars.groups()
    }

    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// The sections, none when there is nothing.
    pub(crate) fn finish(self) -> Vec<(&'static str, Vec<u8>)> {
        let all = [(HISTOGRAMS, self.histograms), (STARTS, self.starts), (EXEMPLARS, self.exemplars)];
        let mut directory = Vec::new();
        let mut sections = Vec::new();
        for (name, writer) in all {
            let (entries, bytes): (Vec<ChunkEntry>, _) = writer.finish();
            encode_entries(&entries, &mut directory);
            if !entries.is_empty() {
                sections.push((name, bytes));
            }
        }
        if !sections.is_empty() {
            sections.insert(0, (EXTRAS, packed(&directory, LEVEL)));
        }
        sections
    }
}
