//! Unsealed spans of a partition by trace, repetitions left out.
//!
//! A trace is behind a pointer: readers copy pointers under the lock and read without it; a span that comes meanwhile
//! copies its trace's list of pointers first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use weir_model::id::TraceId;
use weir_model::span::{Span, SpanBatch};
use weir_model::wire::Section;

use super::Clock;
use super::content::{KnownOrigin, OriginSpan, content_hash};
use super::counters::TracesCounters;
use super::memory;
use super::state::{Arrival, is_complete};
use super::writer::BlockWriter;
use crate::StoreError;
use crate::engine::{BuiltBlock, Head, Position};

/// Unsealed spans of one partition.
pub struct TracesHead {
    clock: Clock,
    counters: TracesCounters,
    /// Guards everything that is said of traces; spans themselves never change.
    state: RwLock<State>,
    bytes: AtomicUsize,
    records: AtomicU64,
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<String, HashMap<TraceId, Arc<HeadTrace>>>,
    /// By their bytes: a sender says the same origin with every batch.
    origins: HashMap<Vec<u8>, Arc<KnownOrigin>>,
}

/// One trace of a head.
#[derive(Clone, Default)]
pub(crate) struct HeadTrace {
    /// In the order of arrival.
    pub spans: Vec<OriginSpan>,
    hashes: HashSet<u128>,
    pub arrival: Arrival,
}

impl HeadTrace {
    pub(crate) fn is_complete(&self) -> bool {
        is_complete(self.spans.iter().map(|(_, span)| &**span))
    }
}

impl TracesHead {
    pub(crate) fn new(clock: Clock, counters: TracesCounters) -> Self {
        Self { clock, counters, state: RwLock::default(), bytes: AtomicUsize::new(0), records: AtomicU64::new(0) }
    }

    /// Sets when the spans of traces came, as another head says.
    pub(crate) fn set_arrivals(&self, tenant: &str, arrivals: &[(TraceId, Arrival)]) {
        let mut state = self.state.write();
        let Some(traces) = state.tenants.get_mut(tenant) else { return };
        for (id, arrival) in arrivals {
            if let Some(trace) = traces.get_mut(id) {
                Arc::make_mut(trace).arrival = *arrival;
            }
        }
    }

    /// A trace as of now.
    pub(crate) fn trace(&self, tenant: &str, id: TraceId) -> Option<Arc<HeadTrace>> {
        self.state.read().tenants.get(tenant)?.get(&id).cloned()
    }

    /// All traces of a tenant as of now, in no order.
    pub(crate) fn traces(&self, tenant: &str) -> Vec<(TraceId, Arc<HeadTrace>)> {
        let state = self.state.read();
        state.tenants.get(tenant).into_iter().flatten().map(|(id, trace)| (*id, Arc::clone(trace))).collect()
    }
}

impl Head for TracesHead {
    type Batch = SpanBatch;

    fn insert(&self, _: Position, section: &Section<SpanBatch>) -> Result<(), StoreError> {
        let batch = &section.batch;
        let origin = KnownOrigin::new(batch.origin.clone());
        let own = |span: &Span| (content_hash(&origin, span), Arc::new(span.clone()));
        let spans: Vec<_> = batch.spans.iter().map(own).collect();
        let now = (self.clock)();
        let (mut bytes, mut taken) = (0, 0);
        let mut state = self.state.write();
        let origin = match state.origins.get(&origin.encoded) {
            Some(known) => Arc::clone(known),
            None => {
                bytes += memory::origin(&origin);
                let known = Arc::new(origin);
                state.origins.insert(known.encoded.clone(), Arc::clone(&known));
                known
            }
        };
        let tenant = &section.header.tenant;
        if !state.tenants.contains_key(tenant) {
            bytes += memory::tenant(tenant);
        }
        let traces = state.tenants.entry(tenant.clone()).or_default();
        for (hash, span) in spans {
            let trace = traces.entry(span.trace_id).or_insert_with(|| {
                bytes += memory::trace();
                Arc::new(HeadTrace { arrival: Arrival { first: now, last: now, ..Arrival::default() }, ..HeadTrace::default() })
            });
            if trace.hashes.contains(&hash) {
                self.counters.repeated.inc();
                continue;
            }
            let trace = Arc::make_mut(trace);
            let HeadTrace { spans, hashes, arrival } = trace;
            arrival.touch(now, || is_complete(spans.iter().map(|(_, span)| &**span)));
            hashes.insert(hash);
            bytes += memory::span(&span);
            spans.push((Arc::clone(&origin), span));
            taken += 1;
        }
        drop(state);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(taken, Ordering::Relaxed);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError> {
        let tenants: Vec<String> = self.state.read().tenants.keys().cloned().collect();
        let mut writer = BlockWriter::default();
        for tenant in tenants {
            let mut traces = self.traces(&tenant);
            traces.sort_by_key(|(id, _)| *id);
            for (id, trace) in traces {
                let mut spans = trace.spans.clone();
                spans.sort_by_key(|(_, span)| span.start);
                writer.push(&tenant, id, &spans, Arrival { complete: trace.is_complete(), ..trace.arrival });
            }
        }
        Ok(writer.finish())
    }
}
