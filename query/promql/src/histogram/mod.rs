//! Arithmetic of native histograms, after Prometheus 3.14: `bucket` lists buckets, `sum` and `running` add, subtract and average,
//! `scale` multiplies, `reset` compares, `quantile` estimates, `trim` cuts, `text` prints.
//!
//! Buckets are worked on as lists of index and count, as long as the counts: what spans say costs nothing by its reach.

mod bucket;
mod quantile;
mod reset;
mod running;
mod scale;
mod sum;
#[cfg(test)]
mod tests;
mod text;
mod trim;

pub(crate) use bucket::is_custom;
pub use bucket::{Bucket, all_buckets};
pub(crate) use quantile::{Skew, fraction, quantile, variance};
pub(crate) use reset::alike;
pub(crate) use reset::{detect_reset, equal};
pub(crate) use running::{Fold, Running};
pub(crate) use scale::{divided, empty_like, multiplied};
pub(crate) use sum::{HistogramSum, Incompatible, Merged};
pub use text::text;
pub(crate) use trim::{Trim, trimmed};
