//! When samples are downsampled, and to what: as the overrides say of a tenant, else as the configuration says. Called by the aggregator,
//! which rewrites blocks by it.

use std::sync::Arc;
use std::time::Duration;

use weir_model::limits::{Limits, Overrides, TenantLimits, is_never_finer};
use weir_model::wire::Kind;

/// Seconds of the resolutions that there are, finest first, as in Thanos.
pub const RESOLUTIONS: [u32; 2] = [300, 3600];

/// Of one kind. The limits are looked up when they are needed: a file that changes counts at once.
#[derive(Clone, Debug)]
pub struct TenantResolutions {
    limits: Limits,
    kind: Kind,
    /// Of each resolution, the age from which on samples have it, where the overrides say nothing; zero never.
    default: [Duration; 2],
}

impl TenantResolutions {
    /// Of metrics; nothing else is downsampled, whatever is said.
    pub fn new(limits: Limits, kind: Kind, default: [Duration; 2]) -> Self {
        Self { limits, kind, default }
    }

    /// Every age at which somebody's samples change, ascending.
    pub fn ages(&self) -> Vec<Duration> {
        let mut ages: Vec<Duration> = self.all().into_iter().flatten().collect();
        ages.retain(|age| !age.is_zero());
        ages.sort_unstable();
        ages.dedup();
        ages
    }

    /// What a tenant's samples of this age at least are to have, seconds; 0 as they came.
    pub fn of(&self, tenant: &str, age: Duration) -> u32 {
        due(self.ages_of(&self.limits.of(tenant)), age)
    }

    /// The coarsest that somebody's samples of this age at least are to have.
    pub fn coarsest(&self, age: Duration) -> u32 {
        self.all().into_iter().map(|ages| due(ages, age)).max().unwrap_or(0)
    }

    /// Tenants whose samples never have the finer resolution, as they have the coarser one before; an empty name stands for all that the overrides
    /// do not name. The overrides are refused where they say so themselves; here one age is theirs, and the other is not.
    pub fn never_finer(&self) -> Vec<String> {
        let overrides = self.limits.current();
        let defaults = overrides.of("");
        let all = std::iter::once(("", &*defaults)).chain(overrides.tenants());
        let is_never = |limits: &TenantLimits| {
            let [fine, coarse] = self.ages_of(limits);
            is_never_finer(fine, coarse)
        };
        all.filter(|(_, limits)| is_never(limits)).map(|(tenant, _)| tenant.to_owned()).collect()
    }

    /// What all this follows from, to be compared by its address: another one once the file has changed.
    pub fn overrides(&self) -> Arc<Overrides> {
        self.limits.current()
    }

    /// Of each tenant that the overrides name, and of all others.
    fn all(&self) -> Vec<[Duration; 2]> {
        let overrides = self.limits.current();
        let defaults = overrides.of("");
        overrides.tenants().map(|(_, limits)| limits).chain([&*defaults]).map(|limits| self.ages_of(limits)).collect()
    }

    fn ages_of(&self, limits: &TenantLimits) -> [Duration; 2] {
        if self.kind != Kind::Metrics {
            return [Duration::ZERO; 2];
        }
        let own = [limits.metrics.resolution_5m_after, limits.metrics.resolution_1h_after];
        std::array::from_fn(|at| own[at].unwrap_or(self.default[at]))
    }
}

fn due(ages: [Duration; 2], age: Duration) -> u32 {
    let due = ages.iter().zip(RESOLUTIONS).filter(|(own, _)| !own.is_zero() && **own <= age);
    due.map(|(_, resolution)| resolution).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use weir_model::limits::{MetricLimits, OverridesFile};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_tenant_has_its_own_ages_where_it_says_so() {
        let metrics = MetricLimits { resolution_5m_after: Some(DAY * 7), ..MetricLimits::default() };
        let shop = TenantLimits { metrics, ..TenantLimits::default() };
        let never = MetricLimits { resolution_1h_after: Some(Duration::ZERO), ..MetricLimits::default() };
        let bank = TenantLimits { metrics: never, ..TenantLimits::default() };
        let tenants = [("shop".to_owned(), shop), ("bank".to_owned(), bank)].into();
        let limits = Limits::new(Overrides::try_from(OverridesFile { tenants, ..OverridesFile::default() }).unwrap());
        let of = |kind| TenantResolutions::new(limits.clone(), kind, [Duration::ZERO, DAY * 90]);
        let metrics = of(Kind::Metrics);
        assert_eq!(metrics.ages(), [DAY * 7, DAY * 90]);
        let at = |tenant: &str| [DAY * 6, DAY * 7, DAY * 90].map(|age| metrics.of(tenant, age));
        assert_eq!((at("shop"), at("bank"), at("other")), ([0, 300, 3600], [0, 0, 0], [0, 0, 3600]));
        assert_eq!([DAY * 6, DAY * 7, DAY * 90].map(|age| metrics.coarsest(age)), [0, 300, 3600]);
        assert_eq!((metrics.never_finer(), of(Kind::Logs).never_finer()), (Vec::new(), Vec::new()));
        let sooner = TenantResolutions::new(limits.clone(), Kind::Metrics, [Duration::ZERO, DAY * 7]);
        assert_eq!(sooner.never_finer(), ["shop"]);
        assert_eq!(TenantResolutions::new(limits.clone(), Kind::Metrics, [DAY, DAY]).never_finer(), ["", "shop"]);
        assert!(of(Kind::Logs).ages().is_empty() && of(Kind::Spans).of("shop", DAY * 900) == 0);
    }
}
