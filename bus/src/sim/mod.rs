//! A log in memory whose mishaps come from a seed: for tests of whoever stands on the bus, above all the aggregator's
//! simulation of thousands of schedules. No threads, no clock, no disk: under a current-thread runtime the same seed and
//! the same calls give the same run.
//!
//! - [`state`]: what it holds; [`log`]: the log and its mishaps: duplicated appends, acks that fail although stored, lost tails, retention.
//! - [`group`]: members, assignments, rebalances, zombies.
//! - [`consumer`]: what a member sees, in an order that the seed picks.

mod chance;
mod consumer;
mod group;
mod log;
mod state;
#[cfg(test)]
mod tests;

pub use log::Sim;
pub use state::SimConfig;
