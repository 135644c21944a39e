//! Series of several tenants.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::metric::Family;
use weir_model::scope::{Scope, TENANT_LABEL};
use weir_model::select::{
    Budget, Cardinality, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series, SeriesCursor, SeriesExemplars,
    TakeLabels,
};
use weir_model::time::{SECOND, TimeRange};

use super::{TENANT_LABEL_OF_BEFORE, each, together, with_tenant};

pub(crate) struct TenantsMetrics(pub(crate) Arc<dyn MetricReader>);

/// One select a tenant.
fn selects(select: &MetricSelect) -> VecDeque<(Arc<str>, MetricSelect)> {
    let (tenants, matchers) = each(&select.scope, &select.matchers);
    let one = |(tenant, scope)| (tenant, MetricSelect { scope, matchers: matchers.clone(), ..select.clone() });
    tenants.into_iter().map(one).collect()
}

fn range(select: &MetricSelect) -> TimeRange {
    let nanos = |ms: i64| ms.saturating_mul(SECOND / 1000);
    TimeRange { start: nanos(select.start_ms), end: nanos(select.end_ms) }
}

impl MetricReader for TenantsMetrics {
    /// Ascending by labels within each tenant, tenants by name.
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.cursor(select, budget);
        }
        Ok(self.one_after_the_other(Samples::All, select, budget))
    }

    fn newest<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.newest(select, budget);
        }
        Ok(self.one_after_the_other(Samples::Newest, select, budget))
    }

    fn present(&self, select: &MetricSelect, budget: &dyn Budget, take: TakeLabels<'_>) -> Result<Coverage, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.present(select, budget, take);
        }
        let mut coverage = Coverage::default();
        for (tenant, select) in selects(select) {
            let mut take_own = |labels: &Labels| take(&with_tenant(labels, &tenant));
            coverage.merge(self.0.present(&select, budget, &mut take_own)?);
        }
        Ok(coverage)
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.series(select, budget);
        }
        let (tenants, matchers) = each(&select.scope, &select.matchers);
        let mut all = together(tenants, |tenant, scope| {
            let mut found = self.0.series(&MetricSelect { scope, matchers: matchers.clone(), ..select.clone() }, budget)?;
            found.value.iter_mut().for_each(|labels| *labels = with_tenant(labels, tenant));
            Ok(found)
        })?;
        all.value.sort();
        Ok(all)
    }

    fn exemplars(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<SeriesExemplars>>, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.exemplars(select, budget);
        }
        let (tenants, matchers) = each(&select.scope, &select.matchers);
        let mut all = together(tenants, |tenant, scope| {
            let mut found = self.0.exemplars(&MetricSelect { scope, matchers: matchers.clone(), ..select.clone() }, budget)?;
            found.value.iter_mut().for_each(|series| series.labels = with_tenant(&series.labels, tenant));
            Ok(found)
        })?;
        all.value.sort_by(|one, other| one.labels.cmp(&other.labels));
        Ok(all)
    }

    fn cardinality(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Cardinality>, ReadError> {
        budget.span(range(select))?;
        if select.scope.single().is_some() {
            return self.0.cardinality(select, budget);
        }
        let mut all = Covered::<Cardinality>::default();
        for (tenant, select) in selects(select) {
            let Covered { mut value, coverage } = self.0.cardinality(&select, budget)?;
            // As in [`with_tenant`].
            if let Some(before) = value.labels.remove(TENANT_LABEL) {
                value.labels.insert(TENANT_LABEL_OF_BEFORE.to_owned(), before);
            }
            if value.series > 0 {
                value.labels.insert(TENANT_LABEL.to_owned(), [(tenant.to_string(), value.series)].into());
            }
            all.value.merge(value);
            all.coverage.merge(coverage);
        }
        Ok(all)
    }

    /// A family of several tenants once for each way that they describe it.
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        if scope.single().is_some() {
            return self.0.families(scope, budget);
        }
        let mut all = together(each(scope, &[]).0, |_, scope| self.0.families(&scope, budget))?;
        all.value.sort_by(|one, other| one.name.cmp(&other.name));
        all.value.dedup();
        Ok(all)
    }
}

impl TenantsMetrics {
    fn one_after_the_other<'a>(
        &'a self,
        samples: Samples,
        select: &MetricSelect,
        budget: &'a dyn Budget,
    ) -> Box<dyn SeriesCursor + 'a> {
        let (reader, coverage) = (&*self.0, Coverage::default());
        Box::new(Cursor { reader, samples, budget, waiting: selects(select), now: None, coverage })
    }
}

/// What of a series there is a use for.
#[derive(Clone, Copy)]
enum Samples {
    All,
    Newest,
}

/// Series of one tenant after the other; a tenant's are read when its turn comes.
struct Cursor<'a> {
    reader: &'a dyn MetricReader,
    samples: Samples,
    budget: &'a dyn Budget,
    waiting: VecDeque<(Arc<str>, MetricSelect)>,
    now: Option<(Arc<str>, Box<dyn SeriesCursor + 'a>)>,
    coverage: Coverage,
}

impl SeriesCursor for Cursor<'_> {
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        loop {
            if let Some((tenant, cursor)) = &mut self.now
                && cursor.next(series)?
            {
                series.labels = with_tenant(&series.labels, tenant);
                return Ok(true);
            }
            self.coverage.merge(self.now.take().map(|(_, cursor)| cursor.coverage()).unwrap_or_default());
            let Some((tenant, select)) = self.waiting.pop_front() else { return Ok(false) };
            let cursor = match self.samples {
                Samples::All => self.reader.cursor(&select, self.budget)?,
                Samples::Newest => self.reader.newest(&select, self.budget)?,
            };
            self.now = Some((tenant, cursor));
        }
    }

    fn coverage(mut self: Box<Self>) -> Coverage {
        self.coverage.merge(self.now.take().map(|(_, cursor)| cursor.coverage()).unwrap_or_default());
        self.coverage
    }
}
