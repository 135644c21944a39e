//! The task of a part of a queue: gathers records, has them encoded off the async threads, and sends one request after the other until
//! each is taken or refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Consumer, Event, Log, Record};

use super::client::{Client, Failure, Outcome};
use super::encoder::{Batch, Encoder};
use super::halves::{DIVISIONS_MAX, halves};
use super::outage::Outage;
use super::position::{Position, PositionFile};
use super::queue::{Progress, Receiver};
use super::request::{Counts, Request};

/// Releases cost an fsync each, and free disk alone: where a shard is stands in its position.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// Of records that are encoded as one batch, however few of their points are for the receiver: a batch is in memory until it is sent.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Before a position that could not be written is written again.
const DISK_BACKOFF: Duration = Duration::from_secs(1);

pub(super) struct Shard {
    receiver: Arc<Receiver>,
    shard: usize,
    file: Arc<PositionFile>,
    found: Position,
    /// Absent only while a batch is being encoded.
    encoder: Option<Box<Encoder>>,
    client: Arc<Client>,
    /// Read and not yet sent.
    records: VecDeque<Record>,
    /// When it was tried last, and up to where it succeeded.
    released: (Instant, u64),
    outage: Outage,
}

/// How far a position is written.
#[derive(Clone, Copy)]
enum Written {
    /// For a restart of the process.
    Lazily,
    /// For a power cut as well.
    Synced,
}

/// Why a shard ends.
enum Ended {
    Stopped,
    Failed(String),
}

/// What a receiver says of a request, or of a part of one.
enum Answer {
    /// It is taken, or as much of it as ever will be, and the rest counted.
    Done,
    /// For something in it.
    Unfit(Failure),
    /// As a whole.
    Refused(Failure),
}

