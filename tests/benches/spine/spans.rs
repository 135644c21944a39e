//! OTLP in protobuf over HTTP, 512 spans a request, eleven attributes each as instrumentations of HTTP, RPC, databases and code
//! name them, and five of the resource. Two days of real clusters, the times of today; again with other ids until there are
//! enough.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use weir_tests::bench::export::{self, int, service, text};
use weir_tests::nezha::{SpanRow, day, spans_of};
use weir_tests::weir::Weir;

use crate::fill::{self, Bodies, CLIENTS, Filled, Route, fill};
use crate::table::{self, Figure};
use crate::{Subject, now, number, rounds};

/// Spans of an export request: the default batch of the SDKs.
const EXPORT_SPANS: usize = 512;
const DAY: i64 = 24 * 3600 * 1_000_000_000;
const DATES: [&str; 2] = ["2022-08-22", "2023-01-29"];
/// One trace in so many is looked up at the end.
const LOOKED_UP: u32 = 200;
const ROUTE: Route =
    Route { path: "/v1/traces", otlp: true, headers: &[("content-type", "application/x-protobuf")], topic: "weir.spans" };

/// Measures each binary and prints the table.
pub async fn bench(subjects: &[Subject]) {
    let wanted = number("SPANS", 1_170_000);
    let mut prepared = Prepared { bodies: Bodies::new(), batch: Vec::new(), spans: 0, traces: BTreeMap::new() };
    let input = prepared.days(wanted);
    let (spans, traces) = (prepared.spans, prepared.traces);
    let bodies = prepared.bodies.finish();
    println!(
        "spine spans: {spans} spans of 11 attributes (and 5 of the resource), {} requests of {CLIENTS} clients, {:.0} MB sent | {input}",
        bodies.count,
        bodies.bytes as f64 / 1e6,
    );
    let mut columns = Vec::new();
    for subject in rounds(subjects) {
        let filled = fill(subject, &ROUTE, &bodies).await;
        look_up(&filled.weir, &traces).await;
        fill::print(subject, &filled);
        table::add(&mut columns, subject.name, figures(&filled, spans));
    }
    table::print(&columns);
}

fn figures(filled: &Filled, spans: u64) -> Vec<Figure> {
    let rate = |stage: &fill::Stage| spans as f64 / stage.cpu.as_secs_f64();
    vec![
        Figure::new("spans: OTLP → bus → head, spans a CPU s", "≥ 150000", rate(&filled.searchable), 0),
        Figure::new("spans: the same with seal and compaction", "≥ 100000", rate(&filled.sealed), 0),
        filled.peak("spans: peak RSS until searchable, MiB", &filled.searchable),
        filled.peak("spans: peak RSS until compacted, MiB", &filled.sealed),
    ]
}

/// Each of these traces is there, with all of its spans.
async fn look_up(weir: &Weir, traces: &BTreeMap<String, BTreeSet<String>>) {
    assert!(!traces.is_empty(), "some traces are looked up");
    for (id, spans) in traces {
        let answer = weir.get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        let found = answer["trace"]["spans"].as_array().into_iter().flatten();
        let found: BTreeSet<String> = found.filter_map(|span| Some(span["id"].as_str()?.to_owned())).collect();
        assert_eq!(&found, spans, "spans of trace {id}");
    }
}

/// Requests as they become full.
struct Prepared {
    bodies: Bodies,
    batch: Vec<SpanRow>,
    spans: u64,
    /// Span ids of the traces that are looked up.
    traces: BTreeMap<String, BTreeSet<String>>,
}

impl Prepared {
    /// Days until there are so many spans. Returns what it is made of.
    fn days(&mut self, wanted: u64) -> String {
        let mut copy = 0;
        let mut is_real = true;
        while self.spans < wanted {
            for date in DATES {
                match spans_of(date) {
                    Some(spans) => self.day(spans, copy, wanted),
                    None => {
                        let day = day(0, usize::MAX);
                        is_real &= day.real;
                        self.day(day.spans.into_iter(), copy, wanted);
                        copy += 1;
                    }
                }
            }
            copy += 1;
        }
        self.flush();
        if is_real { "two days of Nezha".to_owned() } else { format!("a made-up day (Nezha is absent), {copy} times") }
    }

