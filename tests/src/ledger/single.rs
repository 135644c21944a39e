//! The ledger over one weir: `kill -9` at random moments, log rotation while it is down, a full disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::check::{check, check_all_ways};
use super::disk::Small;
use super::{Ends, Ledger, Load, minutes, seed};
use crate::weir::Weir;

/// As fast as it goes.
const LOAD: Load = Load { pushers: 3, tracers: 1, meters: 1, lines_per_second: 3000, pause: Duration::ZERO };

pub(super) fn ends(weir: &Weir, pods: &Path) -> Ends {
    Ends { push: weir.url("/loki/api/v1/push"), otlp: format!("http://{}", weir.otlp_http), pods: pods.to_path_buf() }
}

/// A configuration that seals often, so that kills meet seals, and follows a pods directory of the test's own.
pub(super) fn configure(folder: &Path) -> (PathBuf, PathBuf) {
    let pods = crate::weir::pods_of(folder);
    let config = folder.join("weir.toml");
    let text =
        // Small segments, so that a small disk is given back what is sealed.
        format!("[bus.disk]\nsegment_max = \"1MiB\"\n\n[aggregator]\nhead_age_max = \"1s\"\ntick = \"1s\"\ngarbage_age_min = \"5s\"\ncompaction_blocks = 4\n\n{}", crate::weir::node_at(folder));
    std::fs::write(&config, text).unwrap();
    (config, pods)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_under_kill_9() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let (config, pods) = configure(folder.path());
    let mut weir = Weir::start_with(&folder.path().join("data"), &["--config", config.to_str().unwrap()], &[]).await;
    let mut ledger = Ledger::start(&ends(&weir, &pods), seed, 0, LOAD);
    let minutes = minutes();
    let (begun, mut kills, mut total) = (Instant::now(), 0, 0);
    while minutes.map_or(kills < 15, |minutes| begun.elapsed() < minutes) {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        if random.random_bool(0.2) {
            let action = if random.random_bool(0.5) { "seal" } else { "compact" };
            let url = weir.url(&format!("/api/weir/v1/admin/{action}"));
            // Killed while it works, perhaps: nobody waits for the answer.
            tokio::spawn(weir.http.post(url).timeout(Duration::from_secs(5)).send());
            tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        }
        weir.kill();
        kills += 1;
        // The file goes on growing and rotating while nobody reads it.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        weir.spawn();
        weir.wait_ready().await;
        if minutes.is_some() && kills % 50 == 0 {
            ledger.finish(&weir).await;
            check_all_ways(&weir, &ledger).await;
            total += ledger.total();
            println!("{kills} kills, {total} records acknowledged, none lost, none doubled");
            ledger = Ledger::start(&ends(&weir, &pods), seed + kills as u64, kills, LOAD);
        }
    }
    ledger.finish(&weir).await;
    check_all_ways(&weir, &ledger).await;
    weir.kill();
    weir.spawn();
    weir.wait_ready().await;
    check(&weir, &ledger, "after the last restart").await;
    total += ledger.total();
    println!("{kills} kills, {total} records acknowledged, none lost, none doubled");
    assert!(total > 1000, "the writers hardly wrote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_acknowledgements_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, pods) = configure(folder.path());
    let small = Small::mount(&folder.path().join("data"), 24);
    let weir = Weir::start_with(&small.path, &["--config", config.to_str().unwrap()], &[]).await;
    let mut ledger = Ledger::start(&ends(&weir, &pods), 7, 0, Load { pushers: 4, ..LOAD });
    crate::weir::eventually("acknowledgements while there is room", || async {
        if ledger.total_pushed() > 0 { Ok(()) } else { Err(weir.log()) }
    })
    .await;
    small.fill();
    // The bus has refused, and nothing pushed is acknowledged any more: not a pause of a busy machine. Lines of files go on.
    crate::weir::eventually("no acknowledgement on a full disk", async || {
        let before = ledger.total_pushed();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (after, refused) = (ledger.total_pushed(), refused_appends(&weir).await);
        if refused > 0 && after == before { Ok(()) } else { Err(format!("{before} to {after} acknowledged, {refused} refused")) }
    })
    .await;
    let before = ledger.total_pushed();
    small.make_room();
    crate::weir::eventually("acknowledgements after there is room again", || async {
        if ledger.total_pushed() > before { Ok(()) } else { Err(weir.log()) }
    })
    .await;
    ledger.finish(&weir).await;
    check_all_ways(&weir, &ledger).await;
}

/// Records whose append the bus has answered with an error.
async fn refused_appends(weir: &Weir) -> u64 {
    let text = weir.http.get(weir.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("weir_bus_append_errors_total "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no counter in:\n{text}"))
}
