//! Gives a client its brokers back when it has forgotten all of them. librdkafka forgets every broker that the newest metadata do not
//! name, and a broker that was frozen or cut off for longer than its session with the controller names none until it is let in again.
//! librdkafka then begins at `bootstrap.servers` again, unless its two threads meet in the wrong order: then it asks nobody anything
//! ever after. The poller looks after its consumer, and a thread of its own after the producer; see
//! `docs/decisions/0107-clients-without-brokers.md`.

use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::bindings::{rd_kafka_brokers_add, rd_kafka_brokers_learned_ids};
use rdkafka::client::{Client, ClientContext};

use super::config::KafkaConfig;
use crate::{BusError, BusMetrics};

/// Between two looks at what a client knows, which asks no broker. Only what is missing twice in a row is given back: librdkafka,
/// when it does begin again by itself, needs less.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two times that brokers are given back, doubled up to it: librdkafka keeps each list that it is given.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// See the module; looks after one client at a time.
pub(super) struct Rebootstrap {
    addresses: CString,
    metrics: BusMetrics,
    /// Tells whether it is still the same client.
    client: usize,
    /// It has known a broker. Until then librdkafka tries those that are configured.
    known: bool,
    missed: bool,
    next: Instant,
    pause: Duration,
}

impl Rebootstrap {
    /// Errors with `Config` when the addresses cannot be told to librdkafka.
    pub(super) fn new(config: &KafkaConfig, metrics: &BusMetrics) -> Result<Self, BusError> {
        let addresses = CString::new(config.brokers.as_str()).map_err(|error| BusError::Config(format!("brokers: {error}")))?;
        let (client, next, pause) = (0, Instant::now(), POLL_INTERVAL);
        Ok(Self { addresses, metrics: metrics.clone(), client, known: false, missed: false, next, pause })
    }

    /// Looks if it is time to; never waits.
    pub(super) fn check<C: ClientContext>(&mut self, client: &Client<C>) {
        let (now, place) = (Instant::now(), client.native_ptr().addr());
        if self.client != place {
            (self.client, self.known) = (place, false);
        } else if now < self.next {
            return;
        }
        let knows = learned(client) > 0;
        if knows || !self.known || !self.missed {
            self.missed = self.known && !knows;
            self.known |= knows;
            self.next = now + POLL_INTERVAL;
            if knows {
                self.pause = POLL_INTERVAL;
            }
            return;
        }
        tracing::warn!("a kafka client knows no broker any more; giving it those that are configured");
        self.metrics.rebootstraps.inc();
        // SAFETY: the client outlives the call, and the text ends in a zero; librdkafka copies it.
        let added = unsafe { rd_kafka_brokers_add(client.native_ptr(), self.addresses.as_ptr()) };
        tracing::debug!(added, "a kafka client was given brokers");
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.next = now + self.pause;
    }
}

/// How many brokers the client knows by their id.
fn learned<C: ClientContext>(client: &Client<C>) -> usize {
    let mut count = 0;
    // SAFETY: the client outlives the call; the list is the caller's, who frees it as it was made, by malloc.
    unsafe {
        let ids = rd_kafka_brokers_learned_ids(client.native_ptr(), &raw mut count);
        libc::free(ids.cast());
    }
    count
}
