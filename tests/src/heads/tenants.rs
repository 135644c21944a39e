//! Tenants whose streams, series, trace ids and texts are equal, and scopes that see one namespace of a tenant: what a scope answers is
//! what a cluster answers that never had anything else. Unsealed, half sealed and compacted, in process and through the fan-out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_model::id::{SpanId, TraceId};
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{LogSelect, MetricSelect, NoBudget, OwnedLine, TraceSelect};
use weir_model::span::{Origin, Span, SpanBatch, SpanKind, Value};
use weir_model::time::TimeRange;

use super::cluster::{BEGIN, Cluster};
use super::readers::{Collect, Readers, lines_of};
use crate::weir::PATIENCE;

/// A tenant, a namespace of it, and how much of everything it writes.
pub(super) type Writer = (&'static str, &'static str, u8);

/// They write the same, in other numbers.
pub(super) const WRITERS: [Writer; 4] = [("t", "web", 3), ("t", "db", 4), ("u", "web", 5), ("v", "db", 2)];
const SECOND: i64 = 1_000_000_000;

fn scope(tenant: &str, visible: Visible) -> Scope {
    TenantScope { tenant: tenant.into(), visible }.into()
}

fn only(op: MatchOp, namespace: &str) -> Visible {
    Visible::any_of(vec![vec![Matcher::new("namespace", op, namespace).unwrap()]])
}

/// Lines, samples and spans of one writer; `round` tells apart what is written later.
pub(super) async fn write(cluster: &mut Cluster, (tenant, namespace, count): Writer, round: u8) {
    let at = |i: u8| BEGIN + i64::from(round) * 30 * SECOND + i64::from(i) * SECOND;
    // What an SDK pushes has OpenTelemetry's names.
    for name in ["namespace", "k8s_namespace_name"] {
        let mut batch = LogBatch::new(Labels::from_pairs([(name, namespace), ("pod", "p")]));
        for i in 0..count {
            let (body, attributes) = (format!("line {i}"), Labels::from_pairs([("user", "u")]));
            batch.push(LogRecord {
                timestamp: at(i),
                sequence: u64::from(i) + 1,
                body: body.as_bytes(),
                severity: 9,
                flags: 0,
                trace_id: TraceId([1; 16]),
                span_id: SpanId::default(),
                attributes: (&attributes).into(),
            });
        }
        cluster.append_of(tenant, 0, &format!("{namespace} {name}"), batch).await;
    }
    let family =
        |name: &str| Family { name: name.into(), kind: MetricKind::Counter, help: format!("of {name}"), unit: String::new() };
    let own = format!("own_of_{namespace}");
    let names = [Labels::from_pairs([("__name__", "hits_total")]), Labels::from_pairs([("__name__", format!("{own}_total"))])];
    let schema = Arc::new(Schema::new(names.into(), vec![family("hits"), family(&own)]));
    let row = |i: u8| MetricRow::new(at(i), vec![f64::from(count) + f64::from(i); 2]);
    let target = Labels::from_pairs([("namespace", namespace), ("job", "j")]);
    let batch = MetricBatch { target, schema, rows: (0..count).map(row).collect() };
    cluster.append_of(tenant, 1, namespace, batch).await;

    // One trace that all have, and one that only some do.
    for trace in [1, 16 + count] {
        let resource = vec![
            ("service.name".into(), Value::String(format!("service of {namespace}"))),
            ("k8s.namespace.name".into(), Value::String(namespace.into())),
            (format!("resource of {namespace}"), Value::Int(i64::from(count))),
        ];
        // No two writers have a span of one start.
        let start = |i: u8| at(i) + i64::from(count) * 1_000_000;
        let span = |i: u8| Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([round * 64 + count * 8 + i + 1; 8]),
            parent_id: if i == 0 { SpanId::default() } else { SpanId([round * 64 + count * 8 + 1; 8]) },
            name: format!("operation {i} of {namespace}"),
            kind: SpanKind::Server,
            start: start(i),
            end: start(i) + SECOND / 2,
            attributes: vec![
                ("shared".into(), Value::String(namespace.into())),
                (format!("of {namespace}"), Value::Int(i64::from(i))),
            ],
            ..Span::default()
        };
        let spans: Vec<Span> = (0..count).map(span).collect();
        let batch = SpanBatch::new(Origin { resource, ..Origin::default() }, &spans);
        cluster.append_of(tenant, 2, namespace, batch).await;
    }
}

