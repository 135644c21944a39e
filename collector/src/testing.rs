//! What the unit tests share: a small in-memory bus, which keeps what is appended, and fails and stalls when told to; and a front
//! door that lets everybody push.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::Request;
use axum::middleware::Next;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use weir_access::{Access, Authorizer, Principal, Routes, TENANT_HEADER};
use weir_bus::{Ack, BusError, Consumer, Log, TopicPartition};
use weir_model::log::LogBatch;
use weir_model::signal::Signal;
use weir_model::wire::{self, Kind, Limits, Mark, Section};

/// Routes that anybody may push to: for the tenant of their header, else for `t`.
pub(crate) fn granted(routes: Routes) -> axum::Router {
    let authorizer = Arc::new(Authorizer::allow("t"));
    routes.into_router().layer(axum::middleware::from_fn(move |mut request: Request, next: Next| {
        let named = request.headers().get(TENANT_HEADER).map(|tenant| tenant.to_str().unwrap().into());
        let principal = Some(Arc::new(Principal::anonymous()));
        let access = Access::new(principal, named.into_iter().collect(), Arc::clone(&authorizer));
        request.extensions_mut().insert(access);
        next.run(request)
    }))
}

pub(crate) struct TestLog {
    partitions: u32,
    state: Mutex<State>,
    /// Acknowledgements wait while it is `false`.
    flowing: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    records: HashMap<TopicPartition, Vec<Bytes>>,
    /// For each coming append: whether its record is stored although its ack fails.
    failures: Vec<bool>,
}

impl TestLog {
    pub(crate) fn new(partitions: u32) -> Arc<Self> {
        Arc::new(Self { partitions, state: Mutex::default(), flowing: watch::channel(true).0 })
    }

    /// The next appends fail; each flag says whether the record is stored nevertheless.
    pub(crate) fn fail_next(&self, stored: &[bool]) {
        self.state.lock().failures.extend(stored);
    }

    pub(crate) fn flow(&self, flowing: bool) {
        self.flowing.send_replace(flowing);
    }

    /// Sections of a signal as stored, partition by partition, duplicates included.
    pub(crate) fn sections<S: Signal>(&self) -> Vec<Vec<Section<S>>> {
        let state = self.state.lock();
        let partition = |partition| {
            let place = TopicPartition { topic: S::KIND.topic().to_owned(), partition };
            let records = state.records.get(&place).map(Vec::as_slice).unwrap_or_default();
            records.iter().flat_map(|record| wire::decode(record, &Limits::default()).unwrap()).collect()
        };
        (0..self.partitions).map(partition).collect()
    }

    pub(crate) fn records(&self, kind: Kind) -> usize {
        let state = self.state.lock();
        state.records.iter().filter(|(place, _)| place.topic == kind.topic()).map(|(_, records)| records.len()).sum()
    }

    /// Lines per (source), after the aggregator's rule: what is at or below the source's mark is dropped.
    pub(crate) fn lines(&self) -> HashMap<String, Vec<String>> {
        let mut marks: HashMap<String, (u64, u64)> = HashMap::new();
        let mut digests = std::collections::HashSet::new();
        let mut lines: HashMap<String, Vec<String>> = HashMap::new();
        for section in self.sections::<LogBatch>().into_iter().flatten() {
            let source = section.header.source.clone();
            let after = match section.header.mark {
                Mark::Digest(digest) => {
                    if !digests.insert(digest) {
                        continue;
                    }
                    0
                }
                Mark::Sequence { epoch, first, last } => {
                    let mark = marks.entry(source.clone()).or_default();
                    assert!(epoch != mark.0 || first <= mark.1, "gap in {source}: {first} after {mark:?}");
                    if epoch < mark.0 {
                        continue;
                    }
                    let after = if epoch == mark.0 { mark.1 } else { 0 };
                    *mark = (epoch, after.max(last));
                    after
                }
            };
            let pushed = matches!(section.header.mark, Mark::Digest(_));
            let kept = section.batch.iter().filter(|record| pushed || record.sequence > after);
            let text = kept.map(|record| String::from_utf8_lossy(record.body).into_owned());
            lines.entry(source).or_default().extend(text);
        }
        lines
    }
}

#[async_trait]
impl Log for TestLog {
    async fn partitions(&self, _topic: &str) -> Result<u32, BusError> {
        Ok(self.partitions)
    }

    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        let mut flowing = self.flowing.subscribe();
        let place = place.clone();
        let (stored, offset) = {
            let mut state = self.state.lock();
            let failure = (!state.failures.is_empty()).then(|| state.failures.remove(0));
            let records = state.records.entry(place).or_default();
            if failure != Some(false) {
                records.push(value);
            }
            (failure.is_none(), records.len() as u64)
        };
        Ok(Box::pin(async move {
            let _ = flowing.wait_for(|flowing| *flowing).await;
            if stored { Ok(offset) } else { Err(BusError::Stopped("told to fail".into())) }
        }))
    }

    async fn consume(&self, _topics: &[&str], _member: &str) -> Result<Box<dyn Consumer>, BusError> {
        Err(BusError::Config("the test log has no consumers".into()))
    }

    async fn bounds(&self, _place: &TopicPartition) -> Result<(u64, u64), BusError> {
        Ok((0, 0))
    }

    async fn release(&self, _place: &TopicPartition, _offset: u64) -> Result<(), BusError> {
        Ok(())
    }
}
