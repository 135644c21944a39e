//! The spine from outside: one weir binary after the other as a whole process (`weir up`, disk bus), the same bytes for each, and
//! what the kernel says that it spent. The client is this benchmark and is in no figure.
//!
//!     cargo bench -p weir-tests --bench spine -- [logs|otlp-logs|spans|scrape|series-written|series-scraped …]      # without names: all
//!
//! - [`logs`]: Loki's push, protobuf and snappy with structured metadata; `otlp-logs`: the same lines by OTLP, with ids as attributes, and
//!   without attributes.
//! - [`spans`]: OTLP in protobuf over HTTP.
//! - [`scrape`]: ten text targets, a real Prometheus and VictoriaMetrics beside weir; [`queries`]: what all of them are asked then.
//! - [`active`]: `series-written` and `series-scraped`: a million series of [`cluster`], and a kill (its own variables are said there).
//! - [`fill`]: what logs and spans share: prepared bodies, sent until all of them are searchable, then sealed and compacted.
//! - [`table`]: figures beside their goals.
//!
//! `WEIR_BEFORE=/path/to/weir` measures that binary first, in the same run, and adds the ratio; `WEIR_BINARY` takes the place of
//! `target/release/weir`. `SIZE_MB` (1070), `SPANS` (1170000) and `SECONDS_RUN` (75) make it smaller; `ROUNDS` (1) measures each binary
//! so many times in turn and takes the best figure of each: on a busy machine the same work takes up to a third more CPU time.
//! Samples from the bus to the head alone: the benchmark `samples`.

mod active;
mod cluster;
mod cluster_scrape;
mod fill;
mod logs;
mod queries;
mod scrape;
mod spans;
mod table;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use weir_tests::bench::run;
use weir_tests::weir::binary;

use units::{mib, now, number};

const WORKS: [&str; 6] = ["logs", "otlp-logs", "spans", "scrape", "series-written", "series-scraped"];

/// A binary to measure, and the column that it fills.
struct Subject {
    name: &'static str,
    binary: PathBuf,
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(unknown) = asked.iter().find(|work| !WORKS.contains(&work.as_str())) {
        eprintln!("spine: {unknown:?} is none of {}", WORKS.join(", "));
        return ExitCode::from(2);
    }
    let subjects = subjects();
    run(async {
        for work in WORKS.into_iter().filter(|work| asked.is_empty() || asked.iter().any(|asked| asked == work)) {
            match work {
                "logs" => logs::bench(&subjects, &logs::LOKI).await,
                "otlp-logs" => {
                    logs::bench(&subjects, &logs::OTLP).await;
                    logs::bench(&subjects, &logs::OTLP_BARE).await;
                }
                "spans" => spans::bench(&subjects).await,
                "scrape" => scrape::bench(&subjects).await,
                "series-written" => active::bench(&subjects, active::Way::Write).await,
                _ => active::bench(&subjects, active::Way::Scrape).await,
            }
        }
    });
    ExitCode::SUCCESS
}

fn subjects() -> Vec<Subject> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let before = path("WEIR_BEFORE").map(|binary| Subject { name: "before", binary });
    let now = Subject { name: "now", binary: path("WEIR_BINARY").unwrap_or_else(binary) };
    before.into_iter().chain([now]).collect()
}

/// Each binary in turn, `ROUNDS` times.
fn rounds(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    (0..number("ROUNDS", 1)).flat_map(move |_| subjects)
}