    /// One day, moved into the last 24 hours; each further copy a day earlier.
    fn day(&mut self, mut spans: impl Iterator<Item = SpanRow>, copy: u32, wanted: u64) {
        let Some(first) = spans.next() else { return };
        let shift = now() - DAY * i64::from(copy + 1) - first.start as i64 / DAY * DAY;
        for row in std::iter::once(first).chain(spans) {
            if self.spans >= wanted {
                return;
            }
            let row = of_copy(row, copy, shift);
            let number = u32::from_str_radix(&row.trace_id[8..16], 16).expect("hex");
            if number.is_multiple_of(LOOKED_UP) {
                self.traces.entry(row.trace_id.clone()).or_default().insert(row.span_id.clone());
            }
            self.batch.push(row);
            self.spans += 1;
            if self.batch.len() == EXPORT_SPANS {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let rows = std::mem::take(&mut self.batch);
        if !rows.is_empty() {
            let client = self.bodies.count as usize % CLIENTS;
            self.bodies.push(client, &export::spans(&rows, span).encode_to_vec());
        }
    }
}

/// The same span of another trace.
fn of_copy(row: SpanRow, copy: u32, shift: i64) -> SpanRow {
    let moved = |time: u64| (time as i64 + shift) as u64;
    let (start, end) = (moved(row.start), moved(row.end));
    if copy == 0 {
        SpanRow { start, end, ..row }
    } else {
        SpanRow { trace_id: format!("{copy:04x}{}", &row.trace_id[4..]), start, end, ..row }
    }
}

fn span(row: &SpanRow) -> Span {
    let (kind, attributes) = shape(row);
    Span { kind: kind as i32, attributes: attributes.into(), ..export::span(row) }
}

/// What instrumentations say of an operation of this name, and of the thread, as the agent for Java does everywhere. What varies
/// from request to request is made of the span's id.
fn shape(row: &SpanRow) -> (SpanKind, [KeyValue; 11]) {
    let number = u64::from_str_radix(&row.span_id, 16).unwrap_or(0);
    let is_rpc = row.name.contains("hipstershop.");
    let is_database = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "sql."].iter().any(|verb| row.name.starts_with(verb));
    let (kind, own) = match row.name.strip_prefix("HTTP ") {
        Some(method) => (SpanKind::Client, http_client(row, method, number)),
        None if is_rpc => (SpanKind::Server, rpc(row, number)),
        None if row.name.starts_with('/') => (SpanKind::Server, http_server(row, number)),
        None if is_database => (SpanKind::Client, database(row)),
        None => (SpanKind::Internal, code(row, number)),
    };
    let [a, b, c, d, e, f, g, h, i] = own;
    let thread = [int("thread.id", (number % 200) as i64), text("thread.name", &format!("http-nio-8080-exec-{}", number % 200))];
    let [j, k] = thread;
    (kind, [a, b, c, d, e, f, g, h, i, j, k])
}

/// The address of a peer in the cluster.
fn address(number: u64) -> String {
    format!("10.244.{}.{}", number % 9, number / 9 % 250)
}

fn http_client(row: &SpanRow, method: &str, number: u64) -> [KeyValue; 9] {
    [
        text("http.request.method", method),
        text("url.full", &format!("http://{}:8080/api/v1/items/{number:016x}", service(&row.pod))),
        int("http.response.status_code", 200),
        text("server.address", service(&row.pod)),
        int("server.port", 8080),
        text("network.protocol.version", "1.1"),
        text("network.peer.address", &address(number)),
        int("network.peer.port", 8080),
        text("user_agent.original", "Apache-HttpClient/4.5.13 (Java/1.8.0_342)"),
    ]
}

fn http_server(row: &SpanRow, number: u64) -> [KeyValue; 9] {
    [
        text("http.request.method", "GET"),
        text("http.route", &row.name),
        text("url.path", &row.name.replace('{', "").replace('}', &format!("-{:08x}", number as u32))),
        text("url.scheme", "http"),
        int("http.response.status_code", 200),
        text("server.address", service(&row.pod)),
        text("client.address", &address(number)),
        text("network.protocol.version", "1.1"),
        text("user_agent.original", "Apache-HttpClient/4.5.13 (Java/1.8.0_342)"),
    ]
}

fn rpc(row: &SpanRow, number: u64) -> [KeyValue; 9] {
    let (called, method) = row.name.rsplit_once('/').unwrap_or((&row.name, ""));
    [
        text("rpc.system", "grpc"),
        text("rpc.service", called.trim_start_matches("grpc.").trim_start_matches('/')),
        text("rpc.method", method),
        int("rpc.grpc.status_code", 0),
        text("server.address", service(&row.pod)),
        int("server.port", 7070),
        text("network.type", "ipv4"),
        text("network.peer.address", &address(number)),
        int("network.peer.port", 32_768 + (number % 28_000) as i64),
    ]
}

fn database(row: &SpanRow) -> [KeyValue; 9] {
    let table = row.name.rsplit(['.', ' ']).next().unwrap_or_default();
    [
        text("db.system", "mysql"),
        text("db.name", "ts"),
        text("db.user", "ts"),
        text("db.statement", &format!("{} WHERE id = ? LIMIT ?", row.name)),
        text("db.operation", row.name.split([' ', '.']).next().unwrap_or_default()),
        text("db.sql.table", table),
        text("db.connection_string", "mysql://nacosdb-mysql-leader:3306"),
        text("server.address", "nacosdb-mysql-leader"),
        int("server.port", 3306),
    ]
}

fn code(row: &SpanRow, number: u64) -> [KeyValue; 9] {
    let (class, function) = row.name.rsplit_once('.').unwrap_or(("", &row.name));
    [
        text("code.namespace", class),
        text("code.function", function),
        text("code.filepath", &format!("{class}.java")),
        int("code.lineno", (row.name.len() * 13) as i64),
        text("enduser.id", &format!("{:08x}-6a7e-4b5d-9c0f-{:012x}", number as u32, number >> 16)),
        text("session.id", &format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        text("app.version", "1.0.4"),
        text("app.feature", "booking"),
        int("app.retries", (number % 3) as i64),
    ]
}
