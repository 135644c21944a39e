//! Events in, effects out.

use std::time::Duration;

use tokio::sync::oneshot;
use weir_blocks::StoreError;
use weir_blocks::engine::{BlockCost, BlockSummary};
use weir_blocks::manifest::{BlockEntry, Manifest, Opened};
use weir_blocks::periods::TenantPeriods;
use weir_blocks::resolutions::TenantResolutions;
use weir_bus::{Record, TopicPartition};
use weir_model::config::ByteSize;
use weir_model::limits::Limits;
use weir_model::wire::Kind;

mod byte_limit;
mod deletions;
mod downsampling;

use super::*;
use crate::AggregatorError;
use crate::budget::Advice;
use crate::byte_limit::ByteLimits;

pub(super) fn rules(config: AggregatorConfig) -> Rules {
    let place = TopicPartition { topic: "weir.logs".into(), partition: 0 };
    let periods = TenantPeriods::new(Limits::default(), Kind::Logs, config.retention(Kind::Logs));
    let byte_limits = ByteLimits::new(Limits::default(), Kind::Logs);
    let resolutions = TenantResolutions::new(Limits::default(), Kind::Logs, [Duration::ZERO; 2]);
    let merge_cost = BlockCost { fixed: 0, per_byte: 1, per_raw_kib: 0 };
    let run_bytes_max = config.run_bytes_max(Kind::Logs);
    Rules { place, merge_cost, run_bytes_max, config, periods, byte_limits, resolutions }
}

pub(super) fn fenced() -> AggregatorError {
    StoreError::Fenced { kind: "logs", partition: 0, epoch: 9 }.into()
}

pub(super) fn store_fails() -> AggregatorError {
    let source = object_store::Error::Generic { store: "test", source: "not now".into() };
    StoreError::Object { operation: "create", path: "p".into(), source }.into()
}

fn entry(id: &str, first_offset: u64, next_offset: u64) -> BlockEntry {
    let summary = BlockSummary { records: next_offset - first_offset, ..BlockSummary::default() };
    BlockEntry { id: id.into(), size: 10, first_offset, next_offset, summary, ..BlockEntry::default() }
}

/// A manifest of version 1 with these blocks.
fn claimed(blocks: Vec<BlockEntry>) -> Event {
    let next_offset = blocks.last().map_or(0, |block| block.next_offset);
    Event::Claimed(Ok(Claimed { version: 1, manifest: Manifest { epoch: 1, next_offset, blocks, ..Manifest::default() } }))
}

fn records(count: u64) -> Event {
    let record =
        |offset| Record { place: TopicPartition { topic: "weir.logs".into(), partition: 0 }, offset, value: Default::default() };
    Event::Command(OwnerCommand::Append((0..count).map(record).collect()))
}

fn appended(indexed_offset: u64, bytes: usize) -> Event {
    Event::Appended(Ok(Appended { indexed_offset, since: Some(0), bytes }))
}

fn sealed(id: &str, first: u64, next_offset: u64) -> Event {
    Event::Sealed(Ok(Sealed { entries: vec![entry(id, first, next_offset)], next_offset, ..Sealed::default() }))
}

fn opened(ids: &[&str], failed: &[&str]) -> Event {
    let failed = failed.iter().map(|id| ((*id).to_owned(), format!("{id} is gone"))).collect();
    Event::Opened(Opened { opened: ids.iter().map(|id| (*id).to_owned()).collect(), failed, stopped: None })
}

