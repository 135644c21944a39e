//! A folder that stays when the benchmark ends, so that its lines are asked again without filling it: `KEEP`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fill::{self, Folder};
use crate::questions::{self, Wanted};
use crate::table::Figure;
use crate::{Made, Subject, cold, cold_and_remote, logs, mib, number, ratio_on_disk};

/// What is known of a filled folder: written when it is, so that one whose filling has failed has none.
#[derive(Serialize, Deserialize)]
struct Filled {
    lines: u64,
    body_bytes: u64,
    wanted: Wanted,
}

const FILLED: &str = "filled.json";

/// As the environment says.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("KEEP").map(PathBuf::from)
}

pub fn is_filled(folder: &Path) -> bool {
    folder.join(FILLED).is_file()
}

/// To be filled. Panics when something else lies there.
pub fn empty(folder: &Path) -> Folder {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert!(entries.next().is_none(), "{} is neither filled nor empty", folder.display());
    Folder::Kept(folder.to_owned())
}

/// It is filled now.
pub fn note(folder: &Path, made: &Made) {
    let Made { lines, bytes, wanted, .. } = made;
    let filled = serde_json::json!({"lines": lines, "body_bytes": bytes, "wanted": wanted});
    fs::write(folder.join(FILLED), filled.to_string()).expect("write what the folder is filled with");
}

/// Asks what was filled before. Nothing is added to it, so that the ways of lines into answers and tails are not measured.
pub async fn ask(subject: &Subject, path: &Path, is_scaled: bool) -> Vec<Figure> {
    let text = fs::read(path.join(FILLED)).expect("read what the folder is filled with");
    let Filled { lines, body_bytes, wanted } = serde_json::from_slice(&text).expect("the folder says what it is filled with");
    let folder = Folder::Kept(path.to_owned());
    let mut weir = folder.start(&subject.binary).await;
    cold::restart(&mut weir).await;
    logs::wait_for_lines(&weir, logs::LOKI.namespace, lines).await;
    let blocks = fill::blocks(&weir, logs::LOKI.route.topic).await;
    println!(
        "logs_questions: {:.0} MB of bodies in {lines} lines and {blocks} blocks of {}",
        body_bytes as f64 / 1e6,
        path.display()
    );
    let mut figures = vec![Figure::new("blocks", "", blocks as f64, 0)];
    figures.extend(questions::ask(&weir, &wanted, (number("TIMES", 20) as u32, is_scaled)).await);
    figures.push(Figure::new("peak RSS with questions, MiB", "≤ 488", mib(weir.resident_peak()), 0));
    figures.push(ratio_on_disk(&folder.data(), body_bytes));
    if is_scaled {
        figures.extend(cold_and_remote(subject, (&mut weir, &folder.config(), &folder.data()), &wanted).await);
    }
    figures
}
