//! What happens to a partition, and what is to be done about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{AcceptedRequest, BlockEntry, DeletionKey, Manifest, Opened, unread};
use weir_blocks::resolutions::TenantResolutions;
use weir_bus::Record;
use weir_model::time::UnixNanos;

use crate::AggregatorError;
use crate::budget::Advice;
use crate::byte_limit::BlockShares;
use crate::dedup::DedupSnapshot;

/// Where the answer to a command goes.
pub(crate) type Reply = oneshot::Sender<Result<Committed, AggregatorError>>;

/// What the owner of a partition is told to do.
pub(crate) enum OwnerCommand {
    /// Append these records to the head, in offset order.
    Append(Vec<Record>),
    /// The bus does not have the offset that was wanted of it: it begins at `first` and ends at `next`.
    OutOfRange { wanted: u64, first: u64, next: u64 },
    /// Seal everything below this offset, which may not have arrived yet.
    Seal(u64, Reply),
    /// Merge everything mergeable.
    Compact(Reply),
    /// Delete everything that is too old, however much that is at once.
    Expire(Reply),
    /// Accept a request.
    Delete(Acceptance, Reply),
    /// Forget the request.
    CancelDeletion(DeletionKey, Reply),
    /// Rewrite now all blocks of which something is deleted for good.
    ApplyDeletions(Reply),
}

/// A request that is to be accepted.
pub(crate) struct Acceptance {
    pub request: Arc<AcceptedRequest>,
    /// As soon as everything below this offset is sealed.
    pub upto: u64,
    /// That its kind has.
    pub partitions: u32,
}

/// What a step may go by besides the event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// Time that has passed since a moment that stays the same, by a clock that cannot be set.
    pub passed: Duration,
    /// Wall clock; retention's alone.
    pub wall: UnixNanos,
    /// Time of the newest record that this process has stored.
    pub newest: UnixNanos,
    /// What the other partitions need this one to do.
    pub advice: Advice,
}

/// What has happened.
pub(crate) enum Event {
    /// The group has given the partition to this process.
    Assigned,
    /// The group has taken it away.
    Revoked,
    Command(OwnerCommand),
    /// Nothing; time has passed.
    Tick,
    /// The turn at merging that was asked for.
    MergeTurn,
    Claimed(Result<Claimed, AggregatorError>),
    Appended(Result<Appended, AggregatorError>),
    /// The frozen head lies in blocks that no manifest names yet.
    Sealed(Result<Sealed, AggregatorError>),
    /// The run lies in these blocks too; `None` when it does not fit into fewer than it has.
    Merged(Result<Option<Vec<BlockEntry>>, AggregatorError>),
    /// What is left of the block lies in these, perhaps none; `None` when nothing of it is deleted.
    Rewritten(Result<Option<Vec<BlockEntry>>, AggregatorError>),
    Opened(Opened),
    /// Errors other than `Fenced` leave it unknown whether the version exists.
    Published(Result<(), AggregatorError>),
    /// The version cannot be encoded, and was not sent.
    Unpublishable(AggregatorError),
    Collected(Result<(), AggregatorError>),
    SharesCounted(Result<Shares, AggregatorError>),
    /// Work ended without a result: what it worked on is gone.
    Lost(AggregatorError),
}

/// The newest manifest, under the epoch of this owner.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub version: u64,
    pub manifest: Manifest,
}

/// Whose the bytes of blocks are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    /// That the kind has.
    pub partitions: u32,
    /// By id.
    pub blocks: Vec<(String, BlockShares)>,
}

/// How far the active head is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub indexed_offset: u64,
    /// When its oldest record came in, by the partition's own time; `None` when it holds nothing, not even an offset.
    pub since: Option<UnixNanos>,
    /// Memory that it holds.
    pub bytes: usize,
}

/// What a cut became.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sealed {
    pub entries: Vec<BlockEntry>,
    pub next_offset: u64,
    /// Bus records in quarantine among them.
    pub quarantined: u64,
    /// Of these, those that could be decoded and not be sealed.
    pub quarantined_late: u64,
    /// Offsets `[first, next)` that the bus no longer had.
    pub losses: Vec<(u64, u64)>,
    pub dedup: DedupSnapshot,
}

/// What a change of the manifest did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Blocks written, or deleted.
    pub blocks: u64,
    /// Lines, samples or spans in them.
    pub records: u64,
}

impl Committed {
    /// Of these blocks.
    pub fn of(entries: &[BlockEntry]) -> Self {
        let records = entries.iter().map(|entry| entry.summary.records).sum();
        Self { blocks: entries.len() as u64, records }
    }
}

