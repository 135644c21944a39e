//! A process that owns the partition, or believes so: does in the model what the machine says.

use rand::RngExt;
use weir_blocks::StoreError;
use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{BlockEntry, Manifest, NewBlock, Opened};
use weir_bus::Record;
use weir_model::label::Labels;

use super::world::{Store, World};
use crate::AggregatorError;
use crate::config::AggregatorConfig;
use crate::machine::tests::{fenced, rules, store_fails};
use crate::machine::{Appended, Claimed, Effect, Event, How, Machine, OwnerCommand, Rules, Sealed, Shares, Shown};

pub(super) enum Job {
    Claim { version: u64, manifest: Manifest, nonce: u64 },
    Append(Vec<Record>, i64),
    Seal,
    Merge(Vec<BlockEntry>),
    Rewrite(BlockEntry, How),
    Open(Vec<BlockEntry>),
    CountShares(Vec<BlockEntry>),
    Publish,
    Collect(u64),
    Turn,
}

/// A head that is being sealed.
#[derive(Clone)]
pub(super) struct Frozen {
    next_offset: u64,
    records: Vec<u64>,
    losses: Vec<(u64, u64)>,
}

pub(super) struct Owner {
    pub(super) machine: Machine,
    pub(super) assigned: bool,
    pub(super) jobs: Vec<Job>,
    /// Of an open partition: the bus's position, the heads, losses since the last cut.
    pub(super) position: Option<u64>,
    pub(super) indexed: u64,
    pub(super) active: Vec<u64>,
    pub(super) losses: Vec<(u64, u64)>,
    pub(super) since: Option<i64>,
    pub(super) frozen: Option<Frozen>,
    pub(super) prepared: Option<(u64, Manifest, u64)>,
    pub(super) turn: bool,
    pub(super) shown: u64,
}

impl Owner {
    pub(super) fn new(rules: &Rules) -> Self {
        let (jobs, active, losses) = (Vec::new(), Vec::new(), Vec::new());
        let (machine, position, frozen, prepared) = (Machine::new(rules.clone()), None, None, None);
        Self {
            machine,
            assigned: false,
            jobs,
            position,
            indexed: 0,
            active,
            losses,
            since: None,
            frozen,
            prepared,
            turn: false,
            shown: 0,
        }
    }

