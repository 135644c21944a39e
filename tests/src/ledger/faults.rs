//! What is done to a cluster, and what its user sees meanwhile.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::Ledger;
use super::disk::Small;
use super::watch::Watch;
use crate::cluster::Cluster;
use crate::roles::Role;
use crate::s3::S3;
use crate::weir::eventually;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    CollectorKilled,
    AggregatorKilled,
    QueryKilled,
    BrokerKilled,
    /// All of them, for longer than the buffers hold.
    BrokersAway,
    StoreAway,
    /// The collector's.
    DiskFull,
    /// Asleep until its partitions are another's.
    AggregatorAsleep,
}

pub(super) const ALL: [Fault; 8] = [
    Fault::CollectorKilled,
    Fault::AggregatorKilled,
    Fault::QueryKilled,
    Fault::BrokerKilled,
    Fault::BrokersAway,
    Fault::StoreAway,
    Fault::DiskFull,
    Fault::AggregatorAsleep,
];

/// A cluster, and what is wrong with it now.
pub(super) struct Faults {
    pub cluster: Cluster,
    /// Processes and brokers that were killed, all in all.
    pub kills: usize,
    s3: S3,
    disk: Small,
    aggregator_killed: Option<usize>,
    aggregator_asleep: Option<usize>,
    query_killed: Option<usize>,
    broker_killed: Option<usize>,
}

impl Faults {
    pub(super) fn new(cluster: Cluster, s3: S3, disk: Small) -> Self {
        Self {
            cluster,
            kills: 0,
            s3,
            disk,
            aggregator_killed: None,
            aggregator_asleep: None,
            query_killed: None,
            broker_killed: None,
        }
    }

    /// It goes wrong.
    pub(super) fn strike(&mut self, fault: Fault, random: &mut StdRng) {
        let one_of = |random: &mut StdRng, count: usize| random.random_range(0..count);
        match fault {
            Fault::CollectorKilled => self.cluster.collector.kill(),
            Fault::AggregatorKilled => {
                let victim = self.aggregator_asleep.map_or_else(|| one_of(random, 2), |asleep| 1 - asleep);
                self.cluster.aggregators[victim].kill();
                self.aggregator_killed = Some(victim);
            }
            Fault::QueryKilled => {
                let victim = one_of(random, 2);
                self.cluster.queries[victim].kill();
                self.query_killed = Some(victim);
            }
            Fault::BrokerKilled => {
                let victim = one_of(random, 3);
                self.cluster.brokers.kill(victim);
                self.broker_killed = Some(victim);
            }
            Fault::BrokersAway => self.cluster.brokers.freeze(),
            Fault::StoreAway => self.s3.process.freeze(),
            Fault::DiskFull => self.disk.fill(),
            Fault::AggregatorAsleep => {
                let victim = self.aggregator_killed.map_or_else(|| one_of(random, 2), |killed| 1 - killed);
                self.cluster.aggregators[victim].freeze();
                self.aggregator_asleep = Some(victim);
            }
        }
        let killed = [Fault::CollectorKilled, Fault::AggregatorKilled, Fault::QueryKilled, Fault::BrokerKilled];
        self.kills += usize::from(killed.contains(&fault));
    }

