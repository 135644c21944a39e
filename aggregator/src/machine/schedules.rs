//! Seeded schedules of the machine alone: two owners of one partition over a modelled bus and store, where anything may end in any
//! order, fail, stay without an answer, or be done and said to have failed. A schedule takes a millisecond, so there are many.
//!
//! What must hold after every version: each offset below it is in exactly one block, or expired, or deleted, or declared lost; nothing is released
//! that is not sealed; what a deletion takes is what it means, a deletion that was accepted stays, and when it is processed nothing of it
//! is left. In the end all that was appended is. `WEIR_SIM_SEED` runs one schedule.

mod owner;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;
use weir_blocks::periods::TenantPeriods;
use weir_blocks::resolutions::TenantResolutions;
use weir_model::config::ByteSize;
use weir_model::limits::{Limits, Overrides, OverridesFile, TenantLimits};
use weir_model::wire::Kind;

use super::tests::rules;
use super::{Event, OwnerCommand, Rules};
use crate::budget::Advice;
use crate::byte_limit::ByteLimits;
use crate::config::{AggregatorConfig, Retention};
use owner::{Job, Owner};
use world::{Store, World};

/// Of each kind.
const SCHEDULES: u64 = 3000;

/// How many there are at most, while a phase has not come.
const SCHEDULES_MAX: u64 = 60_000;

/// What a schedule has been through.
type Seen = BTreeSet<&'static str>;

const PHASES: [&str; 31] = [
    "opening",
    "not opened",
    "serving while blocks open",
    "block not opened",
    "store failed at a block",
    "appending",
    "work lost",
    "sealing",
    "seal failed",
    "unsealable",
    "compacting",
    "unmergeable",
    "no fewer blocks",
    "expiring",
    "collecting",
    "shares not told",
    "beyond bytes",
    "publish unknown",
    "published unknown",
    "fenced",
    "revoked",
    "store silent",
    "disk full",
    "clock jumped",
    "bus forgot",
    "accepted",
    "cancelled",
    "rewriting",
    "downsampling",
    "nothing deleted",
    "processed",
];

fn happen(world: &mut World, owners: &mut [Owner; 2], rules: &Rules) {
    let at = world.random.random_range(0..2);
    let owner = &mut owners[at];
    match world.random.random_range(0..100) {
        0..12 => world.next += world.random.random_range(1..6),
        12..35 => owner.read(world),
        35..65 => owner.end_job(world),
        65..84 => {
            let time = Duration::from_millis(world.random.random_range(0..800));
            world.pass(time);
            world.now.advice = Advice { seal: world.chance(5), wait: world.chance(5) };
            owner.step(world, Event::Tick);
        }
        84..88 => {
            if !owner.machine.takes_commands(world.now) {
                return;
            }
            let (reply, next) = (oneshot::channel().0, world.next);
            let command = match world.random.random_range(0..8) {
                0 => OwnerCommand::Seal(next, reply),
                1 => OwnerCommand::Compact(reply),
                2 => OwnerCommand::Expire(reply),
                3 => OwnerCommand::ApplyDeletions(reply),
                4 => world.deletion(),
                _ => world.cancel(),
            };
            owner.step(world, Event::Command(command));
        }
        88..93 => {
            // The group gives and takes; for a while both, or none, may believe that it is theirs.
            if owner.assigned {
                owner.step(world, Event::Revoked);
                *owner = Owner::new(rules);
            } else {
                owner.assigned = true;
                owner.step(world, Event::Assigned);
            }
        }
        93..97 => world.store = [Store::Answers, Store::Answers, Store::Silent, Store::Full][world.random.random_range(0..4)],
        97..98 => {
            world.seen.insert("clock jumped");
            world.now.wall += world.random.random_range(-40..=40_i64) * 24 * 3600 * 1_000_000_000;
        }
        _ => world.first = world.random.random_range(world.first..=world.next),
    }
}

