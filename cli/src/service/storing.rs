//! Whether what this process is given can be stored, in sentences: for `/readyz`, the APIs, the page and `/metrics`.
//!
//! What fails is told by those who write ([`Outages`]); here it gets the disk's path and what is free on it, and records that wait
//! too long for their acknowledgement are added.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use weir_collector::ship::{LaneState, LaneWatch};
use weir_model::outage::{Outage, Outages, Reason, Target};
use weir_model::status::OutageStatus;
use weir_model::time::{SECOND, UnixNanos, format_rfc3339};

use super::lifecycle::now;
use super::memory::Parts;
use crate::config::{BusKind, Config};
use crate::text::units;

/// A record that waits longer than this for its acknowledgement has met an outage: a broker that died is replaced sooner.
const ACKNOWLEDGED_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Asked at every request and every second.
#[derive(Clone)]
pub(crate) struct Storing(Arc<Inner>);

struct Inner {
    outages: Outages,
    disks: Vec<Disk>,
    lanes: Option<LaneWatch>,
}

/// A directory that this process writes to.
struct Disk {
    target: Target,
    path: PathBuf,
}

impl Storing {
    /// `lanes` where the process ships. Adds what it knows to the registry.
    pub fn new(config: &Config, parts: Parts, outages: Outages, lanes: Option<LaneWatch>, registry: &mut Registry) -> Self {
        let storing = Self(Arc::new(Inner { outages, disks: disks(config, parts), lanes }));
        registry.register_collector(Box::new(storing.clone()));
        storing
    }

    /// Errors with the first sentence that says why new records are not stored.
    pub fn check(&self) -> Result<(), String> {
        self.status().into_iter().find(|outage| outage.blocking).map_or(Ok(()), |outage| Err(outage.text))
    }

    /// Everything that cannot be written now.
    pub fn status(&self) -> Vec<OutageStatus> {
        let inner = &*self.0;
        let mut all: Vec<OutageStatus> = inner.outages.now().iter().map(|outage| inner.shape(outage)).collect();
        // Where an append has failed it is known why, and since when.
        if !all.iter().any(|outage| outage.target == Target::Bus.name()) {
            let lanes = inner.lanes.iter().flat_map(LaneWatch::lanes);
            let stuck = lanes.filter(|lane| lane.waiting.is_some_and(|since| since > ACKNOWLEDGED_WITHIN));
            all.extend(stuck.max_by_key(|lane| lane.waiting).map(|lane| stuck_lane(&lane, now())));
        }
        all
    }
}

impl Inner {
    fn shape(&self, outage: &Outage) -> OutageStatus {
        let (since, what) = (format_rfc3339(outage.since / SECOND * SECOND), in_words(outage.target));
        let disk = self.disks.iter().find(|disk| disk.target == outage.target);
        let text = match (outage.reason, disk) {
            (Reason::DiskFull, Some(disk)) => {
                let free = space(&disk.path).map_or(String::new(), |space| format!("; {} free", units::bytes(space.free)));
                format!("disk full: {} ({what}) refuses writes since {since}{free}", disk.path.display())
            }
            (Reason::DiskFull, None) => format!("disk full: {what} refuses writes since {since}: {}", outage.error),
            (Reason::Error, _) => format!("{what} refuses writes since {since}: {}", outage.error),
        };
        OutageStatus {
            target: outage.target.name(),
            reason: outage.reason.name(),
            since: outage.since.to_string(),
            refused: outage.refused,
            blocking: outage.is_blocking(),
            text,
        }
    }
}

fn stuck_lane(lane: &LaneState, now: UnixNanos) -> OutageStatus {
    let waited = lane.waiting.unwrap_or_default();
    let since = now.saturating_sub(i64::try_from(waited.as_nanos()).unwrap_or(i64::MAX));
    OutageStatus {
        target: Target::Bus.name(),
        reason: "not_acknowledged",
        since: since.to_string(),
        refused: 0,
        blocking: true,
        text: format!(
            "a record for {} partition {} has waited {} s for its acknowledgement",
            lane.topic,
            lane.partition,
            waited.as_secs()
        ),
    }
}

fn in_words(target: Target) -> &'static str {
    match target {
        Target::Bus => "bus",
        Target::ObjectStore => "object store",
        Target::CollectorFiles => "collector's files",
        Target::Upkeep => "upkeep of blocks",
    }
}

fn disks(config: &Config, parts: Parts) -> Vec<Disk> {
    let mut disks = Vec::new();
    if config.bus.kind == BusKind::Disk {
        disks.push(Disk { target: Target::Bus, path: config.data.join(&config.bus.disk.path) });
    }
    // A wrong URL has been refused by now.
    if let Some(path) = config.location().directory().ok().flatten().filter(|_| parts.aggregator) {
        disks.push(Disk { target: Target::ObjectStore, path });
    }
    if parts.collector {
        disks.push(Disk { target: Target::CollectorFiles, path: config.data.join("collector") });
    }
    disks
}

