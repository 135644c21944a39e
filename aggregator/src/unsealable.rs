//! A seal that fails for what was taken: the rest is sealed, and what cannot be is kept raw, counted and said. Blocks that cannot be
//! fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weir_blocks::StoreError;
use weir_blocks::blob::{BlobCache, MemoryBlob};
use weir_blocks::block::{Blob, BlockReader};
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine, Head, Position};
use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{Manifest, ManifestStore, random_nonces};
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Record, TopicPartition};
use weir_logs::{LogsBlock, LogsEngine, LogsHead};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::usage::Amount;
use weir_model::wire::{Kind, Limits, Mark, RecordBuilder, Section, SectionHeader};

use crate::budget::Budget;
use crate::config::AggregatorConfig;
use crate::dependencies::Dependencies;
use crate::machine::{Committed, OwnerCommand};
use crate::metrics::{Metrics, PartitionLabels};
use crate::open::owners;
use crate::owners::{GroupRequest, ToGroup};
use crate::pool::Pool;

/// The logs engine, but for lines that it cannot seal, and for two blocks, which do not fit into one.
struct Picky(LogsEngine);

struct PickyHead {
    head: LogsHead,
    refuses: AtomicBool,
    panics: AtomicBool,
}

impl Head for PickyHead {
    type Batch = LogBatch;

    fn insert(&self, position: Position, section: &Section<LogBatch>) -> Result<(), StoreError> {
        self.refuses.fetch_or(section.header.source.contains("refused"), Ordering::Relaxed);
        self.panics.fetch_or(section.header.source.contains("panics"), Ordering::Relaxed);
        self.head.insert(position, section)
    }

    fn bytes(&self) -> usize {
        self.head.bytes()
    }

    fn records(&self) -> u64 {
        self.head.records()
    }

    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError> {
        assert!(!self.panics.load(Ordering::Relaxed), "the head cannot be built");
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::Engine { operation: "build a block", detail: "a line is refused".into() });
        }
        self.head.build()
    }
}

impl Engine for Picky {
    type Batch = LogBatch;
    const MERGE: BlockCost = LogsEngine::MERGE;
    const SEAL: BlockCost = LogsEngine::SEAL;
    type Head = PickyHead;
    type Block = LogsBlock;

    fn head(&self) -> PickyHead {
        PickyHead { head: self.0.head(), refuses: AtomicBool::new(false), panics: AtomicBool::new(false) }
    }

    fn open(&self, blob: Arc<dyn Blob>) -> Result<LogsBlock, StoreError> {
        self.0.open(blob)
    }

    fn verify(&self, block: &LogsBlock, summary: &BlockSummary) -> Result<(), StoreError> {
        self.0.verify(block, summary)
    }

    fn shares(block: &LogsBlock) -> Result<Vec<(Arc<str>, Amount)>, StoreError> {
        LogsEngine::shares(block)
    }

    fn merge(&self, blocks: &[Arc<LogsBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        let fitting = if blocks.len() == 2 { 1 } else { blocks.len() };
        let merged: Result<Vec<_>, _> = blocks.chunks(fitting.max(1)).map(|blocks| self.0.merge(blocks)).collect();
        Ok(merged?.into_iter().flatten().collect())
    }

    fn count_hidden(&self, block: &LogsBlock, hidden: &Hidden) -> Result<u64, StoreError> {
        self.0.count_hidden(block, hidden)
    }

    fn rewrite(&self, block: &Arc<LogsBlock>, without: &Hidden) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        self.0.rewrite(block, without)
    }
}

/// Two lines of a source; each sends its section twice, so that a replay has duplicates to drop.
fn record(offset: u64, source: &str) -> Record {
    let mut batch = LogBatch::new(Labels::from_pairs([("app", "a")]));
    for line in 1..=2 {
        batch.push(LogRecord {
            timestamp: 1,
            sequence: line,
            body: b"line",
            severity: 0,
            flags: 0,
            trace_id: Default::default(),
            span_id: Default::default(),
            attributes: (&Labels::EMPTY).into(),
        });
    }
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 2 };
    let header = SectionHeader { tenant: "t".into(), source: source.into(), mark, records: 0 };
    let mut builder = RecordBuilder::new(Limits::default());
    builder.push(&Section::new(header, batch)).expect("a small section");
    let place = TopicPartition { topic: Kind::Logs.topic().into(), partition: 0 };
    Record { place, offset, value: builder.finish().expect("a small record").into() }
}

/// A partition's task, and its group as the test plays it.
struct Sealing {
    commands: mpsc::Sender<OwnerCommand>,
    store: ManifestStore,
    metrics: Metrics,
    revoked: CancellationToken,
}