/// An effect in a word or two.
fn brief(effect: &Effect) -> String {
    let shown =
        |shown: &Shown| format!("{} opening={} missing={}", shown.version, shown.missing.opening, shown.missing.unopened());
    match effect {
        Effect::Claim => "claim".into(),
        Effect::Serve(view) => format!("serve {}", shown(view)),
        Effect::Append(records, _) => format!("append {}", records.len()),
        Effect::TrimLost(first, _) => format!("trim lost {first}"),
        Effect::Seal { manifest, .. } => format!("seal from {}", manifest.next_offset),
        Effect::ForgetBefore => "forget before".into(),
        Effect::AskMergeTurn => "ask turn".into(),
        Effect::EndMergeTurn => "end turn".into(),
        Effect::Merge(run) => format!("merge {}", run.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join("+")),
        Effect::Rewrite { entry, .. } => format!("rewrite {}", entry.id),
        Effect::Open(entries) => format!("open {}", entries.len()),
        Effect::Publish { version, manifest } => format!("publish {version} to {}", manifest.next_offset),
        Effect::PublishAgain => "publish again".into(),
        Effect::Show(view) => format!("show {}", shown(view)),
        Effect::Collect { version } => format!("collect {version}"),
        Effect::Release(offset) => format!("release {offset}"),
        Effect::CountShares(entries) => {
            format!("count shares {}", entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join("+"))
        }
        Effect::Answer(_, Ok(Committed { blocks, records })) => format!("answer {blocks}/{records}"),
        Effect::Answer(_, Err(error)) => format!("refuse: {error}"),
        Effect::NeverFiner(tenants) => format!("never finer {tenants:?}"),
        Effect::Count(Count::Held(0)) => "held 0".into(),
        Effect::Count(count) => format!("count {count:?}"),
        Effect::ClaimLater(reason) => format!("claim later: {reason}"),
        Effect::GiveUp { reason, pause } => format!("give up for {pause:?}: {reason}"),
        Effect::Stop => "stop".into(),
    }
}

struct Run {
    machine: Machine,
    now: Now,
}

impl Run {
    fn new(config: AggregatorConfig) -> Self {
        Self { machine: Machine::new(rules(config)), now: Now::default() }
    }

    /// One that serves from version 1, with these blocks open.
    fn serving(config: AggregatorConfig, blocks: Vec<BlockEntry>) -> Self {
        let mut run = Self::new(config);
        let ids: Vec<String> = blocks.iter().map(|entry| entry.id.clone()).collect();
        run.machine.step(run.now, Event::Assigned);
        run.machine.step(run.now, claimed(blocks));
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        run.machine.step(run.now, opened(&ids, &[]));
        run
    }

    #[track_caller]
    fn check(&mut self, after: f64, event: Event, expected: &[&str]) {
        self.now.passed += Duration::from_secs_f64(after);
        let effects = self.machine.step(self.now, event);
        assert_eq!(effects.iter().map(brief).collect::<Vec<_>>(), expected);
    }

    fn takes(&self) -> bool {
        self.machine.takes_commands(self.now)
    }
}

fn command(command: fn(Reply) -> OwnerCommand) -> Event {
    Event::Command(command(oneshot::channel().0))
}

#[test]
fn from_its_assignment_to_its_end() {
    let mut run = Run::new(AggregatorConfig::default());
    assert!(!run.takes());
    run.check(0.0, Event::Assigned, &["claim"]);
    run.check(1.0, claimed(Vec::new()), &["serve 1 opening=0 missing=0"]);
    assert!(run.takes());
    run.check(0.0, records(5), &["append 5"]);
    assert!(!run.takes(), "the head is being appended to");
    run.check(0.1, Event::Tick, &[]);
    run.check(0.1, appended(5, 100), &[]);
    assert_eq!((run.takes(), run.machine.head_bytes()), (true, HeadBytes { active: 100, frozen: 0 }));
    run.check(29.0, Event::Tick, &[]);
    run.check(1.0, Event::Tick, &["held 0", "collect 1"]);
    run.check(0.1, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.1, Event::MergeTurn, &["end turn"]);
    run.check(30.0, Event::Tick, &["seal from 0"]);
    assert_eq!(run.machine.head_bytes(), HeadBytes { active: 0, frozen: 100 });
    run.check(0.1, records(2), &["append 2"]);
    run.check(0.1, sealed("a", 0, 5), &["publish 2 to 5"]);
    let since = Some(61_000_000_000);
    run.check(0.1, Event::Appended(Ok(Appended { indexed_offset: 7, since, bytes: 30 })), &[]);
    let published =
        ["show 2 opening=0 missing=0", "count Sealed { blocks: 1, quarantined_late: 0 }", "release 5", "held 0", "collect 2"];
    run.check(0.1, Event::Published(Ok(())), &published);
    assert_eq!(run.machine.head_bytes(), HeadBytes { active: 30, frozen: 0 });
    run.check(0.0, Event::Revoked, &["stop"]);
    run.check(0.0, Event::Collected(Ok(())), &[]);
    assert!(run.machine.is_ended());
}

