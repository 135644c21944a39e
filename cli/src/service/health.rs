//! `/metrics`, `/healthz`, `/readyz` of every process that serves. Probes have no credentials: whoever may not read all of weir is
//! told whether, and not why.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::registry::Registry;
use weir_access::{Access, Needs, Routes, Verb};
use weir_aggregator::Aggregator;
use weir_model::status::OwnerStatus;

use super::exposition::Format;

/// What `/readyz` asks. Cheap: it is asked every second.
pub(crate) trait Readiness: Send + Sync + 'static {
    /// Errors with a sentence that says what is missing.
    fn ready(&self) -> Result<(), String>;
    /// Whether requests are answered at all, however incompletely.
    fn serves(&self) -> bool {
        true
    }
    /// What is not served although all else is: a sentence each.
    fn quarantined(&self) -> Vec<String> {
        Vec::new()
    }
    /// What is wrong and keeps nobody from being served: a sentence each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Health {
    registry: Registry,
    readiness: Box<dyn Readiness>,
}

/// Under the names that Kubernetes, Prometheus and Loki look for.
pub(crate) fn router(registry: Registry, readiness: impl Readiness) -> Routes {
    let health = Arc::new(Health { registry, readiness: Box::new(readiness) });
    Routes::new()
        .get("/metrics", Needs::Whole(Verb::Read), metrics)
        .get("/healthz", Needs::Nothing, || async { "ok\n" })
        .get("/readyz", Needs::Nothing, ready)
        .get("/ready", Needs::Nothing, ready)
        .get("/-/healthy", Needs::Nothing, || async { "ok\n" })
        .get("/-/ready", Needs::Nothing, ready)
        .get("/-/serving", Needs::Nothing, serving)
        .on(&[Method::POST, Method::PUT], "/-/reload", Needs::Caller, reload)
        .with_state(health)
}

/// Prometheus' way to have its files read again.
async fn reload() -> (StatusCode, &'static str) {
    let text = "Lifecycle API is not enabled: weir reads limits, policies, tokens, certificates and files of targets again by itself, and all \
                else when it starts\n";
    (StatusCode::NOT_FOUND, text)
}

