//! The hostile storm: thousands of seeded hostile requests to every listener of one weir, beside normal traffic and the ledger.
//!
//! What is asked of weir: the process lives, its resident memory stays within what it declares at its start, normal traffic
//! is answered and keeps its latency within a factor, nothing acknowledged is lost or doubled. `WEIR_STORM_REQUESTS` makes it
//! longer; the seed is printed and `WEIR_LEDGER_SEED` repeats it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::check::check_all_ways;
use super::{Ledger, Load, seed, single};
use crate::hostile::{Listener, attack};
use crate::weir::{PATIENCE, Weir};

/// A normal amount, so that latency shows the storm and not the ledger.
const LOAD: Load = Load { pushers: 2, tracers: 1, meters: 1, lines_per_second: 500, pause: Duration::from_millis(20) };
/// Strangers at once.
const AT_ONCE: usize = 24;
/// A request that never ends is left open for so long, then dropped: longer than most, far shorter than weir's own limits.
const HELD: Duration = Duration::from_millis(300);
/// A normal request under the storm may take this many times what it takes without (and not less than 20 ms is meant), on two
/// cores that the strangers use as well.
const LATENCY_FACTOR: u32 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_hostile_requests_harms_nobody_else() {
    let seed = seed();
    let requests =
        std::env::var("WEIR_STORM_REQUESTS").map_or(1000, |count| count.parse().expect("WEIR_STORM_REQUESTS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let (config, pods) = single::configure(folder.path());
    let weir = Arc::new(Weir::start_with(&folder.path().join("data"), &["--config", config.to_str().unwrap()], &[]).await);
    let pid = weir.pid();
    let mut ledger = Ledger::start(&single::ends(&weir, &pods), seed, 0, LOAD);

    let calm = normal_traffic(&weir, async || tokio::time::sleep(Duration::from_secs(5)).await).await;
    let answers = Arc::new(Mutex::new(BTreeMap::<&str, BTreeMap<String, usize>>::new()));
    let stormy = normal_traffic(&weir, async || {
        let strangers = (0..AT_ONCE).map(|i| {
            let (weir, answers) = (Arc::clone(&weir), Arc::clone(&answers));
            tokio::spawn(async move {
                for n in (i..requests).step_by(AT_ONCE) {
                    let (what, answer) = send(&weir, seed.wrapping_add(n as u64)).await;
                    *answers.lock().unwrap().entry(what).or_default().entry(answer).or_default() += 1;
                }
            })
        });
        for stranger in strangers.collect::<Vec<_>>() {
            stranger.await.expect("a stranger ends");
        }
    })
    .await;
    println!("{requests} hostile requests, by what was answered: {:#?}", answers.lock().unwrap());
    println!("a normal request took {calm:?} without and {stormy:?} in the storm, at the median of each");

    ledger.finish(&*weir).await;
    assert_eq!((weir.pid(), weir.try_get("/readyz", &[]).await.0), (pid, 200), "the process lives, and is ready\n{}", weir.log());
    check_all_ways(&*weir, &ledger).await;
    println!("{} records acknowledged meanwhile, none lost, none doubled", ledger.total());
    let most = stormy.as_micros() / calm.max(Duration::from_millis(20)).as_micros();
    assert!(most < u128::from(LATENCY_FACTOR), "normal requests became {most} times slower");
    let (peak, declared) = (weir.resident_peak(), weir.declared_memory().await);
    println!("resident at most {} MiB of {} MiB declared", peak >> 20, declared >> 20);
    assert!(peak <= declared, "{peak} bytes were resident, {declared} are declared");
}

/// Asks what people ask while `storm` goes on; every answer has to be a good one. The median time of an answer.
async fn normal_traffic(weir: &Weir, storm: impl AsyncFnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    let asking = async {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) || times.is_empty() {
            let begun = Instant::now();
            weir.get("/api/v1/query", &[("query", "sum(ledger_number)")]).await;
            weir.get("/loki/api/v1/query_range", &[("query", "{ledger=~\"push.*\"} |= \"ledger\""), ("limit", "20")]).await;
            times.push(begun.elapsed() / 2);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        times.sort();
        times[times.len() / 2]
    };
    let storming = async {
        storm().await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(asking, storming).0
}

/// Sends the request of a seed; what it was, and the status that was answered, or how it ended else.
async fn send(weir: &Weir, seed: u64) -> (&'static str, String) {
    let attack = attack(seed);
    let address = match attack.listener {
        Listener::Main => &weir.listen,
        Listener::OtlpHttp => &weir.otlp_http,
        Listener::OtlpGrpc => &weir.otlp_grpc,
    };
    let Ok(mut stream) = TcpStream::connect(address).await else { return (attack.what, "not connected".into()) };
    // A server that has seen enough closes before all is written.
    let written = tokio::time::timeout(PATIENCE, stream.write_all(&attack.bytes)).await.expect("weir reads or closes");
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let wait = if attack.half { HELD } else { PATIENCE };
    let read = tokio::time::timeout(wait, async {
        loop {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(count) if answer.len() < 64 => answer.extend_from_slice(&part[..count]),
                Ok(_) => {}
            }
        }
    });
    let ended = read.await.is_ok();
    assert!(ended || attack.half, "{} (seed {seed}) was neither answered nor closed", attack.what);
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
    let how = match (status, ended, written.is_ok()) {
        (Some(status), ..) => status.to_owned(),
        (None, true, _) => "closed".into(),
        (None, false, _) => "held open".into(),
    };
    (attack.what, how)
}
