//! Weir's own containers, from their state files ([`crate::monitor`]).

use std::path::Path;

use super::container::{Container, Engine, LogFormat, LogLocation};
use super::listing::{Listing, exists};
use crate::RuntimeError;
use crate::lifecycle::State;
use crate::monitor::{self, Status};

/// Containers below the state directory. Reads files: not for the async threads.
pub(super) fn list(state_dir: &Path) -> Result<Listing, RuntimeError> {
    if !exists(state_dir)? {
        return Ok(Listing::Absent);
    }
    Ok(Listing::Containers(monitor::list(state_dir)?.into_iter().map(container).collect()))
}

fn container(status: Status) -> Container {
    let mut container = Container::new(Engine::Weir, status.id);
    container.name = status.name;
    container.image = status.rootfs;
    container.labels = status.labels;
    container.state = status.state;
    container.pid = status.pid;
    container.started = status.started;
    container.restarts = Some(status.restarts);
    container.cgroup = (status.state != State::Exited).then_some(status.cgroup);
    container.log = Some(LogLocation { path: status.log, format: LogFormat::Cri });
    container.ends = status.ends;
    container
}
