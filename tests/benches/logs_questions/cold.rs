//! Questions to a weir that has just started and of whose data directory nothing is in the page cache: each of a process of its own.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use weir_tests::weir::{Weir, eventually};

use crate::questions::{Answer, LogQuery, Wanted, questions};
use crate::table::Figure;

/// Each question is asked cold so often; the middle one counts.
const TIMES: usize = 3;

/// Asks, prints a row a question, and returns the middle times.
pub async fn ask(weir: &mut Weir, wanted: &Wanted) -> Vec<Figure> {
    println!(
        "| cold | goal, ms | middle of {TIMES}, ms | read from the disk, kB | answer, bytes | found |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut figures = Vec::new();
    for question in questions(wanted) {
        let Some(goal) = question.cold_goal() else { continue };
        let mut tries = Vec::new();
        for _ in 0..TIMES {
            tries.push(once(weir, &question, wanted).await);
        }
        tries.sort_by_key(|(answer, _)| answer.took);
        let (answer, read) = &tries[TIMES / 2];
        let took = answer.took.as_secs_f64() * 1e3;
        println!("| {} | {goal} | {took:.1} | {} | {} |", question.what, read / 1000, answer.found(&question));
        figures.push(question.figure("cold", goal, (took, 1), answer.failed()));
    }
    figures
}

/// The answer, and bytes that came from the disk.
async fn once(weir: &mut Weir, question: &LogQuery, wanted: &Wanted) -> (Answer, u64) {
    restart(weir).await;
    evict(&weir.data.join("store"));
    let before = read_bytes(weir);
    let answer = question.answer(weir, wanted).await;
    (answer, read_bytes(weir).saturating_sub(before))
}

/// Kills it and starts it again, until every block is open.
pub async fn restart(weir: &mut Weir) {
    weir.kill();
    evict(&weir.data);
    weir.spawn();
    weir.wait_ready().await;
    eventually("all blocks are open", async || {
        let status = weir.get("/api/weir/v1/status", &[]).await;
        let rows = status["path"].as_array().cloned().unwrap_or_default();
        let is_open = rows.iter().all(|row| row["blocks_opening"] == 0 && row["lag"] == 0);
        if is_open && !rows.is_empty() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// Takes the files below a folder out of the page cache.
fn evict(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder is read").path();
        if path.is_dir() {
            evict(&path);
            continue;
        }
        // A file that an upkeep has just removed needs nothing.
        let Ok(file) = File::open(&path) else { continue };
        // What is not on the disk yet stays in the cache whatever is said.
        file.sync_data().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: tells the kernel about a descriptor that is open, and touches no memory.
        let told = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(told, 0, "{}", path.display());
    }
}

/// Bytes that a process has had fetched from a disk.
fn read_bytes(weir: &Weir) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", weir.pid().expect("it runs"))).expect("the kernel counts");
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.expect("the kernel shows it").trim().parse().expect("a number")
}
