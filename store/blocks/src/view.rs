//! One consistent state of a partition, and how readers get at it.
//!
//! The owner of a partition swaps its view as a whole: when a seal is published, the frozen head leaves and its blocks
//! enter in the same instant. A reader that took a view sees every record once, however long it reads.

use std::sync::Arc;

use weir_model::select::PartitionCoverage;

use crate::engine::Engine;
use crate::hidden::{Hidden, Horizon};

/// A partition as of one instant.
pub struct PartitionView<E: Engine> {
    /// Offsets as of that instant (`searchable` may be behind the heads, never ahead).
    pub coverage: PartitionCoverage,
    /// Sealed blocks with what the manifest says of them, oldest first.
    pub blocks: Vec<BlockView<E>>,
    /// Unsealed: at most the frozen and the active head.
    pub heads: Vec<Arc<E::Head>>,
    /// What could not be opened, a sentence each; goes to the coverage's `missing`.
    pub missing: Vec<String>,
}

impl<E: Engine> Clone for PartitionView<E> {
    fn clone(&self) -> Self {
        let (coverage, missing) = (self.coverage.clone(), self.missing.clone());
        Self { coverage, blocks: self.blocks.clone(), heads: self.heads.clone(), missing }
    }
}

/// A sealed block of a view.
pub struct BlockView<E: Engine> {
    /// From the manifest: lets a reader skip it by time.
    pub summary: crate::engine::BlockSummary,
    /// Opened.
    pub block: Arc<E::Block>,
    /// What of it is deleted.
    pub hidden: Hidden,
}

impl<E: Engine> Clone for BlockView<E> {
    fn clone(&self) -> Self {
        Self { summary: self.summary.clone(), block: Arc::clone(&self.block), hidden: self.hidden.clone() }
    }
}

/// Where readers get their views: in one process from the partition owners themselves.
pub trait Views<E: Engine>: Send + Sync + 'static {
    /// A view of every partition, each consistent in itself.
    fn views(&self) -> Vec<PartitionView<E>>;
    /// From when on records are seen; `None` where nothing is too old.
    fn horizon(&self) -> Option<Horizon> {
        None
    }
}

/// Where live tails get what just entered a head; only the logs engine asks.
pub trait Tails<S>: Send + Sync + 'static {
    /// A subscription: each call gives what arrived since the last one and never blocks. Dropping it ends it.
    fn subscribe(&self) -> Box<dyn FnMut() -> Vec<TailSection<S>> + Send>;
}

/// A section as it entered a head, for live tails.
#[derive(Clone)]
pub struct TailSection<S> {
    /// Where it came from.
    pub position: crate::engine::Position,
    /// What it holds, after duplicates were dropped.
    pub section: weir_model::wire::Section<S>,
    /// Sections that this subscriber was too slow for, before this one.
    pub dropped: u64,
}

/// Views that were put together for one request.
pub struct Fixed<E: Engine> {
    views: Vec<PartitionView<E>>,
    horizon: Option<Horizon>,
}

impl<E: Engine> Fixed<E> {
    /// Each call gives these.
    pub fn new(views: Vec<PartitionView<E>>) -> Self {
        Self { views, horizon: None }
    }

    /// Within this horizon.
    #[must_use]
    pub fn within(self, horizon: Option<Horizon>) -> Self {
        Self { horizon, ..self }
    }
}

impl<E: Engine> Views<E> for Fixed<E> {
    fn views(&self) -> Vec<PartitionView<E>> {
        self.views.clone()
    }

    fn horizon(&self) -> Option<Horizon> {
        self.horizon.clone()
    }
}

/// Where nothing arrives: beside [`Fixed`] views.
pub struct NoTails;

impl<S: 'static> Tails<S> for NoTails {
    fn subscribe(&self) -> Box<dyn FnMut() -> Vec<TailSection<S>> + Send> {
        Box::new(Vec::new)
    }
}
