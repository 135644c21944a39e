//! What a tenant has beyond its `retention_bytes`: whose blocks are is asked, then whole blocks go, and others are rewritten.

use weir_model::limits::{LogLimits, Overrides, OverridesFile, TenantLimits};

use super::*;
use crate::byte_limit::BlockShares;

/// Serves these blocks, of which "t" may keep so many bytes.
fn serving(bytes: u64, blocks: Vec<BlockEntry>) -> Run {
    let logs = LogLimits { retention_bytes: Some(ByteSize::bytes(bytes)), ..LogLimits::default() };
    let tenants = [("t".to_owned(), TenantLimits { logs, ..TenantLimits::default() })].into();
    let limits = Limits::new(Overrides::try_from(OverridesFile { tenants, ..OverridesFile::default() }).unwrap());
    let rules = Rules { byte_limits: ByteLimits::new(limits, Kind::Logs), ..rules(AggregatorConfig::default()) };
    let mut run = Run { machine: Machine::new(rules), now: Now::default() };
    run.machine.step(run.now, Event::Assigned);
    let ids: Vec<String> = blocks.iter().map(|entry| entry.id.clone()).collect();
    run.machine.step(run.now, claimed(blocks));
    run.machine.step(run.now, opened(&ids.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
    run
}

fn counted(of: &[(&str, &[(&str, u64)])]) -> Event {
    let shares =
        |shares: &[(&str, u64)]| -> BlockShares { shares.iter().map(|(tenant, bytes)| ((*tenant).into(), *bytes)).collect() };
    let blocks = of.iter().map(|(id, own)| ((*id).to_owned(), shares(own))).collect();
    Event::SharesCounted(Ok(Shares { partitions: 1, blocks }))
}

#[test]
fn whole_blocks_go_when_all_their_tenants_have_too_much() {
    let blocks = vec![entry("a", 0, 3), entry("b", 3, 6), entry("c", 6, 9), entry("d", 9, 12)];
    let mut run = serving(20, blocks);
    run.check(30.0, Event::Tick, &["count shares a+b+c+d"]);
    // Nothing else waits for it.
    run.check(0.0, records(1), &["append 1"]);
    run.check(0.0, appended(13, 10), &[]);
    let own: &[(&str, u64)] = &[("t", 10)];
    run.check(0.1, counted(&[("a", own), ("b", own), ("c", own)]), &["held 0", "publish 2 to 12"]);
    let count = "count Expired(Expired { reason: Bytes, committed: Committed { blocks: 2, records: 6 }, bytes: 20 })";
    run.check(0.1, Event::Published(Ok(())), &["show 2 opening=0 missing=0", count, "collect 2"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}

/// Of two blocks that two tenants share, the first is being written without what one has too much.
fn rewriting() -> Run {
    let mut run = serving(8, vec![entry("a", 0, 2), entry("b", 2, 4)]);
    run.check(30.0, Event::Tick, &["count shares a+b"]);
    let own: &[(&str, u64)] = &[("t", 6), ("u", 4)];
    run.check(0.1, counted(&[("a", own), ("b", own)]), &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["rewrite a"]);
    run
}

#[test]
fn a_block_of_several_is_rewritten_without_what_one_has_too_much() {
    let mut run = rewriting();
    let left = BlockEntry { size: 4, ..entry("c", 0, 1) };
    let left = BlockEntry { next_offset: 2, ..left };
    run.check(0.0, Event::Rewritten(Ok(Some(vec![left]))), &["publish 2 to 4"]);
    let count = "count Expired(Expired { reason: Bytes, committed: Committed { blocks: 0, records: 1 }, bytes: 6 })";
    run.check(0.0, Event::Published(Ok(())), &["show 2 opening=0 missing=0", count, "end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    run.check(30.0, Event::Tick, &["count shares c"]);
    run.check(0.0, counted(&[("c", &[("u", 4)])]), &["held 0", "collect 2"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}

#[test]
fn what_a_rewrite_does_not_find_is_not_looked_for_again() {
    let mut run = rewriting();
    run.check(0.0, Event::Rewritten(Ok(None)), &["end turn", "ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
    run.check(30.0, Event::Tick, &["count shares "]);
    run.check(0.0, counted(&[]), &["held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}

#[test]
fn whoever_asked_hears_that_it_could_not_be_told_and_age_goes_on() {
    let mut run = serving(8, vec![entry("a", 0, 2)]);
    run.check(0.0, command(OwnerCommand::Expire), &["count shares a"]);
    let refused = format!("refuse: {}", AggregatorError::Refused(std::sync::Arc::new(store_fails())));
    run.check(0.0, Event::SharesCounted(Err(store_fails())), &["count Failure", &refused]);
    // As if nobody had asked: at the next tick.
    run.check(30.0, Event::Tick, &["count shares a"]);
    run.check(0.0, Event::SharesCounted(Err(store_fails())), &["count Failure", "held 0", "collect 1"]);
    run.check(0.0, Event::Collected(Ok(())), &["ask turn"]);
    run.check(0.0, Event::MergeTurn, &["end turn"]);
}
