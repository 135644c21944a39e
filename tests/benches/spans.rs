//! OTLP protobuf over HTTP → decoded → acknowledged by the embedded log → searchable. The client runs in the same process and
//! is part of the figure. Limit: prost decoding the same bytes, and nothing else.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::scope::Scope;
use weir_model::select::TraceReader;
use weir_model::wire::Kind;
use weir_tests::bench::path::{Aggregating, Collecting, clock, disk_bus};
use weir_tests::bench::watch::{Watch, mb, spent};
use weir_tests::bench::{input, otlp, run};
use weir_tests::granted::granted;
use weir_tests::nezha::day;
use weir_tests::weir::PATIENCE;
use weir_traces::TracesReader;

/// Spans of an export request: the default batch of the SDKs.
const EXPORT_SPANS: usize = 512;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = day(1, usize::MAX);
    let requests = input::otlp_requests(&day.spans, EXPORT_SPANS);
    let (spans, bytes) = (day.spans.len() as u64, requests.iter().map(|request| request.len() as u64).sum());
    let (limit, decoded) = spent(|| {
        let decode = |request: &Vec<u8>| ExportTraceServiceRequest::decode(request.as_slice()).expect("our own bytes");
        requests.iter().map(decode).map(|request| request.resource_spans.len()).sum::<usize>()
    });
    assert!(decoded > 0, "there are spans");

    let bus = disk_bus(folder.path());
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), None).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}/v1/traces", listener.local_addr().expect("bound"));
    let routes = granted(collecting.collector.otlp_http_router());
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });

    let watch = Watch::start();
    otlp::send(&url, &requests, PATIENCE).await;
    aggregating.searchable(Kind::Spans).await;
    let searchable = watch.spent();
    assert_eq!(bus.records(), spans, "each span once");

    let traces = TracesReader::new(aggregating.aggregator.traces.clone(), clock());
    let id = &day.spans[day.spans.len() / 2].trace_id;
    let wanted = day.spans.iter().filter(|span| span.trace_id == *id).count();
    let (one, trace) =
        spent(|| tokio::task::block_in_place(|| traces.trace(&Scope::of(TENANT_DEFAULT), id.parse().expect("an id"))));
    let trace = trace.expect("reads").value.expect("the trace is there");
    let found: usize = trace.batches.iter().map(|batch| batch.spans.len()).sum();
    assert_eq!(found, wanted, "the trace is whole");
    println!(
        "spans: {:.0} spans/s per core, {:.0} spans/s wall | limit: prost decoding alone {:.0} spans/s per core \
         | then: a trace of {found} spans by id in {:.1} ms | {spans} spans, {} of OTLP, {}",
        searchable.per_core(spans),
        searchable.per_second(spans),
        limit.per_core(spans),
        one.wall.as_secs_f64() * 1e3,
        mb(bytes),
        input::name(&day),
    );
    server.abort();
    collecting.end().await;
    aggregating.end().await;
}