/// Bytes of a file system.
struct Space {
    /// For whoever is not root.
    free: u64,
    size: u64,
}

fn space(path: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Space { free: stat.f_bavail.saturating_mul(stat.f_frsize), size: stat.f_blocks.saturating_mul(stat.f_frsize) })
}

impl fmt::Debug for Storing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Storing")
    }
}

#[derive(EncodeLabelSet)]
struct DiskLabels {
    what: &'static str,
    path: String,
}

#[derive(EncodeLabelSet)]
struct OutageLabels {
    what: &'static str,
    reason: &'static str,
}

impl Collector for Storing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let inner = &*self.0;
        let spaces: Vec<_> = inner.disks.iter().filter_map(|disk| Some((disk, space(&disk.path)?))).collect();
        type Of = (&'static str, &'static str, fn(&Space) -> u64);
        let gauges: [Of; 2] = [
            ("weir_disk_free_bytes", "Free bytes of the disk that something is written to", |space| space.free),
            ("weir_disk_size_bytes", "Size of that disk", |space| space.size),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (disk, space) in &spaces {
                let labels = DiskLabels { what: disk.target.name(), path: disk.path.display().to_string() };
                family.encode_family(&labels)?.encode_gauge(&i64::try_from(value(space)).unwrap_or(i64::MAX))?;
            }
        }
        let (refused, lasting) = (inner.outages.refused(), inner.outages.now());
        // Those that have not been are 0, so that the first is an increase.
        let all = [Target::Bus, Target::ObjectStore, Target::CollectorFiles, Target::Upkeep]
            .into_iter()
            .flat_map(|target| [Reason::DiskFull, Reason::Error].map(|reason| (target, reason)));
        let labels = |(target, reason): (Target, Reason)| OutageLabels { what: target.name(), reason: reason.name() };
        let help = "Writes that failed and are tried again, by what is written to";
        let mut family = encoder.encode_descriptor("weir_write_errors", help, None, MetricType::Counter)?;
        for key in all.clone() {
            let count = refused.iter().find(|(target, reason, _)| (*target, *reason) == key).map_or(0, |(_, _, count)| *count);
            let metric = ConstCounter::new(count);
            prometheus_client::encoding::EncodeMetric::encode(&metric, family.encode_family(&labels(key))?)?;
        }
        let help = "Since when writes have failed; 0 while they do not";
        let mut family = encoder.encode_descriptor("weir_write_outage_seconds", help, None, MetricType::Gauge)?;
        for key in all {
            let since = lasting.iter().find(|outage| (outage.target, outage.reason) == key).map(|outage| outage.since);
            let seconds = since.map_or(0.0, |since| (now().saturating_sub(since).max(1)) as f64 / SECOND as f64);
            family.encode_family(&labels(key))?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_full_disk_is_named_with_its_path_and_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data: folder.path().to_owned(), ..Config::default() };
        std::fs::create_dir_all(folder.path().join("bus")).unwrap();
        let (outages, mut registry) = (Outages::default(), Registry::default());
        let parts = Parts { collector: true, aggregator: true, query: true };
        let storing = Storing::new(&config, parts, outages.clone(), None, &mut registry);
        assert_eq!((storing.check(), storing.status()), (Ok(()), vec![]));
        let metric = |line: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            assert!(text.lines().any(|own| own.starts_with(line)), "no {line} in\n{text}");
        };
        metric("weir_write_errors_total{what=\"bus\",reason=\"disk_full\"} 0");
        metric("weir_write_outage_seconds{what=\"bus\",reason=\"disk_full\"} 0.0");
        metric("weir_disk_free_bytes{what=\"bus\",path=\"");

        // What is not blocking is told, and makes nobody unready.
        outages.failed(Target::Upkeep, "a merge", &io::Error::other("no"));
        assert_eq!((storing.check(), storing.status().len(), storing.status()[0].blocking), (Ok(()), 1, false));
        outages.failed(Target::Bus, 0, &io::Error::from(io::ErrorKind::StorageFull));
        let said = storing.check().unwrap_err();
        let path = folder.path().join("bus").display().to_string();
        assert!(said.starts_with(&format!("disk full: {path} (bus) refuses writes since 20")), "{said}");
        assert!(said.ends_with(" free"), "{said}");
        metric("weir_write_errors_total{what=\"bus\",reason=\"disk_full\"} 1");
        outages.ended(Target::Bus, 0);
        assert_eq!(storing.check(), Ok(()));
        outages.failed(Target::Bus, 0, &io::Error::other("the bus has stopped"));
        let said = storing.check().unwrap_err();
        assert!(said.starts_with("bus refuses writes since 20") && said.ends_with("Z: the bus has stopped"), "{said}");
    }
}
