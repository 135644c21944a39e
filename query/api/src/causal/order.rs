//! Where spans and lines belong on the clock of the trace's root: moved by the offset of their own clock, a span then not before
//! its parent begins, a line within the span whose id it carries, and lines of one stream in the order of their source.

use std::collections::HashMap;

use weir_model::id::SpanId;
use weir_model::label::normalise_label_name;
use weir_model::select::{Budget, OwnedLine, ReadError, Trace};
use weir_model::span::{Origin, Span, SpanKind};
use weir_model::time::UnixNanos;

use super::clocks::{Calls, Clock};

/// A line that was stamped later than its span ended is taken for one that the container engine read late, up to a period of the
/// kernel's CPU quota, for which a throttled container stands still. One that is later yet was written after the span.
const STAMPED_LATE_MAX: i64 = 100_000_000;

/// So many spans of one id are told apart, by their clocks: two are what Zipkin has, and more a sender's fault.
const SHARED_MAX: usize = 8;

/// What names a clock, the first that a resource has: a machine's if possible, else that of a pod, a process or a service. As
/// labels have it; those of lines that say the same thing stand beside it.
const NAMES: [(&str, &[&str]); 7] = [
    ("k8s_node_name", &["k8s_node_name", "node", "node_name"]),
    ("host_id", &["host_id"]),
    ("host_name", &["host_name", "host", "pod"]),
    ("k8s_pod_name", &["k8s_pod_name", "pod"]),
    ("container_id", &["container_id"]),
    ("service_instance_id", &["service_instance_id"]),
    ("service_name", &["service_name", "app"]),
];

/// By what a line was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// By the span whose id it carries.
    Span,
    /// By its clock, which is that of spans.
    Clock,
    /// By the line before it in its own stream, which it is certainly not before.
    Stream,
    /// By its time as it is: nothing of the trace's spans says more.
    Time,
}

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// On the root's clock.
    pub(crate) at: UnixNanos,
    /// Spans above its own.
    pub(crate) depth: u32,
    pub(crate) basis: Basis,
    /// Of its move, what its clock is off by.
    pub(crate) clock_offset: i64,
    /// Of its move, what the line before it in its stream asks for.
    pub(crate) stream_offset: i64,
    /// Orders lines that `at` and `depth` do not: its own time, or that of a line before it in its stream.
    pub(crate) tie: UnixNanos,
}

impl Place {
    /// What the order goes by; of lines alike, by their ids.
    pub(crate) fn rank(&self) -> (UnixNanos, u32, UnixNanos) {
        (self.at, self.depth, self.tie)
    }

    /// Not before a line that stands before it in its source.
    fn not_before(&mut self, before: &Self) {
        if self.rank() >= before.rank() {
            return;
        }
        if before.at > self.at {
            self.stream_offset = before.at.saturating_sub(self.at);
            self.basis = Basis::Stream;
        }
        (self.at, self.depth, self.tie) = before.rank();
    }
}

/// A span on the root's clock.
#[derive(Clone, Copy, Debug)]
struct Placed<'a> {
    span: &'a Span,
    clock: usize,
    parent: Option<usize>,
    /// How far it was moved.
    shift: i64,
    depth: u32,
}

/// See above.
#[derive(Debug, Default)]
pub(crate) struct CausalOrder<'a> {
    spans: Vec<Placed<'a>>,
    by_id: HashMap<SpanId, Vec<usize>>,
    clocks: Vec<Clock>,
    /// What resources say, name and value, and the clock that it means; none where it is said of several.
    by_name: HashMap<(&'static str, String), Option<usize>>,
}

impl<'a> CausalOrder<'a> {
    /// Errors when the request should stop.
    pub(crate) fn of(trace: &'a Trace, budget: &dyn Budget) -> Result<Self, ReadError> {
        let mut order = Self::default();
        let mut numbers = HashMap::new();
        for batch in &trace.batches {
            budget.check()?;
            let clock = order.clock(&batch.origin, &mut numbers);
            for span in &batch.spans {
                let shared = order.by_id.entry(span.span_id).or_default();
                if shared.len() < SHARED_MAX {
                    shared.push(order.spans.len());
                }
                order.spans.push(Placed { span, clock, parent: None, shift: 0, depth: 0 });
            }
        }
        order.find_parents();
        order.set_clocks();
        order.place_spans();
        Ok(order)
    }

    /// Those of its spans, as they came; empty where there is no span.
    pub(crate) fn clocks(&self) -> &[Clock] {
        &self.clocks
    }

    /// Where lines belong, each in the place of its own. Those of one stream, partition and clock stay in the order of their source.
    pub(crate) fn place(&self, lines: &[&OwnedLine]) -> Vec<Place> {
        let clocks: Vec<Option<usize>> = lines.iter().map(|line| self.clock_of(line)).collect();
        let mut places: Vec<Place> = lines.iter().zip(&clocks).map(|(line, clock)| self.place_alone(line, *clock)).collect();
        let source = |at: usize| (lines[at].id.partition, clocks[at], &lines[at].stream);
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_unstable_by(|a, b| source(*a).cmp(&source(*b)).then_with(|| lines[*a].id.cmp(&lines[*b].id)));
        for pair in order.windows(2).filter(|pair| source(pair[0]) == source(pair[1])) {
            let before = places[pair[0]];
            places[pair[1]].not_before(&before);
        }
        places
    }

