//! What heads say they hold, against what this thread's allocations say: hostile sections, each through the wire, as a head
//! gets them.

use weir_blocks::testing::{Counting, check_memory, labels, tenant};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};

use super::{LogsEngine, LogsOptions};

#[global_allocator]
static COUNTING: Counting = Counting;

fn log_batch(stream: Labels, lines: u64, body: &[u8], trace: bool, attributes: impl Fn(u64) -> Labels) -> LogBatch {
    let mut batch = LogBatch::new(stream);
    for i in 0..lines {
        let attributes = attributes(i);
        batch.push(LogRecord {
            timestamp: i as i64,
            sequence: i,
            body,
            severity: 9,
            flags: 0,
            trace_id: TraceId([u8::from(trace); 16]),
            span_id: SpanId([u8::from(trace); 8]),
            attributes: (&attributes).into(),
        });
    }
    batch
}

#[test]
fn a_logs_head_says_what_it_holds() {
    for chunk_bytes in [512 << 10, 1 << 30] {
        let engine = LogsEngine::new(LogsOptions { chunk_bytes, ..LogsOptions::default() });
        let none = |_| Labels::EMPTY;
        let stream = || labels(3, 10, 0);
        let run = |what: &str, count, make: &dyn Fn(u64) -> LogBatch| {
            check_memory(&format!("{what} in chunks of {chunk_bytes}"), &engine, count, |offset| (tenant(), make(offset)));
        };
        run("lines", 50, &|_| log_batch(stream(), 100, b"an ordinary line of an ordinary program", false, none));
        run("nothing but lines", 2, &|_| log_batch(stream(), 60_000, b"", false, none));
        run("a line a section", 3000, &|_| log_batch(stream(), 1, b"", false, none));
        run("contexts", 4, &|_| log_batch(stream(), 10_000, b"x", true, none));
        run("distinct metadata", 4, &|offset| log_batch(stream(), 500, b"", false, |i| labels(1, 1500, offset << 32 | i)));
        run("small attributes", 4, &|offset| log_batch(stream(), 20, b"", false, |i| labels(800, 1, offset << 32 | i)));
        run("shared attributes", 4, &|_| log_batch(stream(), 5000, b"", false, |_| labels(20, 100, 0)));
        run("streams", 3000, &|offset| log_batch(labels(10, 10, offset), 1, b"x", false, none));
        run("large streams", 40, &|offset| log_batch(labels(1, 1 << 18, offset % 4), 2, b"x", false, none));
        check_memory("tenants", &engine, 2000, |offset| (format!("tenant {offset}"), log_batch(stream(), 1, b"x", false, none)));
    }
}
