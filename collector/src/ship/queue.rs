//! What a lane and its senders share: a queued section, and since when a record is in flight.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use weir_model::usage::{Amount, Usage};
use weir_model::wire::{Kind, Section};

use super::room::Room;
use crate::error::ShipError;

/// A section on its way, with what it holds of the lane's room.
pub(super) struct QueuedSection<S> {
    pub section: Section<S>,
    pub weight: usize,
    pub done: Completion,
}

/// Tells the sender, when the last part is durable or the first has failed.
pub(super) struct Completion {
    pub tx: oneshot::Sender<Result<(), ShipError>>,
    pub counted: Counted,
    pub _room: Room,
}

/// What is counted for a section's tenant once it is durable.
pub(super) struct Counted {
    pub usage: Usage,
    pub tenant: String,
    pub kind: Kind,
    pub amount: Amount,
}

impl Completion {
    pub fn resolve(self, outcome: Result<(), ShipError>) {
        if outcome.is_ok() {
            let Counted { usage, tenant, kind, amount } = &self.counted;
            usage.ingested(tenant, *kind, amount.records, amount.bytes);
        }
        // The sender may have given up waiting; the section is stored all the same.
        let _ = self.tx.send(outcome);
    }
}

/// Since when the record in flight has waited for its acknowledgement. Written by the lane, read by whoever asks how
/// shipping goes.
pub(super) type InFlight = Arc<Mutex<Option<Instant>>>;
