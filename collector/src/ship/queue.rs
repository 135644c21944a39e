//! What a lane and its senders share: a queued section, and since when a record is in flight.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use weir_model::usage::Amount;
use weir_model::wire::Section;

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
    /// Counted for the section's tenant once it is durable.
    pub amount: Amount,
    pub _room: Room,
}

impl Completion {
    pub fn resolve(self, outcome: Result<(), ShipError>) {
        // The sender may have given up waiting; the section is stored all the same.
        let _ = self.tx.send(outcome);
    }
}

/// Since when the record in flight has waited for its acknowledgement. Written by the lane, read by whoever asks how
/// shipping goes.
pub(super) type InFlight = Arc<Mutex<Option<Instant>>>;
