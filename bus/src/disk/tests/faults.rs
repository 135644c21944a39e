//! Disks that are slow, full or failing: what was acknowledged is there, and what was not is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use bytes::Bytes;
use weir_model::config::ByteSize;

use super::{TOPIC, append, config, consumer, open, place, read_all, segments};
use crate::disk::storage::{Directory, Files, SegmentFile, Storage};
use crate::disk::{DiskConfig, DiskLog};
use crate::{BusError, BusMetrics, Log};

/// A disk that can be full, fail, and be slow until told otherwise.
#[derive(Default)]
struct Faults {
    full: AtomicBool,
    fail_sync: AtomicBool,
    /// The error of every file that is opened, and of every directory; 0 for none.
    fail_open: AtomicI32,
    fail_open_dir: AtomicI32,
    /// Files and directories synced, in order.
    synced: std::sync::Mutex<Vec<PathBuf>>,
    /// Syncs wait for this many permits.
    gate: Option<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>,
    syncs: AtomicU64,
}

struct FaultyStorage(Arc<Faults>);
struct FaultyFile(Arc<Faults>, Arc<dyn SegmentFile>, PathBuf);
struct FaultyDir(Arc<Faults>, Box<dyn Directory>, PathBuf);

fn fails(with: &AtomicI32) -> io::Result<()> {
    match with.load(Ordering::SeqCst) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

impl Storage for FaultyStorage {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn SegmentFile>> {
        fails(&self.0.fail_open)?;
        Ok(Arc::new(FaultyFile(self.0.clone(), Files.open(path, create)?, path.to_owned())))
    }
    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn Directory>> {
        fails(&self.0.fail_open_dir)?;
        Ok(Box::new(FaultyDir(self.0.clone(), Files.open_dir(path)?, path.to_owned())))
    }
}

impl Directory for FaultyDir {
    fn sync(&self) -> io::Result<()> {
        self.0.synced.lock().unwrap().push(self.2.clone());
        self.1.sync()
    }
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.0.full.load(Ordering::SeqCst) {
            self.1.write_at(&bytes[..bytes.len() / 2], at)?;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.1.write_at(bytes, at)
    }
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.1.read_at(buffer, at)
    }
    fn sync(&self) -> io::Result<()> {
        if let Some(gate) = &self.0.gate {
            gate.lock().unwrap().recv().ok();
        }
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.0.synced.lock().unwrap().push(self.2.clone());
        if self.0.fail_sync.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { self.1.sync() }
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.1.truncate(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.1.length()
    }
}

fn open_faulty(path: &Path, faults: &Arc<Faults>) -> DiskLog {
    DiskLog::open_on(Arc::new(FaultyStorage(faults.clone())), config(path), BusMetrics::default()).unwrap()
}

#[tokio::test]
async fn many_appends_share_a_sync_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (open_gate, gate) = std::sync::mpsc::channel();
    let faults = Arc::new(Faults { gate: Some(gate.into()), ..Faults::default() });
    let log = open_faulty(dir.path(), &faults);
    log.partitions(TOPIC).await.unwrap();
    let mut acks = Vec::new();
    for i in 0..1000 {
        acks.push(log.append(&place(i % 2), Bytes::from(format!("{i}"))).await.unwrap());
    }
    assert_eq!(log.bounds(&place(0)).await.unwrap(), (0, 0), "nothing is visible before its sync");
    drop(open_gate);
    for (i, ack) in acks.into_iter().enumerate() {
        assert_eq!(ack.await.unwrap(), i as u64 / 2);
    }
    // The first round takes what is there when the writer wakes; the rest waits behind its sync and goes in one.
    let syncs = faults.syncs.load(Ordering::SeqCst);
    assert!(syncs <= 6, "{syncs} syncs for 1000 appends");
    let texts: Vec<_> = read_all(&log, 0).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, (0..500).map(|i| (2 * i).to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let log = open_faulty(dir.path(), &faults);
    assert_eq!(append(&log, "before").await.unwrap(), 0);
    faults.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let error = append(&log, "during").await.unwrap_err();
        assert!(
            matches!(&error, BusError::Disk { operation: "append to", source, .. } if source.raw_os_error() == Some(libc::ENOSPC)),
            "{error}"
        );
    }
    faults.full.store(false, Ordering::SeqCst);
    assert_eq!(append(&log, "after").await.unwrap(), 1);
    drop(log);
    let log = open(dir.path());
    assert_eq!(read_all(&log, 0).await, [(0, "before".to_owned()), (1, "after".to_owned())]);
}