impl std::ops::AddAssign for Committed {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.records += other.records;
    }
}

/// What is to be done.
pub(crate) enum Effect {
    /// Say that samples of these tenants are never downsampled to 5 minutes; an empty name stands for all that the overrides do not name.
    NeverFiner(Vec<String>),
    /// Publish the newest manifest under the next epoch: answers [`Event::Claimed`].
    Claim,
    /// Readers see the partition from now on, and the bus goes on at the manifest's offset.
    Serve(Shown),
    /// Answers [`Event::Appended`].
    Append(Vec<Record>, UnixNanos),
    /// The bus no longer has what lies before this offset, and goes on there: answers [`Event::Appended`].
    TrimLost(u64, UnixNanos),
    /// Freeze the active head if none is frozen, and put the frozen one into blocks: answers [`Event::Sealed`].
    Seal {
        manifest: Arc<Manifest>,
        now: UnixNanos,
    },
    /// Put one that goes on with nothing in the place of the active head, which holds nothing.
    ForgetBefore,
    /// Ask for a turn: answers [`Event::MergeTurn`].
    AskMergeTurn,
    /// The turn is no longer needed.
    EndMergeTurn,
    /// Answers [`Event::Merged`].
    Merge(Vec<BlockEntry>),
    /// Write a block anew: answers [`Event::Rewritten`].
    Rewrite {
        entry: BlockEntry,
        how: How,
    },
    /// Answers [`Event::Opened`].
    Open(Vec<BlockEntry>),
    /// Answers [`Event::Published`].
    Publish {
        version: u64,
        manifest: Arc<Manifest>,
    },
    /// The same bytes once more, since it is not known whether they are there.
    PublishAgain,
    /// Readers see this from now on.
    Show(Shown),
    /// Remove what no manifest names: answers [`Event::Collected`].
    Collect {
        version: u64,
    },
    /// Everything below is in blocks.
    Release(u64),
    /// Answers [`Event::SharesCounted`].
    CountShares(Vec<BlockEntry>),
    Answer(Reply, Result<Committed, AggregatorError>),
    Count(Count),
    /// The store did not take the claim, which is made again in a while; readers hear why.
    ClaimLater(String),
    /// Stop all work; the partition is not served, and readers hear why.
    GiveUp {
        reason: String,
        pause: Duration,
    },
    /// Stop all work for good.
    Stop,
}

/// What becomes of a block that is rewritten.
pub(crate) enum How {
    /// It is left as it is where its directory says that fewer than `least` records are hidden.
    Without { hidden: Hidden, least: u64 },
    /// All of it is of this age at least, for which tenants may have a coarser resolution.
    Downsampled { resolutions: TenantResolutions, age: Duration },
}

/// What readers see besides the heads.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub version: u64,
    pub manifest: Arc<Manifest>,
    pub missing: Missing,
}

/// Blocks of a version that readers do not see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    /// Those that were not tried yet, or not since the store failed.
    pub opening: u64,
    /// What is wrong with each that could not be opened.
    pub failed: Vec<String>,
    /// How the store failed at one more, if it did.
    pub stopped: Option<String>,
}

impl Missing {
    /// Those that were tried.
    pub fn unopened(&self) -> u64 {
        self.failed.len() as u64 + u64::from(self.stopped.is_some())
    }

    /// What answers say of them.
    pub fn sentences(&self, topic: &str, partition: u32) -> impl Iterator<Item = String> {
        let opening = match (&self.stopped, self.opening) {
            (Some(error), opening) => Some(unread(topic, partition, opening + 1, error)),
            (None, 0) => None,
            (None, opening) => Some(format!("{topic} partition {partition}: {opening} blocks are not open yet")),
        };
        self.failed.iter().cloned().chain(opening)
    }
}

/// What retention has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub reason: ExpiryReason,
    pub committed: Committed,
    /// Of the store's objects.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpiryReason {
    /// Past a period.
    Age,
    /// Tenants had more than their `retention_bytes`.
    Bytes,
}

impl Expired {
    /// These blocks, whole.
    pub fn of(reason: ExpiryReason, gone: &[BlockEntry]) -> Self {
        Self { reason, committed: Committed::of(gone), bytes: gone.iter().map(|entry| entry.size).sum() }
    }
}

/// For the process's own metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Work that failed and is tried again.
    Failure,
    Sealed {
        blocks: u64,
        quarantined_late: u64,
    },
    Expired(Expired),
    /// Blocks that are too old by the clocks and are kept for now.
    Held(u64),
    /// Records that requests had deleted.
    Deleted(u64),
    /// Records of a block, and those that it has been downsampled to.
    Downsampled {
        records: u64,
        left: u64,
    },
}
