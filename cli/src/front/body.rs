//! Bodies both ways: one that does not come in ends its request; one that goes out tells its connection how far it is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::UnderWay;

/// The client may keep us waiting for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// For the next part.
    pub wait: Duration,
    /// On the whole, beyond the first `wait`.
    pub bytes_per_second: u64,
}

/// A request's body. Only the time in which somebody waits for the client counts.
pub(crate) struct Incoming<B> {
    body: B,
    pace: Pace,
    received: u64,
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    stalled: Arc<AtomicBool>,
}

impl<B> Incoming<B> {
    /// `stalled` tells whether it took too long.
    pub fn new(body: B, pace: Pace, stalled: Arc<AtomicBool>) -> Self {
        Self { body, pace, received: 0, waited: Duration::ZERO, waiting: None, stalled }
    }

    /// How long the client may take for the next part.
    fn patience(&self) -> Duration {
        let earned = Duration::from_secs(self.received / self.pace.bytes_per_second.max(1));
        self.pace.wait.min((self.pace.wait + earned).saturating_sub(self.waited))
    }
}

impl<B> HttpBody for Incoming<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let Some((since, _)) = this.waiting.take() {
                this.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = this.patience();
        let (_, sleep) = this.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + patience)))
        });
        ready!(sleep.as_mut().poll(context));
        this.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the request's body did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body.
pub(crate) struct Outgoing {
    body: Body,
    request: UnderWay,
}

impl Outgoing {
    pub fn new(body: Body, request: UnderWay) -> Self {
        Self { body, request }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.request.wanted();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.request.handed_over(Instant::now());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio::sync::mpsc;

    use super::*;

    /// A body that is fed by the test.
    struct Fed(mpsc::Receiver<usize>);

    impl HttpBody for Fed {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(Bytes::from(vec![0; bytes])))))
        }
    }

    /// Sends parts, each so many seconds after the one before; how many bytes arrive before it is given up or ends.
    async fn check(parts: &[(u64, usize)], expected: Result<usize, usize>) {
        let (tx, rx) = mpsc::channel(1);
        let (pace, stalled) = (Pace { wait: Duration::from_secs(10), bytes_per_second: 100 }, Arc::new(AtomicBool::new(false)));
        let mut body = Body::new(Incoming::new(Fed(rx), pace, Arc::clone(&stalled)));
        let parts = parts.to_vec();
        tokio::spawn(async move {
            for (pause, bytes) in parts {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                if tx.send(bytes).await.is_err() {
                    return;
                }
            }
        });
        let mut received = 0;
        let outcome = loop {
            match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                Some(Ok(frame)) => received += frame.into_data().unwrap().len(),
                Some(Err(_)) => break Err(received),
                None => break Ok(received),
            }
        };
        assert_eq!(outcome, expected);
        assert_eq!(stalled.load(Ordering::Relaxed), outcome.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        check(&[], Ok(0)).await;
        check(&[(9, 1)], Ok(1)).await;
        check(&[(0, 5), (11, 5)], Err(5)).await;
        // One byte now and then is not progress; a slow line is.
        check(&[(4, 1), (4, 1), (4, 1), (4, 1)], Err(2)).await;
        check(&[(4, 400), (4, 400), (4, 400), (4, 400)], Ok(1600)).await;
        // What was earned is not saved up for one long silence.
        check(&[(0, 1_000_000), (11, 1)], Err(1_000_000)).await;
    }
}