#[test]
fn what_cannot_be_opened_is_opened_again_ever_later() {
    let mut run = Run::new(AggregatorConfig::default());
    run.check(0.0, Event::Assigned, &["claim"]);
    for pause in [4.0, 8.0, 16.0, 16.0] {
        let said = "claim later: it cannot be opened: create p: Generic test error: not now";
        run.check(0.0, Event::Claimed(Err(store_fails())), &[said]);
        run.check(pause - 0.1, Event::Tick, &[]);
        run.check(0.1, Event::Tick, &["claim"]);
    }
    // No outage of the store, but the partition's own damage.
    let said = "give up for 16s: it cannot be opened: partition 0 of logs belongs to another owner now (epoch 9)";
    run.check(0.0, Event::Claimed(Err(fenced())), &[said]);
    run.check(16.0, Event::Tick, &["claim"]);
    run.check(0.0, claimed(Vec::new()), &["serve 1 opening=0 missing=0"]);
    let lost =
        AggregatorError::Panicked { operation: "appending", place: rules(AggregatorConfig::default()).place, said: "no".into() };
    run.check(0.0, Event::Appended(Err(lost)), &["give up for 16s: appending of weir.logs partition 0: it panicked: no"]);
    run.check(0.0, Event::Revoked, &["stop"]);
}

#[test]
fn blocks_are_opened_beside_everything_else() {
    let mut run = Run::new(AggregatorConfig { head_max: ByteSize::bytes(50), ..AggregatorConfig::default() });
    run.check(0.0, Event::Assigned, &["claim"]);
    let blocks = vec![entry("a", 0, 5), entry("b", 5, 9), BlockEntry { quarantine: true, ..entry("q", 5, 9) }];
    run.check(0.0, claimed(blocks), &["serve 1 opening=2 missing=0", "open 2"]);
    run.check(0.1, records(1), &["append 1"]);
    run.check(0.1, appended(10, 60), &["seal from 9"]);
    run.check(0.1, sealed("c", 9, 10), &["publish 2 to 10"]);
    let published = ["show 2 opening=2 missing=0", "count Sealed { blocks: 1, quarantined_late: 0 }", "release 10"];
    run.check(0.1, Event::Published(Ok(())), &published);
    run.check(0.1, opened(&["a"], &["b"]), &["show 2 opening=0 missing=1"]);
    run.check(20.0, Event::Tick, &[]);
    run.check(10.0, Event::Tick, &["open 1", "held 0", "collect 2"]);
    run.check(0.1, opened(&["b"], &[]), &["show 2 opening=0 missing=0"]);
}

#[test]
fn a_store_that_fails_is_told_once_for_all_blocks_that_it_did_not_give() {
    let mut run = Run::new(AggregatorConfig::default());
    run.check(0.0, Event::Assigned, &["claim"]);
    let blocks = vec![entry("a", 0, 5), entry("b", 5, 9), entry("c", 9, 12)];
    run.check(0.0, claimed(blocks), &["serve 1 opening=3 missing=0", "open 3"]);
    let failed = [("b".to_owned(), "b is corrupt".to_owned())].into();
    let tried = Opened { opened: Vec::new(), failed, stopped: Some(("c".into(), "not now".into())) };
    run.now.passed += Duration::from_millis(100);
    let [Effect::Show(shown)] = &run.machine.step(run.now, Event::Opened(tried))[..] else { panic!("something else is due") };
    let missing: Vec<String> = shown.missing.sentences("weir.logs", 0).collect();
    assert_eq!(missing, ["b is corrupt", "weir.logs partition 0: 2 blocks were not read: not now"]);
    assert_eq!((shown.missing.opening, shown.missing.unopened()), (1, 2));
    run.check(40.0, Event::Tick, &["open 3", "held 0", "collect 1"]);
    run.check(0.1, opened(&["a", "b", "c"], &[]), &["show 1 opening=0 missing=0"]);
}

