//! Nothing that is written in PromQL ends the stack or the memory.

mod coarse;
mod depth;
mod fuzz;
mod join;
mod stale;

#[global_allocator]
static ALLOCATOR: weir_model::fuzz::CountingAllocator = weir_model::fuzz::CountingAllocator;