/// What a scope is answered, question by question, without where it lies and how far it came.
pub(super) fn answers(readers: &Readers, scope: &Scope) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut note = |question: &str, answer: &dyn std::fmt::Debug| _ = all.insert(question.to_owned(), format!("{answer:?}"));
    for (what, matchers) in [("all", Vec::new()), ("of pod", vec![Matcher::equal("pod", "p")])] {
        let part = TimeRange { start: BEGIN + SECOND, end: BEGIN + 100 * SECOND };
        for (when, range) in [("ever", TimeRange::ALL), ("later", part)] {
            let select =
                LogSelect { scope: scope.clone(), matchers: matchers.clone(), range, filters: Vec::new(), newest_first: false };
            let mut collect = Collect::default();
            readers.logs.visit(&select, &NoBudget, &mut collect).unwrap();
            let line = |line: &OwnedLine| (line.timestamp, line.stream.clone(), line.body.clone(), line.attributes.clone());
            let mut lines: Vec<_> = collect.lines.iter().map(line).collect();
            lines.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            note(&format!("lines {what} {when}"), &lines);
            note(&format!("streams {what} {when}"), &readers.logs.streams(&select, &NoBudget).unwrap().value);
            let mut volume = readers.logs.volume(&select, 10 * SECOND, &NoBudget).unwrap().value;
            volume.sort_by(|a, b| (a.bucket, &a.stream, a.level).cmp(&(b.bucket, &b.stream, b.level)));
            note(&format!("volume {what} {when}"), &volume);
        }
    }
    for (what, matchers) in [("all", Vec::new()), ("hits", vec![Matcher::equal("__name__", "hits_total")])] {
        let select = MetricSelect { scope: scope.clone(), matchers, start_ms: i64::MIN, end_ms: i64::MAX };
        note(&format!("samples {what}"), &readers.metrics.select(&select, &NoBudget).unwrap().value);
        note(&format!("series {what}"), &readers.metrics.series(&select, &NoBudget).unwrap().value);
    }
    note("families", &readers.metrics.families(scope, &NoBudget).unwrap().value);
    for id in 1..32 {
        let found = readers.traces.trace(scope, TraceId([id; 16])).unwrap().value;
        let mut batches = found.map(|trace| trace.batches);
        batches.iter_mut().flatten().for_each(|batch| batch.spans.sort_by_key(|span| span.span_id));
        batches.iter_mut().for_each(|batches| batches.sort_by_key(|batch| batch.origin.service().to_owned()));
        note(&format!("trace {id}"), &batches);
    }
    let any = TraceSelect::any(scope, TimeRange::ALL, 50);
    let shared = |value: &str| TraceSelect { attributes: vec![("shared".into(), value.into())], ..any.clone() };
    for (what, select) in [("any", any.clone()), ("web", shared("web")), ("db", shared("db"))] {
        note(&format!("search {what}"), &readers.traces.search(&select, &NoBudget).unwrap().value);
    }
    for (when, range) in [("ever", TimeRange::ALL), ("first", TimeRange { start: BEGIN, end: BEGIN + 2 * SECOND })] {
        let traces = &readers.traces;
        note(&format!("services {when}"), &traces.services(scope, range, &NoBudget).unwrap().value);
        for service in ["service of web", "service of db"] {
            note(
                &format!("operations of {service} {when}"),
                &traces.operations(scope, Some(service), range, &NoBudget).unwrap().value,
            );
        }
        note(&format!("names {when}"), &traces.attribute_names(scope, range, 100, &NoBudget).unwrap().value);
        for name in ["shared", "k8s.namespace.name", "resource of db", "of db", "of web"] {
            note(
                &format!("values of {name} {when}"),
                &traces.attribute_values(scope, name, range, 100, &NoBudget).unwrap().value,
            );
        }
    }
    all
}

/// A scope, and what writers it sees.
fn scopes() -> Vec<(Scope, Vec<Writer>)> {
    let [web, db, other_web, other_db] = WRITERS;
    vec![
        (scope("t", Visible::default()), vec![web, db]),
        (scope("t", only(MatchOp::Equal, "web")), vec![web]),
        (scope("t", only(MatchOp::NotEqual, "web")), vec![db]),
        (scope("t", Visible::any_of(Vec::new())), vec![]),
        (scope("u", Visible::default()), vec![other_web]),
        (scope("u", only(MatchOp::Equal, "db")), vec![]),
        (scope("v", only(MatchOp::Regex, "d.|web")), vec![other_db]),
        (scope("nobody", Visible::default()), vec![]),
    ]
}

