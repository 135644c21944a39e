//! What a process says before it can do anything: that it lives, and what it waits for. A bus or an object store that is away must
//! not make a supervisor kill what waits for it.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_bus::Log;
use weir_model::id::TopicPartition;

use super::health::{self, Readiness};
use super::{build, bus_health, lifecycle};
use crate::Failure;
use crate::config::Config;
use crate::front::{Front, Listener, Servers};

/// Why it cannot begin yet.
#[derive(Clone)]
pub(crate) struct Waiting(Arc<watch::Sender<String>>);

impl Waiting {
    pub fn because(&self, why: &dyn std::fmt::Display) {
        self.0.send_replace(why.to_string());
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new("nothing that is needed has answered yet".to_owned())))
    }
}

impl Readiness for Waiting {
    fn ready(&self) -> Result<(), String> {
        Err(self.0.borrow().clone())
    }
}

/// What a process cannot begin without, waited for; `None` when it was asked to end before. Meanwhile every listener answers that
/// it is not ready; they stay open, and are served by others afterwards.
pub(crate) async fn until<T>(
    front: &Front,
    listeners: &[&Listener],
    needed: impl AsyncFnOnce(&Waiting) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let (waiting, known) = (Waiting::default(), CancellationToken::new());
    let mut servers = Servers::new();
    for listener in listeners {
        front.serve(listener.share().map_err(Failure::failed)?, router(&waiting), &known, &mut servers);
    }
    let needed = tokio::select! {
        needed = needed(&waiting) => Some(needed?),
        () = lifecycle::asked_to_end() => None,
    };
    known.cancel();
    lifecycle::drain_requests(&mut servers).await;
    Ok(needed)
}

/// What an aggregator works with.
pub(crate) struct Storage {
    pub bus: Arc<dyn Log>,
    pub object_store: Arc<dyn ObjectStore>,
    /// All that the bus has.
    pub places: Vec<TopicPartition>,
}

/// Bus and object store, waited for until both answer, as by [`until`].
pub(crate) async fn storage(
    config: &Config,
    front: &Front,
    listeners: &[&Listener],
    registry: &mut Registry,
) -> Result<Option<Storage>, Failure> {
    let bus = build::open_bus(config, registry)?;
    let object_store = build::open_store(config).await?;
    let places = until(front, listeners, async |waiting| {
        build::probe_store(config, &object_store, waiting).await?;
        bus_health::places(&*bus, waiting).await
    })
    .await?;
    Ok(places.map(|places| Storage { bus, object_store, places }))
}

fn router(waiting: &Waiting) -> Router {
    let told = waiting.clone();
    let not_yet = async move || (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", *told.0.borrow()));
    health::router(Registry::default(), waiting.clone()).fallback(not_yet)
}
