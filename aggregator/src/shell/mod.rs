//! The task of an assigned partition: tells its [`Machine`] what happens, and does what that says.
//!
//! - here: the loop, and what becomes of each kind of work that ended;
//! - [`effects`]: what is done for each effect;
//! - [`claim`], [`blocks`], [`seal`]: work that waits for the bus or the object store; [`work`]: who is told how it ended.
//!
//! Started by `group` when the partition is assigned. Dropping it at any point is a crash as far as the store is concerned, and
//! loses nothing: a crash before a manifest leaves garbage objects, and the bus still has the records; a crash after it leaves a
//! sealed range that the next owner starts behind. There is no third state.

mod blocks;
mod claim;
mod effects;
mod seal;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_blocks::engine::{Engine, Head};
use weir_blocks::manifest::{BlockEntry, ManifestStore, Opened, Prepared, Sightings};

use crate::AggregatorError;
use crate::append::{Appender, Cut};
use crate::budget::{Budget, HeadShare, Turn};
use crate::config::AggregatorConfig;
use crate::dependencies::Dependencies;
use crate::live::{LivePartition, Partitions};
use crate::machine::{Claimed, Event, Machine, Now, OwnerCommand, Rules, Sealed, Shares};
use crate::metrics::PartitionLabels;
use crate::owners::ToGroup;
use crate::pool::{Lost, Pool};
use blocks::{BlockStore, NewBlocks, Written};
use work::{Work, told};

/// How often it is looked whether something is due by time or by the other partitions' memory.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What a partition's task needs of its process.
pub(crate) struct Deps<E: Engine> {
    pub engine: Arc<E>,
    pub partitions: Arc<Partitions<E>>,
    pub config: AggregatorConfig,
    pub dependencies: Arc<Dependencies>,
    pub budget: Arc<Budget>,
    pub pool: Arc<Pool>,
}

pub(crate) struct Shell<E: Engine> {
    deps: Arc<Deps<E>>,
    group: ToGroup,
    machine: Machine,
    manifests: ManifestStore,
    labels: PartitionLabels,
    share: HeadShare,
    /// When the task began: passed time is counted from then.
    begun: Instant,
    jobs: JoinSet<Outcome<E>>,
    open: Option<Open<E>>,
    /// Events that followed from effects at once.
    follow_ups: VecDeque<Event>,
}

/// What a partition has while it is open.
struct Open<E: Engine> {
    live: Arc<LivePartition<E>>,
    store: Arc<BlockStore<E>>,
    commands: mpsc::Receiver<OwnerCommand>,
    /// Absent only while the pool has it.
    appender: Option<Box<Appender<E>>>,
    /// What is being sealed; kept until a manifest says that it is.
    cut: Option<Arc<Cut<E>>>,
    /// The version that is being published.
    prepared: Option<Arc<Prepared>>,
    /// Of the version that readers see.
    version: u64,
    /// A turn at merging that was asked for.
    waiting: Option<Turn>,
    /// One that was given.
    turn: Option<OwnedSemaphorePermit>,
    /// Since when which objects are named by no manifest; absent only while they are looked at.
    sightings: Option<Sightings>,
}

impl<E: Engine> Open<E> {
    fn keep(&self, written: Written<E>) -> Vec<BlockEntry> {
        written.open.into_iter().for_each(|(id, block)| self.store.blocks.insert(id, block));
        written.entries
    }
}

/// How work ended, with what the machine need not know.
enum Outcome<E: Engine> {
    Claimed(Result<Claimed, AggregatorError>),
    Appended(Result<Box<Appender<E>>, Lost>),
    Sealed(Result<(Sealed, NewBlocks<E>), AggregatorError>),
    Merged(Result<Option<Written<E>>, AggregatorError>),
    Rewritten(Result<Option<Written<E>>, AggregatorError>),
    Opened(Opened),
    Prepared(Result<Prepared, AggregatorError>),
    Published(Result<(), AggregatorError>),
    Collected(Sightings, Result<(), AggregatorError>),
    Released(Result<(), AggregatorError>),
    SharesCounted(Result<Shares, AggregatorError>),
}

impl<E: Engine> Shell<E> {
    pub fn new(deps: Arc<Deps<E>>, group: ToGroup) -> Self {
        let (place, dependencies) = (group.place.clone(), &deps.dependencies);
        let manifests = ManifestStore {
            object_store: Arc::clone(&dependencies.object_store),
            kind: E::KIND,
            partition: place.partition,
            nonces: Arc::clone(&dependencies.nonces),
        };
        Self {
            machine: Machine::new(Rules::of::<E>(place.clone(), &deps.config, &dependencies.limits)),
            manifests,
            labels: PartitionLabels { topic: place.topic.clone(), partition: place.partition },
            share: deps.budget.share(place),
            begun: Instant::now(),
            jobs: JoinSet::new(),
            open: None,
            follow_ups: VecDeque::new(),
            deps,
            group,
        }
    }

