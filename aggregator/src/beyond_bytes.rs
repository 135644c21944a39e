//! `retention_bytes` over the metrics engine: a partition's task, two tenants in the same blocks, one of which may keep so many bytes.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weir_blocks::blob::BlobCache;
use weir_blocks::engine::Engine;
use weir_blocks::manifest::random_nonces;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Record, TopicPartition};
use weir_metrics::{MetricsCounters, MetricsEngine, MetricsReader};
use weir_model::config::ByteSize;
use weir_model::label::Labels;
use weir_model::limits::{self, MetricLimits, Overrides, OverridesFile, TenantLimits};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::scope::Scope;
use weir_model::select::{MetricReader, MetricSelect, NoBudget};
use weir_model::wire::{Kind, Limits, Mark, RecordBuilder, Section, SectionHeader};

use crate::budget::Budget;
use crate::byte_limit::block_shares;
use crate::config::AggregatorConfig;
use crate::dependencies::Dependencies;
use crate::live::Partitions;
use crate::machine::{Committed, OwnerCommand, Reply};
use crate::metrics::{ExpiredLabels, Metrics};
use crate::open::owners;
use crate::owners::{GroupRequest, ToGroup};
use crate::pool::Pool;

/// Rows of a record.
const ROWS: i64 = 50;
/// What "shop" may keep in both partitions.
const LIMIT: u64 = 2 * LIMIT_HERE;
/// About seven records' worth.
const LIMIT_HERE: u64 = 100_000;

fn section(tenant: &str, series: usize, at: u64) -> Section<MetricBatch> {
    let mut random = StdRng::seed_from_u64(at);
    let labels = (0..series).map(|i| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])).collect();
    let row = |row: i64| {
        // Numbers that do not pack: a sample takes eight bytes.
        let values = (0..series).map(|_| random.random::<f64>()).collect();
        MetricRow::new((at as i64 * ROWS + row) * 1_000_000_000, values)
    };
    let rows = (0..ROWS).map(row).collect();
    let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(labels, Vec::new())), rows };
    let mark = Mark::Sequence { epoch: 1, first: at, last: at + 1 };
    Section::new(SectionHeader { tenant: tenant.into(), source: tenant.into(), mark, records: 0 }, batch)
}

/// 2,000 samples of "shop", 500 of "bank".
fn record(offset: u64) -> Record {
    let mut builder = RecordBuilder::new(Limits::default());
    builder.push(&section("shop", 40, offset)).expect("a small section");
    builder.push(&section("bank", 10, offset)).expect("a small section");
    let place = TopicPartition { topic: Kind::Metrics.topic().into(), partition: 0 };
    Record { place, offset, value: builder.finish().expect("a small record").into() }
}

pub(crate) struct Owner {
    commands: mpsc::Sender<OwnerCommand>,
    pub partitions: Arc<Partitions<MetricsEngine>>,
    pub metrics: Metrics,
    pub revoked: CancellationToken,
    next: u64,
}

impl Owner {
    async fn new() -> Self {
        let metrics = MetricLimits { retention_bytes: Some(ByteSize::bytes(LIMIT)), ..MetricLimits::default() };
        let tenants = [("shop".to_owned(), TenantLimits { metrics, ..TenantLimits::default() })].into();
        let overrides = Overrides::try_from(OverridesFile { tenants, ..OverridesFile::default() }).expect("overrides");
        Self::with(&AggregatorConfig::default(), overrides, 5).await
    }

    /// By a clock that stands.
    pub async fn with(config: &AggregatorConfig, overrides: Overrides, clock: i64) -> Self {
        let metrics = Metrics::default();
        let dependencies = Arc::new(Dependencies {
            bus: Arc::new(Sim::new(SimConfig { partitions: 2, ..SimConfig::default() })),
            object_store: Arc::new(InMemory::new()) as Arc<dyn ObjectStore>,
            cache: BlobCache::new(1 << 20),
            clock: Arc::new(move || clock),
            nonces: random_nonces(),
            metrics: metrics.clone(),
            member: "a".into(),
            limits: limits::Limits::new(overrides),
        });
        let (partitions, shared) = (Arc::default(), (&dependencies, &Arc::new(Budget::new(config)), &Arc::new(Pool::new())));
        let owners = owners(MetricsEngine::new(MetricsCounters::default()), &partitions, shared, config);
        let (tx, mut requests) = mpsc::channel(1);
        let (place, revoked) = (TopicPartition { topic: Kind::Metrics.topic().into(), partition: 0 }, CancellationToken::new());
        tokio::spawn(owners.own(ToGroup { place, number: 1, tx }, revoked.clone()));
        let Some((_, 1, GroupRequest::Open { next_offset: 0, commands, show })) = requests.recv().await else {
            panic!("an empty partition is opened at its beginning")
        };
        show();
        Self { commands, partitions, metrics, revoked, next: 0 }
    }

