//! What holds for all languages: nothing that is written in one ends the stack or the memory.

mod depth;

pub(crate) use depth::on_a_small_stack;
