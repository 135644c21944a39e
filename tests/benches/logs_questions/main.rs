//! What questions about logs cost: a child weir (`weir up`) filled with Nezha's lines by Loki's push, each with trace, span and pod
//! ids as structured metadata, sealed and compacted; then each question through its HTTP API, many times.
//!
//!     cargo build --release -p weir && cargo bench -p weir-tests --bench logs_questions
//!
//! Of each: the best wall time, CPU time of weir's process (the mean, since the kernel counts in 10 ms), and bytes of the answer; beside
//! it the goal. Then bytes on disk by part of a block. `SIZE_MB` (1070) of bodies. `TIMES` (20) each question is asked.
//! `WEIR_BINARY` is measured instead of `target/release/weir`.
//!
//! With `SCALE=1` the lines are those of a large cluster ([`scale`]): fresh ids, pods by Zipf's law that start again, stack traces,
//! and 5% late lines; 10 GB are `SCALE=1 SIZE_MB=10000`. Blocks are then sealed and merged as the lines come, in heads of a small
//! node, and more is measured: questions to a fresh process without a page cache ([`cold`]), the way of a line into answers and
//! tails ([`live`]), with `S3=1` what a cold question costs in an object store ([`remote`]), and what zstd makes of all bodies in
//! one piece (`ZSTD_LEVEL`, 3). At the end is one table of all figures.
//!
//! `KEEP=FOLDER` fills a folder that stays. When it has been filled, it is asked without filling it again, whatever `SIZE_MB`: warm,
//! and with `SCALE=1` cold and from S3, of another binary too. `ASK=TEXT` asks only what has this text in its name (`ASK="trace id"`).
//! A question that is answered with an error, as after `query.timeout`, is written down as that, and the others are asked.

mod cold;
#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/fill.rs"]
mod fill;
mod kept;
mod live;
#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/logs.rs"]
mod logs;
mod parts;
mod questions;
mod remote;
mod scale;
#[allow(dead_code, reason = "shared with the benchmark spine, which uses all of it")]
#[path = "../spine/table.rs"]
mod table;
#[path = "../spine/units.rs"]
mod units;

use std::path::{Path, PathBuf};

use weir_tests::bench::limits::WholeFile;
use weir_tests::bench::run;
use weir_tests::weir::{Weir, binary};

use table::Figure;
use units::{mib, now, number};

/// A binary to measure, and the name of its column.
struct Subject {
    name: &'static str,
    binary: PathBuf,
}

/// Of a node that has 512 MB for weir: heads are sealed as they grow.
const SMALL: &str = r#"
[aggregator]
head_max = "32MiB"
heads_memory_max = "96MiB"
compaction_memory_max = "144MiB"
[aggregator.retention]
logs = "0s"
metrics = "0s"
traces = "0s"
[collector.sample]
enabled = false
[telemetry]
spans = false
[store]
cache_max = "32MiB"
index_cache_max = "96MiB"
chunk_cache_max = "48MiB"
"#;

fn main() {
    run(bench());
}