#[test]
fn a_seal_that_fails_keeps_its_head_and_is_tried_again() {
    let mut run = Run::serving(AggregatorConfig { head_max: ByteSize::bytes(50), ..AggregatorConfig::default() }, Vec::new());
    run.check(0.0, records(5), &["append 5"]);
    run.check(0.0, appended(5, 60), &["seal from 0"]);
    run.check(0.0, Event::Sealed(Err(store_fails())), &["count Failure"]);
    assert!(run.takes(), "the next head is filled meanwhile");
    run.check(0.0, records(5), &["append 5"]);
    run.check(0.3, Event::Tick, &[]);
    run.check(0.0, appended(10, 60), &["seal from 0"]);
    assert!(!run.takes(), "both heads are full");
    run.check(0.1, sealed("a", 0, 5), &["publish 2 to 5"]);
    let shown = ["show 2 opening=0 missing=0", "count Sealed { blocks: 1, quarantined_late: 0 }", "release 5", "seal from 5"];
    run.check(0.1, Event::Published(Ok(())), &shown);
    // What it gave back does not follow: nothing of it is published.
    run.check(0.1, sealed("b", 4, 10), &["count Failure"]);
    run.check(0.25, Event::Tick, &["seal from 5"]);
    run.check(0.1, Event::Sealed(Err(fenced())), &["give up for 4s: partition 0 of logs belongs to another owner now (epoch 9)"]);
}

#[test]
fn until_it_is_known_whether_a_version_exists_nothing_else_is_changed() {
    let mut run = Run::serving(AggregatorConfig::default(), Vec::new());
    run.check(0.0, records(5), &["append 5"]);
    run.check(0.0, appended(5, 60), &[]);
    run.check(60.0, Event::Tick, &["seal from 0"]);
    run.check(0.0, sealed("a", 0, 5), &["publish 2 to 5"]);
    for pause in [0.1, 0.2, 0.4, 0.8] {
        run.check(0.0, Event::Published(Err(store_fails())), &["count Failure"]);
        run.check(pause - 0.01, command(OwnerCommand::Expire), &[]);
        run.check(0.01, Event::Tick, &["publish again"]);
    }
    let fenced_out = "give up for 4s: partition 0 of logs belongs to another owner now (epoch 9)";
    run.check(0.0, Event::Published(Err(fenced())), &[fenced_out]);

    let mut run = Run::serving(AggregatorConfig::default(), Vec::new());
    run.check(0.0, records(5), &["append 5"]);
    run.check(0.0, appended(5, 60), &[]);
    run.check(60.0, Event::Tick, &["seal from 0"]);
    run.check(0.0, sealed("a", 0, 5), &["publish 2 to 5"]);
    let too_large = StoreError::Engine { operation: "encode", detail: "too large".into() };
    run.check(0.0, Event::Unpublishable(too_large.into()), &["count Failure"]);
    run.check(0.25, Event::Tick, &["seal from 0"]);
}

