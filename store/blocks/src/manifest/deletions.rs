//! Deletions in a manifest: how they may change, and their bytes. Drawn in `docs/formats/manifest.md`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use parking_lot::Mutex;
use weir_model::deletion::{Deletion, DeletionRequest, FilterText, KnownDeletion, MatcherText, PROCESSED_AGE_MAX};
use weir_model::label::MatchOp;
use weir_model::time::{TimeRange, UnixNanos};

use super::{BlockEntry, Manifest};
use crate::StoreError;
use crate::columns::{Reader, put_bytes, put_varint, put_zigzag};

/// Requests of a partition that are not processed: each is asked of every block that is read.
pub const DELETIONS_MAX: usize = 250;
/// Of these, only deletions of whole tenants, which administrators make, take the last ones.
const WHOLE_ROOM: usize = 50;
/// Of one tenant, but for those of all of it: four that make many leave room for others.
const TENANT_DELETIONS_MAX: usize = 50;
/// Processed ones that are remembered, for lists, and for [`PROCESSED_AGE_MAX`] by the partition's own time. A manifest that has none any
/// more is of format version 1 again.
const PROCESSED_KEPT: usize = 100;

/// A request that a partition has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDeletion {
    pub request: Arc<AcceptedRequest>,
    /// Offset below which it means records.
    pub upto: u64,
    /// When, by the partition's own time.
    pub accepted: UnixNanos,
    /// That its kind had then; zero where a weir of before has accepted it.
    pub partitions: u32,
    pub state: DeletionState,
}

/// How far a request is in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionState {
    /// Its records are unseen, and all of them are there.
    Received,
    /// Some of its records are gone.
    Begun,
    /// No block below its offset has such records any more.
    Processed,
}

/// Which request: an id is a hash that others can aim at, and is of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeletionKey {
    pub tenant: String,
    pub id: String,
}

/// A request, compiled once for all versions and partitions of a process that name it.
#[derive(Debug)]
pub struct AcceptedRequest {
    said: DeletionRequest,
    key: DeletionKey,
    /// What it hides, and whether it can be read.
    compiled: OnceLock<(Arc<Deletion>, bool)>,
}

/// By id and moment.
type Shared = HashMap<(String, UnixNanos), Weak<AcceptedRequest>>;

/// Requests that something of this process holds: another of the same id and moment takes its place.
static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);

impl AcceptedRequest {
    /// The one that this process has of it already, or a new one.
    pub fn shared(said: DeletionRequest) -> Arc<Self> {
        let mut shared = SHARED.lock();
        let key = (said.id.clone(), said.created);
        if let Some(known) = shared.get(&key).and_then(Weak::upgrade).filter(|known| known.said == said) {
            return known;
        }
        shared.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Self::from(said));
        shared.insert(key, Arc::downgrade(&new));
        new
    }

    pub fn said(&self) -> &DeletionRequest {
        &self.said
    }

    pub fn key(&self) -> &DeletionKey {
        &self.key
    }

    /// What readers leave out. Not for async threads the first time.
    pub fn deletion(&self) -> &Arc<Deletion> {
        &self.compiled().0
    }

    /// What may be taken from blocks; `None` of a request that does not compile, of which all that it hides stays on disk. Not for async
    /// threads the first time.
    pub fn removable(&self) -> Option<&Arc<Deletion>> {
        let (hides, is_readable) = self.compiled();
        is_readable.then_some(hides)
    }

    fn is_compiled(&self) -> bool {
        self.compiled.get().is_some()
    }

    fn compiled(&self) -> &(Arc<Deletion>, bool) {
        self.compiled.get_or_init(|| {
            let (hides, is_readable) = self.said.compile_or_all();
            (Arc::new(hides), is_readable)
        })
    }
}

impl From<DeletionRequest> for AcceptedRequest {
    fn from(said: DeletionRequest) -> Self {
        let key = DeletionKey { tenant: said.tenant.clone(), id: said.id.clone() };
        Self { said, key, compiled: OnceLock::new() }
    }
}

impl PartialEq for AcceptedRequest {
    fn eq(&self, other: &Self) -> bool {
        self.said == other.said
    }
}

impl Eq for AcceptedRequest {}

impl PendingDeletion {
    /// Whether a block may have records that it means, as far as offsets and times tell.
    pub fn may_mean(&self, entry: &BlockEntry) -> bool {
        let DeletionRequest { start, end, .. } = self.request.said;
        let overlaps = TimeRange { start, end }.overlaps(entry.summary.first, entry.summary.last);
        !entry.quarantine && entry.next_offset <= self.upto && overlaps
    }

    fn is(&self, key: &DeletionKey) -> bool {
        self.request.key == *key
    }

    pub fn is_processed(&self) -> bool {
        self.state == DeletionState::Processed
    }

