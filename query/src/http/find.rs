//! Trace search with conditions that the reader does not know: it finds candidates by what it knows, each is read and
//! judged whole. Exact: it goes on until enough pass or no candidate is left, and refuses beyond [`CANDIDATES_MAX`].

use std::collections::HashSet;

use weir_model::id::TraceId;
use weir_model::select::{Budget, Coverage, Covered, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{Origin, Span, SpanBatch, SpanEvent, SpanLink};

use super::values::{self, to_text};

/// Traces that one search may read.
const CANDIDATES_MAX: usize = 5000;

/// Something that must hold on the span.
pub(crate) struct Condition(Box<Holds>);

type Holds = dyn Fn(&Origin, &Span) -> bool + Send + Sync;

impl Condition {
    pub(crate) fn new(holds: impl Fn(&Origin, &Span) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(holds))
    }
}

/// Gives the newest traces with a span on which the select's and all other conditions hold, one by one, newest first; each
/// is gone from memory when `found` returns. Answers how many were looked into.
pub(crate) fn find(
    reader: &dyn TraceReader,
    select: &TraceSelect,
    conditions: &[Condition],
    budget: &dyn Budget,
    mut found: impl FnMut(&TraceSummary, &Trace) -> Result<(), ReadError>,
) -> Result<Covered<usize>, ReadError> {
    let mut asked = if conditions.is_empty() { select.limit } else { select.limit.saturating_mul(4).clamp(64, CANDIDATES_MAX) };
    let (mut passed, mut known) = (0, HashSet::new());
    let mut coverage = Coverage::default();
    loop {
        let candidates = reader.search(&TraceSelect { limit: asked, ..select.clone() }, budget)?;
        coverage.merge(candidates.coverage);
        let exhausted = candidates.value.len() < asked || conditions.is_empty();
        for mut summary in candidates.value {
            if passed >= select.limit {
                break;
            }
            if !known.insert(summary.id) {
                continue;
            }
            budget.spend(u64::from(summary.spans))?;
            let (read, bytes) = read_trace(reader, &select.tenant, summary.id, budget)?;
            coverage.merge(read.coverage);
            if let Some(trace) = read.value {
                if !conditions.is_empty() {
                    summary.matched = matching(&trace, select, conditions).count() as u32;
                }
                if summary.matched > 0 || conditions.is_empty() {
                    passed += 1;
                    found(&summary, &trace)?;
                }
            }
            budget.release(bytes);
        }
        if exhausted || passed >= select.limit {
            return Ok(Covered { value: known.len(), coverage });
        }
        if asked >= CANDIDATES_MAX {
            let (limit, key) = (CANDIDATES_MAX as u64, "the number of conditions");
            return Err(ReadError::Budget { limit, what: "traces to look into", key });
        }
        asked = asked.saturating_mul(4).min(CANDIDATES_MAX);
    }
}

/// How much more memory a trace takes while it is put into the shape of an answer.
const SHAPE_FACTOR: u64 = 4;

/// Reads a trace and reserves its memory, with that of its shape in an answer; says how much that is.
pub(crate) fn read_trace(
    reader: &dyn TraceReader,
    tenant: &str,
    id: TraceId,
    budget: &dyn Budget,
) -> Result<(Covered<Option<Trace>>, u64), ReadError> {
    let read = reader.trace(tenant, id)?;
    let bytes = read.value.as_ref().map_or(0, trace_bytes).saturating_mul(1 + SHAPE_FACTOR);
    budget.reserve(bytes)?;
    Ok((read, bytes))
}

fn trace_bytes(trace: &Trace) -> u64 {
    trace.batches.iter().map(batch_bytes).sum::<usize>() as u64
}

fn batch_bytes(batch: &SpanBatch) -> usize {
    let origin = &batch.origin;
    let names = origin.scope_name.len() + origin.scope_version.len();
    let attributes = values::bytes_of(&origin.resource) + values::bytes_of(&origin.scope_attributes);
    size_of::<SpanBatch>() + names + attributes + batch.spans.iter().map(span_bytes).sum::<usize>()
}

fn span_bytes(span: &Span) -> usize {
    let event = |event: &SpanEvent| size_of::<SpanEvent>() + event.name.len() + values::bytes_of(&event.attributes);
    let link = |link: &SpanLink| size_of::<SpanLink>() + link.trace_state.len() + values::bytes_of(&link.attributes);
    let texts = span.trace_state.len() + span.name.len() + span.status_message.len();
    size_of::<Span>()
        + texts
        + values::bytes_of(&span.attributes)
        + span.events.iter().map(event).sum::<usize>()
        + span.links.iter().map(link).sum::<usize>()
}

/// The spans that pass.
pub(crate) fn matching<'a>(
    trace: &'a Trace,
    select: &'a TraceSelect,
    conditions: &'a [Condition],
) -> impl Iterator<Item = (&'a Origin, &'a Span)> {
    let spans = trace.batches.iter().flat_map(|batch| batch.spans.iter().map(move |span| (&batch.origin, span)));
    spans.filter(move |(origin, span)| {
        passes(origin, span, select) && conditions.iter().all(|condition| (condition.0)(origin, span))
    })
}

fn passes(origin: &Origin, span: &Span, select: &TraceSelect) -> bool {
    let duration = span.end.saturating_sub(span.start);
    let has = |name: &str, wanted: &str| {
        let mut own = span.attributes.iter().chain(&origin.resource);
        own.any(|(own, value)| own == name && to_text(value) == wanted)
    };
    select.service.as_deref().is_none_or(|service| origin.service() == service)
        && select.operation.as_deref().is_none_or(|operation| span.name == operation)
        && select.duration_min.is_none_or(|least| duration >= least)
        && select.duration_max.is_none_or(|most| duration <= most)
        && select.attributes.iter().all(|(name, wanted)| has(name, wanted))
}
