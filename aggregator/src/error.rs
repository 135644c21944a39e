//! What can go wrong in the aggregator.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use weir_blocks::StoreError;
use weir_bus::{BusError, TopicPartition};

/// An operation of the aggregator that failed, with its object.
#[derive(Debug, Error)]
pub enum AggregatorError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The object store or an engine failed, or another owner has fenced this one.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus is not the one that the manifest was written against: going on would store other records under offsets that are taken.
    #[error(
        "{place} is sealed up to offset {committed}, but the bus ends at {next}: it was replaced or truncated. \
         Bring the bus back, or start with an empty store"
    )]
    BusReplaced {
        place: TopicPartition,
        /// Everything below is in blocks, or in a head.
        committed: u64,
        /// Where the bus ends.
        next: u64,
    },
    /// Work of a partition panicked: what it worked on is dropped.
    #[error("{operation} of {place}: it panicked: {said}")]
    Panicked { operation: &'static str, place: TopicPartition, said: String },
    /// A merge would have lost or doubled lines.
    #[error("merge blocks: {before} lines became {after}; the blocks stay as they are")]
    Merge { before: u64, after: u64 },
    /// A task that others count on ended without a word.
    #[error("{task} was lost: {source}")]
    TaskLost {
        task: &'static str,
        #[source]
        source: tokio::task::JoinError,
    },
    /// Work that somebody, or several, had told the partition to do has failed.
    #[error("{0}")]
    Refused(#[source] Arc<AggregatorError>),
    /// A deletion may be cancelled only before its first record is gone.
    #[error("deletion {id}: its cancel period is over")]
    DeletionBegun { id: String },
    /// A deletion that is due is not carried out in full.
    #[error("deletion {id}: block {block} keeps what is deleted of it: {why}")]
    DeletionLeft { id: String, block: String, why: &'static str },
    /// The partition is assigned to this process and not served now.
    #[error("{place} is not open; try again")]
    NotOpen { place: TopicPartition },
    /// The partition was given to another process before it was done.
    #[error("{place} moved meanwhile")]
    Moved { place: TopicPartition },
    /// Some partitions did not do what all were told to.
    #[error("{0}")]
    Partitions(Refusals),
}

impl AggregatorError {
    /// Whether another owner has published: this one must stop.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced { .. }))
    }

    /// Whether it says more of the object store than of one object: the next one would fare no better.
    pub(crate) fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_of_the_store())
    }

    /// Whether a merge that failed so says something of its blocks: it is not tried again with them.
    pub(crate) fn is_of_the_blocks(&self) -> bool {
        !self.is_of_the_store() && !self.is_fenced()
    }

    /// Whether it says that these records cannot be sealed, however often it is tried.
    pub(crate) fn is_of_the_records(&self) -> bool {
        matches!(self, Self::Store(StoreError::Engine { .. } | StoreError::Corrupt { .. }) | Self::Panicked { .. })
    }
}

/// Why partitions did not do what they were told to, each with its name.
#[derive(Debug)]
pub struct Refusals(pub Vec<(TopicPartition, AggregatorError)>);

impl fmt::Display for Refusals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (place, error)) in self.0.iter().enumerate() {
            out.write_str(if i == 0 { "" } else { "; " })?;
            match error {
                AggregatorError::NotOpen { .. } | AggregatorError::Moved { .. } => write!(out, "{error}")?,
                error => write!(out, "{place}: {error}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_partition_once() {
        let place = |partition| TopicPartition { topic: "weir.logs".into(), partition };
        let fenced = StoreError::Fenced { kind: "logs", partition: 1, epoch: 4 };
        let refusals = vec![(place(0), AggregatorError::NotOpen { place: place(0) }), (place(1), fenced.into())];
        let said = AggregatorError::Partitions(Refusals(refusals)).to_string();
        let expected = "weir.logs partition 0 is not open; try again; \
                        weir.logs partition 1: partition 1 of logs belongs to another owner now (epoch 4)";
        assert_eq!(said, expected);
    }
}
