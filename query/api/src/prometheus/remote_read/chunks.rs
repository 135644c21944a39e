//! A series as Prometheus' chunks, in the order of time: runs of numbers, and of histograms that belong together. Pure.

use weir_model::select::Series;

use super::histograms::HistogramChunk;
use super::prompb::Chunk;
use super::xor;

pub(super) fn chunks(series: &Series) -> Vec<Chunk> {
    let (times, values) = (&series.timestamps, &series.values);
    let (mut all, mut open, mut next) = (Vec::new(), None::<HistogramChunk<'_>>, 0);
    for (at, own) in &series.histograms {
        let at = *at as usize;
        if next < at {
            all.extend(open.take().map(HistogramChunk::finish));
            all.extend(xor::chunks(&times[next..at], &values[next..at]));
        }
        next = at + 1;
        open = match open.take() {
            Some(mut chunk) if chunk.takes(own) => {
                chunk.push(times[at], own);
                Some(chunk)
            }
            before => {
                all.extend(before.map(HistogramChunk::finish));
                Some(HistogramChunk::begin(times[at], own))
            }
        };
    }
    all.extend(open.map(HistogramChunk::finish));
    all.extend(xor::chunks(&times[next..], &values[next..]));
    all
}
