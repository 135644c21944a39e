//! What all push protocols share: the service they ship to, the context that each request is given, the way from sections to an
//! answer, and the digests by which a second attempt is recognised. Knows no protocol.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use weir_access::{Denied, Granted};
use weir_model::panic_guard;
use weir_model::signal::Signal;
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use xxhash_rust::xxh3::Xxh3;

use crate::admission::{Admission, Inflight};
use crate::bounds::{Retention, TimeBounds};
use crate::config::PushConfig;
use crate::metrics::CollectorMetrics;
use crate::otlp::OtlpState;
use crate::otlp::config::OtlpConfig;
use crate::push_error::PushError;
use crate::push_gateway::Groups;
use crate::quota::{Quota, Quotas, RATE_LIMITED};
use crate::remote_write::series::SeriesCache;
use crate::shares::Shares;
use crate::ship::{Shipped, Shipper};

/// The time now, in Unix nanoseconds. Passed in, so that tests decide.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// What the routes of pushes share. It knows no tenant: a request's comes with what it is [`Granted`]. Cheap to clone.
#[derive(Clone)]
pub struct PushService {
    pub(crate) shipper: Shipper,
    pub(crate) config: Arc<PushConfig>,
    pub(crate) metrics: CollectorMetrics,
    pub(crate) clock: Clock,
    pub(crate) otlp: Arc<OtlpState>,
    pub(crate) groups: Arc<Groups>,
    retention: Retention,
    pub(crate) series: SeriesCache,
    quotas: Quotas,
    slots: Shares,
    inflight: Inflight,
}

/// What one push needs: the service, and whose records these are. A handler has it by extraction.
#[derive(Clone)]
pub(crate) struct PushContext {
    pub(crate) service: PushService,
    pub(crate) tenant: Arc<str>,
    pub(crate) quota: Quota,
}

/// A place among the requests that are served at once.
pub(crate) struct Slot {
    slots: Shares,
    tenant: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(&self.tenant, 1);
    }
}

impl PushService {
    /// `config.requests_max` requests are served at once.
    pub fn new(shipper: Shipper, config: PushConfig, metrics: CollectorMetrics, clock: Clock) -> Self {
        let (slots, quotas) = (Shares::new(config.requests_max.max(1)), Quotas::none());
        let inflight = Inflight::new(config.inflight_max.to_usize(), metrics.inflight_bytes.clone());
        let (retention, series) = (Retention::default(), SeriesCache::new(config.series_cache_max.to_usize()));
        let (otlp, groups) = (Arc::default(), Arc::default());
        Self { shipper, config: Arc::new(config), metrics, clock, otlp, groups, retention, series, quotas, slots, inflight }
    }

    /// Tells how long what is pushed will be kept; without it, for ever.
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Tells what OTLP's metrics become; without it, the default.
    pub(crate) fn with_otlp(self, config: OtlpConfig) -> Self {
        Self { otlp: Arc::new(OtlpState { config, ..OtlpState::default() }), ..self }
    }

    /// Tells what each tenant may send; without it, anything.
    pub(crate) fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }
}

impl Deref for PushContext {
    type Target = PushService;

    fn deref(&self) -> &PushService {
        &self.service
    }
}

impl FromRequestParts<PushService> for PushContext {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, service: &PushService) -> Result<Self, Response> {
        let granted = Granted::from_request_parts(parts, service).await.map_err(IntoResponse::into_response)?;
        let Some(single) = granted.scope.single() else {
            return Err(Denied::Unclear("a push is one tenant's: name one in X-Scope-OrgID".into()).into_response());
        };
        Ok(Self::new(service.clone(), &single.tenant))
    }
}

impl PushContext {
    pub fn new(service: PushService, tenant: &Arc<str>) -> Self {
        let quota = service.quotas.of(tenant);
        Self { service, tenant: Arc::clone(tenant), quota }
    }