    pub(super) fn step(&mut self, world: &mut World, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.machine.step(world.now, event) {
                events.extend(self.carry_out(world, effect));
            }
        }
    }

    fn carry_out(&mut self, world: &mut World, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Claim => {
                let (version, mut manifest) = world.newest();
                manifest.epoch += 1;
                self.jobs.push(Job::Claim { version: version + 1, manifest, nonce: world.number() });
            }
            Effect::Serve(shown) => {
                world.seen.insert("opening");
                self.shown = shown.version;
                (self.position, self.indexed) = (Some(shown.manifest.next_offset), shown.manifest.next_offset);
            }
            Effect::Append(records, now) => self.jobs.push(Job::Append(records, now)),
            Effect::TrimLost(first, now) => {
                world.seen.insert("bus forgot");
                if first > self.indexed {
                    self.losses.push((self.indexed, first));
                    self.indexed = first;
                    self.since.get_or_insert(now);
                }
                self.position = Some(first);
                return Some(self.appended());
            }
            Effect::Seal { manifest, .. } => self.freeze(&manifest),
            Effect::ForgetBefore => assert!(self.active.is_empty() && self.frozen.is_none() && self.since.is_none()),
            Effect::AskMergeTurn => self.jobs.push(Job::Turn),
            Effect::EndMergeTurn => self.turn = false,
            Effect::Merge(run) => {
                assert!(self.turn && run.len() >= 2, "merges in its turn");
                self.jobs.push(Job::Merge(run));
            }
            Effect::Rewrite { entry, how } => {
                assert!(self.turn, "rewrites in its turn");
                self.jobs.push(Job::Rewrite(entry, how));
            }
            Effect::Open(entries) => self.jobs.push(Job::Open(entries)),
            Effect::CountShares(entries) => self.jobs.push(Job::CountShares(entries)),
            Effect::Publish { version, manifest } => {
                self.prepared = Some((version, Manifest::clone(&manifest), world.number()));
                self.jobs.push(Job::Publish);
            }
            Effect::PublishAgain => {
                world.seen.insert("publish unknown");
                self.jobs.push(Job::Publish);
            }
            Effect::Show(shown) => self.show(&shown),
            Effect::Collect { version } => self.jobs.push(Job::Collect(version)),
            Effect::Release(offset) => {
                assert!(offset <= world.newest().1.next_offset, "what is not sealed is released");
                world.first = world.first.max(offset);
            }
            // Its client hears of it, or has gone.
            Effect::Answer(reply, answer) => drop(reply.send(answer)),
            Effect::Count(_) | Effect::NeverFiner(_) => {}
            Effect::ClaimLater(_) => assert!(self.jobs.is_empty(), "nothing goes on without a claim"),
            Effect::GiveUp { .. } => self.stop(world),
            Effect::Stop => {
                world.seen.insert("revoked");
                self.stop(world);
            }
        }
        None
    }

    fn freeze(&mut self, manifest: &Manifest) {
        if self.frozen.is_none() {
            let (records, losses) = (std::mem::take(&mut self.active), std::mem::take(&mut self.losses));
            self.since = None;
            self.frozen = Some(Frozen { next_offset: self.indexed, records, losses });
        }
        let is_new = self.frozen.as_ref().is_some_and(|frozen| frozen.next_offset > manifest.next_offset);
        assert!(is_new, "nothing is sealed twice");
        self.jobs.push(Job::Seal);
    }

    fn show(&mut self, shown: &Shown) {
        assert!(shown.version >= self.shown, "readers go back");
        self.shown = shown.version;
        self.frozen.take_if(|frozen| frozen.next_offset <= shown.manifest.next_offset);
        let heads = self.active.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.records.len());
        let lost = self.losses.iter().chain(self.frozen.iter().flat_map(|frozen| &frozen.losses));
        let lost: u64 = lost.map(|(first, next)| next - first).sum();
        assert_eq!(shown.manifest.next_offset + heads as u64 + lost, self.indexed, "readers see each record once");
    }

    /// As a crash: a request that is on its way may still arrive.
    fn stop(&mut self, world: &mut World) {
        for job in std::mem::take(&mut self.jobs) {
            let late = match job {
                Job::Claim { version, manifest, nonce } => Some((version, manifest, nonce)),
                Job::Publish => self.prepared.take(),
                _ => None,
            };
            if let Some((version, manifest, nonce)) = late
                && world.chance(50)
                && world.newest().0 < version
            {
                let _nobody_hears = world.create(version, &manifest, nonce);
            }
        }
        (self.position, self.frozen, self.prepared, self.turn) = (None, None, None, false);
        (self.active, self.losses, self.since) = (Vec::new(), Vec::new(), None);
    }

    fn appended(&self) -> Event {
        Event::Appended(Ok(Appended { indexed_offset: self.indexed, since: self.since, bytes: self.active.len() }))
    }

    /// One of its jobs ends, if the store lets it.
    pub(super) fn end_job(&mut self, world: &mut World) {
        if self.jobs.is_empty() {
            return;
        }
        let at = world.random.random_range(0..self.jobs.len());
        let asks_store = !matches!(self.jobs[at], Job::Append(..) | Job::Turn);
        if asks_store && world.store == Store::Silent {
            world.seen.insert("store silent");
            return;
        }
        let fails = asks_store && world.chance(10);
        let full = world.store == Store::Full;
        let event = match self.jobs.swap_remove(at) {
            Job::Claim { version, manifest, nonce } => {
                let created = world.create(version, &manifest, nonce);
                if created.is_err() {
                    world.seen.insert("not opened");
                }
                Event::Claimed(created.map(|()| Claimed { version, manifest }))
            }
            Job::Append(records, now) => self.append(world, &records, now),
            Job::Seal if full => {
                world.seen.insert("disk full");
                Event::Sealed(Err(store_fails()))
            }
            Job::Rewrite(..) if full => Event::Rewritten(Err(store_fails())),
            Job::Rewrite(entry, How::Without { hidden, .. }) => Self::rewritten(world, &entry, &hidden, fails),
            Job::Rewrite(entry, How::Downsampled { resolutions, age }) => {
                Self::downsampled(world, entry, resolutions.of("t", age), fails)
            }
            Job::Merge(_) if full => Event::Merged(Err(store_fails())),
            Job::Seal => self.sealed(world, fails),
            Job::Merge(run) => Self::merged(world, &run, fails),
            Job::Open(entries) => Event::Opened(open(world, entries)),
            Job::CountShares(_) if fails => {
                world.seen.insert("shares not told");
                Event::SharesCounted(Err(store_fails()))
            }
            Job::CountShares(entries) => Event::SharesCounted(Ok(shares(&entries))),
            Job::Publish => {
                let Some((version, manifest, nonce)) = self.prepared.clone() else { panic!("nothing is prepared") };
                let created = world.create(version, &manifest, nonce);
                if created.as_ref().is_err_and(AggregatorError::is_fenced) {
                    world.seen.insert("fenced");
                }
                Event::Published(created)
            }
            Job::Collect(version) if world.newest().0 != version => Event::Collected(Err(fenced())),
            Job::Collect(_) => {
                world.seen.insert("collecting");
                Event::Collected(if fails { Err(store_fails()) } else { Ok(()) })
            }
            Job::Turn => {
                self.turn = true;
                Event::MergeTurn
            }
        };
        self.step(world, event);
    }

    fn append(&mut self, world: &mut World, records: &[Record], now: i64) -> Event {
        if world.chance(1) {
            world.seen.insert("work lost");
            let place = rules(AggregatorConfig::default()).place;
            return Event::Appended(Err(AggregatorError::Panicked { operation: "appending", place, said: "no".into() }));
        }
        self.since.get_or_insert(now);
        world.seen.insert("appending");
        let new = records.iter().map(|record| record.offset).filter(|offset| *offset >= self.indexed);
        self.active.extend(new);
        self.indexed = self.indexed.max(records.last().map_or(0, |record| record.offset + 1));
        self.appended()
    }

    fn sealed(&self, world: &mut World, fails: bool) -> Event {
        world.seen.insert("sealing");
        if fails {
            let unsealable = world.chance(50);
            world.seen.insert(if unsealable { "unsealable" } else { "seal failed" });
            let engine = StoreError::Engine { operation: "build", detail: "no".into() };
            return Event::Sealed(Err(if unsealable { engine.into() } else { store_fails() }));
        }
        let Some(Frozen { next_offset, records, losses }) = self.frozen.clone() else { panic!("nothing is frozen") };
        let first = records.first().copied().unwrap_or(next_offset);
        let entries = if records.is_empty() { Vec::new() } else { vec![world.block(records, (first, next_offset), 0)] };
        Event::Sealed(Ok(Sealed { entries, next_offset, losses, ..Sealed::default() }))
    }

    fn merged(world: &mut World, run: &[BlockEntry], fails: bool) -> Event {
        world.seen.insert("compacting");
        if fails {
            world.seen.insert("unmergeable");
            return Event::Merged(Err(StoreError::Corrupt { path: run[0].id.clone(), detail: "no".into() }.into()));
        }
        if world.chance(10) {
            world.seen.insert("no fewer blocks");
            return Event::Merged(Ok(None));
        }
        let offsets = run.iter().flat_map(|entry| world.contents[&entry.id].clone()).collect();
        let NewBlock { first_offset, next_offset, level, .. } = NewBlock::of_run(run);
        let mut merged = world.block(offsets, (first_offset, next_offset), level);
        merged.summary.resolution = run[0].summary.resolution;
        assert!(run.iter().all(|entry| entry.summary.resolution == run[0].summary.resolution), "one resolution in a merge");
        Event::Merged(Ok(Some(vec![merged])))
    }

    fn rewritten(world: &mut World, entry: &BlockEntry, without: &Hidden, fails: bool) -> Event {
        world.seen.insert("rewriting");
        if fails {
            return Event::Rewritten(Err(store_fails()));
        }
        // In the model a record's time is its offset.
        let (rows, offsets) = (without.of("t", &Labels::EMPTY), world.contents[&entry.id].clone());
        let left: Vec<u64> = offsets.iter().copied().filter(|offset| !rows.has(*offset as i64, b"")).collect();
        if left.len() == offsets.len() {
            world.seen.insert("nothing deleted");
            return Event::Rewritten(Ok(None));
        }
        // Too rare in a few thousand schedules to be asked for of each kind.
        if left.is_empty() {
            return Event::Rewritten(Ok(Some(Vec::new())));
        }
        let mut block = world.block(left, (entry.first_offset, entry.next_offset), entry.level);
        block.summary.resolution = entry.summary.resolution;
        Event::Rewritten(Ok(Some(vec![block])))
    }

    /// In the model a block has its offsets whatever its resolution.
    fn downsampled(world: &mut World, entry: BlockEntry, resolution: u32, fails: bool) -> Event {
        if fails {
            return Event::Rewritten(Err(store_fails()));
        }
        if entry.summary.resolution >= resolution {
            return Event::Rewritten(Ok(None));
        }
        world.seen.insert("downsampling");
        let offsets = world.contents[&entry.id].clone();
        let mut block = world.block(offsets, (entry.first_offset, entry.next_offset), entry.level);
        (block.summary.resolution, block.summary.last) = (resolution, entry.summary.last);
        Event::Rewritten(Ok(Some(vec![block])))
    }

    pub(super) fn read(&mut self, world: &mut World) {
        let Some(position) = self.position.filter(|_| self.machine.takes_commands(world.now)) else { return };
        let command = if position < world.first {
            OwnerCommand::OutOfRange { wanted: position, first: world.first, next: world.next }
        } else {
            let end = world.next.min(position + world.random.random_range(1..5));
            if end == position {
                return;
            }
            self.position = Some(end);
            let place = rules(AggregatorConfig::default()).place;
            let record = |offset| Record { place: place.clone(), offset, value: Default::default() };
            OwnerCommand::Append((position..end).map(record).collect())
        };
        self.step(world, Event::Command(command));
    }
}

/// Half is another tenant's; what is left of a block without the first is nothing all the same, which the model counts.
fn shares(entries: &[BlockEntry]) -> Shares {
    let half = |entry: &BlockEntry| [("t".into(), entry.size / 2), ("u".into(), entry.size / 2)].into();
    let blocks = entries.iter().map(|entry| (entry.id.clone(), half(entry)));
    Shares { partitions: 1, blocks: blocks.collect() }
}

fn open(world: &mut World, entries: Vec<BlockEntry>) -> Opened {
    let mut tried = Opened::default();
    for entry in entries {
        if world.chance(3) {
            world.seen.insert("store failed at a block");
            tried.stopped = Some((entry.id, "no".into()));
            break;
        } else if world.chance(10) {
            world.seen.insert("block not opened");
            tried.failed.insert(entry.id, "no".into());
        } else {
            tried.opened.push(entry.id);
        }
    }
    tried
}
