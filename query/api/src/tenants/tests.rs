//! Scopes of several tenants, whose streams, series and trace ids are equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_logql::eval::lines::{LogOptions, lines};
use weir_logql::memory::MemoryLogs;
use weir_logql::{Expr, parse};
use weir_model::id::{LineId, TraceId};
use weir_model::label::{Labels, Matcher};
use weir_model::metric::{Exemplar, Family, STALE_NAN};
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, Mention, MetricReader, MetricSelect, NoBudget,
    OwnedLine, ReadError, SeriesCursor, SeriesExemplars, SeriesList, TailEvent, Trace, TraceReader, TraceSelect, TraceSummary,
    each_pulled,
};
use weir_model::span::{SpanKind, Value};
use weir_model::time::TimeRange;
use weir_promql::testing::MemoryReader;
use weir_promql::{Engine, Output, Request};

use super::logs::is_of_tenant;
use super::{TENANT_LABEL, TENANT_LABEL_OF_BEFORE, TenantsLogs, TenantsMetrics, TenantsTraces};
use crate::tests::memory::{MemoryTraces, two_traces};

/// A reader for each tenant, asked for one at a time.
struct ByTenant<R>(BTreeMap<&'static str, R>);

impl<R> ByTenant<R> {
    fn of(&self, scope: &Scope) -> Result<&R, ReadError> {
        Ok(&self.0[&*scope.one()?.tenant])
    }
}

type Read<T> = Result<Covered<T>, ReadError>;

impl LogReader for ByTenant<MemoryLogs> {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        self.of(&select.scope)?.visit(select, budget, visitor)
    }
    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Read<Vec<Labels>> {
        self.of(&select.scope)?.streams(select, budget)
    }
    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Read<Vec<OwnedLine>> {
        self.of(scope)?.line(scope, id, context, budget)
    }
    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        self.of(&select.scope.clone())?.tail(select)
    }
}

impl MetricReader for ByTenant<MemoryReader> {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.of(&select.scope)?.cursor(select, budget)
    }
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Read<Vec<Labels>> {
        self.of(&select.scope)?.series(select, budget)
    }
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Read<Vec<Family>> {
        self.of(scope)?.families(scope, budget)
    }
}

/// Each tenant has one series, with an exemplar that is named after it.
struct Told;

impl MetricReader for Told {
    fn cursor<'a>(&'a self, _: &MetricSelect, _: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Ok(Box::new(SeriesList::new(Covered::default())))
    }
    fn series(&self, _: &MetricSelect, _: &dyn Budget) -> Read<Vec<Labels>> {
        Ok(Covered::default())
    }
    fn exemplars(&self, select: &MetricSelect, _: &dyn Budget) -> Read<Vec<SeriesExemplars>> {
        let tenant = &*select.scope.one()?.tenant;
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", tenant)]), value: 1.0, timestamp: 5 };
        let series = SeriesExemplars { labels: Labels::from_pairs([("app", "shop")]), exemplars: vec![exemplar] };
        Ok(Covered { value: vec![series], coverage: Coverage::default() })
    }
    fn families(&self, _: &Scope, _: &dyn Budget) -> Read<Vec<Family>> {
        Ok(Covered::default())
    }
}

/// The newest samples of each tenant's series, and no others.
struct NewestAlone(ByTenant<MemoryReader>);

impl MetricReader for NewestAlone {
    fn cursor<'a>(&'a self, _: &MetricSelect, _: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Err(ReadError::Store("all samples are read".into()))
    }
    fn newest<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.0.cursor(select, budget)
    }
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Read<Vec<Labels>> {
        self.0.series(select, budget)
    }
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Read<Vec<Family>> {
        self.0.families(scope, budget)
    }
}