    /// It is over; what comes back comes back in its own time.
    pub(super) fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::CollectorKilled => self.cluster.collector.spawn(),
            Fault::AggregatorKilled => self.cluster.aggregators[self.aggregator_killed.take().unwrap()].spawn(),
            Fault::QueryKilled => self.cluster.queries[self.query_killed.take().unwrap()].spawn(),
            Fault::BrokerKilled => self.cluster.brokers.spawn(self.broker_killed.take().unwrap()).unwrap(),
            Fault::BrokersAway => self.cluster.brokers.thaw(),
            Fault::StoreAway => self.s3.process.thaw(),
            Fault::DiskFull => self.disk.make_room(),
            Fault::AggregatorAsleep => self.cluster.aggregators[self.aggregator_asleep.take().unwrap()].thaw(),
        }
    }

    /// Restarts aggregators and brokers as an upgrade does, one after the other, each when the one before is back in its place.
    pub(super) async fn restart_one_by_one(&mut self) {
        for i in 0..self.cluster.aggregators.len() {
            assert_eq!(self.cluster.aggregators[i].terminate().await, Some(0), "{}", self.cluster.aggregators[i].log());
            self.cluster.aggregators[i].spawn();
            self.wait_until_well().await;
        }
        for broker in 0..self.cluster.brokers.count() {
            self.cluster.brokers.terminate(broker).await;
            self.cluster.brokers.spawn(broker).unwrap();
            self.cluster.brokers.wait_until_answered(broker).await.unwrap();
            self.cluster.brokers.wait_in_sync().await;
        }
        self.wait_until_well().await;
    }

    /// Every process runs and is ready, and both aggregators own partitions.
    pub(super) async fn wait_until_well(&mut self) {
        for broker in 0..self.cluster.brokers.count() {
            self.cluster.brokers.wait_until_answered(broker).await.unwrap();
        }
        self.cluster.wait_ready().await;
        self.owners("both own partitions", |owners| owners.len() == 2).await;
    }

    /// What a user sees while it lasts.
    pub(super) async fn seen(&self, fault: Fault, ledger: &Ledger, watch: &Watch) {
        let cluster = &self.cluster;
        match fault {
            // What was taken in before is answered as ever.
            Fault::CollectorKilled | Fault::QueryKilled => watch.complete_again().await,
            Fault::AggregatorKilled | Fault::AggregatorAsleep => {
                let victim = self.aggregator_killed.or(self.aggregator_asleep).unwrap();
                let silent = &cluster.aggregators[victim].listen;
                // Named by answers, by readiness, and in the health of the path, until another has its partitions.
                tokio::join!(
                    says(&cluster.queries[0], silent, async || incomplete(cluster).await),
                    says(&cluster.queries[1], silent, async || unready(&cluster.queries[1]).await),
                    says(&cluster.queries[0], silent, async || silent_owners(cluster).await),
                );
                watch.complete_again().await;
                watch.acknowledged_again().await;
                self.owned_by_the_other(victim).await;
                if fault == Fault::AggregatorAsleep {
                    self.is_fenced(victim).await;
                }
            }
            Fault::BrokerKilled => {
                watch.acknowledged_again().await;
                watch.complete_again().await;
            }
            Fault::BrokersAway => {
                says(&cluster.queries[0], "the bus has not said for", async || incomplete(cluster).await).await;
                for role in [&cluster.collector, &cluster.aggregators[0], &cluster.queries[0]] {
                    says(role, "the bus", async || unready(role).await).await;
                }
                // Far more is written than queues hold: the file waits where it is, and nothing is acknowledged.
                ledger.outgrow_queues().await;
                let acknowledged = ledger.total_pushed();
                eventually("the collector reads no further", async || {
                    let before = read_bytes(cluster).await;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    let after = read_bytes(cluster).await;
                    if before == after { Ok(()) } else { Err(format!("{before}, then {after} bytes")) }
                })
                .await;
                assert_eq!(ledger.total_pushed(), acknowledged, "acknowledged without a broker");
                let name = "weir_collector_unacknowledged_seconds";
                assert!(metric(cluster, &cluster.collector, name, "weir.logs").await.unwrap() > 1.0, "how long is seen");
            }
            Fault::StoreAway => {
                // The bus keeps what is not sealed, so writers go on, and what they write is found. Nobody knows which version of
                // a manifest is the newest, and answers say so.
                let (query, begun) = (&cluster.queries[0], super::write::now());
                says(query, "the newest manifest is not known", async || incomplete(cluster).await).await;
                watch.acknowledged_again().await;
                eventually("a line written meanwhile", || newest_line_after(cluster, begun)).await;
            }
            Fault::DiskFull => {
                // Only checkpoints are kept there: pushes go on, and the file is read from an older checkpoint if it dies.
                watch.acknowledged_again().await;
                eventually("a checkpoint that cannot be written is counted", || checkpoint_failed(cluster)).await;
            }
        }
    }

    /// A zombie wakes up, asked to seal what it has, while no broker can tell it that its partitions are gone. Either its own
    /// clock tells it that the group has given it up, or the store refuses what it publishes; it says which, and seals nothing.
    /// That no manifest goes back is the notary's.
    async fn is_fenced(&self, victim: usize) {
        let zombie = &self.cluster.aggregators[victim];
        let before = zombie.log().len();
        self.cluster.brokers.freeze();
        // Taken by the kernel while it sleeps, read when it wakes up.
        let seal = self.cluster.http.post(zombie.url("/api/weir/v1/admin/seal")).send();
        let (answer, ()) = tokio::join!(seal, async { zombie.thaw() });
        let said = answer.unwrap().text().await.unwrap();
        let sealed: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        assert!(sealed["blocks"].as_u64().unwrap_or(0) == 0, "a zombie has sealed: {said}");
        eventually("the zombie says that its partitions are gone", async || {
            let log = zombie.log().split_off(before);
            let told = log.contains("revoking assignment") || log.contains("belongs to another owner now");
            if told { Ok(()) } else { Err(log) }
        })
        .await;
        self.cluster.brokers.thaw();
    }

    async fn owned_by_the_other(&self, victim: usize) {
        let other = &self.cluster.aggregators[1 - victim].listen;
        self.owners("the other one owns everything", |owners| owners.len() == 1 && owners[0].ends_with(other.as_str())).await;
    }

    /// Waits until the health of the path names the right owners.
    async fn owners(&self, what: &str, right: impl Fn(&[String]) -> bool) {
        let query = &self.cluster.queries[0];
        eventually(what, async || {
            let path = self.cluster.try_ask(query, "/api/weir/v1/path", &[]).await?;
            let owners = path["owners"].as_array().cloned().unwrap_or_default();
            let owners: Vec<String> = owners.iter().filter_map(|owner| owner["owner"].as_str().map(str::to_owned)).collect();
            if right(&owners) { Ok(()) } else { Err(format!("{owners:?}")) }
        })
        .await;
    }
}