impl Sealing {
    async fn new() -> Self {
        let object_store = Arc::new(InMemory::new()) as Arc<dyn ObjectStore>;
        let (config, metrics) = (AggregatorConfig::default(), Metrics::default());
        let dependencies = Arc::new(Dependencies {
            bus: Arc::new(Sim::new(SimConfig { partitions: 1, ..SimConfig::default() })),
            object_store: Arc::clone(&object_store),
            cache: BlobCache::new(1 << 20),
            clock: Arc::new(|| 5),
            nonces: random_nonces(),
            metrics: metrics.clone(),
            member: "a".into(),
            limits: Default::default(),
        });
        let shared = (&dependencies, &Arc::new(Budget::new(&config)), &Arc::new(Pool::new()));
        let owners = owners(Picky(LogsEngine::default()), &Arc::default(), shared, &config);
        let (tx, mut requests) = mpsc::channel(1);
        let place = TopicPartition { topic: Kind::Logs.topic().into(), partition: 0 };
        let revoked = CancellationToken::new();
        tokio::spawn(owners.own(ToGroup { place, number: 1, tx }, revoked.clone()));
        let Some((_, 1, GroupRequest::Open { next_offset: 0, commands, .. })) = requests.recv().await else {
            panic!("an empty partition is opened at its beginning")
        };
        let store = ManifestStore { object_store, kind: Kind::Logs, partition: 0, nonces: random_nonces() };
        Self { commands, store, metrics, revoked }
    }

    async fn seal(&mut self, records: &[Record]) -> (Committed, Manifest) {
        let end = records.last().expect("some records").offset + 1;
        self.commands.send(OwnerCommand::Append(records.to_vec())).await.expect("is open");
        let (tx, rx) = oneshot::channel();
        self.commands.send(OwnerCommand::Seal(end, tx)).await.expect("is open");
        let committed = rx.await.expect("is answered").expect("seals");
        (committed, self.store.load_latest().await.expect("loads").expect("is there").1)
    }

    /// Raw bytes in quarantine.
    async fn quarantined(&self, manifest: &Manifest) -> Vec<u8> {
        let [block] = &manifest.blocks.iter().filter(|block| block.quarantine).collect::<Vec<_>>()[..] else {
            panic!("one quarantine block is expected: {:?}", manifest.blocks)
        };
        let path = object_store::path::Path::from(self.store.block_path_text(&block.id));
        let object = object_store::ObjectStoreExt::get(&*self.store.object_store, &path).await.expect("gets");
        let blob = MemoryBlob::new("q", object.bytes().await.expect("bytes"));
        BlockReader::open(Arc::new(blob)).expect("opens").section("records.1").expect("a section").to_vec()
    }
}

#[tokio::test]
async fn what_cannot_be_sealed_is_quarantined_and_the_rest_is_sealed() {
    const RECORDS: u64 = 41;
    let mut sealing = Sealing::new().await;
    let name = |offset: u64| match offset {
        7 => "refused".to_owned(),
        30 => "panics".to_owned(),
        // Sent again: a duplicate, in a replay as well.
        20 => "source19".to_owned(),
        _ => format!("source{offset}"),
    };
    let records: Vec<Record> = (0..RECORDS).map(|offset| record(offset, &name(offset))).collect();
    let (committed, manifest) = sealing.seal(&records).await;
    assert_eq!(manifest.next_offset, RECORDS);
    assert_eq!(committed.records, 2 * (RECORDS - 3), "all but two that cannot be sealed, and one duplicate");
    let real: u64 = manifest.blocks.iter().filter(|block| !block.quarantine).map(|block| block.summary.records).sum();
    assert_eq!((real, manifest.counters.quarantined), (committed.records, 2));
    let raw = sealing.quarantined(&manifest).await;
    for (offset, reason) in [(7, "a line is refused"), (30, "the head cannot be built")] {
        let value = &records[offset].value;
        assert!(raw.windows(value.len()).any(|window| window == &value[..]), "record {offset} is kept raw");
        assert!(String::from_utf8_lossy(&raw).contains(reason), "{reason}");
    }
    let labels = PartitionLabels { topic: Kind::Logs.topic().into(), partition: 0 };
    assert_eq!(sealing.metrics.quarantined.get_or_create(&labels).get(), 2);

    // It goes on, and knows what it has stored: both sources sent again are duplicates.
    let again = [record(RECORDS, "source3"), record(RECORDS + 1, "refused"), record(RECORDS + 2, "new")];
    let (committed, manifest) = sealing.seal(&again).await;
    assert_eq!((committed.records, manifest.next_offset), (2, RECORDS + 3));
    sealing.revoked.cancel();
}

#[tokio::test]
async fn blocks_that_do_not_fit_into_fewer_stay_and_no_merge_has_failed() {
    let mut sealing = Sealing::new().await;
    let compact = async |sealing: &Sealing| {
        let (tx, rx) = oneshot::channel();
        sealing.commands.send(OwnerCommand::Compact(tx)).await.expect("is open");
        let committed = rx.await.expect("is answered").expect("compacts");
        let blocks = sealing.store.load_latest().await.expect("loads").expect("is there").1.blocks;
        (committed.blocks, blocks.len(), blocks.iter().map(|block| block.summary.records).sum::<u64>())
    };
    let one = |offset| record(offset, &format!("source{offset}"));
    sealing.seal(&(0..10).map(one).collect::<Vec<_>>()).await;
    sealing.seal(&[one(10)]).await;
    assert_eq!(compact(&sealing).await, (0, 2, 22));
    let labels = PartitionLabels { topic: Kind::Logs.topic().into(), partition: 0 };
    assert_eq!(sealing.metrics.failures.get_or_create(&labels).get(), 0);
    // The larger one is left alone from now on; the other has new neighbours.
    sealing.seal(&[one(11)]).await;
    sealing.seal(&[one(12)]).await;
    assert_eq!(compact(&sealing).await, (1, 2, 26));
    sealing.revoked.cancel();
}
