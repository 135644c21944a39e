//! A request to delete: accepted behind a seal, cancelled while it may be, and carried out block by block.

use weir_blocks::manifest::DeletionKey;
use weir_model::deletion::{DeletionQuery, DeletionRequest, FilterText};
use weir_model::time::TimeRange;

use super::*;

fn request(query: &str, can_cancel: bool) -> DeletionRequest {
    let asked = DeletionQuery { query: query.into(), ..DeletionQuery::default() };
    DeletionRequest::new(("t", Kind::Logs), asked, TimeRange { start: 0, end: 1000 }, 0, can_cancel).unwrap()
}

fn delete(upto: u64, request: &DeletionRequest) -> (Event, oneshot::Receiver<Result<Committed, AggregatorError>>) {
    let (reply, answer) = oneshot::channel();
    let acceptance = Acceptance { request: std::sync::Arc::new(request.clone().into()), upto, partitions: 1 };
    (Event::Command(OwnerCommand::Delete(acceptance, reply)), answer)
}

fn key(request: &DeletionRequest) -> DeletionKey {
    DeletionKey { tenant: request.tenant.clone(), id: request.id.clone() }
}

fn cancel(request: &DeletionRequest) -> (Event, oneshot::Receiver<Result<Committed, AggregatorError>>) {
    let (reply, answer) = oneshot::channel();
    (Event::Command(OwnerCommand::CancelDeletion(key(request), reply)), answer)
}

