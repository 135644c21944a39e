//! One request, answered: for each partition its heads' part, or why not. Sync; the route runs it off the async threads.

use std::time::{Duration, Instant};

use weir_heads::frame::{self, Tag};
use weir_heads::{HeadProtocol, HeadRequest, Refusal, encode_extract, encode_refusal};
use weir_model::scope::Scope;
use weir_model::select::{Budget, CancelOnDrop, Cancellation, ReadError};

use super::service::HeadService;
use crate::live::Partitions;

/// No request takes longer, whatever it says: a query's own limit is 60 s.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// When the client stops waiting.
pub(super) fn deadline(request: &HeadRequest) -> Instant {
    Instant::now() + Duration::from_millis(request.timeout_ms).min(TIMEOUT_MAX)
}

/// Ends the work when the client has left or no longer waits.
pub(super) struct Deadline {
    until: Instant,
    left: Cancellation,
}

impl Deadline {
    pub(super) fn new(until: Instant) -> (Self, CancelOnDrop) {
        let (left, guard) = Cancellation::new();
        (Self { until, left }, guard)
    }
}

impl Budget for Deadline {
    fn check(&self) -> Result<(), ReadError> {
        if self.left.is_cancelled() {
            return Err(ReadError::Cancelled("the client has left"));
        }
        if Instant::now() >= self.until {
            return Err(ReadError::Cancelled("the client no longer waits"));
        }
        Ok(())
    }

    /// What a query may decode is counted where it is decoded: at the client.
    fn spend(&self, _: u64) -> Result<(), ReadError> {
        self.check()
    }
}

/// A whole answer's bytes.
pub(super) fn respond<E: HeadProtocol>(
    partitions: &Partitions<E>,
    request: &HeadRequest,
    service: &HeadService,
    budget: &dyn Budget,
) -> Vec<u8> {
    let mut out = frame::preamble(E::KIND).to_vec();
    let scope = request.scope();
    let mut asked = request.partitions.clone();
    asked.sort_unstable();
    asked.dedup();
    for partition in asked {
        let failed = |text: &String| Refusal::Failed { partition, text: text.clone() };
        let scope = scope.as_ref().map_err(failed);
        let outcome = match scope.and_then(|scope| part(partitions, partition, (request, scope), service, budget, &mut out)) {
            Ok(()) => "answered",
            Err(refusal) => {
                encode_refusal(&mut out, &refusal);
                match refusal {
                    Refusal::NotOwned { .. } => "not_owned",
                    Refusal::TooLarge { .. } => "too_large",
                    Refusal::Failed { .. } => "failed",
                }
            }
        };
        service.count(E::KIND.name(), outcome, 1);
    }
    frame::put(&mut out, Tag::End, &[]);
    out
}

fn part<E: HeadProtocol>(
    partitions: &Partitions<E>,
    partition: u32,
    (request, scope): (&HeadRequest, &Scope),
    service: &HeadService,
    budget: &dyn Budget,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let absent = || match partitions.damage(partition) {
        Some(reason) => Refusal::Failed { partition, text: format!("it is in quarantine: {reason}") },
        None => Refusal::NotOwned { partition },
    };
    let live = partitions.get(partition).ok_or_else(absent)?;
    let (instant, heads) = live.extract();
    let extract = E::extract(scope, &request.query, &heads, service.limits, budget).map_err(|error| match error {
        ReadError::Budget { limit, .. } => Refusal::TooLarge { partition, limit },
        other => Refusal::Failed { partition, text: other.to_string() },
    })?;
    encode_extract(out, &instant, &extract);
    Ok(())
}