    /// Where a line belongs by its span, or else its clock.
    fn place_alone(&self, line: &OwnedLine, clock: Option<usize>) -> Place {
        let tie = line.timestamp;
        let Some(own) = self.span_of(line.span_id, clock) else {
            let clock_offset = clock.map_or(0, |clock| self.clocks[clock].offset);
            let basis = if clock.is_some() { Basis::Clock } else { Basis::Time };
            let at = line.timestamp.saturating_add(clock_offset);
            return Place { at, depth: 0, basis, clock_offset, stream_offset: 0, tie };
        };
        let (start, end) = (own.span.start.saturating_add(own.shift), own.span.end.saturating_add(own.shift));
        let moved = line.timestamp.saturating_add(own.shift);
        let is_stamped_late = start <= end && moved > end && moved.saturating_sub(end) <= STAMPED_LATE_MAX;
        let at = if is_stamped_late { end } else { moved.max(start) };
        let clock_offset = self.clocks[own.clock].offset;
        Place { at, depth: own.depth, basis: Basis::Span, clock_offset, stream_offset: 0, tie }
    }

    /// The clock of a resource, a new one where none has its name yet.
    fn clock(&mut self, origin: &Origin, numbers: &mut HashMap<(&'static str, String), usize>) -> usize {
        let mut own: Option<usize> = None;
        let resource: Vec<_> = origin.resource.iter().map(|(key, value)| (normalise_label_name(key), value)).collect();
        for (name, labels) in NAMES {
            let Some((_, value)) = resource.iter().find(|(key, _)| *key == name) else { continue };
            let text = value.text().into_owned();
            // An empty value names nothing: clocks that have one alike are not alike.
            if text.is_empty() {
                continue;
            }
            let clock = *own.get_or_insert_with(|| {
                *numbers.entry((name, text.clone())).or_insert_with(|| {
                    self.clocks.push(Clock { name: text.clone(), ..Clock::default() });
                    self.clocks.len() - 1
                })
            });
            for label in labels {
                let known = self.by_name.entry((*label, text.clone())).or_insert(Some(clock));
                *known = known.filter(|known| *known == clock);
            }
        }
        own.unwrap_or_else(|| {
            *numbers.entry(("", String::new())).or_insert_with(|| {
                self.clocks.push(Clock { name: origin.service().to_owned(), ..Clock::default() });
                self.clocks.len() - 1
            })
        })
    }

    /// By what its stream says, or else its attributes.
    fn clock_of(&self, line: &OwnedLine) -> Option<usize> {
        NAMES.iter().flat_map(|(_, labels)| *labels).find_map(|label| {
            let own = [line.stream.get(label), line.attributes.get(label)].into_iter().find(|value| !value.is_empty())?;
            *self.by_name.get(&(*label, own.to_owned()))?
        })
    }

    /// Of spans that share an id, as a request's two sides do in Zipkin, the one of this clock.
    fn span_of(&self, id: SpanId, clock: Option<usize>) -> Option<&Placed<'a>> {
        let shared = self.by_id.get(&id)?;
        let own = shared.iter().find(|span| Some(self.spans[**span].clock) == clock).or(shared.first());
        own.map(|span| &self.spans[*span])
    }

    fn find_parents(&mut self) {
        let is_caller = |span: usize| matches!(self.spans[span].span.kind, SpanKind::Client | SpanKind::Producer);
        let parent = |(at, placed): (usize, &Placed<'_>)| {
            let shared = || self.by_id[&placed.span.span_id].iter().copied().find(|other| *other != at && is_caller(*other));
            if let Some(caller) = shared().filter(|_| !is_caller(at)) {
                return Some(caller);
            }
            let named = self.by_id.get(&placed.span.parent_id)?;
            // The inner one of two that share the id.
            named.iter().copied().filter(|other| *other != at).min_by_key(|other| (is_caller(*other), *other))
        };
        let parents: Vec<Option<usize>> = self.spans.iter().enumerate().map(parent).collect();
        for (placed, parent) in self.spans.iter_mut().zip(parents) {
            placed.parent = parent;
        }
    }

    fn set_clocks(&mut self) {
        let mut calls = Calls::default();
        for child in &self.spans {
            if let Some(parent) = child.parent.map(|parent| &self.spans[parent]) {
                calls.add((parent.clock, parent.span), (child.clock, child.span));
            }
        }
        let root = self.spans.iter().min_by_key(|placed| (placed.parent.is_some(), placed.span.start, placed.span.span_id));
        if let Some(root) = root.map(|root| root.clock) {
            calls.estimate(&mut self.clocks, root);
        }
    }

    /// Parents before their children; of a ring of parents each as its clock has it.
    fn place_spans(&mut self) {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.spans.len()];
        for (at, placed) in self.spans.iter_mut().enumerate() {
            placed.shift = self.clocks[placed.clock].offset;
            if let Some(parent) = placed.parent {
                children[parent].push(at);
            }
        }
        let mut next: Vec<usize> = (0..self.spans.len()).filter(|span| self.spans[*span].parent.is_none()).collect();
        while let Some(at) = next.pop() {
            let parent = self.spans[at];
            let begins = parent.span.start.saturating_add(parent.shift);
            for child in &children[at] {
                let child = &mut self.spans[*child];
                let lacks = begins.saturating_sub(child.span.start.saturating_add(child.shift)).max(0);
                child.shift = child.shift.saturating_add(lacks);
                child.depth = parent.depth + 1;
            }
            next.append(&mut children[at]);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
