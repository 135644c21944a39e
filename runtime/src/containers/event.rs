//! What an engine tells by itself of a container.

use weir_model::time::UnixNanos;

use super::container::Container;

/// Something that an engine told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unix nanoseconds, by the engine's clock.
    pub at: UnixNanos,
    /// The container, as far as the engine tells with the event: its id and, but for containerd's own, name, image and labels.
    pub container: Container,
    pub what: What,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A run ended, with this code.
    Died(Option<i32>),
    /// The kernel killed a process in it for lack of memory.
    OutOfMemory,
}
