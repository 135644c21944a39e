//! CRI files written at 50 MB/s in sum and rotated every 10 MB, wherever that falls: also between the parts of a line. Each line
//! must arrive once and whole; one that is shipped again under the epoch and sequence that it had is dropped by the aggregator,
//! and counted beside. No limit stands beside it, because the pace is given. `WEIR_ROTATION_SECONDS` makes it longer than ten.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_model::log::{FLAG_CONTINUED, LogBatch};
use weir_model::wire::{Limits, Mark, Section, decode};
use weir_tests::bench::bus::Counted;
use weir_tests::bench::path::{Collecting, disk_bus};
use weir_tests::bench::watch::{Watch, mb};
use weir_tests::bench::{run, until};
use weir_tests::weir::PATIENCE;

const FILES: usize = 16;
const BYTES_A_SECOND: u64 = 50_000_000;
const ROTATE_BYTES: u64 = 10_000_000;
/// Rotated files of a log that are kept, as the kubelet does.
const ROTATED_MAX: usize = 4;
/// containerd splits lines that are longer.
const PART_BYTES: usize = 16 << 10;
/// Every so-many-th line has three parts.
const LONG_EVERY: u64 = 20;
const LONG_BYTES: usize = 40_000;
const SHORT_BYTES: usize = 200;
/// Between two looks at how much should have been written.
const TICK: Duration = Duration::from_millis(5);

fn main() {
    run(bench());
}

