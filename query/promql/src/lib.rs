//! PromQL: `lex ast parse eval`, and `print` and `pretty` for the way back.
//!
//! [`parse::parse`] turns text into a tree, [`eval::Engine`] evaluates a tree over a [`weir_model::select::MetricReader`],
//! series by series: each operator folds whole series over all steps, there is no loop over steps around the tree.
//! `functions/` has one idea a file. [`testing`] runs Prometheus' own test scripts against it.
//!
//! A sample is a number or a native histogram, whose arithmetic is `histogram/`: rows are numbers, with histograms beside them
//! where there are any, so that numbers alone cost what they did before.

mod annotations;
pub mod ast;
mod error;
pub mod eval;
mod functions;
pub mod histogram;
mod lex;
mod operators;
pub mod parse;
mod pretty;
mod print;
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use error::{ParseError, QueryError};
pub use eval::{Answer, Engine, Output, Points, Request, Sample};
pub use functions::Function;
pub use lex::{parse_number as parse_go_number, unescape as unescape_go};
pub use pretty::pretty;