    /// For lists.
    pub fn known(&self) -> KnownDeletion<'_> {
        KnownDeletion { request: self.request.said(), is_processed: self.is_processed(), partitions: self.partitions }
    }

    /// Whether it is processed and need not be remembered any more.
    pub fn is_forgettable(&self, now: UnixNanos) -> bool {
        self.is_processed() && now.saturating_sub(self.accepted) > PROCESSED_AGE_MAX
    }
}

impl Manifest {
    /// Accepts a request: it means all that is sealed now. One that is there already means from now on what was sealed since as well;
    /// how far it is stays as it is, and so does its cancel period. `partitions`: that its kind has. Errors when there are too many.
    pub fn accept(&mut self, request: Arc<AcceptedRequest>, partitions: u32, accepted: UnixNanos) -> Result<(), StoreError> {
        if let Some(known) = self.deletions.iter_mut().find(|known| known.is(request.key()) && !known.is_processed()) {
            (known.upto, known.partitions) = (self.next_offset, partitions);
            return Ok(());
        }
        self.deletions.retain(|known| !known.is(request.key()));
        self.check_room(&request.said).map_err(|detail| StoreError::engine("accept a deletion", detail))?;
        let (upto, state) = (self.next_offset, DeletionState::Received);
        self.deletions.push(PendingDeletion { request, upto, accepted, partitions, state });
        Ok(())
    }

    fn check_room(&self, request: &DeletionRequest) -> Result<(), String> {
        let pending = self.deletions.iter().filter(|known| !known.is_processed());
        let (all, limit) = (pending.clone().count(), if request.is_whole() { DELETIONS_MAX } else { DELETIONS_MAX - WHOLE_ROOM });
        let own = pending.filter(|known| known.request.said.tenant == request.tenant && !known.request.said.is_whole()).count();
        if !request.is_whole() && own >= TENANT_DELETIONS_MAX {
            let tenant = &request.tenant;
            return Err(format!(
                "{own} requests of tenant {tenant} are not processed yet; more than {TENANT_DELETIONS_MAX} are not taken"
            ));
        }
        if all >= limit {
            return Err(format!("{all} requests are not processed yet; more than {limit} are not taken"));
        }
        Ok(())
    }

    pub fn deletion(&self, key: &DeletionKey) -> Option<&PendingDeletion> {
        self.deletions.iter().find(|known| known.is(key))
    }

    /// Forgets a request; whether it may be is its caller's to know.
    pub fn cancel(&mut self, key: &DeletionKey) {
        self.deletions.retain(|known| !known.is(key));
    }

    /// The first records that these requests mean are gone.
    pub fn begin_deletions(&mut self, keys: &[DeletionKey]) {
        self.set_deletions(keys, DeletionState::Begun);
    }

    fn set_deletions(&mut self, keys: &[DeletionKey], state: DeletionState) {
        let named = self.deletions.iter_mut().filter(|known| keys.contains(known.request.key()));
        named.for_each(|known| known.state = state);
    }

