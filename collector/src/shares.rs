//! Units that tenants share so that none can hold all of them: bytes of requests in flight, requests that are served. Nobody waits here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A tenant that holds something may hold so many times what is free after it. Alone it has seven eighths of all, two have seven
/// fifteenths each: whoever comes next finds what they leave, whatever they do.
const SHARE: usize = 7;
/// Fewer units than this cannot be shared so.
const SHARED_MIN: usize = 8;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    limit: usize,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Of tenants that hold something.
    by_tenant: HashMap<Arc<str>, usize>,
}

impl Shares {
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Arc::default() }
    }

    /// What one tenant can have at most, when it is alone.
    pub fn largest(&self) -> usize {
        if self.limit < SHARED_MIN { self.limit } else { self.limit - self.limit.div_ceil(SHARE + 1) }
    }

    /// Whether the tenant could have them, and has them now.
    pub fn take(&self, tenant: &Arc<str>, units: usize) -> bool {
        let mut held = self.held.lock();
        let own = held.by_tenant.get(tenant).copied().unwrap_or(0);
        let Some(free) = self.limit.checked_sub(held.all).and_then(|free| free.checked_sub(units)) else { return false };
        if self.limit >= SHARED_MIN && own > 0 && own + units > free.saturating_mul(SHARE) {
            return false;
        }
        held.all += units;
        if units > 0 {
            *held.by_tenant.entry(Arc::clone(tenant)).or_default() += units;
        }
        true
    }

    pub fn give_back(&self, tenant: &Arc<str>, units: usize) {
        let mut held = self.held.lock();
        held.all -= units;
        if let Some(own) = held.by_tenant.get_mut(tenant) {
            *own -= units;
            if *own == 0 {
                held.by_tenant.remove(tenant);
            }
        }
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.lock().all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_room_for_others() {
        let (shares, [noisy, loud, quiet]) = (Shares::new(800), ["noisy", "loud", "quiet"].map(Arc::<str>::from));
        let all_of = |tenant| (0..).take_while(|_| shares.take(tenant, 1)).count();
        assert_eq!((all_of(&noisy), shares.largest()), (700, 700));
        assert_eq!(all_of(&loud), 87);
        for _ in 0..5 {
            assert!(shares.take(&quiet, 1));
        }
        // The first is above its share now: it gets nothing more before it has given back what others are due.
        shares.give_back(&noisy, 300);
        assert!(!shares.take(&noisy, 250));
        assert!(shares.take(&loud, 200));
        for (tenant, units) in [(&noisy, 400), (&loud, 287), (&quiet, 5)] {
            shares.give_back(tenant, units);
        }
        assert_eq!((shares.held(), shares.held.lock().by_tenant.len()), (0, 0));
        assert_eq!(all_of(&quiet), 700);
    }

    #[test]
    fn few_units_are_taken_by_whoever_comes() {
        let (shares, tenant) = (Shares::new(2), "shop".into());
        assert_eq!((shares.take(&tenant, 1), shares.take(&tenant, 1), shares.take(&tenant, 1)), (true, true, false));
        assert!(!Shares::new(1 << 20).take(&tenant, usize::MAX), "no sum wraps");
    }
}
