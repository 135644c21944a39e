//! Unsealed spans of a partition by trace, repetitions left out.
//!
//! Batches are kept as they come; a trace is a list of places in them. Readers copy the pointers of a trace, or of all batches,
//! under the lock and read without it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use weir_model::id::TraceId;
use weir_model::scope::Visible;
use weir_model::span::{Origin, SpanBatch, SpanRef};
use weir_model::time::UnixNanos;
use weir_model::wire::Section;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::content::{KnownOrigin, OriginSpan, content_hash, put_origin};
use super::counters::TracesCounters;
use super::memory;
use super::placed::{HeadBatch, Place, PlacedTrace};
use super::state::{Arrival, Clock, is_complete};
use super::visible::VisibleOrigins;
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::{BuiltBlock, Head, Position};

/// Unsealed spans of one partition.
pub struct TracesHead {
    clock: Clock,
    counters: TracesCounters,
    /// Of ids, so that nobody can choose them to fall together.
    seed: u64,
    /// Another head has left out what is not visible: names and values that come from there have no resource to judge by.
    selected: bool,
    /// Guards everything that is said of traces; spans themselves never change.
    state: RwLock<State>,
    bytes: AtomicUsize,
    records: AtomicU64,
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<String, Tenant>,
    /// By their bytes: a sender says the same origin with every batch.
    origins: HashMap<Vec<u8>, Arc<KnownOrigin>>,
}

#[derive(Default)]
struct Tenant {
    batches: Vec<HeadBatch>,
    traces: HashMap<TraceId, PlacedTrace>,
    /// The first span of each trace and span id, by the hash of both.
    first: HashMap<u64, Place, BuildHasherDefault<Hashed>>,
    /// Contents of spans whose ids another span has as well, or their hash.
    others: HashSet<u128>,
}

/// One trace of a head as of a moment.
pub struct HeadTrace {
    /// In the order of arrival.
    pub spans: Vec<OriginSpan>,
    pub arrival: Arrival,
}

impl HeadTrace {
    pub(crate) fn is_complete(&self) -> bool {
        is_complete(self.spans.iter().map(OriginSpan::ids))
    }

    /// What may be seen of it; `None` when nothing may.
    pub fn visible(mut self, visible: &Visible) -> Option<Self> {
        VisibleOrigins::new(visible).retain(&mut self.spans);
        (!self.spans.is_empty()).then_some(self)
    }
}

/// The keys of `Tenant::first` are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("invariant: only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl State {
    /// The origin as it is known here, and what a new one takes added to `bytes`.
    fn origin(&mut self, origin: &Origin, encoded: Vec<u8>, bytes: &mut usize) -> Arc<KnownOrigin> {
        if let Some(known) = self.origins.get(&encoded) {
            return Arc::clone(known);
        }
        let known = Arc::new(KnownOrigin { origin: origin.clone(), encoded });
        *bytes += memory::origin(&known);
        self.origins.insert(known.encoded.clone(), Arc::clone(&known));
        known
    }
}

impl Tenant {
    fn span(&self, place: Place) -> SpanRef<'_> {
        self.batches[place.batch as usize].spans.get(place.row as usize)
    }

    fn trace(&self, trace: &PlacedTrace) -> HeadTrace {
        let own = |place: &Place| {
            let HeadBatch { origin, spans, .. } = &self.batches[place.batch as usize];
            OriginSpan { origin: Arc::clone(origin), spans: Arc::clone(spans), row: place.row }
        };
        HeadTrace { spans: trace.places.iter().map(own).collect(), arrival: trace.arrival }
    }

    /// Whether a span is new; it is then taken note of. What is equal has the same ids, so contents are compared only where
    /// ids meet.
    fn admit(&mut self, hash: u64, place: Place) -> bool {
        let first = match self.first.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(place);
                return true;
            }
            Entry::Occupied(taken) => *taken.get(),
        };
        let content = |place: Place| content_hash(&self.batches[place.batch as usize].origin, self.span(place));
        let (own, first) = (content(place), content(first));
        own != first && self.others.insert(own)
    }

    /// Adds a span that was admitted to its trace, and what a new trace takes to `bytes`.
    fn place(&mut self, id: TraceId, place: Place, now: UnixNanos, bytes: &mut usize) {
        let Self { batches, traces, .. } = self;
        let PlacedTrace { places, arrival } = traces.entry(id).or_insert_with(|| {
            *bytes += memory::trace();
            PlacedTrace { places: Vec::new(), arrival: Arrival { first: now, last: now, ..Arrival::default() } }
        });
        arrival.touch(now, || {
            is_complete(places.iter().map(|place| {
                let span = batches[place.batch as usize].spans.get(place.row as usize);
                (span.span_id(), span.parent_id())
            }))
        });
        places.push(place);
    }
}