    /// Until the partition is taken away.
    pub async fn run(mut self, revoked: CancellationToken) {
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.step(Event::Assigned).await;
        while !self.machine.is_ended() {
            let takes_commands = self.machine.takes_commands(self.now());
            let event = tokio::select! {
                biased;
                () = revoked.cancelled() => Event::Revoked,
                Some(ended) = self.jobs.join_next() => self.settle(ended),
                event = given(&mut self.open, takes_commands) => event,
                _ = tick.tick() => Event::Tick,
            };
            self.step(event).await;
        }
    }

    fn now(&self) -> Now {
        let (dependencies, mut bytes) = (&self.deps.dependencies, self.machine.head_bytes());
        // Counted when the head before is gone, of which no event says.
        bytes.active += self.open.as_ref().map_or(0, |open| open.live.snapshot.read().active.handed_on_bytes());
        Now {
            passed: self.begun.elapsed(),
            wall: (dependencies.clock)(),
            newest: self.deps.budget.newest(),
            advice: self.share.report(bytes),
        }
    }

    async fn step(&mut self, event: Event) {
        self.follow_ups.push_back(event);
        while let Some(event) = self.follow_ups.pop_front() {
            let now = self.now();
            for effect in self.machine.step(now, event) {
                self.carry_out(effect).await;
            }
        }
    }

    /// Keeps what the machine need not know of work that ended.
    fn settle(&mut self, ended: Result<Outcome<E>, JoinError>) -> Event {
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(source) => return Event::Lost(AggregatorError::TaskLost { task: "work of a partition", source }),
        };
        let (place, outages) = (&self.group.place, &self.deps.dependencies.metrics.outages);
        match (outcome, &mut self.open) {
            (Outcome::Claimed(claimed), _) => Event::Claimed(told(outages, place, Work::Claim, claimed)),
            (Outcome::Appended(Ok(appender)), Some(open)) => {
                let appended = appender.appended();
                open.appender = Some(appender);
                Event::Appended(Ok(appended))
            }
            // Nobody knows what the head holds: it is dropped, and the next owner reads the bus again.
            (Outcome::Appended(Err(Lost(said))), Some(_)) => {
                let operation = "appending records";
                Event::Appended(Err(AggregatorError::Panicked { operation, place: place.clone(), said }))
            }
            (Outcome::Sealed(sealed), Some(open)) => {
                Event::Sealed(told(outages, place, Work::Seal, sealed).map(|(sealed, blocks)| {
                    blocks.into_iter().for_each(|(id, block)| open.store.blocks.insert(id, block));
                    sealed
                }))
            }
            (Outcome::Merged(merged), Some(open)) => {
                Event::Merged(told(outages, place, Work::Merge, merged).map(|written| written.map(|written| open.keep(written))))
            }
            (Outcome::Rewritten(rewritten), Some(open)) => {
                let rewritten = told(outages, place, Work::Merge, rewritten);
                Event::Rewritten(rewritten.map(|written| written.map(|written| open.keep(written))))
            }
            (Outcome::Opened(tried), Some(_)) => Event::Opened(tried),
            (Outcome::Prepared(Err(error)), Some(_)) => Event::Unpublishable(error),
            (Outcome::Prepared(Ok(prepared)), Some(open)) => {
                open.prepared = Some(Arc::new(prepared));
                self.publish();
                Event::Tick
            }
            (Outcome::Published(published), Some(_)) => Event::Published(told(outages, place, Work::Publish, published)),
            (Outcome::Collected(sightings, collected), Some(open)) => {
                open.sightings = Some(sightings);
                Event::Collected(told(outages, place, Work::Collect, collected))
            }
            (Outcome::Released(released), Some(_)) => {
                let _tried_again_by_the_next_seal = told(outages, place, Work::Release, released);
                Event::Tick
            }
            (Outcome::SharesCounted(counted), Some(_)) => Event::SharesCounted(told(outages, place, Work::CountShares, counted)),
            (_, None) => Event::Tick,
        }
    }
}

/// A command, or the turn that was asked for; never when the partition is not open. Cancel-safe: a command stays in its channel, and
/// the place in the queue for a turn where it is.
async fn given<E: Engine>(open: &mut Option<Open<E>>, takes_commands: bool) -> Event {
    let Some(Open { commands, waiting, turn, .. }) = open else { return std::future::pending().await };
    let turn_given = async {
        match waiting {
            Some(turn) => turn.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        given = turn_given => {
            (*waiting, *turn) = (None, Some(given));
            Event::MergeTurn
        }
        Some(command) = commands.recv(), if takes_commands => Event::Command(command),
    }
}
