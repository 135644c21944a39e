//! Two aggregators, their heads on real sockets, and seeded records for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_aggregator::{Aggregator, AggregatorConfig, Dependencies, Metrics, Partitions};
use weir_blocks::blob::BlobCache;
use weir_blocks::manifest::{durable_local, random_nonces};
use weir_blocks::view::NoTails;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_fanout::{FanOut, FanOutConfig, FanOutDeps, FanOutMetrics};
use weir_logs::{LogsEngine, LogsReader};
use weir_metrics::{MetricsCounters, MetricsEngine, MetricsReader};
use weir_model::config::ByteSize;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::limits::Limits;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::signal::Signal;
use weir_model::span::{Origin, Span, SpanBatch, SpanKind, Value};
use weir_model::wire::{Limits as WireLimits, Mark, RecordBuilder, Section, SectionHeader};
use weir_tls::{Acceptor, TlsConfig};
use weir_traces::{TracesCounters, TracesEngine, TracesReader};

use super::extras::extras;
use super::readers::{Both, Readers, TENANT};
use crate::granted::granted;

pub(super) const PARTITIONS: u32 = 3;
/// Lines, samples and spans are stamped from here on.
pub(super) const BEGIN: i64 = 1_700_000_000_000_000_000;

/// One aggregator and its listener.
pub(super) struct Node {
    pub aggregator: Arc<Aggregator>,
    pub url: String,
    running: JoinHandle<()>,
    serving: JoinHandle<()>,
    deaf: Arc<AtomicBool>,
}

impl Node {
    /// Consumes and commits no more, but still answers: a process that the others believe dead.
    pub(super) async fn freeze(&mut self) {
        self.running.abort();
        let _aborted = (&mut self.running).await;
    }

    /// Gone altogether.
    pub(super) async fn kill(&mut self) {
        self.freeze().await;
        self.deafen().await;
    }

    /// Consumes and commits, but nobody reaches it.
    pub(super) async fn deafen(&mut self) {
        // Connections outlive the listener for a moment.
        self.deaf.store(true, Ordering::SeqCst);
        self.serving.abort();
        let _aborted = (&mut self.serving).await;
    }
}