/// What the model's tenant may keep of any kind.
fn limits(bytes: Option<u64>) -> Limits {
    let mut tenant = TenantLimits::default();
    let kinds = [&mut tenant.logs.retention_bytes, &mut tenant.metrics.retention_bytes, &mut tenant.traces.retention_bytes];
    kinds.into_iter().for_each(|own| *own = bytes.map(ByteSize::bytes));
    let file = OverridesFile { tenants: [("t".to_owned(), tenant)].into(), ..OverridesFile::default() };
    Limits::new(Overrides::try_from(file).expect("limits"))
}

fn schedule(seed: u64, kind: Kind) -> Seen {
    let mut world = World::new(seed);
    let keep = Duration::from_secs(world.random.random_range(5..60));
    let config = AggregatorConfig {
        head_max: ByteSize::bytes(20),
        head_age_max: Duration::from_secs(2),
        tick: Duration::from_secs(1),
        compaction_blocks: 2,
        delete_request_cancel_period: Duration::from_secs(20),
        retention: Retention { logs: keep, metrics: keep, traces: keep },
        ..AggregatorConfig::default()
    };
    let periods = TenantPeriods::new(Limits::default(), kind, keep);
    // Some have room for all, others for a handful of offsets.
    world.bytes_max = world.chance(30).then(|| world.random.random_range(1..60));
    // Nothing else is downsampled; the machine does not know that.
    let resolutions = TenantResolutions::new(Limits::default(), Kind::Metrics, [keep / 4, keep / 2]);
    let rules = Rules { periods, byte_limits: ByteLimits::new(limits(world.bytes_max), kind), resolutions, ..rules(config) };
    let mut owners = [Owner::new(&rules), Owner::new(&rules)];
    for _ in 0..world.random.random_range(100..600) {
        let expired = world.expired;
        happen(&mut world, &mut owners, &rules);
        world.hear();
        if world.expired > expired {
            world.seen.insert("expiring");
        }
        if owners.iter().any(|owner| owner.position.is_some() && owner.jobs.iter().any(|job| matches!(job, Job::Open(_)))) {
            world.seen.insert("serving while blocks open");
        }
    }
    world.store = Store::Answers;
    world.now.advice = Advice::default();
    owners.iter_mut().for_each(|owner| owner.step(&mut world, Event::Revoked));
    let mut last = Owner::new(&rules);
    last.step(&mut world, Event::Assigned);
    for _ in 0..20_000 {
        if world.newest().1.next_offset == world.next {
            return world.seen;
        }
        last.read(&mut world);
        last.end_job(&mut world);
        world.pass(Duration::from_millis(100));
        last.step(&mut world, Event::Tick);
    }
    let (position, jobs) = (last.position, last.jobs.len());
    panic!("sealed up to {} of {}, read up to {position:?}, {jobs} jobs", world.newest().1.next_offset, world.next);
}

#[test]
fn each_offset_is_stored_once_in_any_schedule_of_any_kind() {
    let run = |seed: u64, kind| {
        std::panic::catch_unwind(|| schedule(seed, kind)).unwrap_or_else(|panic| {
            println!("WEIR_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        })
    };
    if let Ok(seed) = std::env::var("WEIR_SIM_SEED") {
        let seed = seed.parse::<u64>().expect("WEIR_SIM_SEED is a number");
        Kind::ALL.into_iter().for_each(|kind| drop(run(seed, kind)));
        return;
    }
    let base = rand::random::<u64>() >> 16;
    for kind in Kind::ALL {
        let mut seen = Seen::new();
        // A rare phase is waited for: a run of schedules without it happens.
        for at in 0..SCHEDULES_MAX {
            if at >= SCHEDULES && seen.len() >= PHASES.len() {
                break;
            }
            seen.extend(run(base + at, kind));
        }
        assert_eq!(seen, Seen::from(PHASES), "{kind:?}: every phase, from seed {base}");
    }
}
