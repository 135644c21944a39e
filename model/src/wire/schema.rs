//! A schema on the wire: label sets and families as one zstd frame, which is made once and then travels as it is, with every
//! section. So each section can be read by itself, wherever a reader begins, and yet a schema that is known already costs neither
//! side more than a comparison of its bytes. Called by [`super::metrics`]. Why: docs/decisions/0122-schemas-are-known-by-their-bytes.md.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use xxhash_rust::xxh3::xxh3_64;

use super::budget::{Budget, check_limit, invalid, limit};
use super::columns::{Reader, label_sets, put_label_sets};
use super::{Limits, WireError};
use crate::compression;
use crate::label::Labels;
use crate::metric::{Family, MetricKind, Schema};
use crate::varint::{put_bytes, put_varint};

/// Made once and sent many times; higher levels gain a few hundredths.
const LEVEL: i32 = 3;
/// Memory of a family beside its texts.
const FAMILY_BYTES: usize = size_of::<Family>();

/// A schema's bytes, and what whoever decodes them is charged.
pub(crate) struct EncodedSchema {
    bytes: Arc<[u8]>,
    charge: u64,
    /// Under which it was found to fit.
    limits: Limits,
}

impl EncodedSchema {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Schemas that were decoded or pushed lately stay for the next batch of their target: as many as take so much memory. While a head or a
/// scraper holds a schema it is known, too, and takes no more memory for it.
pub const SCHEMAS_BYTES_MAX: usize = 32 << 20;
/// Schemas that nobody holds any more are forgotten when there are so many entries, or twice as many as were left the last time.
const SWEEP_AT_LEAST: usize = 1024;

/// Schemas of this process by the hash of their bytes. One for all, so that in a process which scrapes and stores they exist once.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Known {
    by_bytes: Held,
    /// Those that were made by [`Schema::shared`].
    by_content: Held,
    hasher: RandomState,
    kept: VecDeque<(Arc<Schema>, usize)>,
    kept_bytes: usize,
}

/// Schemas by a hash, for as long as somebody holds them.
#[derive(Default)]
struct Held {
    by_hash: HashMap<u64, Weak<Schema>>,
    sweep_at: usize,
}

impl Held {
    fn get(&self, hash: u64) -> Option<Arc<Schema>> {
        self.by_hash.get(&hash)?.upgrade()
    }

    /// One that is held already stays.
    fn insert(&mut self, hash: u64, schema: &Arc<Schema>) {
        let slot = self.by_hash.entry(hash).or_default();
        if slot.strong_count() == 0 {
            *slot = Arc::downgrade(schema);
        }
        if self.by_hash.len() > self.sweep_at.max(SWEEP_AT_LEAST) {
            self.by_hash.retain(|_, schema| schema.strong_count() > 0);
            self.sweep_at = 2 * self.by_hash.len();
        }
    }
}

impl Known {
    fn lock() -> MutexGuard<'static, Self> {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schema with exactly these bytes, decoded under the same limits.
    fn find(&self, bytes: &[u8], limits: &Limits) -> Option<Arc<Schema>> {
        let found = self.by_bytes.get(xxh3_64(bytes))?;
        found.encoded.get().is_some_and(|own| own.limits == *limits && *own.bytes == *bytes).then_some(found)
    }

    fn insert(&mut self, schema: &Arc<Schema>, bytes: &[u8]) {
        self.by_bytes.insert(xxh3_64(bytes), schema);
    }

    fn keep(&mut self, schema: &Arc<Schema>) {
        let bytes = schema.memory();
        self.kept.push_back((Arc::clone(schema), bytes));
        self.kept_bytes += bytes;
        while self.kept_bytes > SCHEMAS_BYTES_MAX
            && let Some((_, bytes)) = self.kept.pop_front()
        {
            self.kept_bytes -= bytes;
        }
    }
}