/// Every line by its id, for each scope: found where it may be seen, with neighbours of its stream alone.
async fn check_lines(readers: &Readers, what: &str) {
    let mut lines: Vec<(String, OwnedLine)> = Vec::new();
    for tenant in ["t", "u", "v"] {
        let read = move |readers: &Readers| {
            let (matchers, filters) = Default::default();
            let select = LogSelect { scope: Scope::of(tenant), matchers, range: TimeRange::ALL, filters, newest_first: true };
            let mut collect = Collect::default();
            readers.logs.visit(&select, &NoBudget, &mut collect).unwrap();
            collect.lines
        };
        lines.extend(readers.read(read).await.into_iter().map(|line| (tenant.to_owned(), line)));
    }
    assert!(lines.len() > 20, "{what}");
    for (scope, _) in scopes() {
        for (tenant, line) in lines.iter().step_by(2) {
            let (id, own) = (line.id, scope.clone());
            let found = readers.read(move |readers| readers.logs.line(&own, id, 3, &NoBudget).unwrap().value).await;
            assert_eq!(!found.is_empty(), scope.sees(tenant, &line.stream), "{what}: {scope:?} {line:?}");
            assert!(found.iter().all(|near| near.stream == line.stream && scope.sees(tenant, &near.stream)), "{what}: {scope:?}");
        }
    }
}

/// A cluster that has what these have written, and nothing else.
struct Reference {
    writers: Vec<Writer>,
    cluster: Cluster,
}

impl Reference {
    /// One for each set of writers that a scope sees.
    async fn start() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (_, writers) in scopes() {
            if all.iter().all(|known| known.writers != writers) {
                all.push(Self { writers, cluster: Cluster::start().await });
            }
        }
        all
    }

    async fn write(&mut self, round: u8) {
        for writer in self.writers.clone() {
            write(&mut self.cluster, writer, round).await;
        }
        self.cluster.caught_up().await;
    }
}

/// All questions of all scopes.
async fn check(cluster: &Cluster, far: &Readers, references: &[Reference], when: &str) {
    let own = cluster.own();
    for (scope, writers) in scopes() {
        let reference = references.iter().find(|known| known.writers == writers).unwrap();
        let all = Scope::of(&scope.one().unwrap().tenant);
        let expected = reference.cluster.own().read(move |readers| answers(readers, &all)).await;
        for (readers, whose) in [(&own, "in process"), (far, "fan-out")] {
            let asked = scope.clone();
            let found = readers.read(move |readers| answers(readers, &asked)).await;
            assert_eq!(found.len(), expected.len());
            for (question, answer) in &found {
                assert_eq!(answer, &expected[question], "{when}, {whose}, {scope:?}: {question}");
            }
        }
    }
    check_lines(&own, when).await;
    check_lines(far, when).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_is_answered_as_if_nothing_else_were_there() {
    let (mut cluster, mut references) = (Cluster::start().await, Reference::start().await);
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    for (round, when) in [(0, "unsealed"), (1, "half sealed")] {
        for writer in WRITERS {
            write(&mut cluster, writer, round).await;
        }
        cluster.caught_up().await;
        for reference in &mut references {
            reference.write(round).await;
        }
        check(&cluster, &far, &references, when).await;
        cluster.seal().await;
    }
    for node in &cluster.nodes {
        node.aggregator.compact().await.unwrap();
    }
    check(&cluster, &far, &references, "compacted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_tells_of_its_scope_alone() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    let scope = scope("t", only(MatchOp::Equal, "web"));
    let (matchers, filters) = Default::default();
    let select = LogSelect { scope: scope.clone(), matchers, range: TimeRange::ALL, filters, newest_first: false };
    let mut tail = far.logs.tail(select).unwrap();
    let mut seen: Vec<OwnedLine> = Vec::new();
    let arrived = async {
        // Both streams of the namespace, more than once: the others had their turn then.
        for round in (0..3).cycle() {
            for writer in WRITERS {
                write(&mut cluster, writer, round).await;
            }
            seen.extend(lines_of(tail.poll()));
            if seen.len() >= 12 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("lines arrive");
    assert!(seen.iter().all(|line| scope.sees("t", &line.stream)), "{seen:?}");
    assert!(seen.iter().any(|line| !line.stream.get("k8s_namespace_name").is_empty()), "{seen:?}");
}
