//! Records on the bus → head → found by a reader; and on into sealed blocks. Limit: decompressing the same lines.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_logs::LogsReader;
use weir_model::id::LineId;
use weir_model::label::{Labels, Matcher};
use weir_model::log::LogRecord;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::scope::Scope;
use weir_model::select::{LineFilter, LogReader, LogSelect, LogVisitor, NoBudget};
use weir_model::time::{TimeRange, UnixNanos};
use weir_model::wire::Kind;
use weir_tests::bench::path::{Aggregating, Collecting, disk_bus};
use weir_tests::bench::watch::{Watch, mb, spent};
use weir_tests::bench::{input, limits, run, until};
use weir_tests::nezha::day;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = day(usize::MAX, 0);
    let (bytes, lines) = (input::body_bytes(&day.lines), day.lines.len() as u64);
    let files = input::write_files(&folder.path().join("pods"), &day.lines);
    let bus = disk_bus(folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), Some(&folder.path().join("pods"))).await;
    until("all lines are acknowledged", || bus.records() >= files.lines).await;
    collecting.end().await;
    let limit = limits::decompress(day.lines.iter().map(|line| line.body.as_str()));

    let watch = Watch::start();
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    aggregating.searchable(Kind::Logs).await;
    let searchable = watch.spent();
    let logs = Arc::new(aggregating.logs());
    let (all, live) = spent(|| tokio::task::block_in_place(|| count(&logs, None)));
    assert_eq!(live, lines, "each line is found once");
    let rest = Watch::start();
    aggregating.aggregator.seal().await.expect("seals");
    let mut sealed = rest.spent();
    sealed.cpu += searchable.cpu;
    sealed.wall += searchable.wall;

    let id = day.lines.iter().rev().find(|line| !line.trace_id.is_empty()).expect("lines carry trace ids").trace_id.clone();
    let wanted = day.lines.iter().filter(|line| line.body.contains(&id)).count() as u64;
    let (needle, found) = spent(|| tokio::task::block_in_place(|| count(&logs, Some(&id))));
    assert_eq!(found, wanted, "lines that name a trace");
    println!(
        "bus_to_searchable: {}, {}; with sealing: {}, {} | limit: zstd 1 decompression of the same lines: {} \
         | then: all lines read back {}, a trace id in {:.1} ms | {} of lines, {lines} lines, {}",
        searchable.mb_per_core(bytes),
        searchable.mb_wall(bytes),
        sealed.mb_per_core(bytes),
        sealed.mb_wall(bytes),
        limit.mb_per_core(bytes),
        all.mb_per_core(bytes),
        needle.wall.as_secs_f64() * 1e3,
        mb(bytes),
        input::name(&day),
    );
    aggregating.end().await;
}

struct Count(u64);

impl LogVisitor for Count {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, _: LineId, _: LogRecord<'_>) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

fn count(logs: &LogsReader, needle: Option<&str>) -> u64 {
    let select = LogSelect {
        scope: Scope::of(TENANT_DEFAULT),
        matchers: vec![Matcher::equal("namespace", "nezha")],
        range: TimeRange::ALL,
        filters: needle.map(|needle| LineFilter::Contains(vec![needle.as_bytes().to_vec()])).into_iter().collect(),
        newest_first: false,
    };
    let mut count = Count(0);
    let coverage = logs.visit(&select, &NoBudget, &mut count).expect("reads");
    assert!(coverage.missing.is_empty(), "{:?}", coverage.missing);
    count.0
}
