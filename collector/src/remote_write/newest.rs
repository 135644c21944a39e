//! The newest sample that is stored of each series: what an exemplar or metadata that come later are stored with. What a request brings is
//! taken over once the bus has it; a sample that was refused, or never got there, is none to repeat. A row of numbers whose series are all in its
//! schema is remembered there, as a row; others by each series. Called by [`super::families`].

use std::sync::Arc;

use parking_lot::Mutex;
use weir_model::metric::MetricBatch;
use weir_model::time::UnixNanos;

use super::rows::Value;
use super::schemas::KnownSchema;
use super::series::Known;

/// The newest sample of a series, with its time: an exemplar may come in a request after its sample's, and is stored with the same
/// sample once more, of which one is left. A histogram is remembered of series that had an exemplar, as it takes memory of its own.
#[derive(Default)]
pub(super) struct Newest(Mutex<NewestSample>);

/// Time and value belong together.
#[derive(Default)]
struct NewestSample {
    sample: Option<(UnixNanos, Value)>,
    /// The most that a histogram took here.
    bytes: u32,
    has_exemplars: bool,
}

impl Newest {
    /// Of a sample that the bus has. Bytes more that are held.
    #[inline]
    pub fn set(&self, time: UnixNanos, value: Value) -> usize {
        let mut newest = self.0.lock();
        let is_late = newest.sample.as_ref().is_some_and(|(before, _)| *before > time);
        if is_late || matches!(value, Value::Histogram(_)) && !newest.has_exemplars {
            return 0;
        }
        let before = newest.bytes;
        newest.bytes = before.max(u32::try_from(value.memory()).unwrap_or(u32::MAX));
        newest.sample = Some((time, value));
        (newest.bytes - before) as usize
    }

    pub fn get(&self) -> Option<(UnixNanos, Value)> {
        self.0.lock().sample.clone()
    }

    /// From now on a histogram is remembered as well.
    pub fn want(&self) {
        self.0.lock().has_exemplars = true;
    }
}

/// Samples of a request, in the batch that carries them.
pub(super) struct Carried {
    /// `None` of a part of one.
    pub known: Option<Arc<KnownSchema>>,
    /// By column of the batch.
    pub series: Vec<Arc<Known>>,
    pub batch: Arc<MetricBatch>,
}

impl Carried {
    /// Memory beside the batch.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.series.capacity() * size_of::<Arc<Known>>()
    }

    /// The bus has them. Bytes more that are held.
    pub fn stored(&self) -> usize {
        // Rows ascend by time, and each has all of the series.
        let Some(row) = self.batch.rows.last() else { return 0 };
        if let Some(bytes) = self.known.as_ref().and_then(|known| known.stored(row)) {
            return bytes;
        }
        let mut histograms = row.extras.iter().flat_map(|extras| &extras.histograms).peekable();
        let set = |(column, (known, number)): (usize, (&Arc<Known>, &f64))| {
            let value = match histograms.next_if(|(at, _)| *at as usize == column) {
                Some((_, histogram)) => Value::Histogram(Arc::clone(histogram)),
                None => Value::Number(*number),
            };
            known.newest.set(row.timestamp, value)
        };
        self.series.iter().zip(&row.values).enumerate().map(set).sum()
    }
}