    /// Nothing that these requests mean is in a block any more. Of the processed ones the latest are kept, for a while.
    pub fn processed(&mut self, keys: &[DeletionKey], now: UnixNanos) {
        self.set_deletions(keys, DeletionState::Processed);
        self.deletions.retain(|known| !known.is_forgettable(now));
        let mut surplus = self.deletions.iter().filter(|known| known.is_processed()).count().saturating_sub(PROCESSED_KEPT);
        self.deletions.retain(|known| {
            let goes = known.is_processed() && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Whether two neighbouring blocks lie on both sides of a deletion's offset: one of both could not say which records it means.
    pub fn parts(&self, earlier: &BlockEntry, later: &BlockEntry) -> bool {
        let below = |entry: &BlockEntry, upto| entry.next_offset <= upto;
        let pending = self.deletions.iter().filter(|known| !known.is_processed());
        pending.into_iter().any(|known| below(earlier, known.upto) != below(later, known.upto))
    }

    /// Compiles what is not processed, off the async threads, before anybody reads by it.
    pub(super) async fn compile_deletions(&self) -> Result<(), StoreError> {
        let pending = self.deletions.iter().filter(|known| !known.is_processed() && !known.request.is_compiled());
        let pending: Vec<Arc<AcceptedRequest>> = pending.map(|known| Arc::clone(&known.request)).collect();
        if pending.is_empty() {
            return Ok(());
        }
        let compiling = tokio::task::spawn_blocking(move || {
            for request in &pending {
                request.compiled();
            }
        });
        compiling.await.map_err(|ended| StoreError::engine("compile deletions", ended.to_string()))
    }

    pub(super) fn check_deletions(&self) -> Result<(), String> {
        match self.deletions.iter().find(|known| known.upto > self.next_offset) {
            Some(known) => Err(format!(
                "deletion {} is below offset {}, sealed is up to {}",
                known.request.said.id, known.upto, self.next_offset
            )),
            None => Ok(()),
        }
    }
}

const STATES: [DeletionState; 3] = [DeletionState::Received, DeletionState::Begun, DeletionState::Processed];
/// A flag: the number of partitions follows. Written in version 3 alone; read in version 2 as well, as which some builds wrote it.
const HAS_PARTITIONS: u8 = 1 << 3;
const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

pub(super) fn encode(out: &mut Vec<u8>, deletions: &[PendingDeletion]) {
    put_varint(out, deletions.len() as u64);
    for known in deletions {
        let DeletionRequest { id, tenant, query, selectors, filters, start, end, created, can_cancel } = &known.request.said;
        [id, tenant, query].iter().for_each(|text| put_bytes(out, text.as_bytes()));
        put_varint(out, selectors.len() as u64);
        for list in selectors {
            put_varint(out, list.len() as u64);
            for matcher in list {
                put_bytes(out, matcher.name.as_bytes());
                out.push(OPS.iter().position(|op| *op == matcher.op).unwrap_or(0) as u8);
                put_bytes(out, matcher.value.as_bytes());
            }
        }
        put_varint(out, filters.len() as u64);
        for filter in filters {
            let (number, texts) = match filter {
                FilterText::Contains(texts) => (0, &texts[..]),
                FilterText::NotContains(texts) => (1, &texts[..]),
                FilterText::Matches(pattern) => (2, std::slice::from_ref(pattern)),
                FilterText::NotMatches(pattern) => (3, std::slice::from_ref(pattern)),
            };
            out.push(number);
            put_varint(out, texts.len() as u64);
            texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
        }
        [*start, *end, *created, known.accepted].iter().for_each(|time| put_zigzag(out, *time));
        put_varint(out, known.upto);
        let has_partitions = if known.partitions > 0 { HAS_PARTITIONS } else { 0 };
        out.push(u8::from(*can_cancel) | (known.state as u8) << 1 | has_partitions);
        if known.partitions > 0 {
            put_varint(out, u64::from(known.partitions));
        }
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Vec<PendingDeletion>, String> {
    let mut deletions = Vec::new();
    for _ in 0..reader.count("deletions", 11)? {
        let mut text = |what| reader.text(what).map(str::to_owned);
        let (id, tenant, query) = (text("id of a deletion")?, text("tenant of a deletion")?, text("query of a deletion")?);
        let selectors = (0..reader.count("selectors", 1)?).map(|_| decode_matchers(reader)).collect::<Result<_, String>>()?;
        let filters = (0..reader.count("line filters", 2)?).map(|_| decode_filter(reader)).collect::<Result<_, String>>()?;
        let mut time = || reader.zigzag("time of a deletion");
        let (start, end, created, accepted) = (time()?, time()?, time()?, time()?);
        let upto = reader.varint("offset of a deletion")?;
        let [flags] = reader.array::<1>("flags of a deletion")?;
        let number = (flags & !HAS_PARTITIONS) >> 1;
        let state = *STATES.get(usize::from(number)).ok_or_else(|| format!("state {number} of a deletion is unknown"))?;
        let can_cancel = flags & 1 != 0;
        let partitions = if flags & HAS_PARTITIONS == 0 { 0 } else { reader.varint("partitions of a deletion")? };
        let partitions = u32::try_from(partitions).map_err(|_| format!("{partitions} partitions of a deletion are too many"))?;
        let said = DeletionRequest { id, tenant, query, selectors, filters, start, end, created, can_cancel };
        deletions.push(PendingDeletion { request: AcceptedRequest::shared(said), upto, accepted, partitions, state });
    }
    Ok(deletions)
}

fn decode_matchers(reader: &mut Reader<'_>) -> Result<Vec<MatcherText>, String> {
    let mut matchers = Vec::new();
    for _ in 0..reader.count("matchers", 3)? {
        let name = reader.text("label")?.to_owned();
        let [number] = reader.array::<1>("comparison")?;
        let op = *OPS.get(number as usize).ok_or_else(|| format!("comparison {number} is unknown"))?;
        matchers.push(MatcherText { name, op, value: reader.text("value")?.to_owned() });
    }
    Ok(matchers)
}

fn decode_filter(reader: &mut Reader<'_>) -> Result<FilterText, String> {
    let [number] = reader.array::<1>("line filter")?;
    let mut texts = Vec::new();
    for _ in 0..reader.count("texts of a line filter", 1)? {
        texts.push(reader.text("text of a line filter")?.to_owned());
    }
    match (number, &mut texts[..]) {
        (0, _) => Ok(FilterText::Contains(texts)),
        (1, _) => Ok(FilterText::NotContains(texts)),
        (2, [pattern]) => Ok(FilterText::Matches(std::mem::take(pattern))),
        (3, [pattern]) => Ok(FilterText::NotMatches(std::mem::take(pattern))),
        _ => Err(format!("line filter {number} with {} texts is unknown", texts.len())),
    }
}
