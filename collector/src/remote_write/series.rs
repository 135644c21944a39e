//! Series that senders name again and again: a label set is built once, and found by the fingerprint of what names it.
//! The bytes are not kept: they would be half of what a series takes. What is forgotten is built again, so nothing but time depends on
//! what is known here.
//!
//! A tenant's series belong to targets (`job`, `instance`), and each has a column among its target's; [`super::sections`] makes batches
//! of neighbouring columns, so that the requests of a sender repeat schemas though they begin and end anywhere.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use weir_model::label::{Labels, NAME};
use weir_model::limits::LabelLimits;
use weir_model::memory::{allocation, shared, table_entry};
use weir_model::metric::{Family, MetricKind};
use weir_model::time::UnixNanos;

use super::newest::Newest;
use super::order::{Order, Turn};
use super::rows::{Batch, Value};
use super::schemas::{FoundSchema, KnownSchema, SchemaPlace, Schemas};
use crate::fingerprint::{Fingerprint, Hashed};

/// Tenants whose series are known at once.
const TENANTS_MAX: usize = 1000;
/// Families of one tenant.
const FAMILIES_MAX: usize = 100_000;
/// Memory of the families that go with one schema; a chunk's have some 40 KiB.
const SCHEMA_FAMILIES_BYTES_MAX: usize = 256 << 10;
/// Labels by which series are of one target.
const TARGET_NAMES: [&str; 2] = ["job", "instance"];
/// Of a target that was never given one.
static TARGETS: AtomicU64 = AtomicU64::new(0);

/// Of all tenants, within so many bytes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SeriesCache {
    limit: usize,
    /// Held only to look a tenant up.
    tenants: Arc<Mutex<HashMap<Arc<str>, Arc<TenantSeries>>>>,
}

/// What is known of one tenant.
#[derive(Default)]
pub(crate) struct TenantSeries {
    bytes: AtomicUsize,
    pub(super) state: RwLock<State>,
}

/// Guarded by [`TenantSeries::state`].
#[derive(Default)]
pub(super) struct State {
    series: HashSet<ByFingerprint, BuildHasherDefault<Hashed>>,
    /// The same series, and which comes after which.
    pub order: Order,
    targets: HashMap<Labels, Arc<Target>>,
    /// Of the series that was made last.
    last_target: Option<Arc<Target>>,
    schemas: Schemas,
    families: HashMap<String, KnownFamily>,
    /// The series of each name that was made last, with whose newest sample metadata that comes alone is stored: those of before may have ended.
    by_name: HashMap<String, Arc<Known>>,
    /// Counts changes of families, and of those that go first: schemas of before say less.
    generation: u64,
    /// Under which the label sets were found to be short and few.
    limits: LabelLimits,
}

/// A series in the table.
struct ByFingerprint(Arc<Known>);

impl Borrow<Fingerprint> for ByFingerprint {
    fn borrow(&self) -> &Fingerprint {
        &self.0.fingerprint
    }
}

impl Hash for ByFingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.fingerprint.hash(state);
    }
}

impl PartialEq for ByFingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for ByFingerprint {}

/// Whose series a batch holds.
pub(super) struct Target {
    /// `job` and `instance`, as far as the series have them.
    pub labels: Labels,
    /// Of sections.
    pub source: String,
    /// Of this process, never used again.
    pub number: u64,
    /// Columns given out.
    columns: AtomicU64,
}

/// A series.
pub(super) struct Known {
    /// Of its label messages in 1.0, of its texts at their places in 2.0: a series that comes in both is two here.
    pub fingerprint: Fingerprint,
    pub target: Arc<Target>,
    /// Among its target's.
    pub column: u32,
    pub turn: Turn,
    pub place: SchemaPlace,
    /// Without the target's.
    pub labels: Labels,
    /// By which its tenant's active series are counted.
    pub active: u64,
    /// What a late exemplar is stored with.
    pub newest: Newest,
    /// Hash of the metadata that was last sent with it.
    pub said: AtomicU64,
}

struct KnownFamily {
    family: Family,
    /// [`State::generation`] when it was last sent otherwise than before.
    said: u64,
    /// Whether a batch that carries it has been acknowledged.
    is_stored: bool,
}

impl SeriesCache {
    pub fn new(limit: usize) -> Self {
        Self { limit, tenants: Arc::default() }
    }

