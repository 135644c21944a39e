//! A full disk is said everywhere at once, and so is its end: `/readyz`, the status, every answer's header, the command line,
//! metrics, the shipped alerts, the log. Nothing acknowledged is lost meanwhile.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::check::check_all_ways;
use super::disk::Small;
use super::{Ledger, Load, single};
use crate::weir::{Weir, binary, eventually};

const LOAD: Load = Load { pushers: 2, tracers: 1, meters: 1, lines_per_second: 50, pause: Duration::from_millis(100) };

/// How long lines are counted: before, five came a second.
const COUNTED: Duration = Duration::from_secs(20);

/// Lines that one outage may write in that time: where it begins, once for each of the four things that are written.
const LINES_MAX: usize = 4;

/// Bus and store on the small disk; weir's log beside it. weir scrapes itself and has the shipped alerts.
async fn start(folder: &Path, small: &Path) -> (Weir, std::path::PathBuf) {
    let (config, pods) = single::configure(folder);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules/weir.yml");
    let scrape = folder.join("scrape.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    let bus = format!("[bus.disk]\npath = {:?}\n", small.join("bus"));
    let more = format!(
        "\n[collector.scrape]\nconfig_file = {scrape:?}\n[rules]\nfiles = [{rules:?}]\n[store]\nurl = \"file://{}\"\n",
        small.join("store").display()
    );
    std::fs::write(&config, text.replace("[bus.disk]\n", &bus) + &more).unwrap();
    // The address is known before the file is read.
    let listen = format!("127.0.0.1:{}", crate::weir::free_port());
    let target =
        format!("scrape_configs:\n- job_name: weir\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{listen}']\n");
    std::fs::write(&scrape, target).unwrap();
    let weir = Weir::start_at(&listen, &folder.join("data"), &["--config", config.to_str().unwrap()]).await;
    (weir, pods)
}

/// The shipped alerts whose condition holds now.
async fn alerts(weir: &Weir) -> Vec<String> {
    let rules = weir.get("/api/v1/rules", &[]).await;
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("the shipped group").clone();
    assert!(rules.len() >= 4, "{rules:?}");
    let mut holding = Vec::new();
    for rule in rules {
        let query = rule["query"].as_str().expect("its expression");
        let found = weir.get("/api/v1/query", &[("query", query)]).await;
        if found["data"]["result"].as_array().is_some_and(|series| !series.is_empty()) {
            holding.push(rule["name"].as_str().expect("its name").to_owned());
        }
    }
    holding
}

async fn metric(weir: &Weir, line: &str) -> f64 {
    let (_, text) = weir.try_get("/metrics", &[]).await;
    let value = text.lines().find_map(|own| own.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in\n{text}"))
}

fn log(weir: &Weir) -> Vec<String> {
    std::fs::read_to_string(weir.data.join("weir.log")).unwrap().lines().map(str::to_owned).collect()
}

fn outage(of: &Value, what: &str) -> Option<Value> {
    let all = of["outages"].as_array().expect("outages");
    all.iter().find(|outage| outage["what"] == what && outage["reason"] == "disk_full").cloned()
}

const BUS: &str = "{what=\"bus\",reason=\"disk_full\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_everywhere_and_so_is_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(&folder.path().join("small"), 48);
    let (weir, pods) = start(folder.path(), &small.path).await;
    let mut ledger = Ledger::start(&single::ends(&weir, &pods), 7, 0, LOAD);
    eventually("acknowledgements while there is room", async || if ledger.total_pushed() > 0 { Ok(()) } else { Err(weir.log()) })
        .await;
    assert!(
        metric(&weir, &format!("weir_disk_free_bytes{{what=\"bus\",path=\"{}\"}}", small.path.join("bus").display())).await > 1e6
    );
    assert_eq!(metric(&weir, &format!("weir_write_errors_total{BUS}")).await, 0.0);
    eventually("weir scrapes itself", async || {
        let found = weir.get("/api/v1/query", &[("query", "weir_disk_size_bytes")]).await;
        if found["data"]["result"].as_array().is_some_and(|series| series.len() == 3) { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    assert_eq!(alerts(&weir).await, Vec::<String>::new());

    // Before it is full.
    small.fill_but(1 << 20);
    eventually("the alert before", async || {
        let holding = alerts(&weir).await;
        if holding.contains(&"WeirDiskAlmostFull".into()) { Ok(()) } else { Err(format!("{holding:?}\n{}", weir.log())) }
    })
    .await;
    // Full.
    small.fill();
    let bus = small.path.join("bus").display().to_string();
    let said = eventually("/readyz says so", async || {
        let (status, said) = weir.try_get("/readyz", &[]).await;
        if status == 503 { Ok(said) } else { Err(format!("{status} {said}")) }
    })
    .await;
    assert!(said.starts_with("not ready: disk full: "), "{said}");
    eventually("the bus is named", async || {
        let (status, said) = weir.try_get("/readyz", &[]).await;
        let named =
            said.starts_with(&format!("not ready: disk full: {bus} (bus) refuses writes since 20")) && said.contains(" free");
        if status == 503 && named { Ok(()) } else { Err(format!("{status} {said}")) }
    })
    .await;
    let before = log(&weir);
    let begun = Instant::now();
    assert_eq!(weir.try_get("/healthz", &[]).await.0, 200, "it lives");
    let status = weir.get("/api/weir/v1/status", &[]).await;
    let told = outage(&status, "bus").unwrap_or_else(|| panic!("{status}"));
    assert!(told["refused"].as_u64().unwrap() > 0 && told["blocking"] == true, "{told}");
    assert_eq!(outage(&weir.get("/api/weir/v1/path", &[]).await, "bus").unwrap()["since"], told["since"]);
    let answer = weir.http.get(weir.url("/api/weir/v1/containers")).send().await.unwrap();
    let header = answer.headers()["x-weir-outage"].to_str().unwrap().to_owned();
    assert!(header.contains("\"what\":\"bus\"") && header.contains(&bus), "{header}");
    assert!(metric(&weir, &format!("weir_write_errors_total{BUS}")).await > 0.0);
    assert!(metric(&weir, &format!("weir_write_outage_seconds{BUS}")).await > 0.0);
    let asked = Command::new(binary()).args(["logs", "nothing-like-this", "--addr", &weir.listen]).output().unwrap();
    let stderr = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(stderr.contains(&format!("weir: disk full: {bus} (bus) refuses writes since")), "{stderr}");

    // One line where it begins, and none that repeats.
    tokio::time::sleep(COUNTED.saturating_sub(begun.elapsed())).await;
    let during = log(&weir).split_off(before.len());
    assert!(during.len() <= LINES_MAX, "{} lines:\n{}", during.len(), during.join("\n"));
    assert!(
        before.iter().any(|line| line.contains("writes fail and are tried again") && line.contains("bus")),
        "{}",
        before.join("\n")
    );
    let refused = metric(&weir, &format!("weir_write_errors_total{BUS}")).await;
    assert!(refused as usize > 2 * LINES_MAX, "{refused} refused: hardly anything could have been logged");

    small.make_room();
    eventually("/readyz says that it is over", async || {
        let (status, said) = weir.try_get("/readyz", &[]).await;
        if status == 200 { Ok(()) } else { Err(format!("{said}\n{}", weir.log())) }
    })
    .await;
    let status = weir.get("/api/weir/v1/status", &[]).await;
    assert_eq!(outage(&status, "bus"), None);
    let answer = weir.http.get(weir.url("/api/weir/v1/containers")).send().await.unwrap();
    assert_eq!(answer.headers()["x-weir-outage"], "[]");
    assert_eq!(metric(&weir, &format!("weir_write_outage_seconds{BUS}")).await, 0.0);
    assert!(log(&weir).iter().any(|line| line.contains("writes do not fail any more") && line.contains("bus")), "{}", weir.log());
    ledger.finish(&weir).await;
    check_all_ways(&weir, &ledger).await;
}
