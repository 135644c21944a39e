//! What questions about logs cost: a child weir (`weir up`) filled with Nezha's lines by Loki's push, each with trace, span and pod
//! ids as structured metadata, sealed and compacted; then each question through its HTTP API, many times.
//!
//!     cargo build --release -p weir && cargo bench -p weir-tests --bench logs_questions
//!
//! Of each: the best wall time, CPU time of weir's process (the mean, since the kernel counts in 10 ms), and bytes of the answer; beside
//! it the goal. Then bytes on disk by part of a block. `SIZE_MB` (1070) of bodies; with `SCALE=1` the lines are those of a large
//! cluster ([`scale`]): fresh ids, pods by Zipf's law that start again, stack traces, and 5% late lines. 10 GB are `SCALE=1
//! SIZE_MB=10000`. `TIMES` (20) each question is asked. `WEIR_BINARY` is measured instead of `target/release/weir`.

#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/fill.rs"]
mod fill;
#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/logs.rs"]
mod logs;
mod parts;
mod questions;
mod scale;
#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/table.rs"]
mod table;
#[path = "../spine/units.rs"]
mod units;

use std::path::PathBuf;

use weir_tests::bench::run;
use weir_tests::weir::binary;

use units::{mib, now, number};

/// A binary to measure, and the name of its column.
struct Subject {
    name: &'static str,
    binary: PathBuf,
}

fn main() {
    run(bench());
}

async fn bench() {
    let subject = subject();
    let mut prepared = logs::Prepared::new(&logs::LOKI);
    let (size, scaled) = (number("SIZE_MB", 1070) * 1_000_000, number("SCALE", 0) > 0);
    let mut wanted = questions::Wanted::default();
    let mut scale = scale::Scale::default();
    let input = prepared.each_day(size, |line, copy, at| {
        let (line, at) = if scaled { scale.line(line, at) } else { (logs::of_copy(line, copy), at) };
        wanted.note(&line, at);
        (line, at)
    });
    let (lines, bytes, bodies) = (prepared.lines, prepared.bytes, prepared.bodies.finish());
    println!(
        "logs_questions: {:.0} MB of bodies in {lines} lines | {input}{}",
        bytes as f64 / 1e6,
        if scaled { ", scaled" } else { "" }
    );
    let filled = fill::fill(&subject, &logs::LOKI.route, &bodies).await;
    logs::wait_for_lines(&filled.weir, logs::LOKI.namespace, lines).await;
    fill::print(&subject, &filled);
    println!(
        "  peak RSS {:.0} MiB until searchable, {:.0} MiB until compacted",
        mib(filled.searchable.peak),
        mib(filled.sealed.peak)
    );
    questions::ask(&filled.weir, &wanted, number("TIMES", 20) as u32).await;
    println!("  peak RSS with questions {:.0} MiB", mib(filled.weir.resident_peak()));
    parts::print(&filled.data(), bytes);
}

fn subject() -> Subject {
    Subject { name: "now", binary: std::env::var_os("WEIR_BINARY").map_or_else(binary, PathBuf::from) }
}

/// For the shared modules: one round of the one binary.
fn rounds(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    subjects.iter()
}
