//! Trace search with conditions that the reader does not know: it finds candidates by what it knows, each is read and
//! judged whole. Exact: it goes on until enough pass or no candidate is left, and refuses beyond [`CANDIDATES_MAX`].

use weir_model::select::{Budget, Covered, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{Origin, Span};

use super::values::to_text;

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

/// Newest traces with a span on which the select's and all other conditions hold.
pub(crate) fn find(
    reader: &dyn TraceReader,
    select: &TraceSelect,
    conditions: &[Condition],
    budget: &dyn Budget,
) -> Result<Covered<Vec<(TraceSummary, Trace)>>, ReadError> {
    let mut asked = if conditions.is_empty() { select.limit } else { select.limit.saturating_mul(4).clamp(64, CANDIDATES_MAX) };
    loop {
        let candidates = reader.search(&TraceSelect { limit: asked, ..select.clone() }, budget)?;
        let mut found = Covered { value: Vec::new(), coverage: candidates.coverage };
        let exhausted = candidates.value.len() < asked || conditions.is_empty();
        for mut summary in candidates.value {
            if found.value.len() >= select.limit {
                break;
            }
            budget.spend(u64::from(summary.spans))?;
            let Covered { value: Some(trace), coverage } = reader.trace(&select.tenant, summary.id)? else { continue };
            found.coverage.merge(coverage);
            if !conditions.is_empty() {
                summary.matched = matching(&trace, select, conditions).count() as u32;
            }
            if summary.matched > 0 || conditions.is_empty() {
                found.value.push((summary, trace));
            }
        }
        if exhausted || found.value.len() >= select.limit {
            return Ok(found);
        }
        if asked >= CANDIDATES_MAX {
            let (limit, key) = (CANDIDATES_MAX as u64, "the number of conditions");
            return Err(ReadError::Budget { limit, what: "traces to look into", key });
        }
        asked = asked.saturating_mul(4).min(CANDIDATES_MAX);
    }
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