    pub async fn command(&self, command: impl FnOnce(Reply) -> OwnerCommand) -> Committed {
        let (tx, rx) = oneshot::channel();
        self.commands.send(command(tx)).await.expect("is open");
        rx.await.expect("is answered").expect("does it")
    }

    /// A block for each record.
    pub async fn seal(&mut self, records: u64) {
        for _ in 0..records {
            self.commands.send(OwnerCommand::Append(vec![record(self.next)])).await.expect("is open");
            self.next += 1;
            let end = self.next;
            self.command(|reply| OwnerCommand::Seal(end, reply)).await;
        }
    }

    /// And everything that is lined up for it.
    pub async fn expire(&self) {
        self.command(OwnerCommand::Expire).await;
        self.command(OwnerCommand::Compact).await;
    }

    /// Bytes of a tenant's blocks.
    fn bytes(&self, tenant: &str) -> u64 {
        let live = self.partitions.all().remove(0);
        let snapshot = live.snapshot.read();
        assert_eq!(snapshot.manifest.blocks.len(), snapshot.blocks.len(), "all are open");
        let blocks = snapshot.manifest.blocks.iter().zip(&snapshot.blocks);
        let of = |(entry, view): (&weir_blocks::manifest::BlockEntry, &weir_blocks::view::BlockView<MetricsEngine>)| {
            let shares = block_shares(entry.size, MetricsEngine::shares(&view.block).expect("shares"));
            shares.get(tenant).copied().unwrap_or(0)
        };
        blocks.map(of).sum()
    }

    /// The seconds that each series of a tenant has; the same for all.
    pub async fn seconds(&self, tenant: &'static str) -> Vec<i64> {
        let partitions = Arc::clone(&self.partitions);
        let read = move || {
            let reader = MetricsReader::new(partitions);
            let select = MetricSelect { scope: Scope::of(tenant), matchers: Vec::new(), start_ms: i64::MIN, end_ms: i64::MAX };
            reader.select(&select, &NoBudget).expect("selects").value
        };
        let series = tokio::task::spawn_blocking(read).await.expect("reads");
        let mut of: Vec<Vec<i64>> = series.iter().map(|one| one.timestamps.iter().map(|at| at / 1000).collect()).collect();
        of.dedup();
        assert_eq!(of.len(), 1, "all series of {tenant} have the same times");
        of.remove(0)
    }

    /// "shop" has its newest samples, within its limit and not much less; "bank" has all.
    async fn check(&self, when: &str) {
        let (bytes, end) = (self.bytes("shop"), self.next as i64 * ROWS);
        assert!((LIMIT_HERE / 4 * 3..=LIMIT_HERE).contains(&bytes), "{when}: {bytes} of {LIMIT_HERE}");
        let shop = self.seconds("shop").await;
        assert_eq!(shop, (end - shop.len() as i64..end).collect::<Vec<_>>(), "{when}: the newest stay, without a gap");
        assert_eq!(self.seconds("bank").await, (0..end).collect::<Vec<_>>(), "{when}");
    }

    fn expired(&self, reason: &'static str) -> [u64; 3] {
        let labels = ExpiredLabels { topic: Kind::Metrics.topic().into(), partition: 0, reason };
        [&self.metrics.expired_blocks, &self.metrics.expired_records, &self.metrics.expired_bytes]
            .map(|family| family.get_or_create(&labels).get())
    }
}

#[tokio::test]
async fn a_tenant_keeps_its_newest_samples_within_its_bytes_and_others_keep_theirs() {
    let mut owner = Owner::new().await;
    owner.seal(5).await;
    owner.expire().await;
    assert_eq!(owner.seconds("shop").await.len() as i64, 5 * ROWS, "it is within its limit");
    assert_eq!(owner.expired("bytes"), [0; 3]);
    // One block of five records by now, and six blocks of one.
    owner.seal(6).await;
    owner.expire().await;
    owner.check("beyond its limit").await;
    owner.seal(3).await;
    owner.expire().await;
    owner.check("in a block that was cut before").await;
    let [blocks, records, bytes] = owner.expired("bytes");
    let left = owner.seconds("shop").await.len() as u64;
    assert_eq!((blocks, records), (0, (14 * ROWS as u64 - left) * 40), "no block was its alone");
    assert!(bytes > 0);
    assert_eq!(owner.expired("age"), [0; 3]);
    owner.revoked.cancel();
}
