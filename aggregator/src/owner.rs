//! A partition's task: takes records, decides when to seal, seals without stopping the taking, compacts, expires.
//!
//! Started by `group` when the partition is assigned; ends when its inbox closes or another owner has fenced it. Dropping
//! it at any point is a crash as far as the store is concerned, and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_bus::{Log, Record, TopicPartition};
use weir_model::panic_guard;
use weir_store::StoreError;
use weir_store::engine::Engine;

use crate::Clock;
use crate::budget::{Advice, Budget, HeadShare, Turn};
use crate::commit::{Committed, Committer, Work};
use crate::config::{AggregatorConfig, nanos};
use crate::partition::Partition;
use crate::steady::Steady;

/// Where the answer to an ask goes.
pub(crate) type Reply = oneshot::Sender<Result<Committed, String>>;

/// What the owner of a partition is asked to do.
pub(crate) enum Ask {
    /// Take these records, in offset order.
    Take(Vec<Record>),
    /// The bus begins at this offset: what lies before is lost.
    Lose(u64),
    /// Seal everything below this offset, which may not have arrived yet.
    Seal(u64, Reply),
    /// Merge everything mergeable.
    Compact(Reply),
    /// Delete everything that is too old, however much that is at once.
    Expire(Reply),
}

/// How often age and size of the head are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Work that failed is tried again after this long, twice as long each time up to the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

type Job<E> = JoinHandle<(Committer<E>, Work<E>, Result<Committed, StoreError>)>;

enum Publisher<E: Engine> {
    Idle(Committer<E>),
    Busy(Job<E>),
    /// The last work failed and is due again.
    Waiting(Committer<E>, Work<E>, Instant),
    /// Fenced, or its task was lost: this owner must end.
    Gone,
}

pub(crate) struct Owner<E: Engine> {
    place: TopicPartition,
    /// Absent only while a blocking thread has it.
    partition: Option<Partition<E>>,
    publisher: Publisher<E>,
    bus: Arc<dyn Log>,
    config: AggregatorConfig,
    /// For retention; everything else goes by the steady one.
    clock: Clock,
    steady: Steady,
    seals: Vec<(u64, Committed, Reply)>,
    compactions: Vec<(Committed, Reply)>,
    expiries: Vec<Reply>,
    /// Whether neighbours of one level are still to be merged.
    compaction_due: bool,
    budget: Arc<Budget>,
    /// Asked for and not yet given.
    waiting: Option<Turn>,
    /// Given and not yet used.
    turn: Option<OwnedSemaphorePermit>,
    share: HeadShare,
    /// What the other partitions need this one to do, as of the last look.
    advice: Advice,
    pause: Duration,
    ticked: Instant,
    /// When blocks that are not open are opened, or tried again.
    opening_due: Instant,
}

impl<E: Engine> Owner<E> {
    pub fn new(
        place: TopicPartition,
        partition: Partition<E>,
        committer: Committer<E>,
        bus: Arc<dyn Log>,
        config: AggregatorConfig,
        (clock, steady): (Clock, Steady),
        budget: &Arc<Budget>,
    ) -> Self {
        let publisher = Publisher::Idle(committer);
        let (seals, compactions, now) = (Vec::new(), Vec::new(), Instant::now());
        let partition = Some(partition);
        let (pause, ticked, opening_due) = (RETRY.0, now, now);
        Self {
            share: budget.share(place.clone()),
            budget: Arc::clone(budget),
            waiting: None,
            turn: None,
            advice: Advice::default(),
            compaction_due: false,
            expiries: Vec::new(),
            place,
            partition,
            publisher,
            bus,
            config,
            clock,
            steady,
            seals,
            compactions,
            pause,
            ticked,
            opening_due,
        }
    }