#[test]
fn of_several_tenants_who_counts_series_reads_the_newest_samples_alone() {
    let store = |name: &str| {
        let mut store = MemoryReader::default();
        for (app, last) in [(name, 2.0), ("gone", STALE_NAN)] {
            let labels = Labels::from_pairs([("app", app)]);
            store.push(&labels, 1, 1.0);
            store.push(&labels, 2, last);
        }
        store
    };
    let stores = BTreeMap::from([("a", store("x")), ("b", store("y"))]);
    let reader = TenantsMetrics(Arc::new(NewestAlone(ByTenant(stores))));
    let select = MetricSelect { scope: scope(&["b", "a"]), matchers: Vec::new(), start_ms: 0, end_ms: 10 };
    let mut present = Vec::new();
    let mut take = |labels: &Labels| {
        present.push((labels.get(TENANT_LABEL).to_owned(), labels.get("app").to_owned()));
        Ok(())
    };
    reader.present(&select, &NoBudget, &mut take).unwrap();
    let of = |tenant: &str, app: &str| (tenant.to_owned(), app.to_owned());
    assert_eq!(present, [of("a", "x"), of("b", "y")]);
    let newest = each_pulled::<ReadError>(reader.newest(&select, &NoBudget).unwrap(), |_| Ok(()));
    assert!(newest.is_ok(), "{newest:?}");
}

#[test]
fn exemplars_say_whose_they_are() {
    let told = |tenants: &[&str]| {
        let matchers = vec![Matcher::equal("app", "shop")];
        let select = MetricSelect { scope: scope(tenants), matchers, start_ms: 0, end_ms: 10 };
        let found = TenantsMetrics(Arc::new(Told)).exemplars(&select, &NoBudget).unwrap().value;
        let one =
            |own: SeriesExemplars| (own.labels.get(TENANT_LABEL).to_owned(), own.exemplars[0].labels.get("trace_id").to_owned());
        found.into_iter().map(one).collect::<Vec<_>>()
    };
    let of = |tenant: &str, trace: &str| (tenant.to_owned(), trace.to_owned());
    assert_eq!(told(&["b", "a"]), [of("a", "a"), of("b", "b")]);
    assert_eq!(told(&["a"]), [of("", "a")]);
}

