//! How far each receiver is, for whoever asks over HTTP. Not its metrics, which are in [`super::metrics`].

use std::fmt;
use std::sync::{Arc, Weak};

use weir_model::status::{RemoteWriteError, RemoteWriteStatus};

use super::encoder::MILLISECOND;
use super::queue::{Queues, Receiver};

/// Tells of a collector's receivers, and of none once it is gone. Cheap to clone.
#[derive(Clone, Default)]
pub struct ReceiverWatch(Weak<Queues>);

impl ReceiverWatch {
    pub(crate) fn of(queues: &Arc<Queues>) -> Self {
        Self(Arc::downgrade(queues))
    }

    /// By the order of the configuration.
    pub fn status(&self) -> Vec<RemoteWriteStatus> {
        self.0.upgrade().map(|queues| queues.0.iter().map(|receiver| of(receiver)).collect()).unwrap_or_default()
    }
}

impl fmt::Debug for ReceiverWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReceiverWatch")
    }
}

fn of(receiver: &Receiver) -> RemoteWriteStatus {
    let error = |(time, failure): (i64, super::client::Failure)| RemoteWriteError { time: time.to_string(), text: failure.what };
    RemoteWriteStatus {
        name: receiver.name.clone(),
        pending_records: receiver.shards.iter().map(|shard| shard.pending()).sum(),
        pending_bytes: u64::try_from(receiver.queue_bytes.get()).unwrap_or(0),
        lag_seconds: lag(receiver),
        last_error: receiver.last_failure().map(error),
    }
}

/// Of the shard that is furthest behind; `None` where one is that has had nothing taken since the start.
fn lag(receiver: &Receiver) -> Option<f64> {
    let now = receiver.now().div_euclid(MILLISECOND);
    let behind = receiver.shards.iter().filter(|shard| shard.is_behind());
    let lags = behind.map(|shard| shard.newest().map(|newest| now.saturating_sub(newest).max(0)));
    let most = lags.collect::<Option<Vec<i64>>>()?.into_iter().max().unwrap_or(0);
    Some(most as f64 / 1000.0)
}