#[test]
fn whoever_told_it_to_is_answered_when_it_is_done() {
    let config = AggregatorConfig { compaction_blocks: 8, ..AggregatorConfig::default() };
    let mut run = Run::serving(config, vec![entry("a", 0, 5), entry("b", 5, 9), entry("c", 9, 12)]);
    let seal = |upto| Event::Command(OwnerCommand::Seal(upto, oneshot::channel().0));
    run.check(0.0, seal(12), &["answer 0/0"]);
    run.check(0.0, seal(14), &[]);
    run.check(0.0, records(1), &["append 1"]);
    run.check(0.0, appended(13, 60), &[]);
    run.check(0.0, records(1), &["append 1"]);
    run.check(0.0, appended(14, 60), &["seal from 12"]);
    run.check(0.0, sealed("d", 12, 14), &["publish 2 to 14"]);
    let published = ["show 2 opening=0 missing=0", "count Sealed { blocks: 1, quarantined_late: 0 }", "release 14", "answer 1/2"];
    run.check(0.0, Event::Published(Ok(())), &published);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, command(OwnerCommand::Compact), &[]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c+d"]);
    run.check(0.0, Event::Merged(Ok(Some(vec![entry("m", 0, 14)]))), &["publish 3 to 14"]);
    run.check(0.0, Event::Published(Ok(())), &["show 3 opening=0 missing=0", "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn", "answer 1/14", "answer 1/14"]);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 3"]);
    run.check(0.0, Event::Collected(Err(store_fails())), &["count Failure", "refuse: create p: Generic test error: not now"]);
}

#[test]
fn blocks_that_cannot_be_merged_are_left_as_they_are() {
    let blocks = || vec![entry("a", 0, 5), entry("b", 5, 9), entry("c", 9, 12)];
    let mut run = Run::serving(AggregatorConfig::default(), blocks());
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c"]);
    let refused = "refuse: create p: Generic test error: not now";
    run.check(0.0, Event::Merged(Err(store_fails())), &["count Failure", "end turn", refused]);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c"]);
    // A disk that is full says nothing of the blocks either.
    let full = StoreError::Scratch { place: "/data/scratch".into(), source: std::io::ErrorKind::StorageFull.into() };
    let refused = "refuse: a file for a block in the making in /data/scratch: no storage space";
    run.check(0.0, Event::Merged(Err(full.into())), &["count Failure", "end turn", refused]);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c"]);
    let corrupt = StoreError::Corrupt { path: "logs/00000/blocks/a".into(), detail: "no".into() };
    run.check(
        0.0,
        Event::Merged(Err(corrupt.into())),
        &["count Failure", "end turn", "refuse: logs/00000/blocks/a is corrupt: no"],
    );
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge b+c"]);
    // More records than before: a merge never doubles.
    let doubled = BlockEntry { summary: BlockSummary { records: 8, ..BlockSummary::default() }, ..entry("m", 5, 12) };
    run.check(0.0, Event::Merged(Ok(Some(vec![doubled]))), &["count Failure", "end turn", "refuse: merge: 7 records became 8"]);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn", "answer 0/0"]);
}

#[test]
fn of_blocks_that_do_not_fit_together_the_largest_is_left_and_nobody_is_refused() {
    let sized = |id, first, next, size| BlockEntry { size, ..entry(id, first, next) };
    let blocks = vec![sized("a", 0, 5, 10), sized("b", 5, 9, 90), sized("c", 9, 12, 10), sized("d", 12, 14, 10)];
    let mut run = Run::serving(AggregatorConfig::default(), blocks);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c+d"]);
    run.check(0.0, Event::Merged(Ok(None)), &["end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge c+d"]);
    run.check(0.0, Event::Merged(Ok(Some(vec![entry("m", 9, 14)]))), &["publish 2 to 14"]);
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn", "answer 1/5"]);
}

#[test]
fn a_bus_that_forgot_is_a_loss_and_one_that_ends_too_early_is_another_bus() {
    let mut run = Run::serving(AggregatorConfig::default(), vec![entry("a", 0, 5)]);
    let out_of_range = |wanted, first, next| Event::Command(OwnerCommand::OutOfRange { wanted, first, next });
    run.check(0.0, out_of_range(5, 8, 20), &["trim lost 8"]);
    run.check(0.0, appended(8, 0), &[]);
    run.check(60.0, Event::Tick, &["seal from 5"]);
    let lost = Sealed { next_offset: 8, losses: vec![(5, 8)], ..Sealed::default() };
    run.check(0.0, Event::Sealed(Ok(lost)), &["publish 2 to 8"]);
    let replaced = "give up for 4s: weir.logs partition 0 is sealed up to offset 8, but the bus ends at 3: it was replaced or truncated. \
                    Bring the bus back, or start with an empty store";
    run.check(0.0, out_of_range(8, 0, 3), &[replaced]);
}