#[test]
fn a_request_is_accepted_behind_what_was_on_the_bus_and_its_blocks_are_rewritten() {
    let mut run = Run::serving(AggregatorConfig::default(), vec![entry("a", 0, 3), entry("b", 3, 5)]);
    run.check(0.0, records(2), &["append 2"]);
    run.check(0.0, appended(7, 10), &[]);
    let (event, _answer) = delete(7, &request("{}", false));
    run.check(0.0, event, &["seal from 5"]);
    run.check(0.1, sealed("c", 5, 7), &["publish 2 to 7"]);
    let count = "count Sealed { blocks: 1, quarantined_late: 0 }";
    run.check(0.1, Event::Published(Ok(())), &["show 2 opening=0 missing=0", count, "release 7", "publish 3 to 7"]);
    run.check(0.1, Event::Published(Ok(())), &["show 3 opening=0 missing=0", "answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    // Nothing of the first is meant, all of the second, half of the third.
    run.check(0.0, Event::Rewritten(Ok(None)), &["end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite b"]);
    run.check(0.0, Event::Rewritten(Ok(Some(Vec::new()))), &["publish 4 to 7"]);
    run.check(0.0, Event::Published(Ok(())), &["show 4 opening=0 missing=0", "count Deleted(2)", "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite c"]);
    run.check(0.0, Event::Rewritten(Ok(Some(vec![entry("d", 5, 6)]))), &["publish 5 to 7"]);
    run.check(0.0, Event::Published(Ok(())), &["show 5 opening=0 missing=0", "count Deleted(1)", "end turn", "publish 6 to 7"]);
    run.check(0.0, Event::Published(Ok(())), &["show 6 opening=0 missing=0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}

#[test]
fn a_processed_request_is_forgotten_after_eight_days() {
    let mut run = Run::serving(AggregatorConfig::default(), Vec::new());
    let known = request("{}", false);
    let (event, _answer) = delete(0, &known);
    run.check(0.0, event, &["publish 2 to 0"]);
    let effects = run.machine.step(run.now, Event::Published(Ok(())));
    let processed = effects.iter().find_map(|effect| match effect {
        Effect::Publish { manifest, .. } => Some(manifest.deletion(&key(&known)).map(|known| known.is_processed())),
        _ => None,
    });
    assert_eq!(processed, Some(Some(true)));
    run.check(0.0, Event::Published(Ok(())), &["show 3 opening=0 missing=0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    run.check(8.0 * 24.0 * 3600.0, Event::Tick, &["held 0", "collect 3"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    run.check(60.0, Event::Tick, &["held 0", "collect 3"]);
    run.now.passed += Duration::from_secs(1);
    let effects = run.machine.step(run.now, Event::Collected(Ok(())));
    let left = effects.iter().find_map(|effect| match effect {
        Effect::Publish { manifest, .. } => Some(manifest.deletions.len()),
        _ => None,
    });
    assert_eq!(left, Some(0));
}

#[test]
fn a_block_that_is_full_is_rewritten_and_one_that_cannot_be_is_named() {
    let blocks = vec![entry("a", 0, 3), entry("b", 3, 5)];
    let mut run = Run::serving(AggregatorConfig::default(), blocks);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b"]);
    run.check(0.0, Event::Merged(Ok(None)), &["end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn", "answer 0/0"]);
    let known = request("{}", false);
    let (event, _answer) = delete(5, &known);
    run.check(0.0, event, &["publish 2 to 5"]);
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "answer 0/0", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    run.check(0.0, Event::Rewritten(Ok(None)), &["end turn", "ask turn"]);
    let corrupt = StoreError::Corrupt { path: "logs/00000/blocks/b".into(), detail: "no".into() };
    run.check(0.0, Event::MergeTurn, &["rewrite b"]);
    run.check(0.0, Event::Rewritten(Err(corrupt.into())), &["count Failure", "end turn"]);
    run.check(0.0, command(OwnerCommand::ApplyDeletions), &["ask turn"]);
    let left =
        format!("refuse: deletion {}: block b keeps what is deleted of it: it is not open or cannot be rewritten", known.id);
    run.check(0.0, Event::MergeTurn, &["end turn", &left]);
}

#[test]
fn blocks_of_which_a_merge_failed_are_merged_with_fewer_and_rewritten() {
    let blocks = vec![entry("a", 0, 3), entry("b", 3, 5), entry("c", 5, 9)];
    let mut run = Run::serving(AggregatorConfig::default(), blocks);
    let failed = || StoreError::engine("merge metrics", "too much").into();
    let refused = "refuse: merge metrics: too much";
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge a+b+c"]);
    run.check(0.0, Event::Merged(Err(failed())), &["count Failure", "end turn", refused]);
    run.check(0.0, command(OwnerCommand::Compact), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["merge b+c"]);
    run.check(0.0, Event::Merged(Err(failed())), &["count Failure", "end turn", refused]);
    let known = request("{}", false);
    let (event, _answer) = delete(9, &known);
    run.check(0.0, event, &["publish 2 to 9"]);
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "answer 0/0", "ask turn"]);
    for block in ["a", "b"] {
        run.check(0.0, Event::MergeTurn, &[&*format!("rewrite {block}")]);
        run.check(0.0, Event::Rewritten(Ok(None)), &["end turn", "ask turn"]);
    }
    run.check(0.0, Event::MergeTurn, &["rewrite c"]);
}

#[test]
fn for_a_request_that_cannot_be_read_nothing_is_rewritten_and_it_is_never_processed() {
    let broken = DeletionRequest { filters: vec![FilterText::Matches("(".into())], ..request("{}", false) };
    for blocks in [vec![entry("a", 0, 3)], Vec::new()] {
        let upto = blocks.last().map_or(0, |block| block.next_offset);
        let mut run = Run::serving(AggregatorConfig::default(), blocks);
        let (event, _answer) = delete(upto, &broken);
        run.check(0.0, event, &[&*format!("publish 2 to {upto}")]);
        run.check(0.1, Event::Published(Ok(())), &["show 2 opening=0 missing=0", "answer 0/0", "ask turn"]);
        run.check(0.0, Event::MergeTurn, &["end turn"]);
    }
}

#[test]
fn a_request_may_be_cancelled_until_its_period_is_over() {
    let mut run = Run::serving(AggregatorConfig::default(), vec![entry("a", 0, 3)]);
    for (one, wait, last) in [
        (request("early", true), 23.9, "publish 3 to 3".to_owned()),
        (request("late", true), 24.1, format!("refuse: deletion {}: its cancel period is over", request("late", true).id)),
        (request("never", false), 0.0, format!("refuse: deletion {}: its cancel period is over", request("never", false).id)),
    ] {
        run = Run::serving(AggregatorConfig::default(), vec![entry("a", 0, 3)]);
        let (event, _accepted) = delete(3, &one);
        run.check(0.0, event, &["publish 2 to 3"]);
        run.machine.step(run.now, Event::Published(Ok(())));
        run.now.passed += Duration::from_secs_f64(wait * 3600.0);
        let (event, _answer) = cancel(&one);
        let effects: Vec<String> = run.machine.step(run.now, event).iter().map(brief).collect();
        assert!(effects.contains(&last), "{}: {effects:?}", one.query);
    }
    let (event, _answer) = cancel(&request("unknown", true));
    let effects: Vec<String> = run.machine.step(run.now, event).iter().map(brief).collect();
    assert!(effects.contains(&"answer 0/0".to_owned()), "{effects:?}");
}

#[test]
fn a_request_whose_client_has_gone_is_not_accepted() {
    let mut run = Run::serving(AggregatorConfig::default(), vec![entry("a", 0, 3)]);
    let (event, answer) = delete(9, &request("{}", false));
    run.check(0.0, event, &[]);
    drop(answer);
    run.check(0.0, records(6), &["append 6"]);
    run.check(0.0, appended(9, 10), &[]);
    run.check(61.0, Event::Tick, &["seal from 3"]);
    run.check(0.1, sealed("b", 3, 9), &["publish 2 to 9"]);
    let count = "count Sealed { blocks: 1, quarantined_late: 0 }";
    run.check(0.1, Event::Published(Ok(())), &["show 2 opening=0 missing=0", count, "release 9", "held 0", "collect 2"]);
}
