//! What moves the checkpoint: blocks of one log, shipped and waiting for the bus. Called by [`super::follow`].

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::assemble::Snapshot;
use super::identity::Fingerprint;
use super::shared::{SOURCE, Shared};
use crate::error::ShipError;
use crate::ship::Receipt;

/// What waits for acknowledgement, in order.
pub(super) enum Pending {
    Block {
        receipts: Vec<Receipt>,
        epoch: u64,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
        bytes: u64,
    },
    /// Answered when everything before is acknowledged.
    Barrier(oneshot::Sender<()>),
}

/// Moves the checkpoint on, block by block in order. Ends when the log does, or when the bus has gone: then the
/// log's next `send` fails, and the checkpoint stays where it is.
pub(super) async fn acknowledge(shared: Arc<Shared>, id: String, mut pending: mpsc::Receiver<Pending>) {
    while let Some(next) = pending.recv().await {
        match next {
            Pending::Barrier(tx) => drop(tx.send(())),
            Pending::Block { receipts, epoch, snapshot, fingerprint, bytes } => {
                for receipt in receipts {
                    match receipt.await {
                        Ok(()) => {}
                        Err(ShipError::Refused(reason)) => {
                            shared.deps.metrics.lost(SOURCE, "refused", bytes);
                            tracing::error!(file = id, reason, "lines cannot be encoded and are left out");
                        }
                        Err(ShipError::Stopped | ShipError::Busy) => return,
                    }
                }
                shared.deps.metrics.file_bytes.inc_by(bytes);
                shared.checkpoint.advance(&id, epoch, snapshot, fingerprint);
            }
        }
    }
}
