//! Samples of all partitions: the store's own reader over collected views.

use std::sync::Arc;

use weir_blocks::view::Fixed;
use weir_heads::HeadQuery;
use weir_heads::request::SamplesQuery;
use weir_metrics::MetricsReader;
use weir_model::label::Labels;
use weir_model::metric::Family;
use weir_model::select::{Budget, Covered, MetricReader, MetricSelect, NoBudget, ReadError, Series};

use super::collect::ViewRequest;
use super::start::Shared;

pub(super) struct FanOutSamples {
    shared: Arc<Shared>,
}

impl FanOutSamples {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn read<T>(
        &self,
        tenant: &str,
        query: &HeadQuery,
        budget: &dyn Budget,
        read: impl Fn(&MetricsReader) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.shared.retrying(&self.shared.samples, || {
            let request = ViewRequest { tenant, query: query.clone(), only: None };
            let collected = self.shared.collect_views(&self.shared.samples, &request, budget)?;
            read(&MetricsReader::new(Arc::new(Fixed::new(collected.views))))
        })
    }
}

impl MetricReader for FanOutSamples {
    fn select(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Series>>, ReadError> {
        let query = HeadQuery::Samples(SamplesQuery::new(select));
        self.read(&select.tenant, &query, budget, |reader| reader.select(select, budget))
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let query = HeadQuery::Series(SamplesQuery::new(select));
        self.read(&select.tenant, &query, budget, |reader| reader.series(select, budget))
    }

    fn families(&self, tenant: &str) -> Result<Covered<Vec<Family>>, ReadError> {
        self.read(tenant, &HeadQuery::Families, &NoBudget, |reader| reader.families(tenant))
    }
}
