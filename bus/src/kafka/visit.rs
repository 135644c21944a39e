//! A guest whose coming makes the group rebalance. A static member that comes back within its session is given what it was last
//! told to have, and nobody is asked again, even when some partitions were just then on their way from one member to another: these
//! would be nobody's until something else happens to the group. See `docs/decisions/0098-a-guest-makes-the-group-count.md`.

use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::config::KafkaConfig;
use super::poller::Rebalances;
use crate::BusError;

/// What only guests subscribe to, since whoever subscribes to nothing is not let in. One partition, nothing in it.
pub(crate) const TOPIC: &str = "weir.visits";

/// The group lets nobody in while it waits for a member that died, which is for a session.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Sends guests while it lives.
pub(crate) struct Host(SyncSender<()>);

impl Host {
    pub(crate) fn start(config: &KafkaConfig, member: &str) -> Result<Self, BusError> {
        let (host, asked) = sync_channel(1);
        let guest = config.guest(member);
        let thread = std::thread::Builder::new().name("weir-bus-visit".into()).spawn(move || {
            while asked.recv().is_ok() {
                while let Err(error) = visit(&guest) {
                    tracing::warn!(%error, "the group was not visited; trying again");
                    if asked.try_recv() == Err(TryRecvError::Disconnected) {
                        return;
                    }
                }
            }
        });
        thread.map(|_| Self(host)).map_err(|error| BusError::Stopped(format!("start a thread for guests: {error}")))
    }

    /// Sends one soon. Of several only one goes, after the last of them was asked for.
    pub(crate) fn send_guest(&self) {
        let _one_is_due_already = self.0.try_send(());
    }
}

/// Joins the group and leaves it again.
fn visit(config: &ClientConfig) -> Result<(), KafkaError> {
    let guest: BaseConsumer<Rebalances> = config.create_with_context(Rebalances::default())?;
    guest.subscribe(&[TOPIC])?;
    let begun = Instant::now();
    let mut last = KafkaError::Canceled;
    while !guest.context().has_answered() {
        if begun.elapsed() > PATIENCE {
            return Err(last);
        }
        if let Some(Err(error)) = guest.poll(POLL) {
            last = error;
        }
    }
    Ok(())
}
