//! Lines of several tenants.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::{
    Buckets, Budget, CountBy, Coverage, Covered, LineCount, LogReader, LogSelect, LogTail, LogVisitor, Mention, OwnedLine,
    ReadError, TailEvent, TakeCount, TakeTemplate, TemplateCount,
};
use weir_model::time::UnixNanos;

use super::{TENANT_LABEL, TENANT_LABEL_OF_BEFORE, each, together, with_tenant};

pub(crate) struct TenantsLogs(pub(crate) Arc<dyn LogReader>);

/// One select a tenant.
fn selects(select: &LogSelect) -> Vec<(Arc<str>, LogSelect)> {
    let (tenants, matchers) = each(&select.scope, &select.matchers);
    let one = |(tenant, scope)| (tenant, LogSelect { scope, matchers: matchers.clone(), ..select.clone() });
    tenants.into_iter().map(one).collect()
}

impl LogReader for TenantsLogs {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        budget.span(select.range)?;
        if select.scope.single().is_some() {
            return self.0.visit(select, budget, visitor);
        }
        let mut coverage = Coverage::default();
        let mut of_tenant = OfTenant { visitor, tenant: Arc::from(""), is_done: false };
        for (tenant, select) in selects(select) {
            of_tenant.tenant = tenant;
            coverage.merge(self.0.visit(&select, budget, &mut of_tenant)?);
            if of_tenant.is_done {
                break;
            }
        }
        Ok(coverage)
    }

    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        budget.span(select.range)?;
        if select.scope.single().is_some() {
            return self.0.streams(select, budget);
        }
        let (tenants, matchers) = each(&select.scope, &select.matchers);
        let mut all = together(tenants, |tenant, scope| {
            let mut found = self.0.streams(&LogSelect { scope, matchers: matchers.clone(), ..select.clone() }, budget)?;
            found.value.iter_mut().for_each(|stream| *stream = with_tenant(stream, tenant));
            Ok(found)
        })?;
        all.value.sort();
        Ok(all)
    }

    fn counts(&self, select: &LogSelect, by: &CountBy, budget: &dyn Budget, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        budget.span(select.range)?;
        if select.scope.single().is_some() {
            return self.0.counts(select, by, budget, take);
        }
        let by = CountBy { mention: by.mention.clone().filter(|mention| !is_of_tenant(mention)), ..by.clone() };
        let (mut coverage, mut flow) = (Coverage::default(), ControlFlow::Continue(()));
        for (tenant, select) in selects(select) {
            let mut labelled = |count: &LineCount<'_>| {
                flow = take(&LineCount { stream: &with_tenant(count.stream, &tenant), ..count.clone() });
                flow
            };
            coverage.merge(self.0.counts(&select, &by, budget, &mut labelled)?);
            if flow.is_break() {
                break;
            }
        }
        Ok(coverage)
    }

    fn templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        budget.span(select.range)?;
        if select.scope.single().is_some() {
            return self.0.templates(select, buckets, budget, take);
        }
        let (mut coverage, mut flow) = (Coverage::default(), ControlFlow::Continue(()));
        for (_, select) in selects(select) {
            let mut until = |one: &TemplateCount<'_>| {
                flow = take(one);
                flow
            };
            coverage.merge(self.0.templates(&select, buckets, budget, &mut until)?);
            if flow.is_break() {
                break;
            }
        }
        Ok(coverage)
    }

    /// A line has one tenant: where it is found, the others are not asked.
    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        if scope.single().is_some() {
            return self.0.line(scope, id, context, budget);
        }
        let mut coverage = Coverage::default();
        for (tenant, scope) in each(scope, &[]).0 {
            let mut found = self.0.line(&scope, id, context, budget)?;
            if !found.value.is_empty() {
                found.value.iter_mut().for_each(|line| line.stream = with_tenant(&line.stream, &tenant));
                return Ok(found);
            }
            coverage.merge(found.coverage);
        }
        Ok(Covered { value: Vec::new(), coverage })
    }

    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        if select.scope.single().is_some() {
            return self.0.tail(select);
        }
        let tails = selects(&select).into_iter().map(|(tenant, select)| Ok((tenant, self.0.tail(select)?)));
        Ok(Box::new(Tails(tails.collect::<Result<_, ReadError>>()?)))
    }
}

/// A visitor of the lines of one tenant after the other.
struct OfTenant<'a> {
    visitor: &'a mut dyn LogVisitor,
    tenant: Arc<str>,
    is_done: bool,
}

/// Whether it says something of the tenant, which chunks know nothing of, or of the label that makes way for the tenant's: chunks have it
/// by another name.
pub(super) fn is_of_tenant(mention: &Mention) -> bool {
    match mention {
        Mention::Value(name, _) => name == TENANT_LABEL || name == TENANT_LABEL_OF_BEFORE,
        Mention::All(some) | Mention::Any(some) => some.iter().any(is_of_tenant),
        Mention::Pattern(_) | Mention::Severity(_) => false,
    }
}

impl LogVisitor for OfTenant<'_> {
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool {
        self.visitor.wants(first, last)
    }

    fn mention(&self) -> Option<Mention> {
        self.visitor.mention().filter(|mention| !is_of_tenant(mention))
    }

    fn stream(&mut self, labels: &Labels) {
        self.visitor.stream(&with_tenant(labels, &self.tenant));
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        let flow = self.visitor.line(id, record);
        self.is_done = flow.is_break();
        flow
    }
}

/// The tails of several tenants.
struct Tails(Vec<(Arc<str>, Box<dyn LogTail>)>);

impl LogTail for Tails {
    fn poll(&mut self) -> Vec<TailEvent> {
        let mut events = Vec::new();
        for (tenant, tail) in &mut self.0 {
            let labelled = |event| match event {
                TailEvent::Line(line) => {
                    let stream = with_tenant(&line.stream, tenant);
                    TailEvent::Line(OwnedLine { stream, ..line })
                }
                dropped @ TailEvent::Dropped(_) => dropped,
            };
            events.extend(tail.poll().into_iter().map(labelled));
        }
        events
    }
}
