//! The disk log: the contract, every torn tail, damage. `faults`: group commit, full and failing disks.

mod faults;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use weir_model::config::ByteSize;

use super::{DiskConfig, DiskLog};
use crate::contract::Contract;
use crate::{BusError, BusMetrics, Consumer, Event, Log, TopicPartition};

const TOPIC: &str = "weir.logs";

fn config(path: &Path) -> DiskConfig {
    DiskConfig { path: path.to_owned(), partitions: 2, ..DiskConfig::default() }
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition }
}

fn open(path: &Path) -> DiskLog {
    DiskLog::open(config(path), BusMetrics::default()).unwrap()
}

async fn append(log: &DiskLog, text: &str) -> Result<u64, BusError> {
    log.append(&place(0), Bytes::copy_from_slice(text.as_bytes())).await?.await
}

async fn consumer(log: &DiskLog) -> Box<dyn Consumer> {
    let mut consumer = log.consume(&[TOPIC], "m").await.unwrap();
    assert!(matches!(consumer.next().await.unwrap(), Event::Assigned(places) if places.len() == 2));
    consumer
}

/// Everything of partition 0 from `from` to the end; a loss reads as (offset, "LOST to n").
async fn read_all(log: &DiskLog, from: u64) -> Vec<(u64, String)> {
    let (mut consumer, mut all, mut at) = (consumer(log).await, Vec::new(), from);
    consumer.seek(&place(0), from).await.unwrap();
    let (_, end) = log.bounds(&place(0)).await.unwrap();
    while at < end {
        match consumer.next().await.unwrap() {
            Event::Records(records) => {
                for record in records {
                    assert!(record.offset >= at);
                    at = record.offset + 1;
                    all.push((record.offset, String::from_utf8_lossy(&record.value).into_owned()));
                }
            }
            Event::OutOfRange { wanted, first, .. } => {
                all.push((wanted, format!("LOST to {first}")));
                at = first;
                consumer.seek(&place(0), first).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

fn segments(root: &Path) -> Vec<PathBuf> {
    files(root, "log")
}

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(TOPIC).join("0")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|own| own == extension)).collect();
    paths.sort();
    paths
}

#[test]
fn golden_bytes_of_a_batch() {
    let records = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
    let bytes = super::batch::encode(42, &records);
    let golden = "574c42312300000009ec7d542a00000000000000020000000200000061620100000063";
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, golden);
    assert_eq!(super::batch::check(&bytes).map(|head| (head.base, head.count, head.length)), Some((42, 2, bytes.len() as u32)));
    assert_eq!(super::batch::split(&Bytes::from(bytes)), records);
}

#[tokio::test]
async fn it_keeps_the_contract() {
    for cache_max in [0, 300, 1 << 20].map(ByteSize::bytes) {
        let dir = tempfile::tempdir().unwrap();
        let config =
            DiskConfig { segment_max: ByteSize::bytes(500), record_max: ByteSize::kib(4), cache_max, ..config(dir.path()) };
        let log = DiskLog::open(config, BusMetrics::default()).unwrap();
        Contract { log: &log, topic: TOPIC, record_bytes: 4096, quiet: Duration::from_millis(20) }.check().await;
    }
}

#[tokio::test]
async fn appends_wait_at_the_cap_until_released() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig {
        backlog_max: ByteSize::bytes(10_000),
        record_max: ByteSize::bytes(1000),
        segment_max: ByteSize::bytes(2000),
        ..config(dir.path())
    };
    let log = DiskLog::open(config.clone(), BusMetrics::default()).unwrap();
    let contract = Contract { log: &log, topic: TOPIC, record_bytes: 1000, quiet: Duration::from_secs(1) };
    let taken = contract.check_back_pressure(async || log.release(&place(0), 5).await.unwrap()).await;
    assert!((8..=9).contains(&taken), "{taken} records of 1000 bytes under a cap of 10000");
    drop(log);
    // The cap counts what is there after a restart, too.
    let log = DiskLog::open(config, BusMetrics::default()).unwrap();
    let contract = Contract { log: &log, topic: TOPIC, record_bytes: 1000, quiet: Duration::from_secs(1) };
    let next = log.bounds(&place(0)).await.unwrap().1;
    let taken = contract.check_back_pressure(async || log.release(&place(0), next).await.unwrap()).await;
    assert!(taken <= 5, "{taken}");
}