    /// Which timestamps are taken now.
    pub(crate) fn bounds(&self, kind: Kind) -> TimeBounds {
        let kept = self.quota.retention(kind, self.retention.of(kind));
        TimeBounds::new((self.clock)(), self.config.reject_older_than.unwrap_or(kept), self.config.reject_ahead_of)
    }

    /// A request that begins: what it will hold in memory.
    pub(crate) fn admit(&self) -> Admission {
        self.inflight.admit(&self.tenant)
    }

    /// A place among the requests served at once. Taken when the body is there, not before: a body that never comes holds none.
    pub(crate) fn slot(&self) -> Result<Slot, PushError> {
        let taken = self.slots.take(&self.tenant, 1);
        taken.then(|| Slot { slots: self.slots.clone(), tenant: Arc::clone(&self.tenant) }).ok_or(PushError::TooMany)
    }

    /// Ships within the tenant's rate; `Ok` once everything is durable. What is over the rate is refused as a whole, and counted.
    pub(crate) async fn ship<S: Shipped>(&self, source: &'static str, sections: Vec<Section<S>>) -> Result<(), PushError> {
        let records = sections.iter().map(|section| section.batch.records()).sum();
        let bytes: usize = sections.iter().map(|section| section.batch.sent_weight()).sum();
        if let Err(error) = self.quota.take(S::KIND, records, bytes as u64) {
            self.dropped(source, RATE_LIMITED, records);
            return Err(error.into());
        }
        Ok(self.shipper.send_and_wait(sections, self.config.patience).await?)
    }

    /// Runs a decoder off the async threads.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        admission: &Admission,
        decode: impl FnOnce(&Self, &Admission) -> Result<T, PushError> + Send + 'static,
    ) -> Result<T, PushError> {
        // The bytes are held for as long as the decoder runs, whether or not its client still waits.
        let (context, admission) = (self.clone(), admission.clone());
        let task = tokio::task::spawn_blocking(move || panic_guard::catch(|| decode(&context, &admission)));
        let decoded = task.await.unwrap_or_else(|error| Err(error.to_string()));
        decoded.unwrap_or_else(|_| Err(PushError::Malformed("the request could not be decoded".into())))
    }

    /// Counts records that the answer will name as refused.
    pub(crate) fn dropped(&self, source: &'static str, reason: &'static str, records: u64) {
        self.metrics.dropped(source, &self.tenant, reason, records);
    }

    /// A section of pushed records.
    pub(crate) fn section<S: Signal>(&self, source: String, digest: [u8; 16], batch: S) -> Section<S> {
        Section::new(SectionHeader { tenant: self.tenant.to_string(), source, mark: Mark::Digest(digest), records: 0 }, batch)
    }
}

/// A digest over fields: each is preceded by its length, so that no two lists of fields look alike.
#[derive(Default)]
pub(crate) struct Digest(Xxh3);

impl Digest {
    pub(crate) fn new(tenant: &str, kind: &str) -> Self {
        let mut digest = Self::default();
        digest.field(tenant.as_bytes());
        digest.field(kind.as_bytes());
        digest
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub(crate) fn number(&mut self, number: i64) {
        self.0.update(&number.to_le_bytes());
    }

    pub(crate) fn finish(&self) -> [u8; 16] {
        self.0.digest128().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_tenants_kinds_and_the_places_of_fields_apart() {
        let digest = |tenant: &str, kind: &str, fields: [&str; 2]| {
            let mut digest = Digest::new(tenant, kind);
            fields.iter().for_each(|field| digest.field(field.as_bytes()));
            digest.finish()
        };
        let one = digest("a", "otlp/logs", ["x", "yz"]);
        assert_eq!(one, digest("a", "otlp/logs", ["x", "yz"]));
        for other in [
            digest("b", "otlp/logs", ["x", "yz"]),
            digest("a", "otlp/spans", ["x", "yz"]),
            digest("a", "otlp/logs", ["xy", "z"]),
            digest("ao", "tlp/logs", ["x", "yz"]),
        ] {
            assert_ne!(one, other);
        }
    }
}
