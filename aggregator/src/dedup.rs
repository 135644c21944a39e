//! Recognises what is stored already, by producer marks. Pure; the manifest carries its state.
//!
//! Called by a partition for each section header, in offset order. Everything here is a function of the headers seen and
//! of the time passed in (a partition's own, see `steady`), so a replay from the manifest's offset comes to the same verdicts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use weir_blocks::manifest::{HighWater, Manifest, PushDigest, PushDigests, SourceKey};
use weir_model::time::UnixNanos;
use weir_model::wire::{Mark, SectionHeader};

use crate::config::{AggregatorConfig, nanos};

/// What to do with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is new.
    New,
    /// What lies at or below this sequence is stored; the rest is new.
    After(u64),
    /// All of it is stored.
    Duplicate,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupLimits {
    /// Pushes.
    pub digests_max: usize,
    /// How long a push is remembered, nanoseconds.
    pub digest_age: i64,
    /// How long a silent source is remembered, nanoseconds.
    pub mark_age: i64,
    /// Bytes of all sources' names, and [`SOURCE_BYTES`] for each.
    pub sources_bytes_max: usize,
}

/// Half of what a manifest may have, in which no seal would find room otherwise: 100,000 sources with long names take a third of it.
const SOURCES_BYTES_MAX: usize = 32 << 20;
/// What a manifest says of a source beside its name, at most.
const SOURCE_BYTES: usize = 64;

impl DedupLimits {
    /// As configured.
    pub fn of(config: &AggregatorConfig) -> Self {
        Self {
            digests_max: config.digests_max,
            digest_age: nanos(config.digest_age_max),
            mark_age: nanos(config.mark_age_max),
            sources_bytes_max: SOURCES_BYTES_MAX,
        }
    }
}

/// High-water marks and digests of one partition.
#[derive(Clone, Debug)]
pub struct DedupState {
    limits: DedupLimits,
    /// Shared with the last snapshot until one of them moves.
    sources: Arc<BTreeMap<SourceKey, HighWater>>,
    source_bytes: usize,
    /// Shared with snapshots but for what came and went since.
    pushes: PushDigests,
    known: HashSet<(Arc<SourceKey>, [u8; 16])>,
    /// Sources of pushes, each with the number of its pushes.
    pushed: HashMap<Arc<SourceKey>, usize>,
    /// Numbers of pushes by tenant, oldest first.
    order: BTreeMap<Arc<str>, VecDeque<u64>>,
    /// Since this owner began.
    pub forgotten: Forgotten,
    /// Sections of which nothing was new, since the partition began.
    pub duplicates: u64,
    /// Sections that began after their source's mark: something between never came. Since the partition began.
    pub gaps: u64,
}

/// Pushes and sources that would be stored again if they were sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Pushes older than any sender tries.
    pub aged: u64,
    /// Pushes of which too many were younger.
    pub crowded: u64,
    /// Sources of which too many were younger.
    pub crowded_sources: u64,
}

/// A tenant's, of which some are to be forgotten.
#[derive(Default)]
struct Sources {
    bytes: usize,
    /// Those that have been silent for longest come last.
    silent_last: Vec<(UnixNanos, SourceKey)>,
}

/// What a seal writes into the manifest. A copy takes no more than pointers.
#[derive(Clone, Debug, Default)]
pub struct DedupSnapshot {
    marks: Arc<BTreeMap<SourceKey, HighWater>>,
    digests: PushDigests,
    duplicates: u64,
    gaps: u64,
}

impl DedupSnapshot {
    /// Into a manifest.
    pub fn store(&self, manifest: &mut Manifest) {
        manifest.marks = Arc::clone(&self.marks);
        manifest.digests = self.digests.clone();
        manifest.counters.duplicates = self.duplicates;
        manifest.counters.gaps = self.gaps;
    }
}

