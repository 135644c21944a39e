//! Log files: followed through rotation, parsed, shipped, and acknowledged by a checkpoint.
//!
//! One *chain* is one log as its writer sees it: the file that is written now and those it was rotated into. One file of a
//! chain is a *generation*; generations are read strictly in order. A chain is known by the path of its current file (a
//! container's path holds its id), its sources are `file:<node>:<path>/stdout` and `…/stderr`, and an epoch is a generation.
//!
//! What happens on a crash between any two lines: the checkpoint says where everything before is acknowledged; reading on
//! from there gives the same lines with the same sequences ([`assemble`]), and the aggregator's marks drop what it has. A
//! generation's epoch is in the checkpoint *before* its first line is shipped. A lost checkpoint means reading again. A line
//! whose parts lie in two files belongs to the one where it ends.
//!
//! - [`cri`], [`docker`]: one physical line. [`assemble`]: lines, joined, with positions.
//! - [`identity`]: which file is which, through renames, copies and reused inodes.
//! - [`checkpoint`]: what is acknowledged. Format: `docs/formats/checkpoint.md`.
//! - [`admit`]: what may be read as a log.
//! - [`look`]: which files there are, without missing one that is renamed meanwhile.
//! - [`chain`]: generations in order, sync. [`find`], [`follow`]: the tasks. [`acknowledge`]: what moves the checkpoint.
//! - [`discover`]: which chains there are. [`watch`]: files opened at their birth, kept in [`births`]. [`unseen`]: whose
//!   log was never seen.

use std::borrow::Cow;

use weir_model::time::UnixNanos;

mod acknowledge;
mod admit;
mod assemble;
#[cfg(test)]
mod assemble_tests;
mod births;
mod chain;
mod checkpoint;
mod cri;
mod discover;
mod docker;
mod find;
mod follow;
#[cfg(test)]
mod fuzz_tests;
mod identity;
mod look;
#[cfg(test)]
mod tests;
mod unseen;
mod watch;
#[cfg(test)]
mod watch_tests;

pub use discover::{ChainSpec, Discover, Root, SpecOf};
pub(crate) use discover::{Configured, of_container, root_of};
pub use follow::{Deps, run};
pub(crate) use unseen::Unseen;

/// Streams of a container.
const STREAMS: usize = 2;

/// Which stream a line belongs to. Plain files and broken lines count as standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl Stream {
    const ALL: [Self; STREAMS] = [Self::Stdout, Self::Stderr];

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One physical line, unwrapped.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    timestamp: UnixNanos,
    stream: Stream,
    /// The stream's next line goes on with this one.
    partial: bool,
    body: Cow<'a, [u8]>,
}