impl From<BusError> for Ended {
    fn from(error: BusError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Shard {
    /// `file` as it was opened.
    pub fn new(
        receiver: Arc<Receiver>,
        shard: usize,
        (file, found): (PositionFile, Position),
        (encoder, client): (Encoder, Arc<Client>),
    ) -> Self {
        let (records, encoder, released) = (VecDeque::new(), Some(Box::new(encoder)), (Instant::now(), 0));
        Self { receiver, shard, file: Arc::new(file), found, encoder, client, records, released, outage: Outage::default() }
    }

    /// Until told to stop, or until its queue's log stops.
    pub async fn run(mut self, stop: CancellationToken) {
        if let Err(Ended::Failed(error)) = self.send_all(&stop).await {
            let (remote_name, shard) = (&self.receiver.name, self.shard);
            tracing::error!(
                remote_name,
                shard,
                error,
                "the queue of a remote write receiver failed; it is sent nothing until a restart"
            );
        }
    }

    async fn send_all(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let place = Receiver::place(self.shard);
        let mut consumer = self.receiver.log.consume(&[&place.topic], "").await?;
        let (first, next) = self.receiver.log.bounds(&place).await?;
        let mut position = self.found;
        if position.begin < first {
            self.receiver.metrics.dropped_records("queue_full", first - position.begin);
            position = Position { begin: first, end: position.end.max(first) };
        }
        self.progress().found(next);
        self.progress().take(position.begin);
        self.progress().sent(position.begin);
        self.receiver.tell_pending();
        // The consumer's first event says that the partition is ours.
        consumer.next().await?;
        consumer.seek(&place, position.begin).await?;
        loop {
            // What was being sent when the process ended is sent again by itself.
            let until = (position.end > position.begin).then_some(position.end);
            let Some(batch) = self.gather(&mut *consumer, until, stop).await? else { return Ok(()) };
            let end = batch.last().map_or(position.begin, |record| record.offset + 1);
            position.end = position.end.max(end);
            self.write(position, Written::Synced, stop).await?;
            self.progress().take(end);
            self.receiver.tell_pending();
            self.send_batch(batch, stop).await?;
            position.begin = end;
            self.write(position, Written::Lazily, stop).await?;
            self.progress().sent(end);
            self.receiver.tell_pending();
            if self.released.0.elapsed() >= RELEASE_INTERVAL {
                self.release().await;
            }
        }
    }

    /// Gives free what is sent. What cannot be given free now is later.
    async fn release(&mut self) {
        let sent = self.progress().sent_below();
        self.released.0 = Instant::now();
        // First: what a position that is older says is not sent would seem to be lost.
        let file = Arc::clone(&self.file);
        let synced = tokio::task::spawn_blocking(move || file.sync()).await.map_err(std::io::Error::other).flatten();
        let released = match synced {
            Ok(()) => self.receiver.log.release(&Receiver::place(self.shard), sent).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match released {
            Ok(()) => self.released.1 = sent,
            Err(error) => tracing::warn!(
                remote_name = self.receiver.name,
                shard = self.shard,
                error,
                "what a remote write receiver has taken cannot be deleted from its queue; trying again"
            ),
        }
    }

    fn progress(&self) -> &Progress {
        self.receiver.progress(self.shard)
    }

    /// Until it is written: nothing is sent of which a restart would not know.
    async fn write(&self, position: Position, written: Written, stop: &CancellationToken) -> Result<(), Ended> {
        loop {
            // Off the async threads: a disk may take its time.
            let file = Arc::clone(&self.file);
            let write = move || {
                file.write(position)?;
                if let Written::Synced = written { file.sync() } else { Ok(()) }
            };
            let written = tokio::task::spawn_blocking(write).await;
            let error = match written.map_err(std::io::Error::other) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) | Err(error) => error,
            };
            let (remote_name, shard) = (&self.receiver.name, self.shard);
            tracing::warn!(remote_name, shard, %error, "the position in a remote write queue cannot be written; trying again");
            tokio::select! {
                () = tokio::time::sleep(DISK_BACKOFF) => {}
                () = stop.cancelled() => return Err(Ended::Stopped),
            }
        }
    }

    /// Records for one request or more: up to `until`, else as many as fill a request, or as come in time; of either, no more than
    /// [`BATCH_BYTES_MAX`] and one. `None` at the end.
    async fn gather(
        &mut self,
        consumer: &mut dyn Consumer,
        until: Option<u64>,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Record>>, Ended> {
        let queue = self.receiver.config.queue_config.clone();
        let (mut batch, mut points, mut bytes) = (Vec::new(), 0, 0);
        let mut deadline: Option<Instant> = None;
        loop {
            while let Some(record) = self.records.pop_front() {
                if record.offset < self.progress().floor() {
                    continue;
                }
                if until.is_some_and(|until| record.offset >= until) && !batch.is_empty() {
                    self.records.push_front(record);
                    return Ok(Some(batch));
                }
                let is_last = until.is_some_and(|until| record.offset + 1 >= until);
                // What is no record is given up when it is decoded.
                points += Encoder::points(&self.receiver.config, &record.value).unwrap_or(0);
                bytes += record.value.len();
                batch.push(record);
                let is_full = until.is_none() && points >= queue.max_samples_per_send as u64;
                if is_last || is_full || bytes >= BATCH_BYTES_MAX {
                    return Ok(Some(batch));
                }
            }
            if !batch.is_empty() && deadline.is_none() {
                deadline = Some(Instant::now() + queue.batch_send_deadline);
            }
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                event = consumer.next() => self.read(event?, consumer).await?,
                () = due, if until.is_none() => return Ok(Some(batch)),
                () = tokio::time::sleep_until(self.released.0 + RELEASE_INTERVAL), if self.has_unreleased() => self.release().await,
            }
        }
    }

    fn has_unreleased(&self) -> bool {
        self.released.1 < self.progress().sent_below()
    }

    async fn read(&mut self, event: Event, consumer: &mut dyn Consumer) -> Result<(), Ended> {
        match event {
            Event::Records(records) => self.records.extend(records),
            Event::OutOfRange { place, wanted, first, .. } => {
                // What was given up on purpose is counted already.
                let lost = first.saturating_sub(wanted.max(self.progress().floor()));
                self.receiver.metrics.dropped_records("damaged", lost);
                self.progress().take(first);
                consumer.seek(&place, first).await?;
            }
            Event::Assigned(_) | Event::Revoked(_) => {}
        }
        Ok(())
    }

    async fn send_batch(&mut self, records: Vec<Record>, stop: &CancellationToken) -> Result<(), Ended> {
        let mut batch = Batch::new(records.into_iter().map(|record| record.value));
        loop {
            let Some(mut encoder) = self.encoder.take() else { return Err(Ended::Failed("encoding panicked".into())) };
            let encoded = tokio::task::spawn_blocking(move || {
                let request = encoder.next_request(&mut batch);
                (encoder, batch, request)
            });
            let (encoder, rest, request) = encoded.await.map_err(|error| Ended::Failed(format!("encode: {error}")))?;
            (self.encoder, batch) = (Some(encoder), rest);
            match request {
                Some(request) => self.send(request, stop).await?,
                None => return Ok(()),
            }
        }
    }

    /// Until all of it is taken, refused or too old. What the receiver does not take for its content is sent again in halves, so often; also
    /// after a restart, when nobody knows whether the receiver has it or was never sent it.
    async fn send(&mut self, request: Request, stop: &CancellationToken) -> Result<(), Ended> {
        let (mut waiting, mut divisions) = (vec![request], DIVISIONS_MAX);
        while let Some(request) = waiting.pop() {
            let (failure, may_divide) = match self.answer(&request, stop).await? {
                Answer::Done => continue,
                Answer::Unfit(failure) => (failure, divisions > 0),
                Answer::Refused(failure) => (failure, false),
            };
            if may_divide {
                let divided = tokio::task::spawn_blocking(move || (halves(&request), request)).await;
                let (halves, whole) = divided.map_err(|error| Ended::Failed(format!("divide a request: {error}")))?;
                if !halves.is_empty() {
                    divisions -= 1;
                    // Of a series that is in both, the older samples go first.
                    waiting.extend(halves.into_iter().rev());
                    continue;
                }
                self.drop_refused(whole.counts.points(), &failure);
                continue;
            }
            self.drop_refused(request.counts.points(), &failure);
        }
        Ok(())
    }

    /// Sends it until the receiver says what becomes of it, or it is too old.
    async fn answer(&mut self, request: &Request, stop: &CancellationToken) -> Result<Answer, Ended> {
        let queue = self.receiver.config.queue_config.clone();
        let mut backoff = queue.min_backoff;
        let points = request.counts.points();
        loop {
            let (receiver, client) = (Arc::clone(&self.receiver), Arc::clone(&self.client));
            let outcome = tokio::select! {
                outcome = client.send(&receiver.config, request.body.clone(), request.counts) => outcome,
                // One that is under way is given a moment to be answered.
                () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => return Err(Ended::Stopped),
            };
            let (failure, asked) = match outcome {
                Outcome::Taken(written) => {
                    // What a receiver of 2.0 has not written although it took the request is dropped.
                    receiver.metrics.dropped("not_written", points.saturating_sub(written.points()));
                    self.count(request, written);
                    self.end_outage();
                    return Ok(Answer::Done);
                }
                Outcome::Partly(written, failure) => {
                    self.count(request, written);
                    self.drop_refused(points.saturating_sub(written.points()), &failure);
                    self.end_outage();
                    return Ok(Answer::Done);
                }
                Outcome::Unfit(failure) => return Ok(Answer::Unfit(failure)),
                Outcome::Refused(failure) => return Ok(Answer::Refused(failure)),
                Outcome::Later { failure, pause } => (failure, pause),
            };
            receiver.metrics.retried.inc_by(points);
            receiver.tell_failure(&failure);
            if self.outage.later(Instant::now()) {
                self.warn(&failure, "a remote write receiver takes nothing; trying again");
            }
            // A receiver may ask for more patience, not for less.
            let pause = asked.map_or(backoff, |own| own.max(backoff));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Err(Ended::Stopped),
            }
            backoff = (backoff * 2).min(queue.max_backoff);
            if points > 0 && self.encoder.as_ref().is_some_and(|encoder| request.newest < encoder.oldest()) {
                receiver.metrics.dropped("too_old", points);
                return Ok(Answer::Done);
            }
        }
    }

