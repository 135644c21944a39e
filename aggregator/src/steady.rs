//! A partition's own time: it goes on from the newest stamp in the manifest, as fast as time passes while there is an owner. No clock
//! that is set, ahead or back, moves it. Pure: passed time is given to it.
//!
//! By it heads age, and sources and pushes are forgotten: one that is silent for so long while it was listened to. Time without an
//! owner does not count. Retention has rules of its own (`expiry`).

use std::time::Duration;

use weir_blocks::manifest::Manifest;
use weir_model::time::UnixNanos;

use crate::config::nanos;

/// Ticks from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    base: UnixNanos,
    since: Duration,
}

impl Steady {
    /// From the newest stamp of a mark, digest or deletion; from the wall clock when the partition has none. `passed` is counted from a moment
    /// that stays the same.
    pub fn new(manifest: &Manifest, wall: UnixNanos, passed: Duration) -> Self {
        let marks = manifest.marks.values().map(|mark| mark.touched);
        let deletions = manifest.deletions.iter().map(|known| known.accepted);
        let newest = marks.chain(manifest.digests.iter().map(|push| push.seen)).chain(deletions).max();
        Self { base: newest.unwrap_or(wall), since: passed }
    }

    /// Never less than before.
    pub fn now(&self, passed: Duration) -> UnixNanos {
        self.base.saturating_add(nanos(passed.saturating_sub(self.since)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_blocks::manifest::{HighWater, SourceKey};

    use super::*;

    #[test]
    fn it_goes_on_from_the_newest_stamp_whatever_the_clock_says() {
        let (begun, later) = (Duration::from_secs(7), Duration::from_secs(7) + Duration::from_millis(1));
        let mut manifest = Manifest::default();
        assert_eq!(Steady::new(&manifest, 50, begun).now(begun), 50);
        for (source, touched) in [("a", 700), ("b", 900)] {
            let key = SourceKey { tenant: "t".into(), source: source.into() };
            Arc::make_mut(&mut manifest.marks).insert(key, HighWater { epoch: 1, sequence: 1, touched });
        }
        for wall in [0, 900, i64::MAX] {
            let steady = Steady::new(&manifest, wall, begun);
            assert_eq!(steady.now(begun), 900, "{wall}");
            assert_eq!(steady.now(later), 1_000_900, "{wall}");
        }
    }
}
