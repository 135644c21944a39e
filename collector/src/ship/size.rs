//! Sections that are too large for one record are split until none is.

use weir_model::signal::Signal;
use weir_model::wire::{Limits, Section};

/// A section is split until its parts weigh at most this, uncompressed: even when nothing compresses, two such parts and
/// their headers are near the record limit of 1 MiB, and a compressible record holds many.
const PART_BYTES: usize = 2 << 20;

/// Splits `section` into parts of at most [`PART_BYTES`] and at most `limits.records` records, in order.
pub(super) fn to_size<S: Signal>(section: Section<S>, limits: &Limits) -> Vec<Section<S>> {
    let fits =
        |section: &Section<S>| section.batch.weight() <= PART_BYTES && section.batch.records() <= u64::from(limits.records);
    let (mut done, mut rest) = (Vec::with_capacity(1), vec![section]);
    while let Some(section) = rest.pop() {
        if fits(&section) {
            done.push(section);
            continue;
        }
        match S::split(section) {
            Ok([first, second]) => rest.extend([second, first]),
            Err(whole) => done.push(whole),
        }
    }
    done
}
