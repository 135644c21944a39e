//! A partition's own time: it goes on from the newest stamp in the manifest, as fast as time passes while there is an owner. No clock
//! that is set, ahead or back, moves it.
//!
//! By it heads age, and sources and pushes are forgotten: one that is silent for so long while it was listened to. Time without an
//! owner does not count. Retention has rules of its own (`expiry`).

use tokio::time::Instant;
use weir_model::time::UnixNanos;
use weir_store::manifest::Manifest;

use crate::config::nanos;

/// Ticks from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    base: UnixNanos,
    since: Instant,
}

impl Steady {
    /// From the newest stamp of a mark or digest; from the wall clock when the partition has none.
    pub fn new(manifest: &Manifest, wall: UnixNanos) -> Self {
        let marks = manifest.marks.values().map(|mark| mark.touched);
        let newest = marks.chain(manifest.digests.iter().map(|push| push.seen)).max();
        Self { base: newest.unwrap_or(wall), since: Instant::now() }
    }

    /// Never less than before.
    pub fn now(&self) -> UnixNanos {
        self.base.saturating_add(nanos(self.since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_store::manifest::{HighWater, SourceKey};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_the_newest_stamp_whatever_the_clock_says() {
        let mut manifest = Manifest::default();
        assert_eq!(Steady::new(&manifest, 50).now(), 50);
        for (source, touched) in [("a", 700), ("b", 900)] {
            let key = SourceKey { tenant: "t".into(), source: source.into() };
            manifest.marks.insert(key, HighWater { epoch: 1, sequence: 1, touched });
        }
        for wall in [0, 900, i64::MAX] {
            let steady = Steady::new(&manifest, wall);
            assert_eq!(steady.now(), 900, "{wall}");
            tokio::time::advance(Duration::from_nanos(1_000_000)).await;
            assert_eq!(steady.now(), 1_000_900, "{wall}");
        }
    }
}