impl Schema {
    /// The schema of these series and families: the one of before, when a batch had the same lately. For sources that do not remember
    /// themselves what they sent.
    pub fn shared(series: Vec<Labels>, families: Vec<Family>) -> Arc<Self> {
        let mut known = Known::lock();
        let hash = known.hasher.hash_one((&series, &families));
        if let Some(found) = known.by_content.get(hash).filter(|found| found.series == series && found.families == families) {
            return found;
        }
        let schema = Arc::new(Self::new(series, families));
        known.by_content.insert(hash, &schema);
        known.keep(&schema);
        schema
    }
}

/// Which columns of the schema whose bytes are there: none are said of all.
#[derive(Clone, Copy)]
pub(super) struct PartColumns {
    first: usize,
    count: usize,
}

impl PartColumns {
    pub(super) fn of(schema: &Arc<Schema>) -> Option<Self> {
        schema.is_part().then(|| Self { first: schema.whole().1, count: schema.series.len() })
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.first as u64);
        put_varint(&mut out, self.count as u64);
        out
    }

    pub(super) fn read(column: Reader<'_>) -> Result<Self, WireError> {
        let numbers = column.all(2, |number| number as usize)?;
        Ok(Self { first: numbers[0], count: numbers[1] })
    }

    /// Errors with `Invalid` where the schema has no such columns.
    pub(super) fn part(self, whole: &Arc<Schema>, budget: &mut Budget) -> Result<Arc<Schema>, WireError> {
        let end = self.first.checked_add(self.count).filter(|end| *end <= whole.series.len() && self.count > 0);
        let Some(end) = end else {
            let Self { first, count } = self;
            return Err(invalid("part of a schema", format!("{count} columns from {first} on of {}", whole.series.len())));
        };
        self.charge(budget)?;
        Ok(Arc::new(Schema::part(whole, self.first..end)))
    }

    fn charge(self, budget: &mut Budget) -> Result<(), WireError> {
        budget.charge(size_of::<Schema>() + self.count * size_of::<Labels>())
    }
}

/// The bytes of a schema, charged as what decoding them takes. Those of a part are its whole's.
pub(super) fn encode(schema: &Arc<Schema>, budget: &mut Budget) -> Result<Arc<[u8]>, WireError> {
    if let Some(columns) = PartColumns::of(schema) {
        columns.charge(budget)?;
    }
    encode_whole(schema.whole().0, budget)
}

fn encode_whole(schema: &Arc<Schema>, budget: &mut Budget) -> Result<Arc<[u8]>, WireError> {
    if let Some(known) = schema.encoded.get().filter(|known| known.limits == budget.limits) {
        budget.charge(known.charge as usize)?;
        return Ok(Arc::clone(&known.bytes));
    }
    let before = budget.snapshot();
    let sets: Vec<&Labels> = schema.series.iter().collect();
    let mut raw = Vec::new();
    put_bytes(&mut raw, &put_label_sets(&sets, budget)?);
    put_families(&schema.families, budget, &mut raw)?;
    check_limit("schema bytes", raw.len() as u64, budget.limits.body_bytes)?;
    budget.charge(raw.len())?;
    let packed = compression::compress(&raw, LEVEL).map_err(|error| invalid("schema", format!("zstd: {error}")))?;
    let bytes: Arc<[u8]> = packed.into();
    let encoded = EncodedSchema { bytes: Arc::clone(&bytes), charge: before - budget.snapshot(), limits: budget.limits };
    // Under other limits it may be there already.
    if schema.encoded.set(encoded).is_ok() {
        Known::lock().insert(schema, &bytes);
    }
    Ok(bytes)
}

