//! Batches as requests of both versions, to the bit; and a queue before a receiver that is away, refuses, and comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message as _;
use weir_model::config::ByteSize;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, Family, MetricBatch, MetricKind, MetricRow, RowExtras, STALE_NAN, Schema};
use weir_model::prompb::{self, Request2, WriteRequest};
use weir_model::time::SECOND;
use weir_model::wire::{Limits, Mark, RecordBuilder, Section, SectionHeader};
use weir_model::yaml;

use super::config::RemoteWriteConfig;
use super::encoder::{Batch, Encoder};
use super::metrics::{ReceiverMetrics, RemoteMetrics};
use super::position::{Position, PositionFile};
use super::request::Request;
use super::{Queues, Senders};
use crate::push::Clock;

const NOW: i64 = 1_700_000_000 * SECOND;
const NOW_MS: i64 = 1_700_000_000_000;

fn clock() -> Clock {
    Arc::new(|| NOW)
}

fn config(text: &str) -> RemoteWriteConfig {
    let text = format!("{{url: 'http://127.0.0.1:9/', tenants: [t], metadata_config: {{send: false}}, {text}}}");
    yaml::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn record(tenant: &str, batch: MetricBatch) -> Bytes {
    // As pushes are told apart: by what they say.
    let digest = xxhash_rust::xxh3::xxh3_128(format!("{batch:?}").as_bytes()).to_le_bytes();
    let header = SectionHeader { tenant: tenant.into(), source: "s".into(), mark: Mark::Digest(digest), records: 0 };
    let mut builder = RecordBuilder::new(Limits::default());
    builder.push(&Section::new(header, batch)).unwrap();
    builder.finish().unwrap().into()
}

/// `hits_total{path="0"}` and so on of a target, at each of these seconds after [`NOW`]; a value says its second and series.
fn plain(series: usize, seconds: &[i64]) -> MetricBatch {
    let own = |i: usize| Labels::from_pairs([("__name__", "hits_total".to_owned()), ("path", i.to_string())]);
    let family = Family { name: "hits".into(), kind: MetricKind::Counter, help: "Hits".into(), unit: String::new() };
    let schema = Arc::new(Schema::new((0..series).map(own).collect(), vec![family]));
    let row =
        |second: &i64| MetricRow::new(NOW + second * SECOND, (0..series).map(|i| *second as f64 * 1000.0 + i as f64).collect());
    let target = Labels::from_pairs([("instance", "a:1"), ("job", "shop")]);
    MetricBatch { target, schema, rows: seconds.iter().map(row).collect() }
}

fn encoder(config: &RemoteWriteConfig) -> (Encoder, ReceiverMetrics) {
    let metrics = RemoteMetrics::default().of("r");
    (Encoder::new(Arc::new(config.clone()), metrics.clone(), clock()), metrics)
}

fn requests(config: &RemoteWriteConfig, records: Vec<Bytes>) -> (Vec<Request>, ReceiverMetrics) {
    let (mut encoder, metrics) = encoder(config);
    let mut batch = Batch::new(records);
    (std::iter::from_fn(|| encoder.next_request(&mut batch)).collect(), metrics)
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).unwrap()
}

fn one(body: &[u8]) -> WriteRequest {
    WriteRequest::decode(&unpacked(body)[..]).unwrap()
}

fn two(body: &[u8]) -> Request2 {
    Request2::decode(&unpacked(body)[..]).unwrap()
}

fn pairs(labels: &[prompb::Label]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    labels.iter().map(|label| (text(&label.name), text(&label.value))).collect()
}

fn named(request: &Request2, references: &[u32]) -> Vec<(String, String)> {
    let text = |at: u32| String::from_utf8(request.symbols[at as usize].clone()).unwrap();
    references.as_chunks::<2>().0.iter().map(|[name, value]| (text(*name), text(*value))).collect()
}

