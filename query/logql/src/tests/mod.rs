//! LogQL's tests: a table a feature, over an in-memory store.

mod counts;
mod depth;
mod fuzz;
mod lines;
mod metrics;
mod properties;
mod scripts;
mod syntax;

#[global_allocator]
static ALLOCATOR: weir_model::fuzz::CountingAllocator = weir_model::fuzz::CountingAllocator;
