//! Messages of CRI and of containerd, generated from the files below `runtime/proto` with as many messages and fields as are
//! used. `tests/proto.rs` makes these two files and holds them to their sources, so that no build needs a compiler of protobuf.

// The generator writes conversions of all enumerations, of which few are used; names are the sources'.
#[allow(dead_code)]
#[rustfmt::skip]
pub(crate) mod containerd;
#[allow(dead_code, clippy::enum_variant_names)]
#[rustfmt::skip]
pub(crate) mod cri;

use weir_model::time::{SECOND, UnixNanos};

/// `None` for what no engine means: before 1970, or beyond what nanoseconds can say.
pub(crate) fn nanos(at: &prost_types::Timestamp) -> Option<UnixNanos> {
    let nanos = at.seconds.checked_mul(SECOND)?.checked_add(i64::from(at.nanos))?;
    (nanos > 0).then_some(nanos)
}