/// The inverse of [`encode`]: the schema of before while the bytes are the same.
pub(super) fn decode(bytes: &[u8], budget: &mut Budget) -> Result<Arc<Schema>, WireError> {
    let known = Known::lock().find(bytes, &budget.limits);
    if let Some(schema) = known {
        budget.charge(schema.encoded.get().map_or(0, |encoded| encoded.charge as usize))?;
        return Ok(schema);
    }
    let before = budget.snapshot();
    let raw = unpack(bytes, budget)?;
    let mut reader = Reader::new(&raw, "schema");
    let series = series(Reader::new(reader.bytes()?, "series labels"), budget)?;
    let families = families(Reader::new(reader.take(reader.remaining())?, "families"), budget)?;
    let schema = Arc::new(Schema::new(series, families));
    let encoded = EncodedSchema { bytes: bytes.into(), charge: before - budget.snapshot(), limits: budget.limits };
    if schema.encoded.set(encoded).is_ok() {
        let mut known = Known::lock();
        known.insert(&schema, bytes);
        known.keep(&schema);
    }
    Ok(schema)
}

fn unpack(bytes: &[u8], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let length = match zstd::zstd_safe::get_frame_content_size(bytes) {
        Ok(Some(length)) => length,
        Ok(None) => return Err(invalid("schema", "zstd declares no size")),
        Err(_) => return Err(invalid("schema", "not a zstd frame")),
    };
    check_limit("schema bytes", length, budget.limits.body_bytes)?;
    budget.charge(length as usize)?;
    let raw = compression::decompress(bytes, length as usize).map_err(|error| invalid("schema", format!("zstd: {error}")))?;
    if raw.len() as u64 == length { Ok(raw) } else { Err(limit("schema bytes", raw.len() as u64, length)) }
}

/// Label sets and nothing else.
pub(super) fn series(mut column: Reader<'_>, budget: &mut Budget) -> Result<Vec<Labels>, WireError> {
    let series = label_sets(&mut column, budget)?;
    column.end()?;
    Ok(series)
}

fn put_families(families: &[Family], budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    check_limit("metric families", families.len() as u64, budget.limits.records)?;
    put_varint(out, families.len() as u64);
    for family in families {
        budget.charge(FAMILY_BYTES)?;
        out.push(family.kind as u8);
        for text in [&family.name, &family.help, &family.unit] {
            budget.charge_text(text)?;
            put_bytes(out, text.as_bytes());
        }
    }
    Ok(())
}

/// Families and nothing else.
pub(super) fn families(mut column: Reader<'_>, budget: &mut Budget) -> Result<Vec<Family>, WireError> {
    let count = column.count()?;
    check_limit("metric families", count as u64, budget.limits.records)?;
    let mut families = Vec::new();
    for _ in 0..count {
        budget.charge(FAMILY_BYTES)?;
        let kind = kind_of(column.byte()?)?;
        let mut text = || -> Result<String, WireError> {
            let text = column.text()?;
            budget.charge_text(text)?;
            Ok(text.to_owned())
        };
        families.push(Family { kind, name: text()?, help: text()?, unit: text()? });
    }
    column.end()?;
    Ok(families)
}