async fn metrics(State(health): State<Arc<Health>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accept.collect::<Vec<_>>().join(","));
    match format.write(&health.registry) {
        Ok(text) => {
            let head = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
            (head.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(health): State<Arc<Health>>, access: Option<Extension<Access>>) -> Response {
    let readiness = &health.readiness;
    match (readiness.ready(), may_know(access).await) {
        (Ok(()), true) => {
            let quarantined = readiness.quarantined().into_iter().map(|what| format!("in quarantine: {what}\n"));
            let warnings = readiness.warnings().into_iter().map(|what| format!("{what}\n"));
            std::iter::once("ready\n".to_owned()).chain(quarantined).chain(warnings).collect::<String>().into_response()
        }
        (Ok(()), false) => "ready\n".into_response(),
        (Err(reason), may_know) => not_ready(&reason, may_know),
    }
}

/// For whoever sends requests: an answer that is incomplete, and says so, is better than none.
async fn serving(State(health): State<Arc<Health>>) -> Response {
    if health.readiness.serves() { "ok\n".into_response() } else { not_ready("", false) }
}

/// Whether the request's principal may know names of partitions, brokers and processes. A probe that may not is not refused: it is not
/// counted.
pub(crate) async fn may_know(access: Option<Extension<Access>>) -> bool {
    match access {
        Some(Extension(access)) => access.may(Needs::Whole(Verb::Read)).await,
        None => false,
    }
}

pub(crate) fn not_ready(reason: &str, may_know: bool) -> Response {
    let text = if may_know { format!("not ready: {reason}\n") } else { "not ready\n".to_owned() };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// A partition this many bus records behind is still called ready: they arrive faster than they are asked for.
const READY_WITHIN: u64 = 64;

/// Which partitions have to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// So many: all that the bus has.
    All(usize),
    /// Those that the group has assigned, which may be none where there are more aggregators than partitions.
    Assigned,
}

/// Ready means: every partition of its share is open, and what was on the bus when it began can be found. Who has all partitions
/// answers from blocks as well, so these are open, or were tried in vain.
pub(crate) struct CaughtUp {
    pub aggregator: Arc<Aggregator>,
    pub share: Share,
}

impl Readiness for CaughtUp {
    fn ready(&self) -> Result<(), String> {
        // Asked first: one that is assigned after this is missed once, none is counted that is not there.
        let assigned = self.aggregator.assigned();
        caught_up(self.share, assigned, &self.aggregator.status())
    }

    fn quarantined(&self) -> Vec<String> {
        quarantined(&self.aggregator.status())
    }
}

fn quarantined(all: &[OwnerStatus]) -> Vec<String> {
    let damaged = all.iter().filter_map(|status| Some((status, status.damage.as_deref()?)));
    damaged.map(|(status, damage)| format!("{} partition {}: {damage}", status.topic, status.partition)).collect()
}

/// `assigned`: what the group has answered, if it has. `all`: of each partition, how far it is. The damage of one is no reason to send
/// requests for the others elsewhere; that of all is.
fn caught_up(share: Share, assigned: Option<usize>, all: &[OwnerStatus]) -> Result<(), String> {
    let wanted = match (share, assigned) {
        (Share::All(partitions), _) => partitions,
        (Share::Assigned, Some(assigned)) => assigned,
        (Share::Assigned, None) => return Err("the group has not said yet which partitions are ours".into()),
    };
    let (damaged, open): (Vec<_>, Vec<_>) = all.iter().partition(|status| status.damage.is_some());
    if open.is_empty() && !damaged.is_empty() {
        return Err(format!("in quarantine: {}", quarantined(all).join("; ")));
    }
    let lag = open.iter().map(|status| status.high_watermark.saturating_sub(status.indexed_offset));
    let behind: u64 = lag.filter(|behind| *behind > READY_WITHIN).sum();
    if all.len() < wanted || behind > 0 {
        return Err(format!("{} of {wanted} partitions open, {behind} records to replay", open.len()));
    }
    let opening: u64 = open.iter().map(|status| status.blocks_opening).sum();
    if matches!(share, Share::All(_)) && opening > 0 {
        return Err(format!("{opening} blocks to open"));
    }
    // A partition that was just opened may have any number of records to replay.
    let unheard = open.iter().find(|status| status.bus_silent_seconds.is_none());
    unheard.map_or(Ok(()), |status| {
        Err(format!("the bus has not said yet how far {} partition {} is", status.topic, status.partition))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(lags: &[u64]) -> Vec<OwnerStatus> {
        let status = |lag| OwnerStatus {
            high_watermark: 1000 + lag,
            bus_silent_seconds: Some(0),
            indexed_offset: 1000,
            ..OwnerStatus::default()
        };
        lags.iter().map(status).collect()
    }

    #[track_caller]
    fn check(share: Share, assigned: Option<usize>, lags: &[u64], expected: Result<(), &str>) {
        assert_eq!(caught_up(share, assigned, &open(lags)), expected.map_err(str::to_owned));
    }

    #[test]
    fn ready_is_all_of_its_share_open_and_caught_up() {
        for share in [Share::Assigned, Share::All(2)] {
            check(share, Some(2), &[0], Err("1 of 2 partitions open, 0 records to replay"));
            check(share, Some(2), &[65, 1], Err("2 of 2 partitions open, 65 records to replay"));
            check(share, Some(2), &[64, 1], Ok(()));
        }
    }

    #[tokio::test]
    async fn a_probe_without_credentials_is_no_refusal() {
        let authorizer = Arc::new(weir_access::Authorizer::allow("default"));
        let ask = async |principal| may_know(Some(Extension(Access::new(principal, Vec::new(), Arc::clone(&authorizer))))).await;
        assert!(!ask(None).await && ask(Some(Arc::new(weir_access::Principal::anonymous()))).await);
        let (mut registry, mut text) = (Registry::default(), String::new());
        authorizer.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("result="), "{text}");
    }

    #[test]
    fn one_in_quarantine_is_named_and_the_others_are_ready() {
        let mut all = open(&[0, 0]);
        all[1] = OwnerStatus { topic: "weir.logs".into(), partition: 3, damage: Some("why".into()), ..OwnerStatus::default() };
        assert_eq!(caught_up(Share::All(2), Some(2), &all), Ok(()));
        assert_eq!(quarantined(&all), ["weir.logs partition 3: why"]);
        assert_eq!(caught_up(Share::All(1), Some(1), &all[1..]), Err("in quarantine: weir.logs partition 3: why".into()));
    }

    #[test]
    fn blocks_are_waited_for_by_who_answers_from_them() {
        let mut open = open(&[0]);
        open[0].blocks_opening = 3;
        assert_eq!(caught_up(Share::All(1), Some(1), &open), Err("3 blocks to open".into()));
        assert_eq!(caught_up(Share::Assigned, Some(1), &open), Ok(()));
        (open[0].blocks_opening, open[0].blocks_unopened) = (0, 3);
        assert_eq!(caught_up(Share::All(1), Some(1), &open), Ok(()));
    }

    #[test]
    fn a_partition_is_not_caught_up_with_a_bus_that_has_said_nothing() {
        let open = [OwnerStatus { topic: "weir.logs".into(), partition: 3, ..OwnerStatus::default() }];
        let said = caught_up(Share::All(1), None, &open);
        assert_eq!(said, Err("the bus has not said yet how far weir.logs partition 3 is".into()));
    }

    #[test]
    fn a_member_without_partitions_is_ready_once_the_group_has_said_so() {
        check(Share::Assigned, None, &[], Err("the group has not said yet which partitions are ours"));
        check(Share::Assigned, Some(0), &[], Ok(()));
        // `up` owns everything there is, so it does not take nothing for an answer.
        check(Share::All(2), Some(0), &[], Err("0 of 2 partitions open, 0 records to replay"));
    }
}
