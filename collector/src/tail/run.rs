//! The tail as a whole: opens the checkpoint, starts the watch and the task that finds logs ([`super::find`]), and ends with a last
//! checkpoint.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::admit::Refusals;
use super::births::Births;
use super::checkpoint::Checkpoint;
use super::discover::{Discover, Root};
use super::find::{Finder, discover_and_save};
use super::shared::{Deps, SOURCE, Shared};
use super::watch::Watch;
use crate::config::FilesConfig;
use crate::error::CollectorError;
use crate::private::make_directory;

/// Blocks read and parsed at once, over all logs: twice the cores of a small machine.
const READERS: usize = 4;

/// Follows all logs until shutdown; then the last checkpoint is written. In `roots` files are met at their birth, all
/// others by the next call of `discover`.
pub async fn run(config: FilesConfig, deps: Deps, discover: Discover, roots: Vec<Root>) -> Result<(), CollectorError> {
    let pins = deps.data.join("pins");
    make_directory(&pins).map_err(|source| CollectorError::File { operation: "create", path: pins.clone(), source })?;
    let (checkpoint, wrong) = Checkpoint::open(deps.data.join("checkpoint"));
    if let Some(reason) = wrong {
        deps.metrics.event(SOURCE, "checkpoint_unusable", 1);
        tracing::warn!(reason, "the checkpoint cannot be used; all log files are read again");
    }
    let births = Arc::new(Births::new(deps.metrics.clone()));
    let roots: Arc<[Root]> = roots.into();
    let refusals = Arc::new(Refusals::new(deps.metrics.clone()));
    let unknown_before = if checkpoint.is_empty() { (deps.clock)().unsigned_abs() } else { 0 };
    let watch = Watch::start(roots.clone(), births.clone(), refusals.clone(), deps.metrics.clone());
    let shared =
        Arc::new(Shared { config, deps, checkpoint, births, refusals, unknown_before, readers: Semaphore::new(READERS), pins });
    let mut tasks = JoinSet::new();
    let discovered = discover_and_save(&shared, &mut tasks, Finder { discover, roots }).await;
    // Joins the thread, which may be listing a directory.
    let _ = tokio::task::spawn_blocking(move || drop(watch)).await;
    discovered?;
    while tasks.join_next().await.is_some() {}
    shared.save().await;
    Ok(())
}
