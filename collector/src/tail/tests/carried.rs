//! Lines whose parts lie on both sides of a rotation, with a restart in between: each arrives once, and whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use weir_model::log::LogBatch;

use super::Fixture;

impl Fixture {
    /// Appends one part of a line; the last one ends it.
    fn write_part(&mut self, text: &str, is_last: bool) {
        let mut file = fs::File::options().create(true).append(true).open(self.path("0.log")).unwrap();
        let (at, tag) = (self.written.len(), if is_last { "F" } else { "P" });
        writeln!(file, "2016-10-06T00:17:09.{at:09}Z stdout {tag} {text}").unwrap();
    }

    fn write_to_stderr(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.path("0.log")).unwrap();
        writeln!(file, "2016-10-06T00:17:09Z stderr F other").unwrap();
    }

    /// Waits until the checkpoint names the current file.
    async fn until_current_is_begun(&self) {
        let inode = format!("\"inode\":{},", fs::metadata(self.path("0.log")).unwrap().ino());
        let checkpoint = self.directory.path().join("data/checkpoint");
        self.until("the next file is begun", || fs::read_to_string(&checkpoint).is_ok_and(|text| text.contains(&inode))).await;
    }

    /// Waits until discovery has listed the files as they lie now, and a follower has had the time to act on it.
    async fn until_polled(&self) {
        let before = self.polls.load(Ordering::Relaxed);
        self.until("the files are listed", || self.polls.load(Ordering::Relaxed) >= before + 10).await;
    }

    /// Lines as they came to the bus, those that came again among them.
    fn shipped(&self) -> u32 {
        self.log.sections::<LogBatch>().iter().flatten().map(|section| section.header.records).sum()
    }

    fn carried(&self) -> usize {
        let pins = fs::read_dir(self.directory.path().join("data/pins")).unwrap().flatten();
        pins.filter(|entry| entry.file_name().to_string_lossy().ends_with(".carried")).count()
    }
}

#[tokio::test]
async fn joined_over_a_rotation_while_up_and_while_down() {
    let mut fixture = Fixture::new();
    fixture.write(3);
    let mut running = fixture.start().await;
    for round in 0..6 {
        fixture.write(2);
        fixture.write_part("begun ", false);
        fixture.write_part("and ", false);
        if round % 2 == 1 {
            running.stop().await;
            fixture.rotate(&format!("0.log.2023010{round}-120000"));
            running = fixture.start().await;
        } else {
            fixture.rotate(&format!("0.log.2023010{round}-120000"));
        }
        fixture.write_part("ended", true);
        fixture.written.push("begun and ended".into());
        fixture.write(1);
        fixture.settle().await;
    }
    running.stop().await;
}

/// A rotation has two steps, and discovery may list between them: the current file has no name then, and its log goes on.
#[tokio::test]
async fn joined_though_discovery_lists_while_the_current_file_has_no_name() {
    let mut fixture = Fixture::new();
    fixture.write(3);
    let running = fixture.start().await;
    for round in 0..2 {
        fixture.write_part("begun ", false);
        fixture.rotate(&format!("0.log.2023010{round}-120000"));
        fixture.until_polled().await;
        fixture.write_part("and ended", true);
        fixture.written.push("begun and ended".into());
        fixture.write(2);
        fixture.settle().await;
    }
    assert_eq!(fixture.shipped() as usize, fixture.written.len(), "nothing was read again");
    running.stop().await;
}

/// Over three files, of which the first is gone and the second has nothing of the line, and with a death in each.
#[tokio::test]
async fn joined_from_what_was_kept_when_the_file_before_is_gone() {
    let mut fixture = Fixture::new();
    fixture.write(3);
    fixture.write_part("begun ", false);
    let running = fixture.start().await;
    fixture.rotate("0.log.20230101-120000");
    fixture.write_to_stderr();
    fixture.until_current_is_begun().await;
    assert_eq!(fixture.carried(), 1);
    running.kill().await;
    fs::remove_file(fixture.path("0.log.20230101-120000")).unwrap();
    let running = fixture.start().await;
    fixture.rotate("0.log.20230102-120000");
    fixture.write_to_stderr();
    fixture.until_current_is_begun().await;
    running.kill().await;
    fs::remove_file(fixture.path("0.log.20230102-120000")).unwrap();
    fixture.write_part("and ended", true);
    fixture.written.push("begun and ended".into());
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.write(2);
    fixture.rotate("0.log.20230103-120000");
    fixture.write(2);
    fixture.settle().await;
    fixture.until_current_is_begun().await;
    assert_eq!(fixture.carried(), 0, "what was kept has gone");
    running.stop().await;
}

/// The line's end is in a file that is not the next one: what there is of it is not joined with what follows.
#[tokio::test]
async fn not_joined_over_a_gap() {
    let mut fixture = Fixture::new();
    fixture.write(3);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.write_part("begun", false);
    fs::remove_file(fixture.path("0.log")).unwrap();
    fixture.written.push("begun".into());
    fixture.write(3);
    fixture.settle().await;
    running.stop().await;
}
