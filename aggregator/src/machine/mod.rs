//! A partition as one state machine: [`Machine::step`] takes what has happened and says what is to be done. Pure and synchronous:
//! no clock, no lock, no I/O, no engine; whoever has a table of events can say what comes out. `shell` does what it says.
//!
//! - [`event`]: the events and the effects;
//! - here: the phases of a partition from its assignment to its end;
//! - [`serving`]: the phase in which it takes records: what is due, and what becomes of work that ended;
//! - [`blocks`]: which blocks are open, fail to open, or cannot be merged.
//!
//! ```text
//!  Assigned ──► Opening ──claimed──► Serving ──► Ended (revoked)
//!                 ▲  └──failed──┐       │
//!                 └──── Resting ◄───────┘ fenced, work lost, bus replaced
//! ```

mod blocks;
mod event;
#[cfg(test)]
mod schedules;
mod serving;
#[cfg(test)]
mod tests;

use std::time::Duration;

use weir_blocks::engine::{BlockCost, Engine};
use weir_blocks::periods::TenantPeriods;
use weir_blocks::resolutions::TenantResolutions;
use weir_bus::TopicPartition;
use weir_model::limits::Limits;

use crate::backoff::Backoff;
use crate::budget::HeadBytes;
use crate::byte_limit::ByteLimits;
use crate::config::AggregatorConfig;

pub(crate) use event::{
    Acceptance, Appended, Claimed, Committed, Count, Effect, Event, Expired, ExpiryReason, How, Missing, Now, OwnerCommand,
    Reply, Sealed, Shares, Shown,
};
use serving::Serving;

/// A partition that was fenced, or could not be opened, is tried again after this long while the bus still says that it is this
/// process's: longer than a member that was away needs to hear that it is not (`heartbeat.interval.ms`).
const REOPEN: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(16));

/// What a partition goes by, the same for all of its life.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub place: TopicPartition,
    pub merge_cost: BlockCost,
    /// Memory that the blocks of one run may take by that.
    pub run_bytes_max: u64,
    pub config: AggregatorConfig,
    pub periods: TenantPeriods,
    pub byte_limits: ByteLimits,
    pub resolutions: TenantResolutions,
}

impl Rules {
    /// Of an engine's partition.
    pub fn of<E: Engine>(place: TopicPartition, config: &AggregatorConfig, limits: &Limits) -> Self {
        let periods = TenantPeriods::new(limits.clone(), E::KIND, config.retention(E::KIND));
        let byte_limits = ByteLimits::new(limits.clone(), E::KIND);
        let ages = [config.downsampling.resolution_5m_after, config.downsampling.resolution_1h_after];
        let resolutions = TenantResolutions::new(limits.clone(), E::KIND, ages);
        let run_bytes_max = config.run_bytes_max(E::KIND);
        Self { place, merge_cost: E::MERGE, run_bytes_max, config: config.clone(), periods, byte_limits, resolutions }
    }
}

pub(crate) struct Machine {
    rules: Rules,
    phase: Phase,
    reopen: Backoff,
}

enum Phase {
    /// The newest manifest is being claimed, or will be as soon as the machine begins.
    Opening,
    /// Not served until it is opened again.
    Resting {
        until: Duration,
    },
    Serving(Box<Serving>),
    /// The partition is not this process's any more.
    Ended,
}

impl Machine {
    /// Does nothing before [`Event::Assigned`].
    pub fn new(rules: Rules) -> Self {
        Self { rules, phase: Phase::Opening, reopen: REOPEN }
    }

    /// What is to be done now, in this order. An event that the phase does not expect changes nothing: what ended late of a phase
    /// that is over.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        match (&mut self.phase, event) {
            (Phase::Ended, _) => Vec::new(),
            (_, Event::Revoked) => {
                self.phase = Phase::Ended;
                vec![Effect::Stop]
            }
            (Phase::Opening, Event::Assigned) => vec![Effect::Claim],
            (Phase::Opening, Event::Claimed(Ok(claimed))) => {
                let mut serving = Box::new(Serving::new(claimed, &self.rules, now));
                let mut effects = vec![Effect::Serve(serving.shown())];
                effects.extend(serving.next_effects(&self.rules, now));
                self.phase = Phase::Serving(serving);
                effects
            }
            (Phase::Opening, Event::Claimed(Err(error))) => {
                let reason = format!("it cannot be opened: {error}");
                if !error.is_of_the_store() {
                    return self.give_up(now, reason);
                }
                self.rest(now);
                vec![Effect::ClaimLater(reason)]
            }
            (Phase::Opening, Event::Lost(error)) => self.give_up(now, error.to_string()),
            (Phase::Resting { until }, Event::Tick) if now.passed >= *until => {
                self.phase = Phase::Opening;
                vec![Effect::Claim]
            }
            (Phase::Serving(serving), event) => match serving.step(&self.rules, now, event) {
                Ok(effects) => {
                    if serving.has_sealed() {
                        self.reopen.reset();
                    }
                    effects
                }
                Err(error) => self.give_up(now, error.to_string()),
            },
            (Phase::Opening | Phase::Resting { .. }, _) => Vec::new(),
        }
    }

    fn give_up(&mut self, now: Now, reason: String) -> Vec<Effect> {
        let pause = self.rest(now);
        vec![Effect::GiveUp { reason, pause }]
    }

    /// Nothing is done until the pause is over; gives its length.
    fn rest(&mut self, now: Now) -> Duration {
        let pause = self.reopen.pause();
        self.phase = Phase::Resting { until: now.passed.saturating_add(pause) };
        pause
    }

    /// Whether it takes commands: not while records are appended, nor while its memory, or that of all, is full.
    pub fn takes_commands(&self, now: Now) -> bool {
        matches!(&self.phase, Phase::Serving(serving) if serving.takes_commands(&self.rules, now))
    }

    /// Memory of its heads.
    pub fn head_bytes(&self) -> HeadBytes {
        match &self.phase {
            Phase::Serving(serving) => serving.head_bytes(),
            _ => HeadBytes::default(),
        }
    }

    /// Whether the partition is over for this process.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }
}
