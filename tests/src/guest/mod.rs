//! weir on a node that has cgroup v2 and nothing else: a real Debian kernel in an emulated machine, loads of known size in
//! cgroups, and weir's readings between two of the kernel's own.
//!
//! - [`machine`]: puts the disk together and runs the machine to its end.
//! - [`report`]: what the guest (`tests/guest/measure`) wrote: the kernel's files, and weir's answers.
//! - [`tests`]: the comparison.
//!
//! A counter is compared without tolerance: what the kernel said before weir's sample ≤ what weir says ≤ what the kernel
//! said after it. Gauges of a cgroup in which nothing ran between the two readings are equal.

pub mod machine;
pub mod report;

#[cfg(test)]
mod tests;