fn histogram(is_integer: bool) -> Histogram {
    let positive =
        Buckets { spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }], counts: vec![3.0, 1.0, 4.0] };
    let negative = Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![2.0] };
    let (sum, zero_threshold) = (f64::from_bits(0x4009_21fb_5444_2d18), 1e-9);
    Histogram {
        reset: ResetHint::NotReset,
        is_integer,
        count: 11.0,
        sum,
        zero_threshold,
        zero_count: 1.0,
        positive,
        negative,
        ..Histogram::empty(3)
    }
}

/// Values whose bits are easily lost, two histograms and a staleness marker of one, an exemplar, starts, a family.
fn rich() -> MetricBatch {
    let mut batch = plain(7, &[0]);
    let values = [STALE_NAN, f64::from_bits(0x7ff8_0000_0000_dead), -0.0, f64::MIN_POSITIVE / 8.0, 0.0, 0.0, 0.0];
    let stale = Histogram { sum: STALE_NAN, ..Histogram::empty(0) };
    let histograms = [histogram(true), histogram(false), stale].into_iter().map(Arc::new);
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.25, timestamp: NOW - SECOND };
    let starts = Some([NOW - 60 * SECOND; 7].into());
    let extras = RowExtras { histograms: (4..).zip(histograms).collect(), starts, exemplars: vec![(1, exemplar)] };
    batch.rows[0].values = values.to_vec();
    batch.rows[0].extras = Some(Box::new(extras));
    batch
}

const RICH: &str = "send_exemplars: true, send_native_histograms: true, metadata_config: {send: true}";

#[test]
fn one_carries_every_bit() {
    let config: RemoteWriteConfig = yaml::parse(&format!("{{url: 'http://a/', tenants: [t], {RICH}}}")).unwrap();
    let (requests, _) = requests(&config, vec![record("other", plain(3, &[1])), record("t", rich())]);
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let sent = one(&request.body);
    assert_eq!((request.counts.samples, request.counts.histograms, request.counts.exemplars), (4, 3, 1));
    let expected = [("__name__", "hits_total"), ("instance", "a:1"), ("job", "shop"), ("path", "0")];
    assert_eq!(pairs(&sent.timeseries[0].labels), expected.map(|(name, value)| (name.into(), value.into())));
    let own = rich();
    for (at, series) in sent.timeseries.iter().enumerate().take(4) {
        let [sample] = &series.samples[..] else { panic!("{series:?}") };
        assert_eq!((sample.value.to_bits(), sample.timestamp), (own.rows[0].values[at].to_bits(), NOW_MS), "series {at}");
    }
    let histograms: Vec<_> = sent.timeseries[4..].iter().map(|series| series.histograms[0].clone()).collect();
    let expected = [histogram(true), histogram(false)].map(|own| prompb::Histogram::of(&own, NOW_MS));
    assert_eq!(histograms[..2], expected);
    assert_eq!(
        (histograms[0].positive_deltas.clone(), histograms[1].positive_counts.clone()),
        (vec![3, -2, 3], vec![3.0, 1.0, 4.0])
    );
    assert_eq!(histograms[2].sum.to_bits(), STALE_NAN.to_bits());
    let exemplar = &sent.timeseries[1].exemplars[0];
    assert_eq!((pairs(&exemplar.labels), exemplar.timestamp), (vec![("trace_id".into(), "abc".into())], NOW_MS - 1000));
    let [family] = &sent.metadata[..] else { panic!("{:?}", sent.metadata) };
    assert_eq!((family.r#type, family.metric_family_name.as_str(), family.help.as_str()), (1, "hits", "Hits"));
}

#[test]
fn two_carries_every_bit() {
    let text = format!("{{url: 'http://a/', tenants: [t], protobuf_message: io.prometheus.write.v2.Request, {RICH}}}");
    let (requests, _) = requests(&yaml::parse(&text).unwrap(), vec![record("t", rich())]);
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let sent = two(&request.body);
    assert_eq!(sent.symbols[0], b"");
    assert_eq!(sent.symbols.iter().collect::<std::collections::HashSet<_>>().len(), sent.symbols.len(), "each text once");
    let own = rich();
    for (at, series) in sent.timeseries.iter().enumerate() {
        assert_eq!(named(&sent, &series.labels_refs)[3], ("path".into(), at.to_string()));
        let metadata = series.metadata.unwrap();
        assert_eq!((metadata.r#type, &sent.symbols[metadata.help_ref as usize][..], metadata.unit_ref), (1, &b"Hits"[..], 0));
        match &series.samples[..] {
            [sample] => assert_eq!(
                (sample.value.to_bits(), sample.timestamp, sample.start_timestamp),
                (own.rows[0].values[at].to_bits(), NOW_MS, NOW_MS - 60_000)
            ),
            none => assert!(none.is_empty() && at >= 4),
        }
    }
    let started = |own: &Histogram| prompb::Histogram { start_timestamp: NOW_MS - 60_000, ..prompb::Histogram::of(own, NOW_MS) };
    assert_eq!(sent.timeseries[4].histograms, [started(&histogram(true))]);
    assert_eq!(sent.timeseries[6].histograms[0].sum.to_bits(), STALE_NAN.to_bits());
    let exemplar = &sent.timeseries[1].exemplars[0];
    assert_eq!(named(&sent, &exemplar.labels_refs), [("trace_id".to_owned(), "abc".to_owned())]);
}

#[test]
fn requests_are_cut_alike_each_time_and_keep_the_order() {
    let config = config("queue_config: {max_samples_per_send: 10}");
    let records = || vec![record("t", plain(7, &[0, 1, 2])), record("t", plain(25, &[3])), record("t", plain(2, &[4]))];
    let (first, _) = requests(&config, records());
    let (second, _) = requests(&config, records());
    let bodies = |requests: &[Request]| requests.iter().map(|request| request.body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&first), bodies(&second));
    assert!(first.iter().all(|request| (1..=10).contains(&request.counts.points())), "{first:?}");
    let mut seen = BTreeMap::<_, Vec<(i64, f64)>>::new();
    for series in first.iter().flat_map(|request| one(&request.body).timeseries) {
        let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value));
        seen.entry(pairs(&series.labels)).or_default().extend(samples);
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), 7 * 3 + 25 + 2);
    assert!(seen.values().all(|samples| samples.is_sorted_by(|a, b| a.0 < b.0)), "{seen:?}");
}