impl TraceReader for ByTenant<MemoryTraces> {
    fn trace(&self, scope: &Scope, id: TraceId) -> Read<Option<Trace>> {
        self.of(scope)?.trace(scope, id)
    }
    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Read<Vec<TraceSummary>> {
        self.of(&select.scope)?.search(select, budget)
    }
    fn services(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Read<Vec<String>> {
        self.of(scope)?.services(scope, range, budget)
    }
    fn operations(
        &self,
        scope: &Scope,
        service: Option<&str>,
        range: TimeRange,
        budget: &dyn Budget,
    ) -> Read<Vec<(String, SpanKind)>> {
        self.of(scope)?.operations(scope, service, range, budget)
    }
    fn attribute_values(
        &self,
        scope: &Scope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Read<Vec<Value>> {
        self.of(scope)?.attribute_values(scope, name, range, limit, budget)
    }
    fn attribute_names(&self, scope: &Scope, range: TimeRange, limit: usize, budget: &dyn Budget) -> Read<Vec<(String, String)>> {
        self.of(scope)?.attribute_names(scope, range, limit, budget)
    }
}

fn scope(tenants: &[&str]) -> Scope {
    let own = |tenant: &&str| Scope::of(tenant).tenants()[0].clone();
    Scope::new(tenants.iter().map(own).collect()).unwrap()
}

fn logs() -> TenantsLogs {
    let mut stores = BTreeMap::new();
    for (tenant, first) in [("a", 10), ("b", 11), ("c", 12)] {
        let mut store = MemoryLogs::default();
        // Places differ: the bus is one.
        for _ in 0..first {
            store.push(&[("app", "other")], 0, b"other");
        }
        store.push(&[("app", "x")], first * 10, b"equal");
        stores.insert(tenant, store);
    }
    TenantsLogs(Arc::new(ByTenant(stores)))
}

/// Tenant label and time of each line that a query gives, newest first.
fn found(reader: &dyn LogReader, query: &str, tenants: &[&str], limit: usize) -> Vec<(String, i64)> {
    let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
    let options = LogOptions { scope: scope(tenants), range: TimeRange::ALL, limit, newest_first: true, detected_level: false };
    let found = lines(reader, query, &log, &options, &NoBudget).unwrap().value;
    found.iter().map(|line| (line.source.stream.get(TENANT_LABEL).to_owned(), line.source.timestamp)).collect()
}

#[test]
fn lines_of_several_tenants_say_whose_they_are() {
    let reader = logs();
    let check = |query: &str, tenants: &[&str], limit, expected: &[(&str, i64)]| {
        let expected: Vec<(String, i64)> = expected.iter().map(|(tenant, at)| ((*tenant).to_owned(), *at)).collect();
        assert_eq!(found(&reader, query, tenants, limit), expected, "{query} {tenants:?}");
    };
    check(r#"{app="x"}"#, &["a", "b"], 9, &[("b", 110), ("a", 100)]);
    check(r#"{app="x"}"#, &["a", "b"], 1, &[("b", 110)]);
    check(r#"{app="x"}"#, &["b"], 9, &[("", 110)]);
    check(r#"{app="x", __tenant_id__="a"}"#, &["a", "b"], 9, &[("a", 100)]);
    check(r#"{app="x", __tenant_id__=~"a|c"}"#, &["a", "b"], 9, &[("a", 100)]);
    check(r#"{app="x"} | __tenant_id__="a""#, &["a", "b"], 9, &[("a", 100)]);
    check(r#"{__tenant_id__="c", app="x"}"#, &["a", "b"], 9, &[]);
}

/// The store would skip chunks by labels that they do not have by that name.
#[test]
fn conditions_on_labels_of_the_tenant_skip_no_chunks() {
    let says = |name: &str| Mention::All(vec![Mention::Any(vec![Mention::Value(name.into(), "mine".into())])]);
    for (name, expected) in [("app", false), (TENANT_LABEL, true), (TENANT_LABEL_OF_BEFORE, true)] {
        assert_eq!(is_of_tenant(&says(name)), expected, "{name}");
    }
}

#[test]
fn streams_volumes_and_tails_of_several_tenants_are_apart() {
    let reader = logs();
    let select = |tenants: &[&str]| LogSelect {
        scope: scope(tenants),
        matchers: vec![Matcher::equal("app", "x")],
        range: TimeRange::ALL,
        filters: Vec::new(),
        newest_first: false,
    };
    let stream = |tenant| Labels::from_pairs([("app", "x"), (TENANT_LABEL, tenant)]);
    assert_eq!(reader.streams(&select(&["b", "a"]), &NoBudget).unwrap().value, [stream("a"), stream("b")]);
    let volume = reader.volume(&select(&["a", "b"]), 1000, &NoBudget).unwrap().value;
    let counted: Vec<(Labels, u64)> = volume.iter().map(|one| (one.stream.clone(), one.lines)).collect();
    assert_eq!(counted, [(stream("a"), 1), (stream("b"), 1)]);
    let id = LineId { partition: 0, offset: 11, ordinal: 0 };
    let line = |tenants: &[&str]| reader.line(&scope(tenants), id, 0, &NoBudget).unwrap().value;
    assert_eq!(line(&["a", "b"])[0].stream, stream("b"));
    assert_eq!(line(&["a"]), []);

    let mut store = MemoryLogs::default();
    let arriving = store.push(&[("app", "x")], 5, b"new").clone();
    let shared = Arc::clone(&store.arriving);
    let tails = TenantsLogs(Arc::new(ByTenant(BTreeMap::from([("a", store), ("b", MemoryLogs::default())]))));
    let mut tail = tails.tail(select(&["a", "b"])).unwrap();
    *shared.lock().unwrap() = vec![TailEvent::Dropped(2), TailEvent::Line(arriving.clone())];
    let expected = TailEvent::Line(OwnedLine { stream: stream("a"), ..arriving });
    assert_eq!(tail.poll(), [TailEvent::Dropped(2), expected]);
}

#[test]
fn series_of_several_tenants_are_apart() {
    let store = |value: f64, own: &str| {
        let mut store = MemoryReader::default();
        store.push(&Labels::from_pairs([("__name__", "up"), ("pod", "p")]), 1000, value);
        store.push(&Labels::from_pairs([("__name__", "up"), ("pod", "p"), (TENANT_LABEL, own)]), 1000, 7.0);
        store
    };
    let reader = TenantsMetrics(Arc::new(ByTenant(BTreeMap::from([("a", store(1.0, "")), ("b", store(2.0, "mine"))]))));
    let ask = |query: &str, tenants: &[&str]| {
        let engine = Engine { reader: &reader, budget: &NoBudget };
        let (scope, query) = (scope(tenants), query.to_owned());
        let request = Request { scope, query, start_ms: 1000, end_ms: 1000, step_ms: 0, lookback_ms: 5000 };
        let Output::Vector(found) = engine.query(&request).unwrap().output else { panic!("a vector") };
        found.iter().map(|one| (one.labels.to_string(), one.value)).collect::<Vec<_>>()
    };
    let one = |labels: &str, value: f64| (labels.to_owned(), value);
    assert_eq!(ask("sum(up)", &["a", "b"]), [one("{}", 16.0)]);
    assert_eq!(
        ask("sum by (__tenant_id__) (up)", &["a", "b"]),
        [one(r#"{__tenant_id__="a"}"#, 7.0), one(r#"{__tenant_id__="b"}"#, 9.0)]
    );
    assert_eq!(ask(r#"sum(up{__tenant_id__!="b"})"#, &["a", "b"]), [one("{}", 7.0)]);
    assert_eq!(ask(r#"sum(up{original___tenant_id__="mine"})"#, &["a", "b"]), [one("{}", 7.0)]);
    assert!(ask(r#"sum(up{__tenant_id__="c"})"#, &["a", "b"]).is_empty());
    assert_eq!(ask("up", &["a"]).len(), 1);
    let (scope, matchers) = (scope(&["a", "b"]), vec![Matcher::equal("pod", "p")]);
    let series = reader.series(&MetricSelect { scope, matchers, start_ms: 0, end_ms: 9999 }, &NoBudget).unwrap().value;
    let owners: Vec<&str> = series.iter().map(|labels| labels.get(TENANT_LABEL)).collect();
    assert_eq!((owners.len(), owners.iter().filter(|owner| **owner == "b").count()), (3, 2), "{owners:?}");
}

#[test]
fn a_trace_of_two_tenants_is_one() {
    let mut other = two_traces();
    other.0.truncate(1);
    other.0[0].batches.truncate(1);
    let spans = |trace: &Trace| trace.batches.iter().map(|batch| batch.spans.len()).sum::<usize>();
    let (own, more) = (spans(&two_traces().0[0]), spans(&other.0[0]));
    let reader = TenantsTraces(Arc::new(ByTenant(BTreeMap::from([("a", two_traces()), ("b", other)]))));
    let id = TraceId([1; 16]);
    let read = |tenants: &[&str], id| reader.trace(&scope(tenants), id).unwrap().value.map(|trace| spans(&trace));
    assert_eq!(read(&["a"], id), Some(own));
    assert_eq!(read(&["b"], id), Some(more));
    assert_eq!(read(&["a", "b"], id), Some(own + more));
    assert_eq!(read(&["b"], TraceId([2; 16])), None);
    assert_eq!(read(&["a", "b"], TraceId([9; 16])), None);
    let search = |tenants: &[&str], limit| {
        let select = TraceSelect::any(&scope(tenants), TimeRange::ALL, limit);
        reader.search(&select, &NoBudget).unwrap().value
    };
    let both = search(&["a", "b"], 9);
    let shown: Vec<(TraceId, u32)> = both.iter().map(|one| (one.id, one.spans)).collect();
    assert_eq!(shown, [(TraceId([2; 16]), 1), (id, (own + more) as u32)]);
    assert_eq!((both[1].start, both[1].has_root), (search(&["a"], 9)[1].start, true));
    assert_eq!(search(&["a", "b"], 1).len(), 1);
    assert_eq!(reader.services(&scope(&["a", "b"]), TimeRange::ALL, &NoBudget).unwrap().value, ["cart", "front"]);
    let values = reader.attribute_values(&scope(&["a", "b"]), "http.status_code", TimeRange::ALL, 5, &NoBudget).unwrap().value;
    assert_eq!(values, [Value::Int(500)]);
}