fn kind_of(number: u8) -> Result<MetricKind, WireError> {
    Ok(match number {
        0 => MetricKind::Unknown,
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::Summary,
        5 => MetricKind::Info,
        6 => MetricKind::StateSet,
        7 => MetricKind::GaugeHistogram,
        other => return Err(invalid("metric kind", other.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::NAME;

    fn schema(names: &[&str]) -> Arc<Schema> {
        let family = Family { name: "m".into(), help: names.concat(), ..Family::default() };
        Arc::new(Schema::new(names.iter().map(|name| Labels::from_pairs([(NAME, name)])).collect(), vec![family]))
    }

    fn through(schema: &Arc<Schema>, limits: Limits) -> Arc<Schema> {
        let (mut writing, mut reading) = (Budget::new(limits), Budget::new(limits));
        let bytes = encode(schema, &mut writing).unwrap();
        let read = decode(&bytes, &mut reading).unwrap();
        assert_eq!((writing.snapshot(), &read), (reading.snapshot(), schema), "both directions charge alike");
        read
    }

    #[test]
    fn a_schema_that_is_held_is_known_again_and_charged_each_time() {
        let own = schema(&["known", "again"]);
        for _ in 0..2 {
            assert!(Arc::ptr_eq(&through(&own, Limits::DEFAULT), &own));
        }
        assert!(!Arc::ptr_eq(&through(&own, Limits { labels: 7, ..Limits::DEFAULT }), &own), "other limits may refuse it");
        // One that only a reader had stays for its next batch.
        let bytes = encode(&own, &mut Budget::new(Limits::DEFAULT)).unwrap();
        drop(own);
        let read = decode(&bytes, &mut Budget::new(Limits::DEFAULT)).unwrap();
        let address = Arc::as_ptr(&read);
        drop(read);
        assert_eq!(Arc::as_ptr(&decode(&bytes, &mut Budget::new(Limits::DEFAULT)).unwrap()), address);
    }

    #[test]
    fn the_same_content_is_the_same_schema() {
        let make = |name: &str, help: &str| {
            let family = Family { name: "m".into(), help: help.into(), ..Family::default() };
            Schema::shared(vec![Labels::from_pairs([(NAME, name)])], vec![family])
        };
        let address = |schema: Arc<Schema>| Arc::as_ptr(&schema);
        let first = address(make("shared", "help"));
        assert_eq!(address(make("shared", "help")), first);
        assert_ne!(address(make("shared", "other")), first);
        assert_ne!(address(make("other", "help")), first);
    }

    #[test]
    fn equal_hashes_are_not_equal_bytes() {
        let mut known = Known::default();
        let (one, other) = (schema(&["one"]), schema(&["other"]));
        let [_, bytes] = [&one, &other].map(|schema| encode(schema, &mut Budget::new(Limits::DEFAULT)).unwrap());
        known.insert(&one, &bytes);
        assert_eq!(known.find(&bytes, &Limits::DEFAULT), None);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_what_nobody_holds_is_forgotten() {
        let mut known = Known::default();
        let long = "x".repeat(1 << 20);
        for i in 0..100 {
            let own = schema(&[&long, &i.to_string()]);
            known.insert(&own, &u32::to_le_bytes(i));
            known.keep(&own);
        }
        let held: usize = known.kept.iter().map(|(schema, _)| schema.memory()).sum();
        assert_eq!(known.kept_bytes, held);
        assert!(held <= SCHEMAS_BYTES_MAX && held > SCHEMAS_BYTES_MAX - (4 << 20), "{held}");
        (0..10_000_u32).for_each(|i| known.insert(&schema(&["gone"]), &(1000 + i).to_le_bytes()));
        assert!(known.by_bytes.by_hash.len() <= 2 * SWEEP_AT_LEAST, "{}", known.by_bytes.by_hash.len());
    }

    #[test]
    fn hostile_sizes_are_refused_before_they_are_allocated() {
        let refused = |bytes: &[u8], limits| decode(bytes, &mut Budget::new(limits)).unwrap_err().to_string();
        let zeros = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
        let small = Limits { body_bytes: 1 << 10, ..Limits::DEFAULT };
        assert_eq!(refused(&zeros, small), "schema bytes of 1048576 is above the limit of 1024");
        assert_eq!(refused(b"x", Limits::DEFAULT), "bad schema: not a zstd frame");
        assert!(refused(&zstd::bulk::compress(&[9, 1], 1).unwrap(), Limits::DEFAULT).contains("schema needs more bytes"));
        let own = schema(&["a long name"]);
        let bytes = encode(&own, &mut Budget::new(Limits::DEFAULT)).unwrap();
        assert!(
            refused(&bytes, Limits { text_bytes: 3, ..Limits::DEFAULT }).starts_with("text bytes of"),
            "known under other limits"
        );
        let mut spent = Budget::new(Limits::DEFAULT);
        spent.restore(1);
        assert!(decode(&bytes, &mut spent).is_err(), "a schema that is known takes memory all the same");
    }
}
