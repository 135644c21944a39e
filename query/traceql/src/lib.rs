//! The part of TraceQL that is understood: one span set, conditions joined by `&&`:
//! `{ resource.service.name = "x" && name =~ "y.*" && duration > 100ms && span.http.status_code >= 500 && status = error }`.
//!
//! Everything else (`||`, `>>`, pipes, arithmetic) is refused by name and place. What the reader understands is handed to
//! it; every condition is judged on the span itself as well, so that scopes and types are exact.

mod ast;
mod eval;
mod parse;
#[cfg(test)]
mod tests;

pub use ast::{INTRINSICS, Query};
pub use parse::parse;

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: weir_model::fuzz::CountingAllocator = weir_model::fuzz::CountingAllocator;