async fn bench() {
    let seconds =
        std::env::var("WEIR_ROTATION_SECONDS").map_or(10, |text| text.parse::<u64>().expect("WEIR_ROTATION_SECONDS is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let pods = folder.path().join("pods");
    let mut writers: Vec<Writer> = (0..FILES).map(|file| Writer::new(&pods, file)).collect();
    let bus = disk_bus(folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), Some(&pods)).await;
    let watch = Watch::start();
    write_paced(&mut writers, seconds * BYTES_A_SECOND).await;
    let (written, over) = (watch.spent(), Instant::now());
    let lines: u64 = writers.iter().map(|writer| writer.lines).sum();
    until("all lines are acknowledged", || bus.records() >= lines).await;
    let behind = over.elapsed();
    let mut found = Found::default();
    found.read(&bus);
    // What was shipped again is counted by the bus as well: then there is more to come.
    while (found.whole.len() as u64) < lines && over.elapsed() < PATIENCE {
        tokio::time::sleep(TICK).await;
        found.read(&bus);
    }
    collecting.end().await;
    found.read(&bus);

    let (missing, doubled) = (lines - found.whole.len() as u64, found.doubled());
    let bytes: u64 = writers.iter().map(|writer| writer.bytes).sum();
    let rotations: u64 = writers.iter().map(|writer| writer.rotations).sum();
    let across: u64 = writers.iter().map(|writer| writer.across).sum();
    println!(
        "rotation: {} of {lines} lines split, {missing} missing, {doubled} doubled, {} shipped again; {across} had parts on both sides of a rotation | {} in {FILES} \
         files at {}, rotated {rotations} times at {}, the last line acknowledged {:.1} s after it was written",
        found.split,
        found.again,
        mb(bytes),
        written.mb_wall(bytes),
        mb(ROTATE_BYTES),
        behind.as_secs_f64(),
    );
    assert_eq!((found.split, missing, doubled), (0, 0, 0), "each line once and whole");
    assert!(across > 0, "no rotation fell between the parts of a line");
}

/// Writes so many bytes to all files in turn, no faster than the pace.
async fn write_paced(writers: &mut [Writer], total: u64) {
    let begun = Instant::now();
    let mut bytes = 0;
    while bytes < total {
        let due = (begun.elapsed().as_secs_f64() * BYTES_A_SECOND as f64) as u64;
        while bytes < due.min(total) {
            bytes += writers.iter_mut().map(Writer::line).sum::<u64>();
        }
        tokio::time::sleep(TICK).await;
    }
}

/// What a container prints.
fn body(file: usize, number: u64) -> String {
    let length = if number.is_multiple_of(LONG_EVERY) { LONG_BYTES } else { SHORT_BYTES };
    let mut body = format!("{file} {number} ");
    while body.len() < length {
        body.push_str("GET /api/v1/orders HTTP/1.1 200 in 12 ms, handed to the next one; ");
    }
    body.truncate(length);
    body
}

/// The engine's side of one log.
struct Writer {
    current: PathBuf,
    file: File,
    file_bytes: u64,
    rotated: VecDeque<PathBuf>,
    /// Number of this log, and what was done with it.
    number: usize,
    lines: u64,
    bytes: u64,
    rotations: u64,
    /// Lines with parts on both sides of a rotation.
    across: u64,
}

impl Writer {
    fn new(pods: &Path, number: usize) -> Self {
        let folder = pods.join(format!("nezha_writer-{number}_{number:08}/main"));
        std::fs::create_dir_all(&folder).expect("create the pod's folder");
        let current = folder.join("0.log");
        let file = File::create_new(&current).expect("create a log");
        Self { current, file, file_bytes: 0, rotated: VecDeque::new(), number, lines: 0, bytes: 0, rotations: 0, across: 0 }
    }

    /// Writes the next line, part by part. Returns its bytes in the file.
    fn line(&mut self) -> u64 {
        let body = body(self.number, self.lines);
        let before = self.bytes;
        let mut is_across = false;
        let mut parts = body.as_bytes().chunks(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            let tag = if parts.peek().is_some() { 'P' } else { 'F' };
            let mut frame = format!("2026-01-01T00:00:00.{:09}Z stdout {tag} ", self.lines).into_bytes();
            frame.extend_from_slice(part);
            frame.push(b'\n');
            self.file.write_all(&frame).expect("write a part");
            self.bytes += frame.len() as u64;
            self.file_bytes += frame.len() as u64;
            if self.file_bytes >= ROTATE_BYTES {
                self.rotate();
                is_across |= tag == 'P';
            }
        }
        self.lines += 1;
        self.across += u64::from(is_across);
        self.bytes - before
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        let rotated = self.current.with_file_name(format!("0.log.20260101-{:06}", self.rotations));
        std::fs::rename(&self.current, &rotated).expect("rotate");
        self.rotated.push_back(rotated);
        if self.rotated.len() > ROTATED_MAX {
            std::fs::remove_file(self.rotated.pop_front().expect("there are some")).expect("remove the oldest");
        }
        (self.file, self.file_bytes) = (File::create_new(&self.current).expect("create a log"), 0);
    }
}

/// How the lines arrived.
#[derive(Default)]
struct Found {
    /// Bus records that were read.
    read: usize,
    /// Sources, epochs and sequences.
    known: HashSet<(String, u64, u64)>,
    /// How often each line came whole, by file and number.
    whole: HashMap<(usize, u64), u64>,
    /// Lines that nobody wrote.
    split: u64,
    /// Lines that were shipped again under the epoch and sequence that they had: the aggregator drops them.
    again: u64,
}

impl Found {
    /// Reads the bus records that have come since the last call.
    fn read(&mut self, bus: &Counted) {
        let values = bus.values();
        for value in &values[self.read..] {
            let sections = decode(value, &Limits::default()).expect("what is appended is a record");
            sections.into_iter().for_each(|section| self.section(section));
        }
        self.read = values.len();
    }

    fn section(&mut self, section: Section<LogBatch>) {
        let (batch, Mark::Sequence { epoch, .. }) = (section.batch, section.header.mark) else { return };
        for line in batch.iter() {
            if !self.known.insert((section.header.source.clone(), epoch, line.sequence)) {
                self.again += 1;
                continue;
            }
            let text = std::str::from_utf8(line.body).expect("what was written is text");
            let mut names = text.split(' ').map(str::parse::<u64>);
            match (names.next(), names.next()) {
                (Some(Ok(file)), Some(Ok(number))) if line.flags & FLAG_CONTINUED == 0 && text == body(file as usize, number) => {
                    *self.whole.entry((file as usize, number)).or_default() += 1;
                }
                _ => self.split += 1,
            }
        }
    }

    fn doubled(&self) -> u64 {
        self.whole.values().map(|times| times - 1).sum()
    }
}
