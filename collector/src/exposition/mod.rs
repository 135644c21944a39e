//! What Prometheus targets answer: the text format 0.0.4 and OpenMetrics 1.0. Sync and pure.
//!
//! - `body`: what a body says, in either format. [`line`]: one sample line.
//! - [`text`]: the whole body, lenient as Prometheus is. [`openmetrics`]: the other format, strictly.

mod body;
pub(crate) mod line;
pub mod openmetrics;
pub mod text;

pub use body::{Exemplar, Exposition, ExpositionError, Sample};