impl DedupState {
    /// From what a manifest remembers.
    pub fn new(limits: DedupLimits, manifest: &Manifest) -> Self {
        let known = manifest.digests.iter().map(|push| (Arc::clone(&push.source), push.digest)).collect();
        let (mut order, mut pushed) = (BTreeMap::<Arc<str>, VecDeque<u64>>::new(), HashMap::new());
        for (number, push) in manifest.digests.numbered() {
            order.entry(Arc::clone(&push.source.tenant)).or_default().push_back(number);
            *pushed.entry(Arc::clone(&push.source)).or_default() += 1;
        }
        Self {
            limits,
            sources: Arc::clone(&manifest.marks),
            source_bytes: manifest.marks.keys().map(bytes_of).sum(),
            pushes: manifest.digests.clone(),
            known,
            pushed,
            order,
            forgotten: Forgotten::default(),
            duplicates: manifest.counters.duplicates,
            gaps: manifest.counters.gaps,
        }
    }

    /// What a manifest has to remember as of now.
    pub fn snapshot(&self) -> DedupSnapshot {
        DedupSnapshot {
            marks: Arc::clone(&self.sources),
            digests: self.pushes.clone(),
            duplicates: self.duplicates,
            gaps: self.gaps,
        }
    }

    /// Takes note of a section and says what of it is new.
    pub fn admit(&mut self, header: &SectionHeader, now: UnixNanos) -> Verdict {
        let verdict = match header.mark {
            Mark::Sequence { epoch, first, last } => self.admit_sequence(header, epoch, first, last, now),
            Mark::Digest(digest) => self.admit_digest(header, digest, now),
        };
        self.duplicates += u64::from(verdict == Verdict::Duplicate);
        verdict
    }

    /// Whether a section would be a duplicate. Changes nothing.
    pub fn knows(&self, header: &SectionHeader) -> bool {
        match header.mark {
            Mark::Sequence { epoch, last, .. } => {
                self.sources.get(&key(header)).is_some_and(|mark| (epoch, last) <= (mark.epoch, mark.sequence))
            }
            Mark::Digest(digest) => {
                let source = self.pushed.get_key_value(&key(header));
                source.is_some_and(|(source, _)| self.known.contains(&(Arc::clone(source), digest)))
            }
        }
    }

    fn admit_sequence(&mut self, header: &SectionHeader, epoch: u64, first: u64, last: u64, now: UnixNanos) -> Verdict {
        let key = key(header);
        let sources = Arc::make_mut(&mut self.sources);
        let Some(mark) = sources.get_mut(&key) else {
            self.source_bytes += bytes_of(&key);
            sources.insert(key, HighWater { epoch, sequence: last, touched: now });
            if self.source_bytes > self.limits.sources_bytes_max {
                self.crowd_out();
            }
            return Verdict::New;
        };
        mark.touched = now;
        if (epoch, last) <= (mark.epoch, mark.sequence) {
            return Verdict::Duplicate;
        }
        let (same_epoch, before) = (epoch == mark.epoch, mark.sequence);
        (mark.epoch, mark.sequence) = (epoch, last);
        if !same_epoch || first == before {
            return Verdict::New;
        }
        self.gaps += u64::from(first > before);
        if first > before { Verdict::New } else { Verdict::After(before) }
    }

    /// Forgets those sources that have been silent for longest, of the tenant whose sources take most, until an eighth is free: not at
    /// every new one again.
    fn crowd_out(&mut self) {
        let most = self.limits.sources_bytes_max - self.limits.sources_bytes_max / 8;
        let mut tenants: BTreeMap<Arc<str>, Sources> = BTreeMap::new();
        let sources = Arc::make_mut(&mut self.sources);
        for (key, mark) in &*sources {
            let own = tenants.entry(Arc::clone(&key.tenant)).or_default();
            own.bytes += bytes_of(key);
            own.silent_last.push((mark.touched, key.clone()));
        }
        tenants.values_mut().for_each(|own| own.silent_last.sort_by(|a, b| b.cmp(a)));
        while self.source_bytes > most {
            let Some(own) = tenants.values_mut().max_by_key(|own| own.bytes) else { break };
            let Some((_, key)) = own.silent_last.pop() else { break };
            own.bytes -= bytes_of(&key);
            self.source_bytes -= bytes_of(&key);
            sources.remove(&key);
            self.forgotten.crowded_sources += 1;
        }
    }