async fn unless_deaf(State(deaf): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    if deaf.load(Ordering::SeqCst) { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { next.run(request).await }
}

pub(super) struct Cluster {
    pub sim: Sim,
    pub store: Arc<dyn ObjectStore>,
    pub nodes: Vec<Node>,
    pub random: StdRng,
    clock: Arc<AtomicI64>,
    sequence: u64,
    shutdown: CancellationToken,
    tls: TlsConfig,
    /// Of a head, to a query node.
    extract_max: ByteSize,
    _directory: tempfile::TempDir,
    /// Of all nodes, and of fan-outs over them.
    pub limits: Limits,
}

pub(super) fn engines(clock: &Arc<AtomicI64>) -> (LogsEngine, MetricsEngine, TracesEngine) {
    let clock = Arc::clone(clock);
    let now = Arc::new(move || clock.load(Ordering::Relaxed));
    (LogsEngine::default(), MetricsEngine::new(MetricsCounters::default()), TracesEngine::new(now, TracesCounters::default()))
}

impl Cluster {
    /// Two nodes that own everything between them.
    pub(super) async fn start() -> Self {
        Self::start_with(TlsConfig::default()).await
    }

    /// The same, and their listeners are like this.
    pub(super) async fn start_with(tls: TlsConfig) -> Self {
        Self::start_within(AggregatorConfig::default().extract_max, tls).await
    }

    /// The same, and of a head they give no more than this.
    pub(super) async fn start_within(extract_max: ByteSize, tls: TlsConfig) -> Self {
        let seed = rand::random::<u64>() >> 16;
        println!("seed {seed}");
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(durable_local(directory.path(), std::time::SystemTime::now()).unwrap());
        let sim = Sim::new(SimConfig { seed, partitions: PARTITIONS, ..SimConfig::default() });
        let (clock, shutdown) = (Arc::new(AtomicI64::new(BEGIN)), CancellationToken::new());
        let random = StdRng::seed_from_u64(seed);
        let mut cluster = Self {
            sim,
            store,
            nodes: Vec::new(),
            random,
            clock,
            sequence: 0,
            shutdown,
            tls,
            extract_max,
            limits: Limits::default(),
            _directory: directory,
        };
        for _ in 0..2 {
            cluster.join().await;
        }
        cluster.caught_up().await;
        cluster
    }

    async fn join(&mut self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = Acceptor::start(&self.tls).unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let listener = super::tls::Listener { listener, acceptor };
        let clock = Arc::clone(&self.clock);
        let dependencies = Dependencies {
            bus: Arc::new(self.sim.clone()),
            object_store: Arc::clone(&self.store),
            cache: BlobCache::new(4 << 20),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            nonces: random_nonces(),
            metrics: Metrics::default(),
            member: url.clone(),
            limits: self.limits.clone(),
        };
        let (head_age_max, extract_max) = (Duration::from_secs(1 << 40), self.extract_max);
        let config = AggregatorConfig { head_age_max, extract_max, compaction_blocks: 2, ..Default::default() };
        let aggregator = Arc::new(Aggregator::new(config, engines(&self.clock), dependencies));
        let (consuming, stop) = (Arc::clone(&aggregator), self.shutdown.clone());
        let running = tokio::spawn(async move { consuming.run(stop).await.unwrap() });
        let router = weir_aggregator::heads::router(Arc::clone(&aggregator));
        let router = granted(router.merge(weir_aggregator::admin::router(Arc::clone(&aggregator))));
        let deaf = Arc::new(AtomicBool::new(false));
        let router = router.layer(axum::middleware::from_fn_with_state(Arc::clone(&deaf), unless_deaf));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        self.nodes.push(Node { aggregator, url, running, serving, deaf });
    }

    /// A query node whose pages are small, so that a test sees many.
    pub(super) fn fan_out(&self) -> (FanOut, FanOutMetrics) {
        self.fan_out_with(FanOutConfig { page_min: ByteSize::kib(2), ..FanOutConfig::default() })
    }

    pub(super) fn fan_out_with(&self, config: FanOutConfig) -> (FanOut, FanOutMetrics) {
        self.fan_out_over(Arc::clone(&self.store), config)
    }

    /// One that reads blocks and manifests through another store, which should have the same.
    pub(super) fn fan_out_over(&self, object_store: Arc<dyn ObjectStore>, config: FanOutConfig) -> (FanOut, FanOutMetrics) {
        let (clock, metrics) = (Arc::clone(&self.clock), FanOutMetrics::default());
        let deps = FanOutDeps {
            object_store,
            cache: BlobCache::new(4 << 20),
            engines: engines(&self.clock),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            metrics: metrics.clone(),
            limits: self.limits.clone(),
            shutdown: self.shutdown.clone(),
        };
        (FanOut::start(config, deps).unwrap(), metrics)
    }

    /// Time passes for arrivals and trace states.
    pub(super) fn pass(&self, nanos: i64) {
        self.clock.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Waits until all that is on the bus can be found at the nodes that run.
    pub(super) async fn caught_up(&self) {
        let caught_up = async {
            while !self.is_caught_up().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::weir::PATIENCE, caught_up).await.expect("catches up");
    }

    async fn is_caught_up(&self) -> bool {
        let mut found = 0;
        for node in self.nodes.iter().filter(|node| !node.running.is_finished()) {
            for status in node.aggregator.status() {
                let place = TopicPartition { topic: status.topic.clone(), partition: status.partition };
                let (_, next) = self.sim.bounds(&place).await.unwrap();
                if status.indexed_offset < next || status.bus_silent_seconds.is_none() || status.blocks_opening > 0 {
                    return false;
                }
                found += 1;
            }
        }
        found == 3 * PARTITIONS
    }

    pub(super) async fn seal(&self) {
        for node in self.nodes.iter().filter(|node| !node.running.is_finished()) {
            let sealed = async || node.aggregator.seal().await.map(drop).map_err(|error| error.to_string());
            crate::weir::eventually("everything is sealed", sealed).await;
        }
    }

    /// Objects of log blocks.
    pub(super) async fn blocks(&self) -> Vec<Path> {
        let listing = self.store.list(Some(&Path::from("logs"))).map_ok(|object| object.location);
        let all: Vec<Path> = listing.try_collect().await.unwrap();
        all.into_iter().filter(|path| path.as_ref().contains("/blocks/")).collect()
    }

    /// As the clean-up does with what no manifest names any more.
    pub(super) async fn delete(&self, objects: &[Path]) {
        for object in objects {
            self.store.delete(object).await.unwrap();
        }
    }

    async fn append<S: Signal>(&mut self, partition: u32, source: &str, batch: S) {
        self.append_of(TENANT, partition, source, batch).await;
    }

    /// A record of any tenant.
    pub(super) async fn append_of<S: Signal>(&mut self, tenant: &str, partition: u32, source: &str, batch: S) {
        self.sequence += 1;
        let mark = Mark::Sequence { epoch: 1, first: self.sequence - 1, last: self.sequence };
        let source = format!("{source} {}", self.sequence);
        let mut builder = RecordBuilder::new(WireLimits::default());
        let header = SectionHeader { tenant: tenant.into(), source, mark, records: 0 };
        builder.push(&Section::new(header, batch)).unwrap();
        let place = TopicPartition { topic: S::KIND.topic().into(), partition };
        self.sim.append(&place, builder.finish().unwrap().into()).await.unwrap().await.unwrap();
    }

    /// So many lines of some streams, all different, timestamps ascending but for a few.
    pub(super) async fn write_lines(&mut self, records: u32) {
        for _ in 0..records {
            let stream = self.random.random_range(0..6);
            let mut batch =
                LogBatch::new(Labels::from_pairs([("app", format!("app{}", stream % 3)), ("pod", format!("p{stream}"))]));
            for i in 0..self.random.random_range(1..20_u64) {
                let number = self.sequence * 100 + i;
                let late = if self.random.random_bool(0.1) { 30_000_000_000 } else { 0 };
                let word = ["error", "ok", "slow \u{e4}", "GET /cart"][self.random.random_range(0..4)];
                let body = format!("{word} number {number} {}", "x".repeat(self.random.random_range(0..200)));
                let attributes = if i % 3 == 0 { Labels::from_pairs([("user", format!("u{}", i % 5))]) } else { Labels::EMPTY };
                let raw = [0xff, 0xfe, i as u8];
                batch.push(LogRecord {
                    timestamp: BEGIN + i64::try_from(number).unwrap() * 7_000_000 - late,
                    sequence: number + 1,
                    body: if i % 7 == 6 { &raw } else { body.as_bytes() },
                    severity: self.random.random_range(0..25),
                    flags: 0,
                    trace_id: if i % 4 == 0 { TraceId([i as u8; 16]) } else { TraceId::default() },
                    span_id: SpanId::default(),
                    attributes: (&attributes).into(),
                });
            }
            self.append(stream % PARTITIONS, "file", batch).await;
        }
    }

    /// Scrapes of some targets. Schemas change, and now and then a millisecond is told twice with different values.
    pub(super) async fn write_samples(&mut self, scrapes: u32) {
        for scrape in 0..scrapes {
            let target = self.random.random_range(0..4_u32);
            // What is asked for by its time is always there: the first scrape of every call is of one second.
            let (width, second) = match scrape {
                0 => (4, 10),
                _ => (self.random.random_range(1..5), self.random.random_range(0..60_u32)),
            };
            let labels = |i| Labels::from_pairs([("__name__", format!("metric_{}", i % 3)), ("i", format!("{i}"))]);
            let families = vec![Family {
                name: format!("metric_{}", width % 3),
                kind: MetricKind::Gauge,
                help: format!("helps {target}"),
                unit: String::new(),
            }];
            let schema = Arc::new(Schema::new((0..width).map(labels).collect(), families));
            let at = BEGIN + i64::from(second) * 1_000_000_000;
            // Each third has more than numbers.
            let row = |at, random: &mut StdRng| MetricRow {
                extras: (scrape % 3 == 0).then(|| extras(at, width, random)),
                ..MetricRow::new(at, (0..width).map(|_| f64::from(random.random_range(0..1000_u32)) / 8.0).collect())
            };
            let rows = vec![row(at, &mut self.random), row(at + 500_000_000, &mut self.random)];
            let target_labels = Labels::from_pairs([("job", "j"), ("instance", &*format!("i{target}"))]);
            let batch = MetricBatch { target: target_labels, schema, rows };
            self.append(target % PARTITIONS, "target", batch).await;
        }
    }

    /// Spans of a few traces, each in the partition of its trace; traces grow over several calls.
    pub(super) async fn write_spans(&mut self, batches: u32) {
        for _ in 0..batches {
            let trace = self.random.random_range(0..8_u8);
            let service = self.random.random_range(0..3_u8);
            let resource = vec![
                ("service.name".into(), Value::String(format!("svc{service}"))),
                ("host".into(), Value::Int(i64::from(service))),
            ];
            let mut spans = Vec::new();
            for _ in 0..self.random.random_range(1..4) {
                let id = self.random.random_range(1..40_u8);
                spans.push(Span {
                    trace_id: TraceId([trace + 1; 16]),
                    span_id: SpanId([id; 8]),
                    parent_id: if id == 1 { SpanId::default() } else { SpanId([id / 2; 8]) },
                    name: format!("op{}", id % 4),
                    kind: [SpanKind::Server, SpanKind::Client][usize::from(id % 2)],
                    start: BEGIN + i64::from(trace) * 1_000_000_000 + i64::from(id) * 1_000_000,
                    end: BEGIN + i64::from(trace) * 1_000_000_000 + i64::from(id) * 2_000_000,
                    attributes: vec![("id".into(), Value::Int(i64::from(id))), ("raw".into(), Value::Bytes(vec![id, 0xff]))],
                    ..Span::default()
                });
            }
            let batch = SpanBatch::new(Origin { resource, ..Origin::default() }, &spans);
            self.append(u32::from(trace) % PARTITIONS, "sdk", batch).await;
            self.pass(300_000_000);
        }
    }

    /// The in-process readers over both nodes, as one process would have them.
    pub(super) fn own(&self) -> Readers {
        let both = |pick: &dyn Fn(&Aggregator) -> Arc<Partitions<LogsEngine>>| {
            self.nodes.iter().map(|node| pick(&node.aggregator)).collect()
        };
        let logs = Both(both(&|aggregator| aggregator.logs.clone()));
        let metrics = Both(self.nodes.iter().map(|node| node.aggregator.metrics.clone()).collect());
        let traces = Both(self.nodes.iter().map(|node| node.aggregator.traces.clone()).collect());
        let clock = Arc::clone(&self.clock);
        Readers {
            logs: Arc::new(LogsReader { views: Arc::new(logs), tails: Arc::new(NoTails) }),
            metrics: Arc::new(MetricsReader::new(Arc::new(metrics))),
            traces: Arc::new(TracesReader::new(Arc::new(traces), Arc::new(move || clock.load(Ordering::Relaxed)))),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
