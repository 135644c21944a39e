//! Blocks that are written at a coarser resolution: which are looked at, when, and which wait.

use weir_model::deletion::{DeletionQuery, DeletionRequest};
use weir_model::limits::{Overrides, OverridesFile};
use weir_model::time::TimeRange;

use super::*;

const AGE: Duration = Duration::from_secs(600);

/// Serves these blocks, all of which are a day old, and of which samples are to be coarser after ten minutes.
fn serving(limits: &Limits, blocks: Vec<BlockEntry>) -> Run {
    let resolutions = TenantResolutions::new(limits.clone(), Kind::Metrics, [AGE, Duration::ZERO]);
    let rules = Rules { resolutions, ..rules(AggregatorConfig::default()) };
    let day = 24 * 3600 * 1_000_000_000;
    let mut run = Run { machine: Machine::new(rules), now: Now { wall: day, newest: day, ..Now::default() } };
    run.machine.step(run.now, Event::Assigned);
    let ids: Vec<String> = blocks.iter().map(|entry| entry.id.clone()).collect();
    run.machine.step(run.now, claimed(blocks));
    run.machine.step(run.now, opened(&ids.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
    run
}

fn coarse(mut entry: BlockEntry) -> BlockEntry {
    entry.summary.resolution = 300;
    entry
}

#[test]
fn a_block_of_which_a_request_may_delete_something_waits_for_that() {
    let mut later = entry("b", 3, 5);
    (later.summary.first, later.summary.last) = (2000, 2000);
    let mut run = serving(&Limits::default(), vec![entry("a", 0, 3), later]);
    let asked = DeletionQuery { query: "{}".into(), ..DeletionQuery::default() };
    let request = DeletionRequest::new(("t", Kind::Logs), asked, TimeRange { start: 0, end: 1000 }, 0, true).unwrap();
    let (reply, _answer) = oneshot::channel();
    let acceptance = Acceptance { request: std::sync::Arc::new(request.clone().into()), upto: 3, partitions: 1 };
    run.check(0.0, Event::Command(OwnerCommand::Delete(acceptance, reply)), &["publish 2 to 5"]);
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 2"]);
    run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite b"]);
    run.check(0.0, Event::Rewritten(Ok(Some(vec![coarse(entry("c", 3, 5))]))), &["publish 3 to 5"]);
    let counted = "count Downsampled { records: 2, left: 2 }";
    run.check(0.0, Event::Published(Ok(())), &["show 3 opening=0 missing=0", counted, "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    let key = weir_blocks::manifest::DeletionKey { tenant: request.tenant.clone(), id: request.id };
    let cancel = Event::Command(OwnerCommand::CancelDeletion(key, oneshot::channel().0));
    run.check(0.0, cancel, &["publish 4 to 5"]);
    run.check(0.0, Event::Published(Ok(())), &["show 4 opening=0 missing=0", "answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
}

#[test]
fn nothing_is_downsampled_while_a_request_waits_to_be_accepted() {
    let mut run = serving(&Limits::default(), vec![entry("a", 0, 3)]);
    let asked = DeletionQuery { query: "{}".into(), ..DeletionQuery::default() };
    let request = DeletionRequest::new(("t", Kind::Logs), asked, TimeRange { start: 0, end: 1000 }, 0, true).unwrap();
    let (reply, answer) = oneshot::channel();
    // Of what is on the bus, and not sealed yet.
    let acceptance = Acceptance { request: std::sync::Arc::new(request.into()), upto: 5, partitions: 1 };
    run.check(0.0, Event::Command(OwnerCommand::Delete(acceptance, reply)), &[]);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    // Its client has gone: it waits no more.
    drop(answer);
    run.check(30.0, Event::Tick, &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
}

#[test]
fn an_owner_that_begins_anew_holds_nothing_back_for_what_was_done() {
    let blocks = vec![coarse(entry("a", 0, 3)), coarse(entry("b", 3, 5)), coarse(entry("c", 5, 7)), entry("d", 7, 9)];
    let mut run = serving(&Limits::default(), blocks);
    run.check(30.0, Event::Tick, &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    // Their directories say that nothing is left to do, which takes no turn.
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["rewrite b"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["rewrite c"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["rewrite d"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["end turn"]);
    run.check(30.0, Event::Tick, &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}

#[test]
fn a_turn_is_given_back_before_something_else_is_begun() {
    let mut run = serving(&Limits::default(), vec![coarse(entry("a", 0, 3)), coarse(entry("b", 3, 5))]);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    run.check(0.0, records(2), &["append 2"]);
    run.check(0.0, appended(7, 10), &[]);
    run.check(0.0, Event::Command(OwnerCommand::Seal(7, oneshot::channel().0)), &[]);
    // It has not been made use of, and a seal is due, which may fail for long.
    run.check(0.0, Event::Rewritten(Ok(None)), &["seal from 5", "end turn"]);
    run.check(0.0, Event::Sealed(Err(store_fails())), &["count Failure"]);
    run.check(0.3, Event::Tick, &["seal from 5"]);
    run.check(0.0, sealed("c", 5, 7), &["publish 2 to 7"]);
    let effects = ["answer 1/2", "ask turn"];
    let published = ["show 2 opening=0 missing=0", "count Sealed { blocks: 1, quarantined_late: 0 }", "release 7"];
    run.check(0.0, Event::Published(Ok(())), &[&published[..], &effects[..]].concat());
    run.check(0.0, Event::MergeTurn, &["rewrite b"]);
}

#[test]
fn what_is_to_be_merged_is_merged_before_it_is_downsampled() {
    let blocks = (0..9_u64).map(|i| entry(&i.to_string(), i * 2, i * 2 + 2)).collect();
    let mut run = serving(&Limits::default(), blocks);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge 0+1+2+3+4+5+6+7"]);
    let merged = BlockEntry { level: 1, ..entry("m", 0, 16) };
    run.check(0.0, Event::Merged(Ok(Some(vec![merged]))), &["publish 2 to 18"]);
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite 8"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["rewrite m"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["end turn"]);
}

#[test]
fn what_is_due_is_not_merged_with_what_is_younger() {
    let mut young = entry("y", 3, 5);
    young.summary.last = 24 * 3600 * 1_000_000_000;
    let mut run = serving(&Limits::default(), vec![entry("a", 0, 3), young]);
    run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 1"]);
    run.check(0.0, command(OwnerCommand::Compact), &[]);
    run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    run.check(0.0, Event::Rewritten(Ok(Some(vec![coarse(entry("c", 0, 3))]))), &["publish 2 to 5"]);
    let counted = "count Downsampled { records: 3, left: 3 }";
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", counted, "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn", "answer 0/0"]);
}

#[test]
fn blocks_are_looked_at_again_when_the_overrides_have_changed() {
    let limits = Limits::default();
    let mut run = serving(&limits, vec![entry("a", 0, 3)]);
    for is_new in [true, false, true] {
        run.check(0.0, command(OwnerCommand::Expire), &["held 0", "collect 1"]);
        run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
        if is_new {
            run.check(0.0, Event::MergeTurn, &["rewrite a"]);
            run.check(0.0, Event::Rewritten(Ok(None)), &["end turn"]);
        } else {
            run.check(0.0, Event::MergeTurn, &["end turn"]);
            limits.replace(Overrides::try_from(OverridesFile::default()).unwrap());
        }
    }
}

#[test]
fn an_age_that_never_counts_is_said_once_for_each_change_of_the_overrides() {
    let never = || {
        let file = r#"{"tenants": {"shop": {"metrics": {"resolution_1h_after": "2h"}}}}"#;
        let file: OverridesFile = serde_json::from_str(file).unwrap();
        Overrides::try_from(file).unwrap()
    };
    let limits = Limits::new(never());
    let resolutions = TenantResolutions::new(limits.clone(), Kind::Metrics, [AGE * 100, Duration::ZERO]);
    let mut run = Run { machine: Machine::new(Rules { resolutions, ..rules(AggregatorConfig::default()) }), now: Now::default() };
    run.machine.step(run.now, Event::Assigned);
    run.machine.step(run.now, claimed(Vec::new()));
    for is_said in [true, false, true] {
        let said: &[&str] = if is_said { &["never finer [\"shop\"]"] } else { &[] };
        run.check(0.0, command(OwnerCommand::Expire), &[&["held 0"], said, &["collect 1"]].concat());
        run.check(0.0, Event::Collected(Ok(())), &["answer 0/0", "ask turn"]);
        run.check(0.0, Event::MergeTurn, &["end turn"]);
        if !is_said {
            limits.replace(never());
        }
    }
}
