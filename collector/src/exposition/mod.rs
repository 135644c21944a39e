//! What Prometheus targets answer: the text format 0.0.4, OpenMetrics 1.0 and protobuf. Sync and pure.
//!
//! - `body`: what a body says, in any format. [`line`]: one sample line.
//! - [`text`]: the whole body, lenient as Prometheus is. [`openmetrics`]: the other format, strictly. [`protobuf`]: families as messages.
//! - [`series`]: of which family a sample is. [`created`]: `_created` as the start of the others. [`custom_buckets`]: the series of a
//!   histogram as one sample.

mod body;
pub(crate) mod created;
pub(crate) mod custom_buckets;
pub(crate) mod line;
pub mod openmetrics;
pub(crate) mod protobuf;
mod series;
pub mod text;

pub(crate) use body::Format;
pub use body::{Exemplar, Exposition, ExpositionError, Sample};
