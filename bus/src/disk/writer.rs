//! The writer: one thread a log. It gathers what has been appended, writes one batch a partition, syncs each file
//! touched once, and only then publishes and acknowledges. While it syncs, the next round gathers by itself.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::batch::BATCH_BYTES_MAX;
use super::config::DiskConfig;
use super::partition::{Partition, Pending, WriteError};
use super::shared::Shared;
use crate::BusError;

/// A round is closed when it has this much: half of what a batch may hold, so that the last record always fits.
const ROUND_BYTES: u64 = BATCH_BYTES_MAX as u64 / 2;

/// One record on its way.
pub(crate) struct Append {
    pub(crate) partition: Arc<Partition>,
    pub(crate) value: Bytes,
    /// What it reserved under the log's byte cap.
    pub(crate) reserved: u64,
    pub(crate) ack: oneshot::Sender<Result<u64, BusError>>,
    /// Its room in the queue, given back when it is answered.
    pub(crate) _queued: OwnedSemaphorePermit,
}

/// Runs until every sender is gone and the queue is empty.
pub(crate) fn run(shared: &Shared, queue: &Receiver<Append>) {
    while let Ok(first) = queue.recv() {
        let round = collect_round(&shared.config, queue, first);
        write_round(shared, round);
    }
}

fn collect_round(config: &DiskConfig, queue: &Receiver<Append>, first: Append) -> Vec<Append> {
    let deadline = Instant::now() + config.linger;
    let mut bytes = first.reserved;
    let mut round = vec![first];
    while bytes < ROUND_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        match queue.recv_timeout(left) {
            Ok(append) => {
                bytes += append.reserved;
                round.push(append);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    round
}

/// The appends of one partition in one round.
struct Share {
    partition: Arc<Partition>,
    appends: Vec<Append>,
}

fn write_round(shared: &Shared, round: Vec<Append>) {
    let mut shares: BTreeMap<*const Partition, Share> = BTreeMap::new();
    for append in round {
        let share = shares.entry(Arc::as_ptr(&append.partition));
        share.or_insert_with(|| Share { partition: append.partition.clone(), appends: Vec::new() }).appends.push(append);
    }
    let mut written = Vec::new();
    for share in shares.into_values() {
        match write_share(shared, &share) {
            Ok(pending) => written.push((share, pending)),
            Err(error) => refuse(shared, share.appends, &error),
        }
    }
    for (share, pending) in written {
        match sync(shared, &pending) {
            Ok(()) => acknowledge(shared, share, pending),
            Err(error) => refuse(shared, share.appends, &error),
        }
    }
}

fn write_share(shared: &Shared, share: &Share) -> Result<Pending, BusError> {
    shared.check()?;
    let records = share.appends.iter().map(|append| append.value.clone()).collect();
    share.partition.write(shared.config.segment_max.to_u64(), records).map_err(|error| match error {
        WriteError::RolledBack(error) => error,
        WriteError::Fatal(error) => {
            shared.stop(&error);
            error
        }
    })
}

fn sync(shared: &Shared, pending: &Pending) -> Result<(), BusError> {
    shared.check()?;
    shared.metrics.fsyncs.inc();
    pending.sync().inspect_err(|error| shared.stop(error))
}

fn acknowledge(shared: &Shared, share: Share, pending: Pending) {
    let length = pending.length();
    let base = share.partition.publish(pending);
    shared.space.store(share.appends.iter().map(|append| append.reserved).sum(), length);
    shared.metrics.append_records.inc_by(share.appends.len() as u64);
    shared.metrics.append_bytes.inc_by(share.appends.iter().map(|append| append.value.len() as u64).sum());
    for (offset, append) in (base..).zip(share.appends) {
        // Nobody waits for an ack that was dropped; the record is stored all the same.
        let _ = append.ack.send(Ok(offset));
    }
    shared.published.send_modify(|round| *round += 1);
}

fn refuse(shared: &Shared, appends: Vec<Append>, error: &BusError) {
    shared.metrics.append_errors.inc_by(appends.len() as u64);
    shared.space.give_back(appends.iter().map(|append| append.reserved).sum());
    for append in appends {
        let _ = append.ack.send(Err(copy(error)));
    }
}

/// The same error for another caller.
fn copy(error: &BusError) -> BusError {
    match error {
        BusError::Disk { operation, path, source } => {
            let source = source
                .raw_os_error()
                .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error);
            BusError::Disk { operation, path: path.clone(), source }
        }
        other => BusError::Stopped(other.to_string()),
    }
}
