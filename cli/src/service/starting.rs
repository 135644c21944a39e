//! What a process says before it can do anything: that it lives, and what it waits for. A bus that is away must not make a
//! supervisor kill what waits for it.

use std::os::fd::AsFd;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_bus::{Log, TopicPartition};

use super::health::{self, Readiness};
use super::{life, listen, reach};
use crate::Failure;

/// Why the bus is not known yet.
#[derive(Clone)]
pub(crate) struct Waiting(Arc<watch::Sender<String>>);

impl Waiting {
    pub fn because(&self, why: &dyn std::fmt::Display) {
        self.0.send_replace(why.to_string());
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new("the bus has not answered yet".to_owned())))
    }
}

impl Readiness for Waiting {
    fn ready(&self) -> Result<(), String> {
        Err(self.0.borrow().clone())
    }
}

/// The partitions of the bus, waited for; `None` when the process was asked to end before. Meanwhile every listener answers that
/// it is not ready; they stay open, and are served by others afterwards.
pub(crate) async fn places(bus: &dyn Log, listeners: &[&TcpListener]) -> Result<Option<Vec<TopicPartition>>, Failure> {
    let (waiting, known) = (Waiting::default(), CancellationToken::new());
    let mut servers = listen::Servers::new();
    for listener in listeners {
        listen::serve(share(listener).map_err(Failure::failed)?, router(&waiting), &known, &mut servers);
    }
    let places = tokio::select! {
        places = reach::places(bus, &waiting) => Some(places.map_err(Failure::failed)?),
        () = life::asked_to_end() => None,
    };
    known.cancel();
    life::drain_requests(&mut servers).await;
    Ok(places)
}

fn router(waiting: &Waiting) -> Router {
    let told = waiting.clone();
    let not_yet = async move || (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", *told.0.borrow()));
    health::router(Registry::default(), waiting.clone()).fallback(not_yet)
}

/// The same socket once more.
fn share(listener: &TcpListener) -> std::io::Result<TcpListener> {
    TcpListener::from_std(std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?))
}