#[tokio::test]
async fn a_trial_ends_at_the_cap_and_has_room_after_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig { backlog_max: ByteSize::bytes(10_000), record_max: ByteSize::bytes(1000), ..config(dir.path()) };
    let log = DiskLog::open(config, BusMetrics::default()).unwrap();
    let value = || bytes::Bytes::from(vec![7; 1000]);
    let mut stored = 0;
    while let Some(ack) = log.try_append(&place(0), value()).await.unwrap() {
        assert_eq!(ack.await.unwrap(), stored);
        stored += 1;
    }
    assert!((8..=9).contains(&stored), "{stored}");
    assert!(!log.has_room(1000));
    assert!(log.bytes_from(&place(0), stored - 1).await.unwrap() >= 1000);
    assert_eq!(log.bytes_from(&place(0), stored).await.unwrap(), 0);
    log.release(&place(0), 2).await.unwrap();
    assert!(log.has_room(1000) && log.try_append(&place(0), value()).await.unwrap().is_some());
}

#[tokio::test]
async fn every_torn_tail_is_cut_off_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for i in 0..4 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let each = whole.len() / 4;
    for cut in 0..whole.len() {
        for garbage in [&b""[..], &[0; 30], b"WLB1WLB1"] {
            fs::write(&path, [&whole[..cut], garbage].concat()).unwrap();
            let log = open(dir.path());
            let kept = (cut / each) as u64;
            assert_eq!(log.bounds(&place(0)).await.unwrap(), (0, kept), "cut at {cut}");
            assert_eq!(append(&log, "after").await.unwrap(), kept);
            let all = read_all(&log, 0).await;
            assert_eq!(all.len() as u64, kept + 1, "cut at {cut}");
            assert_eq!(all.last().unwrap().1, "after");
        }
    }
    assert!(files(dir.path(), "bad").is_empty());
}

#[tokio::test]
async fn damage_in_the_middle_is_set_aside_and_declared() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for i in 0..6 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let each = whole.len() / 6;
    for at in 0..each {
        let mut bad = whole.clone();
        bad[2 * each + at] ^= 0x10;
        bad[3 * each + at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        for again in 0..2 {
            let metrics = BusMetrics::default();
            let log = DiskLog::open(config(dir.path()), metrics.clone()).unwrap();
            let texts: Vec<_> = read_all(&log, 0).await.into_iter().map(|(offset, text)| format!("{offset}: {text}")).collect();
            assert_eq!(texts, ["0: record 0", "1: record 1", "2: LOST to 4", "4: record 4", "5: record 5"], "byte {at}");
            let lost = if at == 0 && again == 0 { 2 } else { 0 };
            assert_eq!(metrics.lost_records.get(), lost, "declared once");
            assert_eq!(log.bounds(&place(0)).await.unwrap(), (0, 6), "offsets are stable");
        }
    }
    let aside = files(dir.path(), "bad");
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap().len(), 2 * each);
}

#[tokio::test]
async fn damage_while_running_is_declared_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = DiskLog::open(DiskConfig { cache_max: ByteSize::bytes(0), ..config(dir.path()) }, BusMetrics::default()).unwrap();
    for i in 0..3 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let texts: Vec<_> = read_all(&log, 0).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["record 0", "LOST to 2", "record 2"]);
    assert_eq!(files(dir.path(), "bad").len(), 1);
}

#[tokio::test]
async fn a_missing_or_cut_segment_before_the_last_is_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig { segment_max: ByteSize::bytes(60), ..config(dir.path()) };
    let log = DiskLog::open(config.clone(), BusMetrics::default()).unwrap();
    for i in 0..6 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    drop(log);
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 6);
    fs::remove_file(&paths[1]).unwrap();
    let cut = fs::OpenOptions::new().write(true).open(&paths[3]).unwrap();
    cut.set_len(10).unwrap();
    let log = DiskLog::open(config, BusMetrics::default()).unwrap();
    let texts: Vec<_> = read_all(&log, 0).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["record 0", "LOST to 2", "record 2", "LOST to 4", "record 4", "record 5"]);
}

