//! Listens to what engines tell by themselves: that a container died, with which code, and that memory ran out in it. A list
//! that is asked for every second shows neither a container that is removed at its end nor how a run ended when the next one has
//! begun. Whoever cannot be listened to is asked only, by [`super::inventory`].

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_model::time::UnixNanos;

use super::config::InventoryConfig;
use super::container::Engine;
use super::event::Event;
use super::{containerd_events, cri_events, docker_events};
use crate::RuntimeError;

/// Between two attempts to listen to an engine.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two attempts to listen to one that does not tell, which another version or configuration may change.
const PAUSE_OF_SILENT: Duration = Duration::from_secs(60);
/// Events that wait for the one task that takes them; engines wait when there are more.
const EVENTS_MAX: usize = 1024;

/// Listens to the engines until it is dropped.
pub struct Events {
    events: mpsc::Receiver<Event>,
    _listeners: JoinSet<()>,
}

impl Events {
    /// Listens to all engines that can be listened to, from `since` on where the engine remembers. Needs a tokio runtime.
    pub fn listen(config: &InventoryConfig, since: UnixNanos) -> Self {
        let (tx, events) = mpsc::channel(EVENTS_MAX);
        let docker = |engine, socket: &PathBuf| Source::Docker { engine, socket: socket.clone(), since };
        let podmans = config.podman_sockets.iter().map(|socket| docker(Engine::Podman, socket));
        let cris = config.cri_sockets.iter().map(|socket| Source::Cri(socket.clone()));
        let others = [docker(Engine::Docker, &config.docker_socket), Source::Containerd(config.containerd_socket.clone())];
        let mut listeners = JoinSet::new();
        for source in others.into_iter().chain(podmans).chain(cris) {
            listeners.spawn(source.listen(tx.clone()));
        }
        Self { events, _listeners: listeners }
    }

    /// Waits for events and returns those that are there. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Event> {
        let mut found = Vec::new();
        if self.events.recv_many(&mut found, EVENTS_MAX).await == 0 {
            // Every listener has gone, which none does.
            std::future::pending::<()>().await;
        }
        found
    }
}

/// Who is listened to.
enum Source {
    /// Also podman's service. What happened since a time is told as well.
    Docker {
        engine: Engine,
        socket: PathBuf,
        since: UnixNanos,
    },
    Containerd(PathBuf),
    Cri(PathBuf),
}

impl Source {
    /// Listens again whenever the engine hung up. What Docker told meanwhile comes after.
    async fn listen(mut self, tx: mpsc::Sender<Event>) {
        loop {
            let pause = self.listen_once(&tx).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "an engine's events are not to be had; trying again");
                PAUSE
            });
            if tx.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Until the engine ends the answer, or nobody takes events any more: then it returns when to try again.
    async fn listen_once(&mut self, tx: &mpsc::Sender<Event>) -> Result<Duration, RuntimeError> {
        match self {
            Self::Docker { engine, socket, since } => docker_events::listen(*engine, socket, since, tx).await.map(|()| PAUSE),
            Self::Containerd(socket) => containerd_events::listen(socket, tx).await.map(|()| PAUSE),
            // CRI-O ends the answer at once where its configuration has no events.
            Self::Cri(socket) => cri_events::listen(socket, tx).await.map(|()| PAUSE_OF_SILENT),
        }
    }
}