    fn drop_refused(&mut self, points: u64, failure: &Failure) {
        self.receiver.metrics.dropped("refused", points);
        if self.outage.refused(Instant::now()) {
            self.warn(failure, "a remote write receiver refused samples; they are dropped");
        }
        self.receiver.tell_failure(failure);
    }

    fn count(&self, request: &Request, written: Counts) {
        let metrics = &self.receiver.metrics;
        metrics.samples.inc_by(written.samples);
        metrics.histograms.inc_by(written.histograms);
        metrics.exemplars.inc_by(written.exemplars);
        metrics.metadata.inc_by(written.metadata);
        metrics.bytes.inc_by(request.body.len() as u64);
        if written.points() > 0 {
            metrics.newest.set((request.newest as f64 / 1000.0).max(metrics.newest.get()));
            self.progress().acknowledged(request.newest);
        }
    }

    fn warn(&self, failure: &Failure, message: &'static str) {
        let reason = failure.to_string();
        tracing::warn!(remote_name = self.receiver.name, shard = self.shard, reason, "{message}");
    }

    fn end_outage(&mut self) {
        if let Some(lasted) = self.outage.end(Instant::now()) {
            let seconds = lasted.as_secs();
            tracing::info!(
                remote_name = self.receiver.name,
                shard = self.shard,
                seconds,
                "a remote write receiver takes requests again"
            );
        }
    }
}