    fn admit_digest(&mut self, header: &SectionHeader, digest: [u8; 16], now: UnixNanos) -> Verdict {
        let source = key(header);
        let source = self.pushed.get_key_value(&source).map(|(known, _)| Arc::clone(known)).unwrap_or_else(|| Arc::new(source));
        if !self.known.insert((Arc::clone(&source), digest)) {
            return Verdict::Duplicate;
        }
        *self.pushed.entry(Arc::clone(&source)).or_default() += 1;
        let tenant = Arc::clone(&source.tenant);
        let number = self.pushes.push_back(PushDigest { source, digest, seen: now });
        self.order.entry(Arc::clone(&tenant)).or_default().push_back(number);
        self.forget_aged(&tenant, now);
        // Whoever holds most gives way: no tenant is crowded out by one that pushes more.
        while self.pushes.len() > self.limits.digests_max {
            let most = self.order.iter().max_by_key(|(_, pushes)| pushes.len()).map(|(tenant, _)| Arc::clone(tenant));
            let Some(most) = most else { break };
            self.forget_oldest(&most);
            self.forgotten.crowded += 1;
        }
        Verdict::New
    }

    fn forget_aged(&mut self, tenant: &Arc<str>, now: UnixNanos) {
        let age = self.limits.digest_age;
        let oldest = |state: &Self| state.pushes.get(*state.order.get(tenant)?.front()?).map(|push| push.seen);
        while oldest(self).is_some_and(|seen| now.saturating_sub(seen) > age) {
            self.forget_oldest(tenant);
            self.forgotten.aged += 1;
        }
    }

    fn forget_oldest(&mut self, tenant: &Arc<str>) {
        let Some(numbers) = self.order.get_mut(tenant) else { return };
        let oldest = numbers.pop_front().and_then(|number| self.pushes.remove(number));
        if numbers.is_empty() {
            self.order.remove(tenant);
        }
        let Some(PushDigest { source, digest, .. }) = oldest else { return };
        if let Some(count) = self.pushed.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.pushed.remove(&source);
            }
        }
        self.known.remove(&(source, digest));
    }

    /// Forgets what is older than it needs to be. Called at each seal.
    pub fn forget(&mut self, now: UnixNanos) {
        for tenant in self.order.keys().cloned().collect::<Vec<_>>() {
            self.forget_aged(&tenant, now);
        }
        let age = self.limits.mark_age;
        let is_aged = |mark: &HighWater| now.saturating_sub(mark.touched) > age;
        if self.sources.values().any(is_aged) {
            Arc::make_mut(&mut self.sources).retain(|_, mark| !is_aged(mark));
            self.source_bytes = self.sources.keys().map(bytes_of).sum();
        }
    }
}

fn bytes_of(key: &SourceKey) -> usize {
    key.tenant.len() + key.source.len() + SOURCE_BYTES
}

