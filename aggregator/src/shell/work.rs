//! What a partition writes, and who is told when that fails: it is tried again, and repeats.

use std::fmt;

use weir_bus::TopicPartition;
use weir_model::outage::{Outages, Target};

use crate::AggregatorError;

#[derive(Clone, Copy)]
pub(super) enum Work {
    Claim,
    Seal,
    Publish,
    Merge,
    Collect,
    Release,
    CountShares,
}

impl Work {
    pub const ALL: [Self; 7] =
        [Self::Claim, Self::Seal, Self::Publish, Self::Merge, Self::Collect, Self::Release, Self::CountShares];

    pub fn target(self) -> Target {
        match self {
            Self::Claim | Self::Seal | Self::Publish => Target::ObjectStore,
            Self::Merge | Self::Collect | Self::Release | Self::CountShares => Target::Upkeep,
        }
    }

    /// The writer that an outage names.
    pub fn of(self, place: &TopicPartition) -> impl fmt::Display {
        let what = match self {
            Self::Claim => "a claim",
            Self::Seal => "a seal",
            Self::Publish => "publishing a manifest",
            Self::Merge => "a merge",
            Self::Collect => "removing garbage",
            Self::Release => "releasing sealed offsets",
            Self::CountShares => "telling whose blocks are",
        };
        fmt::from_fn(move |out| write!(out, "{what} of {place}"))
    }
}

/// Passes on how work ended. That another owner has published is no outage.
pub(super) fn told<T>(
    outages: &Outages,
    place: &TopicPartition,
    work: Work,
    outcome: Result<T, AggregatorError>,
) -> Result<T, AggregatorError> {
    match &outcome {
        Ok(_) => outages.ended(work.target(), work.of(place)),
        // Of this partition alone: it is given up, which says why and ends its outages.
        Err(error) if matches!(work, Work::Claim) && !error.is_of_the_store() => {}
        Err(error) if error.is_fenced() => {
            tracing::warn!(topic = place.topic, partition = place.partition, %error, "another owner has published");
        }
        // Of these blocks, which are left as they are from now on: nothing is tried again.
        Err(error) if matches!(work, Work::Merge) && error.is_of_the_blocks() => {
            tracing::warn!(topic = place.topic, partition = place.partition, %error, "a merge is given up");
            outages.ended(work.target(), work.of(place));
        }
        Err(error) => outages.failed(work.target(), work.of(place), error),
    }
    outcome
}
