//! Admission of pushes by bytes: what all requests hold in memory at once is bounded, and what one request may become.
//!
//! A request reserves as it grows: its body as it arrives, what that is decompressed to, what decoding will take (counted
//! before it is decoded), what its records take. What does not fit is refused at once: nobody waits while holding bytes, so
//! requests cannot block each other. One tenant's requests cannot hold all of it ([`Shares`]). Knows no protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use crate::push_error::PushError;
use crate::shares::Shares;

/// What a request may take in memory, as a multiple of its decompressed body. Real batches of OTLP take four to nine times
/// theirs, points without attributes fifteen; what takes more is all structure, and small …
const EXPANSION_MAX: usize = 16;
/// … so that this much is allowed in any case: a batch of an SDK (512 records) or of an agent (8,192 points) is far below.
const EXPANDED_MIN: usize = 16 << 20;

/// Bytes that all requests hold. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inflight {
    shares: Shares,
    limit: usize,
    /// The same, for `/metrics`.
    shown: Gauge<i64, AtomicI64>,
}

impl Inflight {
    pub fn new(limit: usize, shown: Gauge<i64, AtomicI64>) -> Self {
        let shares = Shares::new(limit);
        Self { limit: shares.largest(), shares, shown }
    }

    /// For a tenant's request that begins; it gives everything back when it is dropped.
    pub fn admit(&self, tenant: &Arc<str>) -> Admission {
        let (bytes, cap, spread) = (AtomicUsize::new(0), AtomicUsize::new(self.limit), AtomicUsize::new(0));
        Admission(Arc::new(Held { inflight: self.clone(), tenant: Arc::clone(tenant), bytes, cap, spread }))
    }
}

/// What one request holds. Clones are of the same request.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Held>);

#[derive(Debug)]
struct Held {
    inflight: Inflight,
    tenant: Arc<str>,
    bytes: AtomicUsize,
    cap: AtomicUsize,
    spread: AtomicUsize,
}

impl Admission {
    /// Reserves `bytes` more. Errors with `TooLarge` when the request alone may not take so much, with `Crowded` when
    /// its tenant or others hold it.
    pub fn charge(&self, bytes: usize) -> Result<(), PushError> {
        let Held { inflight, tenant, bytes: own, cap, .. } = &*self.0;
        let cap = cap.load(Ordering::Relaxed);
        if own.load(Ordering::Relaxed).saturating_add(bytes) > cap {
            let key = if cap == inflight.limit { "push.inflight_max" } else { "16 times the decompressed body" };
            return Err(PushError::TooLarge { what: "request in memory", limit: cap, key });
        }
        if !inflight.shares.take(tenant, bytes) {
            return Err(PushError::Crowded);
        }
        own.fetch_add(bytes, Ordering::Relaxed);
        inflight.shown.inc_by(bytes as i64);
        Ok(())
    }

    /// Counts text that more records will say than hold it here: it is shared in this process, and written out for each of
    /// them by whoever stores them. Errors with `TooLarge` when all of it is more than all requests may hold.
    pub fn spread(&self, bytes: usize) -> Result<(), PushError> {
        let Held { inflight, spread, .. } = &*self.0;
        if spread.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > inflight.limit {
            let what = "attributes of all records together";
            return Err(PushError::TooLarge { what, limit: inflight.limit, key: "push.inflight_max" });
        }
        Ok(())
    }

    /// From now on the request may take a multiple of its decompressed body.
    pub fn body_is(&self, bytes: usize) {
        let cap = bytes.saturating_mul(EXPANSION_MAX).max(EXPANDED_MIN).min(self.0.inflight.limit);
        self.0.cap.store(cap, Ordering::Relaxed);
    }

    /// Gives back all but `bytes`.
    pub fn settle(&self, bytes: usize) {
        let held = self.0.bytes.load(Ordering::Relaxed);
        self.0.give_back(held.saturating_sub(bytes));
    }
}

impl Held {
    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.inflight.shares.give_back(&self.tenant, bytes);
        self.inflight.shown.dec_by(bytes as i64);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_share_a_budget_and_give_it_back() {
        let (inflight, shop, bank) = (Inflight::new(64 << 20, Gauge::default()), "shop".into(), "bank".into());
        let held = || inflight.shares.held();
        let (a, b) = (inflight.admit(&shop), inflight.admit(&shop));
        a.charge(40 << 20).unwrap();
        assert_eq!(b.charge(17 << 20), Err(PushError::Crowded), "an eighth is for others");
        b.charge(16 << 20).unwrap();
        inflight.admit(&bank).charge(7 << 20).unwrap();
        assert_eq!((held(), inflight.shown.get()), (56 << 20, 56 << 20));
        a.settle(10 << 20);
        b.charge(30 << 20).unwrap();
        assert!(matches!(b.charge(20 << 20), Err(PushError::TooLarge { limit: 58_720_256, .. })), "never fits");
        assert_eq!(a.spread(40 << 20), Ok(()));
        assert!(matches!(a.spread(30 << 20), Err(PushError::TooLarge { .. })), "together above the limit");
        let of_a = a.clone();
        drop(a);
        assert_eq!(held(), 56 << 20, "a clone holds it");
        drop((of_a, b));
        assert_eq!((held(), inflight.shown.get()), (0, 0));
    }

    #[test]
    fn a_request_may_take_a_multiple_of_its_body() {
        let check = |body: usize, expected: usize| {
            let admission = Inflight::new(64 << 20, Gauge::default()).admit(&"t".into());
            admission.body_is(body);
            assert_eq!(admission.charge(expected), Ok(()), "{body}");
            assert!(matches!(admission.charge(1), Err(PushError::TooLarge { .. })), "{body}");
        };
        check(0, 16 << 20);
        check(1 << 20, 16 << 20);
        check(3 << 20, 48 << 20);
        check(60 << 20, 56 << 20);
    }
}
