//! The producer, made anew when librdkafka has given it up. An idempotent producer that meets a fatal error (a sequence that the broker
//! does not know, a newer epoch) answers everything with it from then on, so it is replaced: what it had not acknowledged is answered
//! with an error, "not known to be stored", and whoever appended it appends it again. Readers drop what is then stored twice.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::{Notify, oneshot};

use super::config::KafkaConfig;
use super::diagnosis::{Diagnosis, is_refusal};
use super::rebootstrap::{POLL_INTERVAL, Rebootstrap};
use crate::{BusError, BusMetrics};

/// A producer that is given up sooner than this after it was made is not replaced yet: what ails it would only come again.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);

/// Tells whoever appended.
pub(crate) type AckSender = oneshot::Sender<Result<u64, BusError>>;

/// Hears of deliveries, on the producer's thread.
pub(crate) struct Deliveries {
    /// The queue has room again, perhaps.
    pub(crate) delivered: Notify,
    diagnosis: Diagnosis,
    metrics: BusMetrics,
}

impl Deliveries {
    fn failed(&self, error: &KafkaError, topic: &str) -> BusError {
        let refused = error.rdkafka_error_code().filter(|code| is_refusal(*code));
        refused.map_or_else(
            || self.diagnosis.error("append", error),
            |code| BusError::Kafka { operation: "append", message: self.diagnosis.refused(&write_to(topic), code) },
        )
    }
}

/// What the brokers deny when they give a producer no id.
const WRITE: &str = "write any topic";

fn write_to(topic: &str) -> String {
    format!("write topic {topic}")
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        self.diagnosis.connection_failed(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<AckSender>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Box<AckSender>) {
        let answered = match result {
            Ok(message) => {
                self.metrics.append_records.inc();
                self.metrics.append_bytes.inc_by(message.payload_len() as u64);
                self.diagnosis.allowed(WRITE);
                self.diagnosis.allowed(&write_to(message.topic()));
                u64::try_from(message.offset())
                    .map_err(|_| BusError::Kafka { operation: "append", message: "no offset in the answer".into() })
            }
            Err((error, message)) => {
                self.metrics.append_errors.inc();
                Err(self.failed(error, message.topic()))
            }
        };
        // Nobody waits for an ack that was dropped.
        let _ = answer.send(answered);
        self.delivered.notify_waiters();
    }
}

pub(crate) struct ReplaceableProducer {
    config: KafkaConfig,
    diagnosis: Diagnosis,
    metrics: BusMetrics,
    /// Guards which one is in use, and since when if it took another's place; held while one is made, so that it is made once.
    current: Arc<Current>,
    /// Ends the thread that looks after it.
    _watched: Sender<()>,
}

type Current = Mutex<(ThreadedProducer<Deliveries>, Option<Instant>)>;

impl ReplaceableProducer {
    pub(crate) fn new(config: &KafkaConfig, diagnosis: &Diagnosis, metrics: &BusMetrics) -> Result<Self, BusError> {
        let first = create(config, diagnosis, metrics)?;
        let current = Arc::new(Mutex::new((first, None)));
        let (watched, ended) = channel();
        let (rebootstrap, watching) = (Rebootstrap::new(config, metrics)?, Arc::downgrade(&current));
        let thread = std::thread::Builder::new().name("weir-bus-brokers".into());
        let thread = thread.spawn(move || look_after(&watching, rebootstrap, &ended));
        thread.map_err(|error| BusError::Stopped(format!("start a thread for the kafka producer: {error}")))?;
        let (config, diagnosis, metrics) = (config.clone(), diagnosis.clone(), metrics.clone());
        Ok(Self { config, diagnosis, metrics, current, _watched: watched })
    }

    /// The one in use, for questions.
    pub(crate) fn any(&self) -> ThreadedProducer<Deliveries> {
        self.current.lock().0.clone()
    }

    /// One that can append. Errors when one was given up that had just been made.
    pub(crate) fn usable(&self) -> Result<ThreadedProducer<Deliveries>, BusError> {
        let mut current = self.current.lock();
        let Some((code, reason)) = current.0.client().fatal_error() else { return Ok(current.0.clone()) };
        let refused = is_refusal(code).then(|| self.diagnosis.refused(WRITE, code));
        if current.1.is_some_and(|made| made.elapsed() < REPLACE_PAUSE) {
            let message = refused.unwrap_or_else(|| format!("the producer was given up: {code}: {reason}"));
            return Err(BusError::Kafka { operation: "append", message });
        }
        tracing::error!(%code, reason, "the kafka producer was given up; making another one, which takes what is appended again");
        let fresh = create(&self.config, &self.diagnosis, &self.metrics)?;
        self.metrics.producer_replacements.inc();
        let dead = std::mem::replace(&mut *current, (fresh.clone(), Some(Instant::now())));
        drop(current);
        // It waits for its thread and answers what is left; whoever waits for room hears of it.
        tokio::task::spawn_blocking(move || drop(dead));
        Ok(fresh)
    }
}

/// Until the producer's owner is gone.
fn look_after(current: &Weak<Current>, mut rebootstrap: Rebootstrap, ended: &Receiver<()>) {
    while ended.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(producer) = current.upgrade().map(|current| current.lock().0.clone()) else { return };
        rebootstrap.check(producer.client());
    }
}

fn create(config: &KafkaConfig, diagnosis: &Diagnosis, metrics: &BusMetrics) -> Result<ThreadedProducer<Deliveries>, BusError> {
    let deliveries = Deliveries { delivered: Notify::new(), diagnosis: diagnosis.clone(), metrics: metrics.clone() };
    let created = config.producer().create_with_context(deliveries);
    created.map_err(|error| BusError::Config(format!("kafka producer: {error}")))
}