/// Waits until what is said names something.
async fn says(role: &Role, name: &str, said: impl AsyncFn() -> String) {
    eventually(&format!("{} at {} names {name}", role.role, role.listen), async || {
        let said = said().await;
        if said.contains(name) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// Why a role is not ready; empty when it is.
async fn unready(role: &Role) -> String {
    role.ready().await.err().unwrap_or_default()
}

/// What answers say that they have not seen: of lines, samples and spans, since owners have different partitions of each.
async fn incomplete(cluster: &Cluster) -> String {
    let questions = [
        ("/api/weir/v1/logs", Vec::new()),
        ("/api/v1/query", vec![("query", "ledger_number")]),
        ("/api/weir/v1/traces", Vec::new()),
    ];
    let mut said = Vec::new();
    for (path, parameters) in questions {
        let answer = cluster.try_ask(&cluster.queries[0], path, &parameters).await;
        said.push(answer.map_or_else(|error| error, |answer| answer["coverage"]["missing"].to_string()));
    }
    said.join(" ")
}

/// Owners that the health of the path calls silent.
async fn silent_owners(cluster: &Cluster) -> String {
    let path = cluster.try_ask(&cluster.queries[0], "/api/weir/v1/path", &[]).await.unwrap_or_default();
    let owners = path["owners"].as_array().cloned().unwrap_or_default();
    owners.into_iter().filter(|owner| owner["answers"] == false).map(|owner| owner["owner"].to_string()).collect()
}

/// A role's counter, summed over those of its labels that contain `labels`.
async fn metric(cluster: &Cluster, role: &Role, name: &str, labels: &str) -> Result<f64, String> {
    let answer = cluster.http.get(role.url("/metrics")).send().await.map_err(|error| error.to_string())?;
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let values = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Of log files.
async fn read_bytes(cluster: &Cluster) -> f64 {
    metric(cluster, &cluster.collector, "weir_collector_file_read_bytes_total", "").await.expect("the collector's metrics")
}

/// Whether the newest line found is of after then, in an answer that need not be complete.
async fn newest_line_after(cluster: &Cluster, then: u64) -> Result<(), String> {
    let answer = cluster.try_ask(&cluster.queries[0], "/api/weir/v1/logs", &[("limit", "1")]).await?;
    let newest = answer["lines"][0]["t"].as_str().and_then(|at| at.parse::<u64>().ok());
    if newest.is_some_and(|newest| newest > then) { Ok(()) } else { Err(answer.to_string()) }
}

async fn checkpoint_failed(cluster: &Cluster) -> Result<(), String> {
    let failures = metric(cluster, &cluster.collector, "weir_collector_errors", "checkpoint").await?;
    if failures > 0.0 { Ok(()) } else { Err(format!("{failures} counted")) }
}