#[test]
fn what_is_not_sent_is_counted() {
    let limited = config("queue_config: {sample_age_limit: 10s}");
    let (sent, metrics) = requests(&limited, vec![record("t", plain(3, &[-11, -9]))]);
    assert_eq!((sent[0].counts.points(), metrics.dropped_of("too_old")), (3, 3));
    let (sent, metrics) = requests(&config("name: r"), vec![record("t", rich()), Bytes::from_static(b"no record")]);
    assert_eq!((sent[0].counts.samples, sent[0].counts.histograms, sent[0].counts.exemplars), (4, 0, 0));
    assert_eq!((metrics.dropped_of("native_histogram"), metrics.dropped_records_of("undecodable")), (3, 1));
    let twice = vec![record("t", plain(3, &[0])), record("t", plain(3, &[1])), record("t", plain(3, &[0]))];
    let (sent, metrics) = requests(&config("name: r"), twice);
    assert_eq!((sent[0].counts.points(), metrics.dropped_of("duplicate")), (6, 3));
    let dropped = config("write_relabel_configs: [{source_labels: [path], regex: '[12]', action: drop}]");
    assert_eq!(requests(&dropped, vec![record("t", plain(3, &[0]))]).0[0].counts.points(), 1);
}

/// Whether a request with a series of this path is refused.
type Refuses = fn(&str) -> bool;

/// A receiver on a port of this machine: what it was sent, and what it answers next; 204 where nothing is said.
#[derive(Clone, Default)]
struct Script {
    bodies: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<(u16, HeaderMap)>>>,
    /// Requests of 1.0 with such a series are answered 400.
    refuses: Arc<Mutex<Option<Refuses>>>,
}

