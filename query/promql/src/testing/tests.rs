//! The scripts: our own pass whole, the shared ones fail exactly where the committed list says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::run_script;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).unwrap().to_path_buf()
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
/// `WEIR_UPDATE=1 cargo test -p weir-promql prometheus_scripts` writes the list anew.
#[test]
fn prometheus_scripts_fail_exactly_where_listed() {
    let shared = std::env::var_os("WEIR_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("conformance/promql");
    if !folder.is_dir() {
        assert!(std::env::var_os("WEIR_SHARED").is_none(), "WEIR_SHARED names a folder without {}", folder.display());
        println!("NOT RUN: {} is not here", folder.display());
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
    assert!(passed > 1000, "only {passed} evaluations passed");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        let mut text = String::from(HEAD);
        given.iter().for_each(|(place, why, _)| text.push_str(&format!("{place} | {why}\n")));
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

/// Words that queries are made of, and numbers at the ends of their range.
const WORDS: [&str; 62] = [
    "(\"without\", \"inf\")",
    "{b!=\"\\xff a value that is longer than the line that a query of several lines has for it, so that it is split there\"}",
    "m",
    "m{a=\"1\"}",
    "{a!=\"1\"}",
    "sum",
    "topk",
    "quantile",
    "count_values",
    "by",
    "without",
    "(",
    ")",
    "(a)",
    "[5m]",
    "[1m:10s]",
    "[1000y:1ms]",
    "offset",
    "@",
    "1",
    "-",
    "+",
    "*",
    "/",
    "%",
    "^",
    "==",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "and",
    "or",
    "unless",
    "rate(m[1m])",
    "rate",
    "absent",
    "scalar",
    "vector",
    "time()",
    "label_replace",
    ",",
    "\"x\"",
    "5m",
    "1e300",
    "9e15",
    "NaN",
    "Inf",
    "start()",
    "step()",
    "min_of",
    "anchored",
    "smoothed",
    "fill(0)",
    "histogram_quantile",
    "sort_desc",
    "predict_linear",
    "{",
    "}",
    "=~",
    "deriv",
    "-9e15",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_query_breaks_the_engine(picks in proptest::collection::vec(0..WORDS.len(), 1..12)) {
        let query: Vec<&str> = picks.into_iter().map(|pick| WORDS[pick]).collect();
        let query = query.join(" ");
        if let Ok(expr) = crate::parse::parse(&query) {
            let printed = expr.to_string();
            let again = crate::parse::parse(&printed).map(|expr| expr.to_string());
            assert_eq!(again.as_ref(), Ok(&printed), "{query} prints as what cannot be read");
            let split = crate::parse::parse(&crate::pretty(&expr)).map(|expr| expr.to_string());
            assert_eq!(split.as_ref(), Ok(&printed), "{query} is split into what cannot be read");
        }
        // Whatever comes out, nothing panics: neither reading, printing nor evaluating.
        let script = format!("load 1m\n m{{a=\"1\"}} 1 2 3 NaN\n m{{a=\"2\"}} 0 -1 Inf 5\n\neval range from 0 to 3m step 1m {query}\n\neval instant at 2m {query}\n");
        run_script(&script);
    }
}

const HEAD: &str = "\
# Lines of Prometheus' own PromQL test scripts whose eval weir does not answer as expected, and why.
# Held in both directions by query/promql/src/testing/tests.rs. Written anew by
#   WEIR_UPDATE=1 cargo test -p weir-promql prometheus_scripts
";
