//! Trace search with conditions that the reader does not know: it finds candidates by what it knows, each is read and
//! judged whole, newest first, until enough pass, none is left, or the request has had its time or its records.

use std::collections::HashSet;

use weir_model::id::TraceId;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Covered, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{Origin, ScopeSpans, Span, SpanEvent, SpanLink};

use super::values;

/// Candidates asked for at once: the first few soon pass, and summaries of the most take some megabytes.
const PAGE: std::ops::RangeInclusive<usize> = 64..=10_000;

/// Memory of an id that is known.
const KNOWN_BYTES: u64 = 2 * size_of::<TraceId>() as u64;

/// Something that must hold on the span.
pub(crate) struct Condition(Box<Holds>);

type Holds = dyn Fn(&Origin, &Span) -> bool + Send + Sync;

impl Condition {
    pub(crate) fn new(holds: impl Fn(&Origin, &Span) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(holds))
    }

    /// Narrows `select` by what the reader understands of a query; gives all of its conditions.
    pub(crate) fn all_of(query: weir_traceql::Query, select: &mut TraceSelect) -> Vec<Self> {
        query.narrow(select);
        query.conditions().map(Self::new).collect()
    }
}

/// How a search ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Says that the search was cut, if it was.
    pub(crate) coverage: Coverage,
    /// Why older traces were not looked into, as a sentence.
    pub(crate) cut: Option<String>,
}

impl Ended {
    /// The first look says how far it saw; all later ones only what they missed, or the list would grow with the traces.
    fn add(&mut self, more: Coverage) {
        match self.coverage.partitions.is_empty() {
            true => self.coverage.merge(more),
            false => more.missing.into_iter().for_each(|sentence| self.coverage.miss(sentence)),
        }
    }

    /// After the request's time or records have been used up, what was found is the answer; without anything looked into
    /// that is an error, as every other is.
    fn cut(mut self, looked: usize, error: ReadError) -> Result<Self, ReadError> {
        let is_spent = matches!(
            error,
            ReadError::Cancelled(_) | ReadError::Budget { .. } | ReadError::TenantBudget { .. } | ReadError::TenantTime { .. }
        );
        if looked == 0 || !is_spent {
            return Err(error);
        }
        let sentence = format!("the search was cut after {looked} traces, older ones may pass too: {error}");
        self.coverage.miss(sentence.clone());
        self.cut = Some(sentence);
        Ok(self)
    }
}

/// Gives the newest traces with a span on which the select's and all other conditions hold, one by one, newest first; each
/// is gone from memory when `found` returns.
pub(crate) fn find(
    reader: &dyn TraceReader,
    select: &TraceSelect,
    conditions: &[Condition],
    budget: &dyn Budget,
    mut found: impl FnMut(&TraceSummary, &Trace) -> Result<(), ReadError>,
) -> Result<Ended, ReadError> {
    let few = if conditions.is_empty() { 1 } else { *PAGE.start() };
    let mut page = TraceSelect { limit: select.limit.max(few), ..select.clone() };
    let (mut passed, mut known, mut ended) = (0, HashSet::new(), Ended::default());
    loop {
        let candidates = match reader.search(&page, budget) {
            Ok(candidates) => candidates,
            Err(error) => return ended.cut(known.len(), error),
        };
        ended.add(candidates.coverage);
        let (exhausted, looked) = (candidates.value.len() < page.limit, known.len());
        for mut summary in candidates.value {
            if passed >= select.limit {
                return Ok(ended);
            }
            if known.contains(&summary.id) {
                continue;
            }
            if let Err(error) = budget.spend(u64::from(summary.spans)) {
                return ended.cut(known.len(), error);
            }
            known.insert(summary.id);
            budget.reserve(KNOWN_BYTES)?;
            // All that come later have no newer span; those with one as new may still be unknown.
            page.range.end = page.range.end.min(summary.newest_match.saturating_add(1));
            let (read, bytes) = read_trace(reader, &select.scope, summary.id, budget)?;
            ended.add(read.coverage);
            if let Some(trace) = read.value {
                summary.matched = matching(&trace, select, conditions).count() as u32;
                if summary.matched > 0 {
                    passed += 1;
                    found(&summary, &trace)?;
                }
            }
            budget.release(bytes);
        }
        if exhausted || passed >= select.limit {
            return Ok(ended);
        }
        let more = page.limit.saturating_mul(4);
        // A page of none but known ones has to become longer, whatever it takes.
        page.limit = if known.len() == looked { more } else { more.min(*PAGE.end()).max(page.limit) };
    }
}

/// How much more memory a trace takes while it is put into the shape of an answer.
const SHAPE_FACTOR: u64 = 4;

/// Reads a trace and reserves its memory, with that of its shape in an answer; says how much that is.
pub(crate) fn read_trace(
    reader: &dyn TraceReader,
    scope: &Scope,
    id: TraceId,
    budget: &dyn Budget,
) -> Result<(Covered<Option<Trace>>, u64), ReadError> {
    let read = reader.trace(scope, id)?;
    let bytes = read.value.as_ref().map_or(0, trace_bytes).saturating_mul(1 + SHAPE_FACTOR);
    budget.reserve(bytes)?;
    Ok((read, bytes))
}

fn trace_bytes(trace: &Trace) -> u64 {
    trace.batches.iter().map(batch_bytes).sum::<usize>() as u64
}

fn batch_bytes(batch: &ScopeSpans) -> usize {
    let origin = &batch.origin;
    let names = origin.scope_name.len() + origin.scope_version.len();
    let attributes = values::bytes_of(&origin.resource) + values::bytes_of(&origin.scope_attributes);
    size_of::<ScopeSpans>() + names + attributes + batch.spans.iter().map(span_bytes).sum::<usize>()
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
    spans.filter(move |&(origin, span)| {
        select.passes(&(origin, span)) && conditions.iter().all(|condition| (condition.0)(origin, span))
    })
}