    /// A tenant's, under the limits of now. When all take too much, the tenant that takes most is forgotten.
    pub(super) fn of(&self, tenant: &Arc<str>, limits: LabelLimits) -> Arc<TenantSeries> {
        let mut tenants = self.tenants.lock();
        let bytes = |known: &Arc<TenantSeries>| known.bytes.load(Ordering::Relaxed);
        while tenants.len() > TENANTS_MAX || tenants.values().map(bytes).sum::<usize>() > self.limit {
            let largest = tenants.iter().max_by_key(|(_, known)| bytes(known)).map(|(tenant, _)| Arc::clone(tenant));
            let Some(largest) = largest else { break };
            tenants.remove(&largest);
        }
        let known = Arc::clone(tenants.entry(Arc::clone(tenant)).or_default());
        drop(tenants);
        if known.state.read().limits != limits {
            let mut state = known.state.write();
            *state = State { limits, ..State::default() };
            known.bytes.store(0, Ordering::Relaxed);
        }
        known
    }
}

#[cfg(test)]
impl SeriesCache {
    /// Of all tenants.
    pub(crate) fn bytes(&self) -> usize {
        self.tenants.lock().values().map(|known| known.bytes.load(Ordering::Relaxed)).sum()
    }
}

impl TenantSeries {
    pub(super) fn took(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn is_target(name: &str) -> bool {
    TARGET_NAMES.contains(&name)
}

impl State {
    #[inline]
    pub fn find(&self, fingerprint: Fingerprint) -> Option<&Arc<Known>> {
        self.series.get(&fingerprint).map(|known| &known.0)
    }

    /// A series that is not known yet, and the bytes that it takes from now on.
    pub fn insert(
        &mut self,
        fingerprint: Fingerprint,
        all: &Labels,
        active: impl Fn(&Labels, &Labels) -> u64,
    ) -> (Arc<Known>, usize) {
        let before = self.targets.len();
        let target = self.target(all);
        let labels = all.without(is_target);
        let known = Arc::new(Known {
            fingerprint,
            // After four billion series of one target they share columns, and are told apart by the batch that has both.
            column: target.columns.fetch_add(1, Ordering::Relaxed) as u32,
            turn: self.order.turn(),
            place: SchemaPlace::default(),
            active: active(&target.labels, &labels),
            labels,
            newest: Newest::default(),
            said: AtomicU64::new(0),
            target,
        });
        let mut bytes = shared(size_of::<Known>()) + known.labels.memory() + table_entry(size_of::<ByFingerprint>());
        bytes += Order::BYTES;
        if self.targets.len() > before {
            let Target { labels, source, .. } = &*known.target;
            bytes += shared(size_of::<Target>()) + labels.memory() + allocation(source.len());
            bytes += table_entry(size_of::<(Labels, Arc<Target>)>());
        }
        let name = known.labels.get(NAME);
        if let Some(last) = self.by_name.get_mut(name) {
            *last = Arc::clone(&known);
        } else {
            bytes += allocation(name.len()) + table_entry(size_of::<(String, Arc<Known>)>());
            self.by_name.insert(name.to_owned(), Arc::clone(&known));
        }
        self.order.push(&known);
        self.series.insert(ByFingerprint(Arc::clone(&known)));
        (known, bytes)
    }

    /// Mostly that of the series before.
    fn target(&mut self, all: &Labels) -> Arc<Target> {
        let is_same = |last: &&Arc<Target>| TARGET_NAMES.iter().all(|name| last.labels.get(name) == all.get(name));
        if let Some(last) = self.last_target.as_ref().filter(is_same) {
            return Arc::clone(last);
        }
        let target = self.targets.entry(all.without(|name| !is_target(name))).or_insert_with_key(|labels| {
            let source = format!("remote_write/{}/{}", labels.get("job"), labels.get("instance"));
            let number = TARGETS.fetch_add(1, Ordering::Relaxed);
            Arc::new(Target { labels: labels.clone(), source, number, columns: AtomicU64::new(0) })
        });
        Arc::clone(self.last_target.insert(Arc::clone(target)))
    }

    /// The newest sample of a series that the bus has.
    pub fn newest(&self, series: &Known) -> Option<(UnixNanos, Value)> {
        let own = series.newest.get();
        let of_schema = self.schemas.newest(series).map(|(time, value)| (time, Value::Number(value)));
        match (own, of_schema) {
            (Some(own), Some(other)) => Some(if other.0 > own.0 { other } else { own }),
            (own, other) => own.or(other),
        }
    }

    /// The schema of these columns of a target, when it is known with all that is known of its families.
    pub fn schema(&self, batch: &Batch) -> Option<FoundSchema> {
        self.schemas.find(batch, self.generation)
    }

    /// Makes it, and says how many bytes more are held.
    pub fn insert_schema(&mut self, batch: &Batch) -> (Arc<KnownSchema>, usize) {
        let names = || batch.series.iter().map(|known| known.labels.get(NAME)).collect();
        let families = if self.families.is_empty() { Vec::new() } else { self.families_of(&names()) };
        self.schemas.insert(batch, families, self.generation)
    }

    /// By name. Where there is no room for all, those that are not stored yet go first.
    fn families_of(&self, names: &BTreeSet<&str>) -> Vec<Family> {
        let mut found: Vec<&KnownFamily> = names.iter().filter_map(|name| self.known_family_of(name)).collect();
        found.dedup_by(|a, b| a.family.name == b.family.name);
        found.sort_by_key(|known| known.is_stored);
        let mut bytes = 0;
        let fits = |family: &&Family| {
            bytes += family_bytes(family);
            bytes <= SCHEMA_FAMILIES_BYTES_MAX
        };
        let mut fitting: Vec<Family> = found.into_iter().map(|known| &known.family).take_while(fits).cloned().collect();
        fitting.sort_by(|a, b| a.name.cmp(&b.name));
        fitting
    }

    /// The family of a series' name: of its own name, or of that without what histograms and summaries append.
    pub fn family_of(&self, name: &str) -> Option<&Family> {
        self.known_family_of(name).map(|known| &known.family)
    }

    fn known_family_of(&self, name: &str) -> Option<&KnownFamily> {
        self.families.get(name).or_else(|| {
            let of_parts = |known: &&KnownFamily| {
                matches!(known.family.kind, MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary)
            };
            let bases = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
            bases.into_iter().find_map(|base| self.families.get(base).filter(of_parts))
        })
    }

    /// Some families that wait had no room in a schema, and others that did are stored: schemas are made again, with those that wait first.
    pub fn make_room(&mut self) {
        self.generation += 1;
    }

    /// Whether it is known like this; if so, whether it is stored.
    pub fn has_family(&self, family: &Family) -> Option<bool> {
        self.families.get(&family.name).filter(|known| known.family == *family).map(|known| known.is_stored)
    }

    /// Remembers a family; the next batch with a series of it carries it. Bytes more that are held.
    pub fn set_family(&mut self, family: Family) -> usize {
        let is_full = self.families.len() >= FAMILIES_MAX && !self.families.contains_key(&family.name);
        if is_full || self.has_family(&family).is_some() {
            return 0;
        }
        self.generation += 1;
        let name = family.name.clone();
        let own = |known: &KnownFamily| {
            known.family.memory() + allocation(name.len()) + table_entry(size_of::<(String, KnownFamily)>())
        };
        let known = KnownFamily { family, said: self.generation, is_stored: false };
        let bytes = own(&known);
        let before = self.families.insert(name.clone(), known);
        bytes.saturating_sub(before.as_ref().map_or(0, own))
    }

    /// When a family was last sent otherwise than before.
    pub fn family_said(&self, name: &str) -> Option<u64> {
        self.families.get(name).map(|known| known.said)
    }

    /// A batch that carries what was said of a family at that time is acknowledged.
    pub fn family_stored(&mut self, name: &str, said: u64) {
        if let Some(known) = self.families.get_mut(name).filter(|known| known.said == said) {
            known.is_stored = true;
        }
    }

    /// A series that a family is about, as [`Self::family_of`] goes.
    pub fn series_of(&self, family: &str) -> Option<&Arc<Known>> {
        ["", "_bucket", "_sum", "_count"].iter().find_map(|suffix| self.by_name.get(&format!("{family}{suffix}")))
    }
}

/// Memory of a family in a list.
pub(super) fn family_bytes(family: &Family) -> usize {
    family.memory() + size_of::<Family>()
}
