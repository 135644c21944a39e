//! Control groups: where they are mounted, which there are, and what they say.
//!
//! - [`mount`]: v1, v2 and hybrid from `mountinfo`.
//! - [`tree`]: every cgroup of the node, merged over the hierarchies.
//! - [`sample`]: the numbers of one cgroup, the same for v1 and v2.
//! - [`parse`]: pure readers of the kernel's file contents.
//! - [`sampler`]: keeps files open and reads them again and again.
//! - [`oom_watch`], [`kernel_log`]: whom the kernel kills for lack of memory, told when it does.

pub mod kernel_log;
pub mod mount;
pub mod oom_watch;
pub mod parse;
pub mod sample;
pub mod sampler;
pub mod tree;

pub use kernel_log::{KernelLog, Kill, LogPosition};
pub use mount::{Controller, Mode, Mounts};
pub use oom_watch::{OomCount, OomWatch};
pub use sample::{CgroupSample, CpuSample, DeviceIo, Limit, MemorySample, PidsSample, PressureSample, Stall};
pub use sampler::{Sampled, Sampler};
pub use tree::{Cgroup, Scan, Tree};
