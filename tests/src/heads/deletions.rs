//! What is deleted is as if it had never been written, in process and through the fan-out: lines, samples and spans, names and metadata.
//! What arrives after the request stays; when the blocks are rewritten nothing changes but the disk.

use weir_model::deletion::{DeletionChange, DeletionOrder, DeletionQuery, DeletionRequest, Deletions};
use weir_model::id::TopicPartition;
use weir_model::label::Matcher;
use weir_model::limits::{LogLimits, MetricLimits, Overrides, OverridesFile, TenantLimits, TraceLimits};
use weir_model::scope::Scope;
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::cluster::{Cluster, PARTITIONS};
use super::readers::Readers;
use super::tenants::{WRITERS, Writer, answers, write};

/// All that a tenant is answered here is what it is answered in a cluster that has only what was not deleted.
async fn check(cluster: &Cluster, far: &Readers, kept: &Cluster, tenant: &'static str, when: &str) {
    let expected = kept.own().read(move |readers| answers(readers, &Scope::of(tenant))).await;
    for (readers, whose) in [(&cluster.own(), "in process"), (far, "fan-out")] {
        let found = readers.read(move |readers| answers(readers, &Scope::of(tenant))).await;
        for (question, answer) in &found {
            assert_eq!(answer, &expected[question], "{when}, {whose}, {tenant}: {question}");
        }
    }
}

async fn write_all(cluster: &mut Cluster, writers: &[Writer], round: u8) {
    for writer in writers {
        write(cluster, *writer, round).await;
    }
    cluster.caught_up().await;
}

fn accept(tenant: &str, selectors: Vec<Vec<Matcher>>) -> DeletionOrder {
    let asked = DeletionQuery { query: format!("of {tenant}"), selectors, filters: Vec::new() };
    let request = DeletionRequest::new((tenant, Kind::Logs), asked, TimeRange::ALL, 1, false).unwrap();
    DeletionOrder { kinds: Kind::ALL.to_vec(), change: DeletionChange::Accept(request) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_as_if_it_had_never_been_written() {
    let (mut cluster, mut kept) = (Cluster::start().await, Cluster::start().await);
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    let place = |kind: Kind| (0..PARTITIONS).map(move |partition| TopicPartition { topic: kind.topic().into(), partition });
    let deletions = fan_out.deletions(Kind::ALL.into_iter().flat_map(place).collect());
    let [web, db, other, _] = WRITERS;
    // Some of it is sealed when the request is made, and some is not.
    write_all(&mut cluster, &[web, other], 0).await;
    cluster.seal().await;
    write_all(&mut cluster, &[db], 0).await;
    write_all(&mut kept, &[db, other], 0).await;

    let of_web = ["namespace", "k8s_namespace_name"].map(|name| vec![Matcher::equal(name, "web")]);
    deletions.change(accept("t", of_web.to_vec())).await.expect("all partitions accept it");
    check(&cluster, &far, &kept, "t", "accepted").await;
    check(&cluster, &far, &kept, "u", "accepted").await;
    // The same sources write on.
    for cluster in [&mut cluster, &mut kept] {
        write_all(cluster, &[web], 1).await;
    }
    check(&cluster, &far, &kept, "t", "written again").await;
    deletions.apply().await.expect("blocks are rewritten");
    check(&cluster, &far, &kept, "t", "applied").await;
    check(&cluster, &far, &kept, "u", "applied").await;

    deletions.change(accept("u", Vec::new())).await.expect("all partitions accept it");
    check(&cluster, &far, &Cluster::start().await, "u", "the tenant is deleted").await;
    check(&cluster, &far, &kept, "t", "another tenant is deleted").await;
    deletions.apply().await.expect("blocks are rewritten");
    for (tenant, listed) in [("t", 1), ("u", 1), ("v", 0)] {
        for kind in Kind::ALL {
            let far = deletions.list(kind, tenant).await.expect("manifests are read");
            assert_eq!(far.len(), listed, "{far:?}");
            assert!(far.iter().all(|one| one.is_processed()), "{far:?}");
            // Each owner tells of its own partitions.
            let mut processed = 0;
            for node in &cluster.nodes {
                let near = node.aggregator.list(kind, tenant).await.expect("manifests are there");
                assert!(near.iter().all(|one| far.iter().any(|all| all.request.id == one.request.id)), "{near:?}");
                processed += near.iter().map(|one| one.processed).sum::<u32>();
            }
            assert_eq!(processed, far.iter().map(|one| one.partitions).sum::<u32>(), "{far:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_its_tenants_retention_is_not_seen_and_then_not_there() {
    let (mut cluster, mut kept, nothing) = (Cluster::start().await, Cluster::start().await, Cluster::start().await);
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    let [web, db, other, _] = WRITERS;
    write_all(&mut cluster, &[web, db, other], 0).await;
    write_all(&mut kept, &[web, db, other], 0).await;
    cluster.seal().await;
    // An hour behind the newest record is as far as a clock is believed.
    cluster.pass(2 * HOUR);
    check(&cluster, &far, &kept, "t", "nobody has a period").await;
    cluster.limits.replace(half_an_hour_of("t"));
    check(&cluster, &far, &nothing, "t", "past its period").await;
    check(&cluster, &far, &kept, "u", "another tenant's").await;
    for node in &cluster.nodes {
        node.aggregator.expire().await.expect("blocks are lined up");
        node.aggregator.compact().await.expect("blocks are rewritten");
    }
    // Whoever would see it: it is gone.
    cluster.limits.replace(Overrides::default());
    check(&cluster, &far, &nothing, "t", "rewritten").await;
    check(&cluster, &far, &kept, "u", "rewritten").await;
}

const HOUR: i64 = 3600 * 1_000_000_000;

fn half_an_hour_of(tenant: &str) -> Overrides {
    let retention = Some(std::time::Duration::from_secs(1800));
    let limits = TenantLimits {
        logs: LogLimits { retention, ..LogLimits::default() },
        metrics: MetricLimits { retention, ..MetricLimits::default() },
        traces: TraceLimits { retention, ..TraceLimits::default() },
        ..TenantLimits::default()
    };
    let file = OverridesFile { tenants: [(tenant.to_owned(), limits)].into(), ..OverridesFile::default() };
    Overrides::try_from(file).expect("limits of one tenant")
}
