//! Log lines of a trace in causal order over the clocks of several nodes. Pure: a trace and lines in, places in time out.
//!
//! - [`clocks`]: how far the clocks of the nodes are apart, estimated from calls between them.
//! - [`order`]: where each span and each line belongs on the clock of the trace's root.
//!
//! Spans themselves are shown as their senders' clocks have it; nothing here changes what is stored.

mod clocks;
mod order;

pub(crate) use clocks::Clock;
pub(crate) use order::{Basis, CausalOrder, Place};
