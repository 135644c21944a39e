//! What is done for each effect of the machine.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_blocks::engine::Engine;
use weir_blocks::manifest::{BlockEntry, Manifest, OpenBlocks, Sightings};
use weir_bus::Record;
use weir_model::time::UnixNanos;

use super::blocks::BlockStore;
use super::claim::claim;
use super::work::Work;
use super::{Open, Outcome, Shell};
use crate::AggregatorError;
use crate::append::Appender;
use crate::dedup::{DedupLimits, DedupState};
use crate::live::LivePartition;
use crate::machine::{Count, Effect, Event, Expired, ExpiryReason, How, Shares, Shown};
use crate::metrics::ExpiredLabels;
use crate::owners::GroupRequest;
use crate::pool::Class;

/// Batches that wait for a partition: enough to keep it busy, few enough to bound memory.
const COMMANDS: usize = 4;

impl<E: Engine> Shell<E> {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Claim => self.claim(),
            Effect::Serve(shown) => self.serve(shown).await,
            Effect::Append(records, now) => self.append(records, now),
            Effect::TrimLost(first, now) => self.trim_lost(first, now).await,
            Effect::Seal { manifest, now } => self.seal(manifest, now),
            Effect::ForgetBefore => self.forget_before(),
            Effect::AskMergeTurn => self.ask_merge_turn(),
            Effect::EndMergeTurn => self.end_merge_turn(),
            Effect::Merge(run) => self.merge(run),
            Effect::Rewrite { entry, how } => self.rewrite(entry, how),
            Effect::Open(entries) => self.open_blocks(entries),
            Effect::Publish { version, manifest } => self.prepare(version, manifest),
            Effect::PublishAgain => self.publish(),
            Effect::Show(shown) => self.show(shown),
            Effect::Collect { version } => self.collect(version),
            Effect::Release(offset) => self.release(offset),
            Effect::CountShares(entries) => self.count_shares(entries),
            Effect::Answer(reply, answer) => {
                let _nobody_waits = reply.send(answer);
            }
            Effect::Count(count) => self.count(count),
            Effect::NeverFiner(tenants) => warn_of_ages(&tenants),
            Effect::ClaimLater(reason) => self.group.send(GroupRequest::Close { reason }).await,
            Effect::GiveUp { reason, pause } => {
                let (topic, partition) = (&self.group.place.topic, self.group.place.partition);
                tracing::error!(topic, partition, reason, ?pause, "a partition is not served; trying again");
                self.stop();
                self.group.send(GroupRequest::Close { reason }).await;
            }
            Effect::Stop => self.stop(),
        }
    }

    fn claim(&mut self) {
        let (place, dependencies, manifests) =
            (self.group.place.clone(), Arc::clone(&self.deps.dependencies), self.manifests.clone());
        self.jobs
            .spawn(async move { Outcome::Claimed(claim(&place, &*dependencies.bus, &manifests, &dependencies.member).await) });
    }

    async fn serve(&mut self, shown: Shown) {
        let deps = &self.deps;
        let (place, limits) = (&self.group.place, DedupLimits::of(&deps.config));
        let (manifest, metrics) = (Arc::clone(&shown.manifest), deps.dependencies.metrics.clone());
        let dedup = DedupState::new(limits, &manifest);
        let next_offset = manifest.next_offset;
        let live = Arc::new(LivePartition::new(place.partition, shown.version, manifest, deps.engine.head()));
        let store = Arc::new(BlockStore {
            place: place.clone(),
            engine: Arc::clone(&deps.engine),
            manifests: self.manifests.clone(),
            blocks: OpenBlocks::new(Arc::clone(&deps.engine), self.manifests.clone(), deps.dependencies.cache.clone()),
            budget: Arc::clone(&deps.budget),
            pool: Arc::clone(&deps.pool),
            dedup_limits: limits,
        });
        let (tx, commands) = mpsc::channel(COMMANDS);
        let (engine, partitions) = (Arc::clone(&deps.engine), Arc::clone(&deps.partitions));
        let appender = Appender::new(engine, Arc::clone(&live), Arc::clone(&partitions), dedup, metrics);
        self.open = Some(Open {
            live: Arc::clone(&live),
            store,
            commands,
            appender: Some(Box::new(appender)),
            cut: None,
            prepared: None,
            version: shown.version,
            waiting: None,
            turn: None,
            sightings: Some(Sightings::default()),
        });
        // Before anybody sees it: until its blocks are open, answers say so.
        self.show(shown);
        let show = Box::new(move || partitions.insert(live));
        self.group.send(GroupRequest::Open { next_offset, commands: tx, show }).await;
    }

    fn append(&mut self, records: Vec<Record>, now: UnixNanos) {
        let Some(open) = &mut self.open else { return };
        let Some(mut appender) = open.appender.take() else { return };
        let pool = Arc::clone(&self.deps.pool);
        self.jobs.spawn(async move {
            let appended = pool.run(Class::Append, move || {
                records.iter().for_each(|record| appender.append(record, now));
                appender
            });
            Outcome::Appended(appended.await)
        });
    }

    async fn trim_lost(&mut self, first: u64, now: UnixNanos) {
        let Some(appender) = self.open.as_mut().and_then(|open| open.appender.as_mut()) else { return };
        appender.record_loss(first, now);
        let (topic, partition) = (&self.group.place.topic, self.group.place.partition);
        tracing::error!(topic, partition, first, "the bus no longer has offsets that were not sealed");
        self.follow_ups.push_back(Event::Appended(Ok(appender.appended())));
        self.group.send(GroupRequest::Seek(first)).await;
    }

    fn seal(&mut self, manifest: Arc<Manifest>, now: UnixNanos) {
        let Some(open) = &mut self.open else { return };
        if open.cut.is_none() {
            open.cut = open.appender.as_mut().map(|appender| Arc::new(appender.cut(now)));
        }
        let (Some(cut), store) = (open.cut.clone(), Arc::clone(&open.store)) else { return };
        self.jobs.spawn(async move { Outcome::Sealed(store.seal(&cut, &manifest).await) });
    }

    fn forget_before(&mut self) {
        if let Some(appender) = self.open.as_mut().and_then(|open| open.appender.as_mut()) {
            appender.forget_before();
        }
    }

    fn ask_merge_turn(&mut self) {
        if let Some(open) = &mut self.open {
            open.waiting = Some(self.deps.budget.turn());
        }
    }

    fn end_merge_turn(&mut self) {
        if let Some(open) = &mut self.open {
            (open.waiting, open.turn) = (None, None);
        }
    }

    fn merge(&mut self, run: Vec<BlockEntry>) {
        let Some(open) = &mut self.open else { return };
        let blocks = run.iter().filter_map(|entry| open.store.blocks.get(&entry.id)).collect();
        let store = Arc::clone(&open.store);
        self.jobs.spawn(async move { Outcome::Merged(store.merge(&run, blocks).await) });
    }

    fn rewrite(&mut self, entry: BlockEntry, how: How) {
        let Some(open) = &mut self.open else { return };
        let (store, block) = (Arc::clone(&open.store), open.store.blocks.get(&entry.id));
        self.jobs.spawn(async move { Outcome::Rewritten(store.rewrite(&entry, block, how).await) });
    }

    fn open_blocks(&mut self, entries: Vec<BlockEntry>) {
        let Some(open) = &self.open else { return };
        let store = Arc::clone(&open.store);
        self.jobs.spawn(async move { Outcome::Opened(store.blocks.open_all(&entries.iter().collect::<Vec<_>>()).await) });
    }

    /// Encodes a version; it is published when that has ended.
    fn prepare(&mut self, version: u64, manifest: Arc<Manifest>) {
        let Some(open) = &self.open else { return };
        let (store, manifests) = (Arc::clone(&open.store), self.manifests.clone());
        self.jobs.spawn(async move {
            let prepare = move || manifests.prepare(version, &manifest);
            Outcome::Prepared(store.work(Class::Seal, "encode a manifest", prepare).await)
        });
    }

    pub(super) fn publish(&mut self) {
        let Some(prepared) = self.open.as_ref().and_then(|open| open.prepared.clone()) else { return };
        let manifests = self.manifests.clone();
        self.jobs.spawn(async move { Outcome::Published(manifests.publish_prepared(&prepared).await.map_err(Into::into)) });
    }

    /// Gives readers a version's blocks. The head that was sealed leaves in the instant in which its blocks enter.
    fn show(&mut self, shown: Shown) {
        let Some(open) = &mut self.open else { return };
        let Shown { version, manifest, missing } = shown;
        if version > open.version {
            // What was written lately is named by this version.
            open.store.blocks.retain([&*manifest]);
            (open.version, open.prepared) = (version, None);
        }
        let blocks = open.store.blocks.views(&manifest);
        let real = manifest.blocks.iter().filter(|entry| !entry.quarantine);
        real.map(|entry| entry.summary.last).max().into_iter().for_each(|newest| self.deps.budget.stored(newest));
        open.cut.take_if(|cut| cut.next_offset <= manifest.next_offset);
        let mut snapshot = open.live.snapshot.write();
        if manifest.next_offset > snapshot.manifest.next_offset {
            snapshot.frozen = None;
        }
        (snapshot.version, snapshot.manifest, snapshot.blocks, snapshot.missing) = (version, manifest, blocks, missing);
    }

    fn collect(&mut self, version: u64) {
        let Some(mut sightings) = self.open.as_mut().and_then(|open| open.sightings.take()) else { return };
        let (manifests, grace, passed) = (self.manifests.clone(), self.deps.config.garbage_age_min, self.begun.elapsed());
        self.jobs.spawn(async move {
            let collected = manifests.collect(version, &mut sightings, passed, grace).await;
            Outcome::Collected(sightings, collected.map(drop).map_err(Into::into))
        });
    }

    fn release(&mut self, offset: u64) {
        let (place, dependencies) = (self.group.place.clone(), Arc::clone(&self.deps.dependencies));
        self.jobs.spawn(async move {
            Outcome::Released(dependencies.bus.release(&place, offset).await.map_err(AggregatorError::from))
        });
    }

    fn count_shares(&mut self, entries: Vec<BlockEntry>) {
        let Some(open) = &self.open else { return };
        let (store, bus) = (Arc::clone(&open.store), Arc::clone(&self.deps.dependencies.bus));
        self.jobs.spawn(async move {
            let counted = async {
                let partitions = bus.partitions(&store.place.topic).await?;
                Ok::<_, AggregatorError>(Shares { partitions, blocks: store.shares(entries).await? })
            };
            Outcome::SharesCounted(counted.await)
        });
    }

    fn count(&self, count: Count) {
        let (metrics, labels) = (&self.deps.dependencies.metrics, &self.labels);
        match count {
            Count::Failure => drop(metrics.failures.get_or_create(labels).inc()),
            Count::Sealed { blocks, quarantined_late } => {
                metrics.sealed.get_or_create(labels).inc_by(blocks);
                // Counted when it is known that they are kept; those that could not be decoded were when they were appended.
                metrics.quarantined.get_or_create(labels).inc_by(quarantined_late);
            }
            Count::Expired(Expired { reason, committed, bytes }) => {
                let reason = match reason {
                    ExpiryReason::Age => "age",
                    ExpiryReason::Bytes => "bytes",
                };
                let labels = ExpiredLabels { topic: labels.topic.clone(), partition: labels.partition, reason };
                metrics.expired_blocks.get_or_create(&labels).inc_by(committed.blocks);
                metrics.expired_records.get_or_create(&labels).inc_by(committed.records);
                metrics.expired_bytes.get_or_create(&labels).inc_by(bytes);
            }
            Count::Downsampled { records, left } => {
                metrics.downsampled_records.get_or_create(labels).inc_by(records.saturating_sub(left));
            }
            Count::Deleted(records) => drop(metrics.deleted_records.get_or_create(labels).inc_by(records)),
            Count::Held(held) => {
                if held > 0 {
                    tracing::warn!(
                        topic = labels.topic,
                        partition = labels.partition,
                        held,
                        "more blocks are too old than time can have aged; they go by and by, or now by `weir admin expire`"
                    );
                }
                metrics.held.get_or_create(labels).set(i64::try_from(held).unwrap_or(i64::MAX));
            }
        }
    }

    /// As a crash would: what is under way may still reach the store, and the next owner fences it.
    fn stop(&mut self) {
        for work in Work::ALL {
            self.deps.dependencies.metrics.outages.ended(work.target(), work.of(&self.group.place));
        }
        (self.jobs, self.open) = (JoinSet::new(), None);
    }
}

/// Names a few: there may be as many as tenants.
fn warn_of_ages(tenants: &[String]) {
    let others = |tenant: &String| if tenant.is_empty() { "all others".to_owned() } else { format!("{tenant:?}") };
    let some: Vec<String> = tenants.iter().take(5).map(others).collect();
    let (some, count) = (some.join(", "), tenants.len());
    tracing::warn!(
        tenants = some,
        count,
        "samples never have a resolution of 5 minutes: with aggregator.downsampling, resolution_1h_after is no longer than resolution_5m_after"
    );
}