#[tokio::test]
async fn a_failed_sync_stops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let log = open_faulty(dir.path(), &faults);
    append(&log, "before").await.unwrap();
    let mut consumer = consumer(&log).await;
    faults.fail_sync.store(true, Ordering::SeqCst);
    let error = append(&log, "lost?").await.unwrap_err();
    assert!(matches!(error, BusError::Disk { operation: "fsync", .. }), "{error}");
    faults.fail_sync.store(false, Ordering::SeqCst);
    for error in [
        append(&log, "x").await.unwrap_err(),
        log.bounds(&place(0)).await.unwrap_err(),
        log.release(&place(0), 1).await.unwrap_err(),
        log.partitions(TOPIC).await.unwrap_err(),
        consumer.next().await.unwrap_err(),
    ] {
        assert!(matches!(error, BusError::Stopped(_)), "{error}");
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_back_pressure_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (faults, metrics) = (Arc::new(Faults::default()), BusMetrics::default());
    let config = DiskConfig { segment_max: ByteSize::bytes(60), ..config(dir.path()) };
    let log = DiskLog::open_on(Arc::new(FaultyStorage(faults.clone())), config, metrics.clone()).unwrap();
    // Each record takes a segment of its own.
    assert_eq!(append(&log, "record 0").await.unwrap(), 0);
    let (mut acknowledged, mut refused) = (1, 0);
    for fail in [&faults.fail_open, &faults.fail_open_dir] {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::EACCES] {
            fail.store(code, Ordering::SeqCst);
            for _ in 0..2 {
                let error = append(&log, "refused").await.unwrap_err();
                let is_it = matches!(&error, BusError::Disk { source, .. } if source.raw_os_error() == Some(code));
                assert!(is_it, "{error}");
                refused += 1;
            }
            fail.store(0, Ordering::SeqCst);
            assert_eq!(append(&log, &format!("record {acknowledged}")).await.unwrap(), acknowledged);
            acknowledged += 1;
        }
    }
    assert_eq!((metrics.segment_open_errors.get(), metrics.append_errors.get()), (refused, refused));
    drop(log);
    let wanted: Vec<_> = (0..acknowledged).map(|i| (i, format!("record {i}"))).collect();
    assert_eq!(read_all(&open(dir.path()), 0).await, wanted, "nothing that was acknowledged is lost");
}

#[tokio::test]
async fn what_is_found_again_is_synced_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/bus");
    let faults = Arc::new(Faults::default());
    let log = open_faulty(&root, &faults);
    let synced = |faults: &Faults| std::mem::take(&mut *faults.synced.lock().unwrap());
    assert_eq!(synced(&faults), [dir.path().to_owned(), dir.path().join("a")], "where directories were made");
    append(&log, "record 0").await.unwrap();
    drop(log);
    let path = segments(&root).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for torn in [&b""[..], b"WLB1"] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        synced(&faults);
        let log = open_faulty(&root, &faults);
        let partition = path.parent().unwrap().to_owned();
        assert_eq!(synced(&faults), [path.clone(), partition], "{} torn bytes", torn.len());
        assert_eq!(log.bounds(&place(0)).await.unwrap(), (0, 1));
    }
    // What cannot be made durable is not served.
    faults.fail_sync.store(true, Ordering::SeqCst);
    let error = DiskLog::open_on(Arc::new(FaultyStorage(faults)), config(&root), BusMetrics::default()).err().unwrap();
    assert!(matches!(error, BusError::Disk { operation: "fsync", .. }), "{error}");
}
