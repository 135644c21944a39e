//! LogQL's tests: a table a feature, over an in-memory store.

mod lines;
mod metrics;
mod properties;
mod syntax;
