//! What holds for all languages: nothing that is written in one ends the stack or the memory.

mod depth;
mod fuzz;

pub(crate) use depth::on_a_small_stack;
pub(crate) use fuzz::target;

#[global_allocator]
static ALLOCATOR: weir_model::fuzz::CountingAllocator = weir_model::fuzz::CountingAllocator;
