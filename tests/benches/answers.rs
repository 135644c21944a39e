//! Bytes and processor time of answers in each content coding: 200 and 5,000 log lines as weir's own API gives them, and `/metrics`, of
//! a real `weir up`. Beside each coding: the same answer as it is. Processor time is the whole process's, the query included.

use std::fmt::Write as _;

use weir_tests::bench::watch::processor_time_of;
use weir_tests::bench::{input, run};
use weir_tests::nezha::day;
use weir_tests::weir::{Weir, eventually, node_at, pods_of};

const LINES: usize = 5_000;
/// Of each answer; the kernel counts in ticks of 10 ms.
const TIMES: u32 = 50;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let pods = pods_of(folder.path());
    let config = folder.path().join("weir.toml");
    let keep = "[aggregator.retention]\nlogs = \"0s\"\n";
    std::fs::write(&config, format!("{}{keep}", node_at(folder.path()))).expect("write the configuration");
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &config.display().to_string()], &[]).await;
    let day = day(LINES, 0);
    input::write_files(&pods, &day.lines);
    let logs =
        |limit: usize| format!("/api/weir/v1/logs?query=%7Bnamespace%3D%22nezha%22%7D&start=0&end=4102444800&limit={limit}");
    eventually("all lines", || async {
        let (_, body) = weir.try_get(&logs(LINES), &[]).await;
        let found = body.matches("\"line\":").count();
        if found == day.lines.len() { Ok(()) } else { Err(format!("{found} of {} lines", day.lines.len())) }
    })
    .await;

    let mut text = String::new();
    for (what, path) in [("200 lines", logs(200)), ("5,000 lines", logs(LINES)), ("/metrics", "/metrics".to_owned())] {
        let _ = write!(text, "{} {what}:", if text.is_empty() { "" } else { "; " });
        for coding in ["identity", "gzip", "br", "zstd"] {
            let before = processor_time_of(weir.pid().expect("weir runs"));
            let mut bytes = 0;
            for _ in 0..TIMES {
                bytes = answer(&weir, &path, coding).await;
            }
            let spent = processor_time_of(weir.pid().expect("weir runs")) - before;
            let _ =
                write!(text, " {coding} {:.1} KB in {:.1} ms,", bytes as f64 / 1e3, spent.as_secs_f64() * 1e3 / f64::from(TIMES));
        }
        text.pop();
    }
    println!("answers:{text} | {}", input::name(&day));
}

/// Bytes of an answer's body as it travels.
async fn answer(weir: &Weir, path: &str, coding: &str) -> usize {
    let answer = weir.http.get(weir.url(path)).header("accept-encoding", coding).send().await.expect("weir answers");
    let said = answer.headers().get("content-encoding").map_or("identity", |value| value.to_str().expect("a coding"));
    assert_eq!(said, coding, "{path}");
    answer.bytes().await.expect("a body").len()
}
