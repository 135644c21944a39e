//! Metadata that a request brings, and what makes it durable: a batch of samples carries what is known of its families. Where a request has
//! no sample of a family, the newest sample that is known of it is stored once more with it, of which one is left
//! (decision 0172). Called by [`super::sections`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_model::label::NAME;
use weir_model::metric::{Family, MetricKind};
use xxhash_rust::xxh3::xxh3_64;

use super::newest::Carried;
use super::sections::Reading;
use super::series::{Known, TenantSeries};
use crate::admission::Admission;
use crate::proto::ProtoError;
use crate::push_error::PushError;

/// What of a request is only known as stored once the bus has it: until then the sender says it again, and is heard.
#[derive(Default)]
pub(super) struct Told {
    tenant: Option<Arc<TenantSeries>>,
    /// Names, and when they were said.
    families: Vec<(String, u64)>,
    /// Series of 2.0 with the hash of their metadata.
    series: Vec<(Arc<Known>, u64)>,
    carried: Vec<Carried>,
    /// Whether a family had no room in its schema.
    is_cut: bool,
}

impl Told {
    pub fn new(tenant: &Arc<TenantSeries>, families: Vec<(String, u64)>, series: Vec<(Arc<Known>, u64)>) -> Self {
        Self { tenant: Some(Arc::clone(tenant)), families, series, ..Self::default() }
    }

    /// Samples that a batch of the request carries.
    pub fn carry(&mut self, carried: Carried) {
        self.carried.push(carried);
    }

    /// Leaves out families that no batch carries, as where a schema has no room for more.
    pub fn retain_carried(&mut self) {
        if !self.families.is_empty() {
            let all = self.carried.iter().flat_map(|own| own.batch.schema.families());
            let carried: HashSet<&str> = all.map(|family| family.name.as_str()).collect();
            let before = self.families.len();
            self.families.retain(|(name, _)| carried.contains(name.as_str()));
            self.is_cut = self.families.len() < before;
        }
    }

    /// Beside the batches.
    pub fn memory(&self) -> usize {
        self.carried.iter().map(Carried::memory).sum()
    }

    /// The bus has the request.
    pub fn stored(self) {
        self.series.iter().for_each(|(series, hash)| series.said.store(*hash, Ordering::Relaxed));
        let Some(tenant) = self.tenant else { return };
        tenant.took(self.carried.iter().map(Carried::stored).sum());
        if !self.families.is_empty() {
            let mut state = tenant.state.write();
            self.families.iter().for_each(|(name, said)| state.family_stored(name, *said));
            if self.is_cut {
                state.make_room();
            }
        }
    }
}

/// Families that were sent, and are not stored yet; and how many were left out, which have no name or a long one.
pub(super) fn remember(
    known: &TenantSeries,
    sent: impl Iterator<Item = Result<Option<Family>, ProtoError>>,
    said: Vec<Family>,
    admission: &Admission,
) -> Result<(Vec<String>, usize), PushError> {
    let (mut waiting, mut left_out) = (Vec::new(), 0);
    for family in sent.chain(said.into_iter().map(|family| Ok(Some(family)))) {
        let family = family?.unwrap_or_default();
        if family.name.is_empty() {
            left_out += 1;
            continue;
        }
        let before = known.state.read().has_family(&family);
        if before == Some(true) {
            continue;
        }
        admission.charge(family.memory() + family.name.len() + size_of::<String>())?;
        waiting.push(family.name.clone());
        if before.is_none() {
            let bytes = known.state.write().set_family(family);
            known.took(bytes);
        }
    }
    Ok((waiting, left_out))
}

/// The family that metadata sent with a series of this name is about.
pub(super) fn name_of(series: &str, kind: MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series)
}

impl Reading<'_> {
    /// Places a sample for each of these families that has none here. Those that batches of this request carry, and when they were said;
    /// a family of which no sample is known, or a recent one, waits for its next one.
    pub(super) fn place_waiting(&mut self, waiting: Vec<String>) -> Result<Vec<(String, u64)>, PushError> {
        let mut told = Vec::new();
        if waiting.is_empty() {
            return Ok(told);
        }
        let has_sample: HashSet<u64> = self.rows.all().flat_map(|row| &row.series).map(|series| name_hash(series)).collect();
        for name in waiting {
            let (series, said) = {
                let state = self.tenant.state.read();
                let is_of = |series: &&Arc<Known>| state.family_of(series.labels.get(NAME)).is_some_and(|own| own.name == name);
                (state.series_of(&name).filter(is_of).cloned(), state.family_said(&name))
            };
            let (Some(series), Some(said)) = (series, said) else { continue };
            if !has_sample.contains(&name_hash(&series)) {
                let Some((time, value)) = self.tenant.state.read().newest(&series) else { continue };
                if self.bounds.check(time).is_err() {
                    continue;
                }
                self.place(&series, time, 0, value)?;
            }
            told.push((name, said));
        }
        Ok(told)
    }
}

/// Of the metric's name.
fn name_hash(series: &Known) -> u64 {
    xxh3_64(series.labels.get(NAME).as_bytes())
}