#[test]
fn the_memory_of_all_partitions_is_one_ones_affair() {
    let mut run = Run::serving(AggregatorConfig::default(), Vec::new());
    run.now.advice = Advice { seal: true, wait: true };
    assert!(!run.takes());
    run.check(0.0, Event::Tick, &[]);
    run.now.advice = Advice::default();
    run.check(0.0, records(1), &["append 1"]);
    run.now.advice = Advice { seal: true, wait: false };
    run.check(0.0, appended(1, 10), &["seal from 0"]);
}

#[test]
fn a_head_to_which_nothing_comes_gives_back_what_it_knows_of_the_one_before() {
    let tick = Duration::from_secs(3600);
    let mut run = Run::serving(AggregatorConfig { tick, ..AggregatorConfig::default() }, Vec::new());
    let seal = |run: &mut Run, first: u64, version: u64| {
        run.check(0.0, records(first + 1), &[&*format!("append {}", first + 1)]);
        let since = i64::try_from(run.now.passed.as_nanos()).ok();
        run.check(0.0, Event::Appended(Ok(Appended { indexed_offset: first + 1, since, bytes: 30 })), &[]);
        run.check(60.0, Event::Tick, &[&*format!("seal from {first}")]);
        run.check(0.0, sealed(&format!("{first}"), first, first + 1), &[&*format!("publish {version} to {}", first + 1)]);
        run.machine.step(run.now, Event::Published(Ok(())));
        run.machine.step(run.now, Event::Collected(Ok(())));
    };
    seal(&mut run, 0, 2);
    // A scrape's interval is no reason yet.
    run.check(59.0, Event::Tick, &[]);
    run.check(1.0, Event::Tick, &["forget before"]);
    run.check(61.0, Event::Tick, &[]);
    // Sooner where its memory is needed.
    seal(&mut run, 1, 3);
    run.check(0.0, Event::Tick, &[]);
    run.now.advice = Advice { seal: true, wait: false };
    run.check(0.0, Event::Tick, &["forget before"]);
    run.now.advice = Advice::default();
    // One that holds something is in use.
    seal(&mut run, 2, 4);
    run.check(59.0, records(4), &["append 4"]);
    run.check(2.0, Event::Tick, &[]);
    let since = i64::try_from(run.now.passed.as_nanos()).ok();
    run.check(0.0, Event::Appended(Ok(Appended { indexed_offset: 4, since, bytes: 30 })), &[]);
    run.check(0.1, Event::Tick, &[]);
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it counts from 0")
}

/// The least of a few tries.
fn version_takes(blocks: u64) -> Duration {
    let all: Vec<BlockEntry> = (0..blocks).map(|i| entry(&format!("{i:020}-0123456789abcdef"), i, i + 1)).collect();
    let merged = entry("00000000000000000000-fedcba9876543210", 0, blocks / 2);
    let once = || {
        let mut run = Run::serving(
            AggregatorConfig { compaction_memory_max: ByteSize::bytes(u64::MAX), ..AggregatorConfig::default() },
            all.clone(),
        );
        run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
        run.machine.step(run.now, Event::MergeTurn);
        let begun = thread_time();
        run.machine.step(run.now, Event::Merged(Ok(Some(vec![merged.clone()]))));
        run.machine.step(run.now, Event::Published(Ok(())));
        thread_time() - begun
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

#[test]
fn a_version_takes_time_in_proportion_to_its_blocks_and_not_to_their_square() {
    let (few, many) = (version_takes(4000), version_takes(32_000));
    println!("a merge's version of 4,000 blocks takes {few:?}, of 32,000 {many:?}");
    assert!(many < few * 24, "8 times the blocks: {few:?}, {many:?}");
}