impl Script {
    async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            let paths = |refuses: Refuses| {
                let labels = one(&body).timeseries.into_iter().flat_map(|series| pairs(&series.labels));
                labels.into_iter().any(|(name, path)| name == "path" && refuses(&path))
            };
            if own.refuses.lock().is_some_and(paths) {
                own.bodies.lock().push((headers, body));
                return (StatusCode::BAD_REQUEST, HeaderMap::new(), "out of order sample");
            }
            own.bodies.lock().push((headers, body));
            let mut answers = own.answers.lock();
            let (status, headers) = if answers.is_empty() { (204, HeaderMap::new()) } else { answers.remove(0) };
            (StatusCode::from_u16(status).unwrap(), headers, "because")
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = axum::Router::new().route("/", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        url
    }

    fn answer(&self, status: u16, headers: &[(&'static str, &str)]) {
        let pairs = headers.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()));
        self.answers.lock().push((status, pairs.collect()));
    }

    /// Bodies once there are so many.
    async fn bodies(&self, count: usize) -> Vec<Bytes> {
        let begun = std::time::Instant::now();
        while self.bodies.lock().len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} requests", self.bodies.lock().len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.bodies.lock().iter().map(|(_, body)| body.clone()).collect()
    }
}

async fn start(config: &RemoteWriteConfig, data: &Path) -> (Arc<Queues>, Senders, Registry) {
    let mut registry = Registry::default();
    let (queues, senders) = Queues::start(std::slice::from_ref(config), ("t", data), (2, &clock()), &mut registry).await.unwrap();
    (queues, senders, registry)
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

fn figure(registry: &Registry, name: &str) -> f64 {
    let text = text(registry);
    let line = text.lines().find(|line| line.starts_with(&format!("weir_collector_remote_storage_{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

async fn put(queues: &Queues, batch: MetricBatch) {
    queues.append(0, &["t".into()], &record("t", batch)).await;
}

const FAST: &str = "queue_config: {batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 10ms}";

#[tokio::test]
async fn what_may_be_taken_later_is_sent_until_it_is() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let token = folder.path().join("token");
    std::fs::write(&token, "hush\n").unwrap();
    let mut config = config(&format!("{FAST}, headers: {{X-Scope-OrgID: shop}}, authorization: {{credentials_file: {token:?}}}"));
    config.url = script.serve().await;
    let (queues, senders, registry) = start(&config, folder.path()).await;
    script.answer(503, &[]);
    script.answer(429, &[("retry-after", "0")]);
    script.answer(500, &[]);
    put(&queues, plain(3, &[0])).await;
    let bodies = script.bodies(4).await;
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same request each time");
    script.answer(403, &[]);
    put(&queues, plain(2, &[1])).await;
    put(&queues, plain(1, &[2])).await;
    let last = script.bodies(5).await.len();
    put(&queues, plain(1, &[3])).await;
    script.bodies(last + 1).await;
    let headers = script.bodies.lock()[0].0.clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!([header("authorization"), header("x-scope-orgid")], ["Bearer hush", "shop"]);
    assert_eq!([header("content-type"), header("content-encoding")], ["application/x-protobuf", "snappy"]);
    assert_eq!(header("x-prometheus-remote-write-version"), "0.1.0");
    senders.join().await;
    assert_eq!(figure(&registry, "samples_retried_total"), 9.0);
    let (taken, refused) = (figure(&registry, "samples_total"), figure(&registry, "samples_dropped_total"));
    // The two after the refusal may have come in one request with the refused ones, or in their own.
    assert!(refused >= 2.0 && taken + refused == 7.0, "{}", text(&registry));
    assert!(!text(&registry).contains("hush"));
}

/// Of five records: the gauge counts those that wait behind it.
async fn one_is_being_sent(registry: &Registry) {
    let begun = std::time::Instant::now();
    while figure(registry, "pending_records") != 4.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "one is being sent\n{}", text(registry));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_over_restarts() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let mut config =
        config("queue_config: {batch_send_deadline: 5ms, min_backoff: 1ms, max_backoff: 5ms, max_samples_per_send: 4}");
    // Nobody listens there yet.
    config.url = "http://127.0.0.1:9/".into();
    config.name = "far".into();
    let (queues, senders, registry) = start(&config, folder.path()).await;
    for second in 0..5 {
        put(&queues, plain(6, &[second])).await;
    }
    one_is_being_sent(&registry).await;
    senders.join().await;
    drop(queues);
    let (queues, senders, registry) = start(&config, folder.path()).await;
    one_is_being_sent(&registry).await;
    senders.join().await;
    drop(queues);
    config.url = script.serve().await;
    script.answer(503, &[]);
    let (queues, senders, _) = start(&config, folder.path()).await;
    put(&queues, plain(6, &[5])).await;
    let begun = std::time::Instant::now();
    let seen = loop {
        let bodies = script.bodies(2).await;
        let series = bodies.iter().flat_map(|body| one(body).timeseries);
        let samples = series.flat_map(|series| series.samples.into_iter().map(|sample| (sample.timestamp, sample.value as u64)));
        let seen: std::collections::BTreeSet<_> = samples.collect();
        if seen.len() == 36 {
            break seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(seen.iter().all(|(time, value)| *value / 1000 == ((time - NOW_MS) / 1000) as u64));
    senders.join().await;
    drop(queues);
    // All is sent: a third start sends nothing again.
    let sent = script.bodies.lock().len();
    let (queues, senders, registry) = start(&config, folder.path()).await;
    assert_eq!(figure(&registry, "pending_records"), 0.0);
    put(&queues, plain(1, &[9])).await;
    let bodies = script.bodies(sent + 1).await;
    assert_eq!(one(&bodies[sent]).timeseries[0].samples[0].timestamp, NOW_MS + 9000);
    senders.join().await;
}

#[tokio::test]
async fn a_position_of_another_log_skips_nothing() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    // As when a queue's directory was deleted but for this.
    let directory = folder.path().join("remote_write/far");
    std::fs::create_dir_all(&directory).unwrap();
    let position = Position { begin: 3, end: 3 };
    PositionFile::open(&directory.join("shard-0.position")).unwrap().0.write(position).unwrap();
    let mut config = config("queue_config: {batch_send_deadline: 1h}");
    (config.url, config.name) = (script.serve().await, "far".into());
    // Ends before anything is sent, when the log is longer than that.
    let (queues, senders, _) = start(&config, folder.path()).await;
    for second in 0..5 {
        put(&queues, plain(1, &[second])).await;
    }
    senders.join().await;
    drop(queues);
    config.queue_config.batch_send_deadline = Duration::from_millis(10);
    let (_queues, senders, registry) = start(&config, folder.path()).await;
    let begun = std::time::Instant::now();
    while figure(&registry, "samples_total") < 5.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", text(&registry));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    senders.join().await;
}

#[tokio::test]
async fn a_queue_that_is_full_gives_up_the_oldest_and_keeps_nobody_waiting() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let mut config =
        config("queue_config: {batch_send_deadline: 5ms, min_backoff: 1ms, max_backoff: 5ms, max_samples_per_send: 1}");
    (config.url, config.name) = ("http://127.0.0.1:9/".into(), "far".into());
    config.queue_config.queue_max = ByteSize::mib(2);
    let (queues, senders, registry) = start(&config, folder.path()).await;
    // Each record takes about 0.1 MiB, since its values have nothing in common.
    let noise = |second: i64| {
        let mut batch = plain(15_000, &[second]);
        let mut state = second as u64 + 1;
        batch.rows[0].values.iter_mut().for_each(|value| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *value = f64::from_bits(state >> 2);
        });
        batch
    };
    let begun = std::time::Instant::now();
    for second in 0..60 {
        put(&queues, noise(second)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    let (dropped, pending) = (figure(&registry, "records_dropped_total"), figure(&registry, "pending_records"));
    assert!(dropped > 10.0 && pending > 5.0 && dropped + pending + 1.0 == 60.0, "{}", text(&registry));
    assert!(figure(&registry, "queue_bytes") <= (2 << 20) as f64);
    assert!(text(&registry).contains(r#"reason="queue_full""#));
    senders.join().await;
    drop(queues);
    config.url = script.serve().await;
    config.queue_config.max_samples_per_send = 50_000;
    let (_queues, senders, registry) = start(&config, folder.path()).await;
    let begun = std::time::Instant::now();
    while figure(&registry, "newest_sample_timestamp_seconds") < (NOW / SECOND + 59) as f64 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the newest are there\n{}", text(&registry));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    senders.join().await;
}

/// Records that are none, of 0.5 MiB, which have no point for anybody.
fn opaque() -> Bytes {
    Bytes::from(vec![0; 512 << 10])
}

/// Its batches end by their bytes alone.
async fn start_patient(data: &Path) -> (Arc<Queues>, Senders, Registry) {
    start(&config("queue_config: {batch_send_deadline: 1h, queue_max: 256MiB}"), data).await
}

#[tokio::test]
async fn a_batch_ends_by_its_bytes_where_no_point_is_for_the_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let (queues, senders, registry) = start_patient(folder.path()).await;
    for _ in 0..40 {
        queues.append(0, &["t".into()], &opaque()).await;
    }
    let begun = std::time::Instant::now();
    while figure(&registry, "records_dropped_total") < 32.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "two batches of 8 MiB\n{}", text(&registry));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    senders.join().await;
}

#[tokio::test]
async fn a_writer_that_is_busy_is_not_taken_for_a_full_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (queues, senders, registry) = start_patient(folder.path()).await;
    let (tenants, record) = (["t".to_owned()], opaque());
    for _ in 0..10 {
        queues.append(0, &tenants, &record).await;
    }
    // More than the writer has room for, at once, and far less than the queue has.
    futures_util::future::join_all((0..60).map(|_| queues.append(0, &tenants, &record))).await;
    senders.join().await;
    let text = text(&registry);
    assert!(!text.contains(r#"reason="queue_"#), "{text}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_pause_is_shorter_than_the_backoff() {
    let (script, other, folder) = (Script::default(), Script::default(), tempfile::tempdir().unwrap());
    let mut config = config("queue_config: {batch_send_deadline: 5ms, min_backoff: 100ms, max_backoff: 200ms}");
    config.url = script.serve().await;
    script.answer(307, &[("location", &other.serve().await)]);
    script.answer(429, &[("retry-after", "0")]);
    let (queues, senders, registry) = start(&config, folder.path()).await;
    let begun = std::time::Instant::now();
    put(&queues, plain(3, &[0])).await;
    let bodies = script.bodies(3).await;
    // 100 ms after the redirect, 200 ms after the refusal.
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same request each time");
    assert!(other.bodies.lock().is_empty(), "nothing goes to where the redirect points");
    senders.join().await;
    assert_eq!(figure(&registry, "samples_total"), 3.0);
}

/// Until so many samples are taken or dropped; which of both.
async fn settled(registry: &Registry, samples: f64) -> (f64, f64) {
    let begun = std::time::Instant::now();
    loop {
        let (taken, refused) = (figure(registry, "samples_total"), figure(registry, "samples_dropped_total"));
        if taken + refused >= samples {
            return (taken, refused);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{taken} and {refused}\n{}", text(registry));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_sample_that_is_refused_costs_its_series_alone() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let mut config = config(FAST);
    config.url = script.serve().await;
    *script.refuses.lock() = Some(|path| path == "7");
    let (queues, senders, registry) = start(&config, folder.path()).await;
    put(&queues, plain(1000, &[0])).await;
    assert_eq!(settled(&registry, 1000.0).await, (999.0, 1.0));
    assert!(script.bodies.lock().len() <= 21, "two for each of ten halvings, and the first");
    let [receiver] = &super::ReceiverWatch::of(&queues).status()[..] else { panic!() };
    let error = receiver.last_error.as_ref().unwrap();
    assert_eq!((&*error.text, error.time.parse()), ("answered 400 Bad Request", Ok(NOW)), "without the receiver's words");
    senders.join().await;
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_is_asked_a_bounded_number_of_times() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let mut config = config(FAST);
    config.url = script.serve().await;
    *script.refuses.lock() = Some(|_| true);
    let (queues, senders, registry) = start(&config, folder.path()).await;
    put(&queues, plain(2000, &[0])).await;
    assert_eq!(settled(&registry, 2000.0).await, (0.0, 2000.0));
    assert_eq!(script.bodies.lock().len(), 1 + 2 * super::halves::DIVISIONS_MAX);
    senders.join().await;
}

#[test]
fn halves_are_whole_requests_and_metadata_goes_by_itself() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let text = format!("{{url: 'http://a/', tenants: [t], protobuf_message: {message}, {RICH}}}");
        let (requests, _) = requests(&yaml::parse(&text).unwrap(), vec![record("t", rich())]);
        let is_one = message == "prometheus.WriteRequest";
        let (mut whole, mut leaves, mut metadata) = (requests, Vec::new(), 0);
        assert_eq!(whole[0].counts.metadata, 1, "{message}: a family counts once");
        while let Some(request) = whole.pop() {
            let halves = super::halves::halves(&request);
            let sum = |of: fn(&Request) -> u64| halves.iter().map(of).sum::<u64>();
            if halves.is_empty() {
                leaves.push(request);
                continue;
            }
            assert_eq!(sum(|own| own.counts.points()), request.counts.points(), "{message}");
            assert_eq!(sum(|own| own.counts.exemplars + own.counts.metadata), request.counts.exemplars + request.counts.metadata);
            whole.extend(halves.into_iter().rev());
        }
        let mut paths = Vec::new();
        for leaf in &leaves {
            if is_one {
                let sent = one(&leaf.body);
                metadata += sent.metadata.len();
                paths.extend(sent.timeseries.iter().map(|series| pairs(&series.labels)[3].1.clone()));
            } else {
                let sent = two(&leaf.body);
                metadata += leaf.counts.metadata as usize;
                paths.extend(sent.timeseries.iter().map(|series| named(&sent, &series.labels_refs)[3].1.clone()));
            }
        }
        assert_eq!((paths, metadata), ((0..7).map(|path| path.to_string()).collect(), 1), "{message}");
        assert_eq!(leaves.len(), if is_one { 8 } else { 7 });
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_large_requests_is_sent_small_ones() {
    // It takes 20,000 bytes of a request, and one of these has some 100,000.
    let receiver = crate::push_tests::start_at(NOW, crate::Retention::default()).await;
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&format!("{FAST}, protobuf_message: {message}"));
        config.url = format!("{}/api/v1/write", receiver.url);
        let (queues, senders, registry) = start(&config, folder.path()).await;
        put(&queues, plain(1500, &[0])).await;
        assert_eq!(settled(&registry, 1500.0).await, (1500.0, 0.0), "{message}");
        senders.join().await;
    }
}

#[tokio::test]
async fn what_was_never_sent_before_a_restart_is_divided_after_it() {
    let (script, folder) = (Script::default(), tempfile::tempdir().unwrap());
    let mut config = config(FAST);
    (config.url, config.name) = ("http://127.0.0.1:9/".into(), "far".into());
    let (queues, senders, registry) = start(&config, folder.path()).await;
    put(&queues, plain(1000, &[0])).await;
    let begun = std::time::Instant::now();
    while figure(&registry, "samples_retried_total") == 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is being sent\n{}", text(&registry));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    senders.join().await;
    drop(queues);
    config.url = script.serve().await;
    *script.refuses.lock() = Some(|path| path == "7");
    let (_queues, senders, registry) = start(&config, folder.path()).await;
    assert_eq!(settled(&registry, 1000.0).await, (999.0, 1.0));
    senders.join().await;
}

#[tokio::test]
async fn the_path_of_a_secret_is_not_told_to_who_asks_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "hush").unwrap();
    let config = config(&format!("{FAST}, authorization: {{credentials_file: {token:?}}}"));
    let (queues, senders, _) = start(&config, folder.path()).await;
    std::fs::remove_file(&token).unwrap();
    put(&queues, plain(1, &[0])).await;
    let begun = std::time::Instant::now();
    let error = loop {
        let [receiver] = &super::ReceiverWatch::of(&queues).status()[..] else { panic!() };
        if let Some(error) = &receiver.last_error {
            break error.text.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(error, "its credentials cannot be read");
    senders.join().await;
}
