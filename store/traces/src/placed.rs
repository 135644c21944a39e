//! What a head keeps: batches as they came, and where in them the spans of a trace are.

use std::sync::Arc;

use weir_model::span::Spans;
use weir_model::time::UnixNanos;

use super::content::KnownOrigin;
use super::state::Arrival;

/// A batch as it came, perhaps with spans that are repetitions.
#[derive(Clone)]
pub(crate) struct HeadBatch {
    pub origin: Arc<KnownOrigin>,
    pub spans: Arc<Spans>,
    /// Earliest start of a span.
    pub start_min: UnixNanos,
    /// Latest start.
    pub start_max: UnixNanos,
}

impl HeadBatch {
    pub(crate) fn new(origin: Arc<KnownOrigin>, spans: Arc<Spans>) -> Self {
        let starts = spans.iter().map(|span| span.start());
        let (start_min, start_max) =
            starts.fold((UnixNanos::MAX, UnixNanos::MIN), |(min, max), start| (min.min(start), max.max(start)));
        Self { origin, spans, start_min, start_max }
    }
}

/// Where a span lies: which batch, which of its spans.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub batch: u32,
    pub row: u32,
}

/// One trace: where its spans are, in the order of arrival.
pub(crate) struct PlacedTrace {
    pub places: Vec<Place>,
    pub arrival: Arrival,
}