/// Two tenants, or two streams, may send the same content.
fn key(header: &SectionHeader) -> SourceKey {
    SourceKey { tenant: header.tenant.as_str().into(), source: header.source.as_str().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_memory::peak;

    const LIMITS: DedupLimits =
        DedupLimits { digests_max: 3, digest_age: 100, mark_age: 1000, sources_bytes_max: 20 * (SOURCE_BYTES + 4) };

    fn marks() -> DedupState {
        DedupState::new(LIMITS, &Manifest::default())
    }

    fn sequence(source: &str, epoch: u64, first: u64, last: u64) -> SectionHeader {
        let mark = Mark::Sequence { epoch, first, last };
        SectionHeader { tenant: "t".into(), source: source.into(), mark, records: 1 }
    }

    fn push(tenant: &str, digest: u8) -> SectionHeader {
        SectionHeader { tenant: tenant.into(), source: "push".into(), mark: Mark::Digest([digest; 16]), records: 1 }
    }

    #[test]
    fn sequences_are_dropped_at_or_below_the_mark_and_trimmed_across_it() {
        let mut marks = marks();
        let mut check = |header: SectionHeader, expected: Verdict| assert_eq!(marks.admit(&header, 0), expected, "{header:?}");
        check(sequence("a", 1, 0, 100), Verdict::New);
        check(sequence("a", 1, 0, 100), Verdict::Duplicate);
        check(sequence("a", 1, 50, 80), Verdict::Duplicate);
        check(sequence("a", 1, 50, 150), Verdict::After(100));
        check(sequence("a", 1, 150, 200), Verdict::New);
        check(sequence("a", 1, 300, 400), Verdict::New);
        check(sequence("b", 1, 0, 10), Verdict::New);
        check(sequence("a", 2, 0, 10), Verdict::New);
        check(sequence("a", 1, 400, 500), Verdict::Duplicate);
        assert_eq!((marks.gaps, marks.duplicates), (1, 3));
    }

    #[test]
    fn a_push_is_known_again_for_its_tenant_until_it_is_old_or_crowded_out_by_its_own() {
        let mut marks = marks();
        let mut check = |tenant: &str, digest: u8, now: i64, expected: Verdict| {
            assert_eq!(marks.admit(&push(tenant, digest), now), expected, "{tenant} {digest} at {now}");
        };
        check("t", 1, 0, Verdict::New);
        check("t", 1, 50, Verdict::Duplicate);
        check("u", 1, 50, Verdict::New);
        check("t", 2, 120, Verdict::New);
        check("t", 1, 130, Verdict::New);
        for digest in 3..6 {
            check("t", digest, 140, Verdict::New);
        }
        check("t", 1, 140, Verdict::New);
        check("u", 1, 140, Verdict::Duplicate);
        assert_eq!(marks.forgotten, Forgotten { aged: 1, crowded: 4, crowded_sources: 0 });
        marks.forget(1000);
        assert_eq!(marks.forgotten, Forgotten { aged: 4, crowded: 4, crowded_sources: 0 });
    }

    #[test]
    fn sources_beyond_what_a_manifest_holds_are_forgotten_from_the_most_silent_of_whoever_has_most() {
        let mut marks = marks();
        let of =
            |tenant: &str, number: u64| SectionHeader { tenant: tenant.into(), ..sequence(&format!("{number:03}"), 1, 0, 100) };
        assert_eq!(marks.admit(&of("u", 1), 0), Verdict::New);
        for number in 0..200 {
            let now = number as i64;
            assert_eq!(marks.admit(&of("t", number), now), Verdict::New, "{number}");
            assert_eq!(marks.admit(&of("t", 0), now), Verdict::Duplicate, "heard all the time, at {number}");
            let bytes: usize = marks.sources.keys().map(bytes_of).sum();
            assert!(bytes == marks.source_bytes && bytes <= LIMITS.sources_bytes_max, "{bytes} bytes after {number}");
        }
        assert!((17..=20).contains(&marks.sources.len()), "{}", marks.sources.len());
        assert_eq!(marks.forgotten.crowded_sources, 201 - marks.sources.len() as u64);
        let silent = marks.sources.keys().filter(|key| ("001".."180").contains(&&*key.source) && &*key.tenant == "t");
        assert_eq!(silent.count(), 0);
        assert_eq!(marks.admit(&of("u", 1), 600), Verdict::Duplicate, "older than all, of a tenant that has few");
        // A manifest with more than that, as an earlier version wrote it, is brought down at the next new source.
        let mark = HighWater { epoch: 1, sequence: 1, touched: 0 };
        let sources = (0..100).map(|number| (key(&of("t", number)), mark)).collect();
        let manifest = Manifest { marks: Arc::new(sources), ..Manifest::default() };
        let mut marks = DedupState::new(LIMITS, &manifest);
        assert_eq!(marks.admit(&of("t", 100), 1), Verdict::New);
        assert!(marks.source_bytes <= LIMITS.sources_bytes_max);
    }

    #[test]
    fn a_manifest_has_room_for_all_sources_that_are_remembered() {
        let limits = DedupLimits::of(&AggregatorConfig::default());
        let mut marks = DedupState::new(limits, &Manifest::default());
        let padding = "p".repeat(100_000);
        for number in 0..1_000 {
            marks.admit(&sequence(&format!("{number}{padding}"), u64::MAX, 0, u64::MAX), i64::MAX - number);
        }
        assert!(marks.forgotten.crowded_sources > 0);
        let mut manifest = Manifest::default();
        marks.snapshot().store(&mut manifest);
        let object_store = Arc::new(object_store::memory::InMemory::new());
        let nonces = weir_blocks::manifest::random_nonces();
        let store =
            weir_blocks::manifest::ManifestStore { object_store, kind: weir_model::wire::Kind::Logs, partition: 0, nonces };
        assert!(store.prepare(1, &manifest).is_ok());
    }

    /// Bytes that the next version takes after ten more pushes, with so many remembered.
    fn version_cost(remembered: usize) -> u64 {
        let mut marks = DedupState::new(DedupLimits { digests_max: remembered, ..LIMITS }, &Manifest::default());
        let numbered = |number: usize| {
            let mut digest = [0; 16];
            digest[..8].copy_from_slice(&(number as u64).to_le_bytes());
            SectionHeader { mark: Mark::Digest(digest), ..push("t", 0) }
        };
        // As it goes on: some have been forgotten already, and tables have grown.
        for number in 0..remembered + 10 {
            assert_eq!(marks.admit(&numbered(number), 0), Verdict::New);
        }
        let mut published = Manifest::default();
        marks.snapshot().store(&mut published);
        let (next, cost) = peak(|| {
            for number in 0..10 {
                assert_eq!(marks.admit(&numbered(remembered + 10 + number), 0), Verdict::New);
            }
            marks.forget(1);
            let cut = marks.snapshot();
            let mut sealed = Manifest::default();
            cut.clone().store(&mut sealed);
            // As merging goes on from it.
            (cut, sealed.clone(), sealed)
        });
        assert_eq!((next.1.digests.len(), marks.forgotten.crowded), (remembered, 20));
        cost
    }

    #[test]
    fn a_version_costs_what_it_adds_however_many_pushes_are_remembered() {
        let (few, many) = (version_cost(1_000), version_cost(65_536));
        println!("{few} bytes with 1,000, {many} with 65,536");
        assert!(few > 1_000, "nothing was counted");
        assert!(many < few + 16_384, "{few} bytes with 1,000, {many} with 65,536");
    }

    #[test]
    fn state_survives_a_round_trip_through_the_manifest() {
        let mut first = marks();
        first.admit(&sequence("a", 1, 0, 100), 5);
        first.admit(&push("t", 1), 5);
        let mut manifest = Manifest::default();
        first.snapshot().store(&mut manifest);
        let mut second = DedupState::new(LIMITS, &manifest);
        assert_eq!(second.admit(&sequence("a", 1, 0, 100), 6), Verdict::Duplicate);
        assert_eq!(second.admit(&push("t", 1), 6), Verdict::Duplicate);
        second.forget(2000);
        second.snapshot().store(&mut manifest);
        assert_eq!((manifest.marks.len(), manifest.digests.len()), (0, 0));
    }
}
