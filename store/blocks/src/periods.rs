//! How long records of one kind are kept: as the overrides say of a tenant or a stream of it, else as long as the configuration says.

use std::time::Duration;

use weir_model::label::Labels;
use weir_model::limits::{Limits, RetentionStream, TenantLimits};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;

use crate::hidden::{Horizon, Periods};

/// Records are stored at most so long after they were made, as a rule; only a smaller retention would notice.
pub const NEWEST_MARGIN: Duration = Duration::from_secs(3600);

/// Of one kind. The limits are looked up when they are needed: a file that changes counts at once.
#[derive(Clone, Debug)]
pub struct TenantPeriods {
    limits: Limits,
    kind: Kind,
    /// Where the overrides say nothing; zero for ever.
    default: Duration,
}

/// Nanoseconds; `None` for ever.
fn finite(period: Duration) -> Option<i64> {
    (!period.is_zero()).then(|| i64::try_from(period.as_nanos()).unwrap_or(i64::MAX))
}

impl TenantPeriods {
    /// `default`: where the overrides say nothing; zero for ever.
    pub fn new(limits: Limits, kind: Kind, default: Duration) -> Self {
        Self { limits, kind, default }
    }

    /// What the overrides alone say, for readers: what the configuration says of all goes with its blocks.
    pub fn overrides(limits: Limits, kind: Kind) -> Self {
        Self { limits, kind, default: Duration::ZERO }
    }

    /// What readers see of records of this kind, where a tenant has a period of its own. Older than its period by the clock and by the
    /// newest record that is stored: a clock that jumps hides nothing.
    pub fn horizon(self, wall: UnixNanos, newest: UnixNanos) -> Option<Horizon> {
        let margin = finite(NEWEST_MARGIN).unwrap_or(0);
        let any = self.finite_periods().next().is_some();
        any.then(|| Horizon { now: wall.min(newest.saturating_add(margin)), periods: std::sync::Arc::new(self) })
    }

    /// Every period that somebody has, ascending, those for ever left out; and whether somebody keeps for ever.
    pub fn all(&self) -> (Vec<Duration>, bool) {
        let overrides = self.limits.current();
        let tenants = overrides.tenants().map(|(_, limits)| limits);
        let defaults = overrides.of("");
        let mut all: Vec<Duration> = tenants.chain([&*defaults]).flat_map(|limits| self.periods_of(limits)).collect();
        all.sort_unstable();
        all.dedup();
        let for_ever = all.first().is_some_and(Duration::is_zero);
        all.retain(|period| !period.is_zero());
        (all, for_ever)
    }

    fn finite_periods(&self) -> impl Iterator<Item = Duration> {
        self.all().0.into_iter()
    }

    fn streams<'a>(&self, limits: &'a TenantLimits) -> &'a [RetentionStream] {
        if self.kind == Kind::Logs { limits.logs.retention_streams() } else { &[] }
    }

    fn whole(&self, limits: &TenantLimits) -> Duration {
        let own = match self.kind {
            Kind::Logs => limits.logs.retention,
            Kind::Metrics => limits.metrics.retention,
            Kind::Spans => limits.traces.retention,
        };
        own.unwrap_or(self.default)
    }

    fn periods_of(&self, limits: &TenantLimits) -> Vec<Duration> {
        let streams = self.streams(limits).iter().map(|stream| stream.period);
        streams.chain([self.whole(limits)]).collect()
    }
}

impl Periods for TenantPeriods {
    /// The stream rule of the highest priority that matches, the shortest among equals; else the tenant's.
    fn period(&self, tenant: &str, labels: &Labels) -> Option<i64> {
        let limits = self.limits.of(tenant);
        let own = self.streams(&limits).iter().filter(|stream| stream.matches(labels));
        let best = own.max_by_key(|stream| {
            (stream.priority, std::cmp::Reverse(if stream.period.is_zero() { Duration::MAX } else { stream.period }))
        });
        finite(best.map_or_else(|| self.whole(&limits), |stream| stream.period))
    }

    fn shortest(&self, tenant: &str) -> Option<i64> {
        self.periods_of(&self.limits.of(tenant)).into_iter().filter_map(finite).min()
    }
}

#[cfg(test)]
mod tests {
    use weir_model::label::Matcher;
    use weir_model::limits::{LogLimits, MetricLimits, Overrides, OverridesFile};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn limits() -> Limits {
        let stream = |app: &str, days, priority| RetentionStream {
            matchers: vec![Matcher::equal("app", app)],
            period: DAY * days,
            priority,
        };
        let any_pod = RetentionStream { matchers: vec![Matcher::equal("pod", "p")], period: DAY * 9, priority: 2 };
        let logs = LogLimits {
            retention_stream: Some(vec![stream("a", 2, 1), stream("b", 0, 1), any_pod]),
            retention: Some(DAY * 5),
            ..LogLimits::default()
        };
        let shop = TenantLimits {
            logs,
            metrics: MetricLimits { retention: Some(Duration::ZERO), ..MetricLimits::default() },
            ..TenantLimits::default()
        };
        let file = OverridesFile { tenants: [("shop".to_owned(), shop)].into(), ..OverridesFile::default() };
        Limits::new(Overrides::try_from(file).unwrap())
    }

    #[test]
    fn the_rule_of_the_highest_priority_counts() {
        let logs = TenantPeriods::new(limits(), Kind::Logs, DAY * 14);
        let days = |tenant: &str, pairs: &[(&str, &str)]| {
            logs.period(tenant, &Labels::from_pairs(pairs.iter().copied())).map(|nanos| nanos / 86_400_000_000_000)
        };
        assert_eq!(days("shop", &[("app", "a")]), Some(2));
        assert_eq!(days("shop", &[("app", "b")]), None);
        assert_eq!(days("shop", &[("app", "a"), ("pod", "p")]), Some(9));
        assert_eq!((days("shop", &[]), days("bank", &[("app", "a")])), (Some(5), Some(14)));
        assert_eq!(logs.shortest("shop"), finite(DAY * 2));
        assert_eq!(logs.all(), (vec![DAY * 2, DAY * 5, DAY * 9, DAY * 14], true));
        assert_eq!(TenantPeriods::new(limits(), Kind::Metrics, DAY).all(), (vec![DAY], true));
        assert_eq!(TenantPeriods::new(Limits::default(), Kind::Spans, DAY).all(), (vec![DAY], false));
    }

    #[test]
    fn a_clock_that_jumps_hides_nothing_and_no_override_no_horizon() {
        let horizon = TenantPeriods::overrides(limits(), Kind::Logs).horizon(i64::MAX, 1000).expect("a tenant has a period");
        assert_eq!(horizon.now, 1000 + 3_600_000_000_000);
        let of_bank = horizon.periods.period("bank", &Labels::EMPTY);
        assert_eq!(of_bank, None, "what the configuration says goes with its blocks");
        assert!(TenantPeriods::overrides(limits(), Kind::Spans).horizon(5, 5).is_none());
    }
}