#[tokio::test]
async fn released_segments_are_deleted_but_for_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let config = DiskConfig { segment_max: ByteSize::bytes(60), ..config(dir.path()) };
    let log = DiskLog::open(config, BusMetrics::default()).unwrap();
    for i in 0..6 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    for (released, first, files) in [(0, 0, 6), (1, 1, 5), (4, 4, 2), (6, 5, 1)] {
        log.release(&place(0), released).await.unwrap();
        assert_eq!((log.bounds(&place(0)).await.unwrap(), segments(dir.path()).len()), ((first, 6), files));
    }
    let texts: Vec<_> = read_all(&log, 2).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["LOST to 5", "record 5"]);
}

#[tokio::test]
async fn released_offsets_are_never_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for i in 0..3 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    log.release(&place(0), 3).await.unwrap();
    assert!(log.release(&place(0), 4).await.is_err(), "nobody can have sealed what was not appended");
    drop(log);
    fs::write(segments(dir.path()).pop().unwrap(), b"").unwrap();
    let log = open(dir.path());
    assert_eq!(append(&log, "next").await.unwrap(), 3);
    drop(log);
    let log = open(dir.path());
    assert_eq!(read_all(&log, 3).await, [(3, "next".to_owned())]);
    drop(log);
    fs::write(dir.path().join(TOPIC).join("0/released"), b"broken").unwrap();
    let error = DiskLog::open(config(dir.path()), BusMetrics::default()).err().unwrap();
    assert!(error.to_string().contains("released: its checksum is wrong"), "{error}");
}

#[tokio::test]
async fn one_process_and_one_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = DiskLog::open(config(dir.path()), BusMetrics::default()).err().unwrap().to_string();
    assert_eq!(
        error,
        format!(
            "bus configuration: {} is in use by process {}: give each weir a data directory of its own",
            dir.path().display(),
            std::process::id()
        )
    );
    let first = consumer(&log).await;
    assert!(log.consume(&[TOPIC], "m").await.is_err());
    drop(first);
    consumer(&log).await;
    for name in ["", "../x", ".hidden", "a/b"] {
        assert!(log.partitions(name).await.is_err(), "{name}");
    }
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let check = |change: fn(&mut DiskConfig), key: &str| {
        let mut config = DiskConfig::default();
        change(&mut config);
        assert!(config.validate().unwrap_err().to_string().contains(key), "{key}");
    };
    check(|config| config.partitions = 0, "partitions");
    check(|config| config.record_max = ByteSize::bytes(0), "record_max");
    check(|config| config.backlog_max = ByteSize::bytes(10), "backlog_max");
    check(|config| config.queue_max = ByteSize::bytes(10), "queue_max");
    check(|config| config.queue_max = ByteSize::gib(4), "queue_max");
    check(|config| config.segment_max = ByteSize::bytes(0), "segment_max");
}

#[tokio::test]
async fn files_are_for_weir_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("bus");
    // As an earlier version made it, under a umask of 022.
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let log = DiskLog::open(DiskConfig { segment_max: ByteSize::bytes(60), ..config(&root) }, BusMetrics::default()).unwrap();
    for i in 0..3 {
        append(&log, &format!("record {i}")).await.unwrap();
    }
    log.release(&place(0), 1).await.unwrap();
    let (mut folders, mut found) = (vec![root], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for path in entries {
            if path.is_dir() { folders.push(path) } else { found.push((path, 0o600)) }
        }
        found.push((folder, 0o700));
    }
    assert_eq!(found.len(), 4 + 4, "root, topic and two partitions; lock, released and two segments: {found:?}");
    for (path, mode) in found {
        let has = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(has, mode, "{} has {has:o}", path.display());
    }
}