async fn bench() {
    let (subject, is_scaled, keep) = (subject(), number("SCALE", 0) > 0, kept::folder());
    if let Some(folder) = keep.as_ref().filter(|folder| kept::is_filled(folder)) {
        let figures = kept::ask(&subject, folder, is_scaled).await;
        return table::print(&[table::Column { name: "now", figures }]);
    }
    let made = made(number("SIZE_MB", 1070) * 1_000_000, is_scaled);
    let filled = match (keep, is_scaled) {
        (Some(folder), _) => {
            let config = if is_scaled { SMALL } else { fill::CONFIG };
            let filled = fill::fill_with(&subject, &logs::LOKI.route, &made.bodies, (kept::empty(&folder), config)).await;
            kept::note(&folder, &made);
            filled
        }
        (None, true) => fill::fill_with(&subject, &logs::LOKI.route, &made.bodies, (fill::Folder::temporary(), SMALL)).await,
        (None, false) => fill::fill(&subject, &logs::LOKI.route, &made.bodies).await,
    };
    logs::wait_for_lines(&filled.weir, logs::LOKI.namespace, made.lines).await;
    fill::print(&subject, &filled);
    let rate = made.bytes as f64 / 1e6 / filled.sealed.cpu.as_secs_f64();
    let mut figures = vec![
        Figure::new("in → searchable, sealed and merged, MB of bodies a CPU s", "≥ 100", rate, 1),
        Figure::new("peak RSS until searchable, MiB", "≤ 256", mib(filled.searchable.peak), 0),
        Figure::new("peak RSS until compacted, MiB", "≤ 488", mib(filled.sealed.peak), 0),
        Figure::new("blocks when all was searchable", "", filled.blocks as f64, 0),
        Figure::new("blocks when all was merged", "", filled.merged_blocks as f64, 0),
    ];
    figures.extend(questions::ask(&filled.weir, &made.wanted, (number("TIMES", 20) as u32, is_scaled)).await);
    figures.push(Figure::new("peak RSS with questions, MiB", "≤ 488", mib(filled.weir.resident_peak()), 0));
    figures.push(ratio_on_disk(&filled.data(), made.bytes));
    if let Some((level, bytes)) = made.whole_file {
        let what = format!("bodies / zstd -{level} --long of the bodies alone, in one piece");
        figures.push(Figure::new(what, "", made.bytes as f64 / bytes.max(1) as f64, 1));
    }
    if is_scaled {
        figures.extend(at_scale(&subject, filled, &made.wanted).await);
    }
    table::print(&[table::Column { name: "now", figures }]);
}

fn ratio_on_disk(data: &Path, body_bytes: u64) -> Figure {
    let ratio = body_bytes as f64 / parts::print(data, body_bytes).max(1) as f64;
    Figure::new("bodies / bytes on disk, ids and index included", "≥ 25", ratio, 1)
}

/// What is measured of many lines alone.
async fn at_scale(subject: &Subject, mut filled: fill::Filled, wanted: &questions::Wanted) -> Vec<Figure> {
    let mut figures = live::measure(&filled.weir).await;
    figures.push(Figure::new("peak RSS with these, MiB", "≤ 488", mib(filled.weir.resident_peak()), 0));
    let (config, data) = (filled.config(), filled.data());
    figures.extend(cold_and_remote(subject, (&mut filled.weir, &config, &data), wanted).await);
    figures
}

/// Questions to processes that have just started.
async fn cold_and_remote(
    subject: &Subject,
    (weir, config, data): (&mut Weir, &Path, &Path),
    wanted: &questions::Wanted,
) -> Vec<Figure> {
    let mut figures = cold::ask(weir, wanted).await;
    if number("S3", 0) > 0 {
        weir.admin("seal").await;
        weir.terminate().await;
        figures.extend(remote::ask((subject, config), data, wanted).await);
    }
    figures
}

/// Requests that are ready to be sent, and what is known of their lines.
struct Made {
    bodies: fill::Bodies,
    lines: u64,
    bytes: u64,
    wanted: questions::Wanted,
    /// The level, and what it came to.
    whole_file: Option<(i32, u64)>,
}

fn made(size: u64, is_scaled: bool) -> Made {
    let mut prepared = logs::Prepared::new(&logs::LOKI);
    let (mut wanted, mut scale) = (questions::Choice::default(), scale::Scale::default());
    let level = number("ZSTD_LEVEL", 3) as i32;
    let mut file = is_scaled.then(|| WholeFile::new(level));
    let input = prepared.each_day(size, |line, copy, at| {
        let (line, at) = if is_scaled { scale.line(line, copy, at) } else { (logs::of_copy(line, copy), at) };
        wanted.note(&line, at);
        if let Some(file) = &mut file {
            file.push(line.body.as_bytes());
        }
        (line, at)
    });
    let (lines, bytes, bodies) = (prepared.lines, prepared.bytes, prepared.bodies.finish());
    println!(
        "logs_questions: {:.0} MB of bodies in {lines} lines, {:.0} MB sent | {input}{}",
        bytes as f64 / 1e6,
        bodies.bytes as f64 / 1e6,
        if is_scaled { ", scaled" } else { "" }
    );
    Made { bodies, lines, bytes, wanted: wanted.made(), whole_file: file.map(|file| (level, file.finish())) }
}

fn subject() -> Subject {
    Subject { name: "now", binary: std::env::var_os("WEIR_BINARY").map_or_else(binary, PathBuf::from) }
}

/// For the shared modules: one round of the one binary.
fn rounds(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    subjects.iter()
}