impl TracesHead {
    pub(crate) fn new(clock: Clock, counters: TracesCounters) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0_u8);
        let (bytes, records) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { clock, counters, seed, selected: false, state: RwLock::default(), bytes, records }
    }

    /// For what another head has given.
    pub(crate) fn selected(clock: Clock) -> Self {
        Self { selected: true, ..Self::new(clock, TracesCounters::default()) }
    }

    pub(crate) fn is_selected(&self) -> bool {
        self.selected
    }

    /// Sets when the spans of traces came, as another head says.
    pub fn set_arrivals(&self, tenant: &str, arrivals: &[(TraceId, Arrival)]) {
        let mut state = self.state.write();
        let Some(own) = state.tenants.get_mut(tenant) else { return };
        for (id, arrival) in arrivals {
            own.traces.get_mut(id).into_iter().for_each(|trace| trace.arrival = *arrival);
        }
    }

    pub(crate) fn has_tenant(&self, tenant: &str) -> bool {
        self.state.read().tenants.contains_key(tenant)
    }

    /// A trace as of now.
    pub fn trace(&self, tenant: &str, id: TraceId) -> Option<HeadTrace> {
        let state = self.state.read();
        let own = state.tenants.get(tenant)?;
        own.traces.get(&id).map(|trace| own.trace(trace))
    }

    /// All batches of a tenant as of now, in the order of arrival. A span that came twice may be in two of them.
    pub(crate) fn batches(&self, tenant: &str) -> Vec<HeadBatch> {
        self.state.read().tenants.get(tenant).map(|own| own.batches.clone()).unwrap_or_default()
    }

    fn hash(&self, trace: TraceId, span: weir_model::id::SpanId) -> u64 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&trace.0);
        bytes[16..].copy_from_slice(&span.0);
        xxh3_64_with_seed(&bytes, self.seed)
    }
}

impl Head for TracesHead {
    type Batch = SpanBatch;

    fn insert(&self, _: Position, section: &Section<SpanBatch>) -> Result<(), StoreError> {
        let spans = &section.batch.spans;
        if spans.is_empty() {
            return Ok(());
        }
        let mut encoded = Vec::new();
        put_origin(&mut encoded, &section.batch.origin);
        // Before the lock.
        let ids = spans.trace_ids().iter().zip(spans.span_ids());
        let hashes: Vec<u64> = ids.map(|(trace, span)| self.hash(*trace, *span)).collect();
        let now = (self.clock)();
        let mut bytes = 0;
        let mut state = self.state.write();
        let origin = state.origin(&section.batch.origin, encoded, &mut bytes);
        let tenant = &section.header.tenant;
        if !state.tenants.contains_key(tenant) {
            bytes += memory::tenant(tenant);
        }
        let own = state.tenants.entry(tenant.clone()).or_default();
        let batch = u32::try_from(own.batches.len()).map_err(|_| StoreError::engine("take spans", "too many batches"))?;
        own.batches.push(HeadBatch::new(origin, Arc::clone(spans)));
        let mut taken = 0;
        for ((row, hash), id) in (0..).zip(hashes).zip(spans.trace_ids()) {
            let place = Place { batch, row };
            if own.admit(hash, place) {
                own.place(*id, place, now, &mut bytes);
                taken += 1;
            }
        }
        if taken == 0 {
            // Nothing points into it.
            own.batches.pop();
        } else {
            bytes += memory::batch(spans) + taken * memory::PLACED;
        }
        drop(state);
        self.counters.repeated.inc_by((spans.len() - taken) as u64);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError> {
        let mut writer = BlockWriter::default();
        // Nobody inserts any more, so that the lock keeps nobody waiting.
        for (tenant, own) in &self.state.read().tenants {
            let mut traces: Vec<(&TraceId, &PlacedTrace)> = own.traces.iter().collect();
            traces.sort_unstable_by_key(|(id, _)| **id);
            for (id, trace) in traces {
                let HeadTrace { spans, arrival } = own.trace(trace);
                writer.push(tenant, *id, spans, arrival);
            }
        }
        Ok(writer.finish())
    }
}
