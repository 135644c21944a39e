//! Files that are cut in place, with the clock set back and with the collector's directory lost: what is written then is new.

use std::fs;
use std::sync::atomic::Ordering;

use super::Fixture;
use crate::config::FileFormat;

const HOUR: i64 = 3_600_000_000_000;

impl Fixture {
    /// As `copytruncate` does, and nobody keeps the copy.
    fn cut(&self) {
        fs::File::options().write(true).open(self.path("0.log")).unwrap().set_len(0).unwrap();
    }
}

#[tokio::test]
async fn a_lost_directory_after_a_cut_makes_no_line_look_old() {
    let mut fixture = Fixture::new();
    fixture.format = FileFormat::Plain;
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.cut();
    // The cut is seen before it is written over.
    fixture.until("the cut is seen", || fixture.metrics.events_of("files", "truncated") == 1).await;
    fixture.write(4);
    fixture.settle().await;
    running.stop().await;
    fs::remove_dir_all(fixture.directory.path().join("data")).unwrap();
    fixture.clock = HOUR;
    fixture.write(3);
    let running = fixture.start().await;
    // What the file holds comes again, and nothing of it is missing.
    let again = fixture.written[10..14].to_vec();
    fixture.written.splice(14..14, again);
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn a_lost_directory_doubles_no_line_of_a_container() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
    fs::remove_dir_all(fixture.directory.path().join("data")).unwrap();
    fixture.clock = HOUR;
    fixture.write(3);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn a_cut_under_a_clock_set_back_is_a_later_generation() {
    let mut fixture = Fixture::new();
    fixture.format = FileFormat::Plain;
    for round in 0..4 {
        fixture.write(5);
        let running = fixture.start().await;
        fixture.settle().await;
        fixture.cut();
        let cuts = round + 1;
        fixture.until("the cut is seen", || fixture.metrics.events_of("files", "truncated") == cuts).await;
        fixture.write(2);
        fixture.settle().await;
        running.stop().await;
        fixture.clock -= 100 * HOUR;
    }
}

/// A file that was cut, has gone and comes back: with what was written meanwhile, and nothing twice.
#[tokio::test]
async fn a_cut_file_that_comes_back_is_known() {
    let mut fixture = Fixture::new();
    fixture.format = FileFormat::Plain;
    fixture.write(5);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.cut();
    fixture.until("the cut is seen", || fixture.metrics.events_of("files", "truncated") == 1).await;
    fixture.write(5);
    fixture.settle().await;
    fixture.is_hidden.store(true, Ordering::Relaxed);
    fixture.until("its log is over", || fixture.metrics.files_open.get() == 0).await;
    fixture.write(5);
    fixture.is_hidden.store(false, Ordering::Relaxed);
    fixture.settle().await;
    running.stop().await;
}
