//! What lies in a log directory and is no log: links that lead elsewhere, FIFOs. Refused, counted once each, and nobody waits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Fixture;
use crate::config::{FileFormat, PathConfig};
use crate::metrics::CollectorMetrics;
use crate::tail::Configured;
use crate::tail::admit::Refusals;
use crate::tail::listing::list_stable;

#[tokio::test]
async fn beside_a_followed_file() {
    let mut fixture = Fixture::new();
    let secret = fixture.directory.path().join("secret");
    fs::write(&secret, "2016-10-06T00:17:09Z stdout F secret\n").unwrap();
    symlink(&secret, fixture.path("0.log.20220101-120000")).unwrap();
    mknodat(CWD, fixture.path("0.log.20220102-120000"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fixture.write(5);
    let running = fixture.start().await;
    fixture.settle().await;
    for round in 0..3 {
        fixture.rotate(&format!("0.log.2023010{round}-120000"));
        fixture.write(5);
        fixture.settle().await;
    }
    running.stop().await;
    assert_eq!(fixture.metrics.events_of("files", "link_outside"), 1);
    assert_eq!(fixture.metrics.events_of("files", "not_regular"), 1);
}

#[test]
fn where_a_configured_path_leads() {
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).unwrap();
    fs::write(logs.join("a.log"), "a\n").unwrap();
    symlink("a.log", logs.join("latest.log")).unwrap();
    symlink("/etc/shadow", logs.join("shadow.log")).unwrap();
    mknodat(CWD, logs.join("fifo.log"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let path = logs.join("*.log").display().to_string();
    let config = PathConfig { path, format: FileFormat::Plain, labels: BTreeMap::new() };
    let mut configured = Configured::new(config, "n".into());
    let metrics = CollectorMetrics::default();
    let refusals = Refusals::new(metrics.clone());
    for _ in 0..3 {
        let looked = configured.find().into_iter().filter_map(|spec| {
            let found = list_stable(&spec.current, &spec.directories, &refusals).unwrap();
            found.first().map(|found| found.path.file_name().unwrap().to_str().unwrap().to_owned())
        });
        assert_eq!(looked.collect::<Vec<_>>(), ["a.log", "latest.log"]);
    }
    assert_eq!(metrics.events_of("files", "link_outside"), 1);
    assert_eq!(metrics.events_of("files", "not_regular"), 1);
}
