//! A source whose lines are deleted now and then, on the way that the API takes. What was acknowledged when a request was made that all
//! partitions have accepted is not seen again, from heads or blocks; what was sent after its answer stays.

use std::sync::Arc;

use rand::rngs::StdRng;
use tokio::task::JoinHandle;
use weir_blocks::manifest::AcceptedRequest;
use weir_model::deletion::{DeletionQuery, DeletionRequest};
use weir_model::select::LineFilter;

use super::*;
use crate::deletions::accept;

const NAME: &str = "doomed";

pub(super) struct Doomed {
    source: Source,
    /// The request under way: whether all partitions have accepted it, and the lines that were acknowledged when it was made.
    request: Option<(JoinHandle<bool>, u64)>,
    requests: u64,
    pub(super) accepted: u64,
    /// Lines below are gone.
    gone: u64,
    /// No request means lines from here on.
    kept: u64,
}

impl Doomed {
    pub(super) fn new() -> Self {
        Self { source: Source::new(Kind::Logs, NAME.into()), request: None, requests: 0, accepted: 0, gone: 0, kept: 0 }
    }

    pub(super) async fn step(&mut self, world: &World, members: &[Member], random: &mut StdRng) {
        self.hear(false).await;
        match random.random_range(0..10) {
            0..2 => self.source.send(&world.sim, random).await,
            2 if self.request.is_none() => self.delete(world, members),
            _ => {}
        }
    }

    fn delete(&mut self, world: &World, members: &[Member]) {
        self.requests += 1;
        let filters = vec![LineFilter::Contains(vec![format!("{NAME} ").into_bytes()])];
        let asked = DeletionQuery { query: self.requests.to_string(), filters, ..DeletionQuery::default() };
        let request = DeletionRequest::new((TENANT, Kind::Logs), asked, TimeRange::ALL, 0, false).expect("a request");
        let request = Arc::new(AcceptedRequest::from(request));
        let registries: Vec<OwnerRegistry> = members.iter().map(|member| member.registry.clone()).collect();
        let bus = world.sim.clone();
        let asking = async move {
            let mut places = std::collections::BTreeSet::new();
            for registry in registries {
                let accepting = accept(&registry, &bus, &[Kind::Logs], Arc::clone(&request));
                if let Ok(Ok(done)) = tokio::time::timeout(Duration::from_secs(10), accepting).await {
                    places.extend(done.partitions);
                }
            }
            places.len() == PARTITIONS as usize
        };
        self.request = Some((tokio::spawn(asking), self.source.acknowledged));
    }

    /// Hears of a request that has been answered, or, at the end, gives it up.
    async fn hear(&mut self, is_end: bool) {
        let Some((asking, acknowledged)) = self.request.take() else { return };
        if !asking.is_finished() && !is_end {
            self.request = Some((asking, acknowledged));
            return;
        }
        asking.abort();
        // Some partitions may have accepted it where not all have.
        self.kept = self.source.lines;
        if asking.await.unwrap_or(false) {
            self.accepted += 1;
            self.gone = self.gone.max(acknowledged);
        }
    }

    /// To be called when all members have crashed.
    pub(super) async fn end(&mut self) {
        self.hear(true).await;
    }

    pub(super) fn compare(&self, when: &str, stored: &[String]) {
        let prefix = format!("{NAME} ");
        let numbers: Vec<u64> =
            stored.iter().filter_map(|line| line.strip_prefix(&prefix)).map(|number| number.parse().expect("a number")).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{when}: each once, in order: {numbers:?}");
        let (gone, Source { acknowledged, lines, .. }) = (self.gone, &self.source);
        assert!(numbers.iter().all(|number| *number >= gone), "{when}: all below {gone} are deleted: {numbers:?}");
        let kept: Vec<u64> = numbers.into_iter().filter(|number| *number >= self.kept).collect();
        let expected: Vec<u64> = (self.kept..self.kept + kept.len() as u64).collect();
        let next = self.kept + kept.len() as u64;
        assert_eq!(kept, expected, "{when}: from {} on nothing is deleted", self.kept);
        assert!(next >= *acknowledged.max(&self.kept) && next <= *lines, "{when}: {acknowledged} acknowledged, {next} stored");
    }
}
