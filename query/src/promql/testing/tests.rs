use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::run_script;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn scripts(folder: &Path) -> Vec<(String, String)> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn own_scripts_pass() {
    let scripts = scripts(&root().join("tests/scripts/promql"));
    assert!(!scripts.is_empty());
    for (name, text) in scripts {
        let report = run_script(&text);
        assert!(report.passed > 0, "{name} evaluates nothing");
        assert!(report.failed.is_empty(), "{name}: {:#?}", report.failed);
    }
}

/// Runs Prometheus' own scripts where they are at hand and holds the list of what fails, in both directions.
/// `WEIR_UPDATE=1 cargo test -p weir-query prometheus_scripts` writes the list anew.
#[test]
fn prometheus_scripts_fail_exactly_where_listed() {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(|| root().join("../../shared"), PathBuf::from);
    let folder = shared.join("conformance/promql");
    if !folder.is_dir() {
        return;
    }
    let list = root().join("tests/scripts/promql_failing.txt");
    let mut given = Vec::new();
    let mut passed = 0;
    for (name, text) in scripts(&folder) {
        let report = run_script(&text);
        passed += report.passed;
        println!("{name}: {} passed, {} failed", report.passed, report.failed.len());
        for failure in report.failed {
            let line = text.lines().nth(failure.line - 1).unwrap_or_default();
            let why: String = failure.why.replace('\n', " ").chars().take(160).collect();
            given.push((format!("{name}:{}", failure.line), why, line.to_owned()));
        }
    }
    println!("all: {passed} passed, {} failed", given.len());
    if std::env::var_os("WEIR_UPDATE").is_some() {
        let mut text = String::from(HEAD);
        given.iter().for_each(|(place, why, _)| text.push_str(&format!("{place} | {}\n", reason(why))));
        std::fs::write(&list, text).unwrap();
        given.iter().for_each(|(place, why, line)| println!("{place}\n    {}\n    {why}", line.trim()));
    }
    let listed = std::fs::read_to_string(&list).unwrap();
    let place = |line: &str| line.split(" | ").next().unwrap_or_default().to_owned();
    let listed: BTreeSet<String> = listed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(place).collect();
    let failing: BTreeSet<String> = given.iter().map(|(place, ..)| place.clone()).collect();
    let new: Vec<_> = given.iter().filter(|(place, ..)| !listed.contains(place)).collect();
    let mended: Vec<_> = listed.difference(&failing).collect();
    assert!(new.is_empty() && mended.is_empty(), "newly failing: {new:#?}\nnewly passing: {mended:#?}");
}

const HEAD: &str = "\
# Lines of Prometheus' own PromQL test scripts whose eval weir does not answer as expected, and why.
# Held in both directions by query/src/promql/testing/tests.rs. Written anew by
#   WEIR_UPDATE=1 cargo test -p weir-query prometheus_scripts
";

/// Short reasons for the list: what is not built yet; else what was seen.
fn reason(why: &str) -> &str {
    let known = [
        ("native histograms", "native histograms are not stored yet"),
        ("load_with_nhcb", "native histograms are not stored yet"),
    ];
    known.iter().find(|(word, _)| why.contains(word)).map_or(why, |(_, reason)| reason)
}