    /// Until the inbox closes. Errors with a sentence when this owner has lost its partition.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) -> Result<(), String> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let bytes = self.taken().head_bytes();
            self.advice = self.share.report(bytes);
            let full = bytes.active >= self.config.head_max.to_usize() && !matches!(self.publisher, Publisher::Idle(_));
            let full = full || self.advice.wait;
            tokio::select! {
                biased;
                finished = finish(&mut self.publisher) => self.finished(finished).await?,
                turn = given(&mut self.waiting) => (self.waiting, self.turn) = (None, Some(turn)),
                ask = inbox.recv(), if !full => match ask {
                    Some(ask) => self.ask(ask).await?,
                    None => break,
                },
                _ = look.tick() => {}
            }
            self.start_work();
        }
        self.abandon();
        Ok(())
    }

    fn taken(&mut self) -> &mut Partition<E> {
        self.partition.as_mut().expect("invariant: the partition is back before anything else runs")
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), String> {
        match ask {
            Ask::Take(records) => self.take(records).await?,
            Ask::Lose(first) => {
                let now = self.steady.now();
                self.taken().lose(first, now);
            }
            Ask::Seal(upto, reply) => self.seals.push((upto, Committed::default(), reply)),
            Ask::Expire(reply) => self.expiries.push(reply),
            Ask::Compact(reply) => self.compactions.push((Committed::default(), reply)),
        }
        Ok(())
    }

    /// Decoding and inserting a record takes milliseconds: off the async threads.
    async fn take(&mut self, records: Vec<Record>) -> Result<(), String> {
        let (Some(mut partition), now) = (self.partition.take(), self.steady.now()) else { return Ok(()) };
        let taken = tokio::task::spawn_blocking(move || {
            // After a panic nobody knows what the head holds: it is dropped, and the next owner reads the bus again.
            panic_guard::catch(|| {
                records.iter().for_each(|record| partition.take(record, now));
                partition
            })
        });
        let failed = |error: String| format!("taking records of {}: {error}", self.place);
        let taken = taken.await.map_err(|error| failed(error.to_string()))?;
        self.partition = Some(taken.map_err(|said| failed(format!("it panicked: {said}")))?);
        Ok(())
    }

    fn start_work(&mut self) {
        self.answer_seals();
        let publisher = std::mem::replace(&mut self.publisher, Publisher::Gone);
        self.publisher = match publisher {
            Publisher::Idle(committer) => match self.next_work(committer.has_closed()) {
                Some(work) => Publisher::Busy(start(committer, work)),
                None => Publisher::Idle(committer),
            },
            Publisher::Waiting(committer, work, due) if due <= Instant::now() => Publisher::Busy(start(committer, work)),
            other => other,
        };
    }

    fn next_work(&mut self, has_closed: bool) -> Option<Work<E>> {
        let (wall, now) = ((self.clock)(), self.steady.now());
        let wanted = self.seals.iter().any(|(upto, ..)| *upto <= self.partition.as_ref().map_or(0, Partition::next_offset));
        let (config, advised) = (self.config.clone(), self.advice.seal);
        let partition = self.taken();
        let age = partition.head_since().map_or(0, |since| now.saturating_sub(since));
        // A head that holds nothing but an offset is sealed by age as well: the bus waits for it.
        let old = age >= nanos(config.head_age_max);
        let due = wanted || old || advised || partition.head_bytes().active >= config.head_max.to_usize();
        if let Some(cut) = due.then(|| partition.cut(now)).flatten() {
            return Some(Work::Seal(cut));
        }
        if has_closed && self.opening_due <= Instant::now() {
            self.opening_due = Instant::now() + config.tick;
            return Some(Work::Open);
        }
        if self.ticked.elapsed() >= config.tick {
            self.ticked = Instant::now();
            return Some(Work::Expire { now: wall, all: false });
        }
        if !self.expiries.is_empty() {
            return Some(Work::Expire { now: wall, all: true });
        }
        if self.compaction_due || !self.compactions.is_empty() {
            // While others merge, this one goes on sealing.
            if let Some(turn) = self.turn.take() {
                return Some(Work::Compact { all: !self.compactions.is_empty(), _turn: turn });
            }
            self.waiting.get_or_insert_with(|| self.budget.turn());
        }
        None
    }

    async fn finished(&mut self, finished: Finished<E>) -> Result<(), String> {
        let Some((committer, work, result)) = finished else {
            return Err(format!("the commit of {:?} was lost", self.place));
        };
        match (result, work) {
            (Ok(committed), work) => {
                self.pause = RETRY.0;
                self.publisher = Publisher::Idle(committer);
                self.committed(committed, &work).await;
                Ok(())
            }
            (Err(error @ StoreError::Fenced { .. }), _) => {
                self.publisher = Publisher::Gone;
                Err(error.to_string())
            }
            (Err(error), work) => {
                tracing::warn!(topic = self.place.topic, partition = self.place.partition, %error, "a commit failed and will be tried again");
                committer.count_failure();
                self.refuse(&work, &error);
                self.publisher = match work {
                    Work::Seal(_) => Publisher::Waiting(committer, work, Instant::now() + self.pause),
                    Work::Open | Work::Compact { .. } | Work::Expire { .. } => Publisher::Idle(committer),
                };
                self.pause = (self.pause * 2).min(RETRY.1);
                Ok(())
            }
        }
    }

    async fn committed(&mut self, committed: Committed, work: &Work<E>) {
        match work {
            Work::Seal(cut) => {
                for (_, sum, _) in &mut self.seals {
                    *sum += committed;
                }
                if let Err(error) = self.bus.release(&self.place, cut.next_offset).await {
                    tracing::warn!(topic = self.place.topic, partition = self.place.partition, %error, "releasing sealed offsets failed");
                }
            }
            Work::Open => {}
            // One run at a time: seals come between.
            Work::Compact { .. } if committed.blocks > 0 => {
                for (sum, _) in &mut self.compactions {
                    *sum += committed;
                }
            }
            Work::Compact { all, .. } => {
                self.compaction_due = false;
                for (sum, reply) in if *all { std::mem::take(&mut self.compactions) } else { Vec::new() } {
                    let _asker_left = reply.send(Ok(sum));
                }
            }
            Work::Expire { all, .. } => {
                self.compaction_due = true;
                for reply in if *all { std::mem::take(&mut self.expiries) } else { Vec::new() } {
                    let _asker_left = reply.send(Ok(committed));
                }
            }
        }
    }

    /// Who asked for it hears of it, and may ask again.
    fn refuse(&mut self, work: &Work<E>, error: &StoreError) {
        if matches!(work, Work::Expire { all: true, .. }) {
            for reply in self.expiries.drain(..) {
                let _asker_left = reply.send(Err(error.to_string()));
            }
        }
        if matches!(work, Work::Compact { .. }) {
            self.compaction_due = false;
            for (_, reply) in self.compactions.drain(..) {
                let _asker_left = reply.send(Err(error.to_string()));
            }
        }
    }

    /// Answers those whose offset is sealed.
    fn answer_seals(&mut self) {
        let sealed = self.taken().sealed();
        for (upto, committed, reply) in std::mem::take(&mut self.seals) {
            if upto <= sealed {
                let _asker_left = reply.send(Ok(committed));
            } else {
                self.seals.push((upto, committed, reply));
            }
        }
    }

    fn abandon(&mut self) {
        if let Publisher::Busy(job) = &self.publisher {
            job.abort();
        }
    }
}

type Finished<E> = Option<(Committer<E>, Work<E>, Result<Committed, StoreError>)>;

fn start<E: Engine>(mut committer: Committer<E>, work: Work<E>) -> Job<E> {
    tokio::spawn(async move {
        let result = committer.run(&work).await;
        (committer, work, result)
    })
}

/// The turn that was asked for; never when none was. Cancel-safe: the place in the queue stays where it is.
async fn given(waiting: &mut Option<Turn>) -> OwnedSemaphorePermit {
    match waiting {
        Some(turn) => turn.await,
        None => std::future::pending().await,
    }
}

/// The end of the job that runs; never when none does. Cancel-safe: the handle stays where it is.
async fn finish<E: Engine>(publisher: &mut Publisher<E>) -> Finished<E> {
    match publisher {
        Publisher::Busy(job) => job.await.ok(),
        Publisher::Gone => None,
        Publisher::Idle(_) | Publisher::Waiting(..) => std::future::pending().await,
    }
}
