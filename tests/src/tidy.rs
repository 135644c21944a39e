//! Holds what reviewers would otherwise have to: floors, file lengths, first lines, banned words, and what was tried on a machine that has nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Which crates of ours each may use: `docs/ARCHITECTURE.md` says why. `weir-tests` may use all.
const FLOORS: [(&str, &str, &[&str]); 24] = [
    ("model", "weir-model", &[]),
    ("auth/watched", "weir-watched", &[]),
    ("auth/tls", "weir-tls", &["watched"]),
    ("auth/access", "weir-access", &["model", "watched"]),
    ("auth/methods", "weir-methods", &["model", "access", "tls", "watched"]),
    ("bus", "weir-bus", &["model"]),
    ("runtime", "weir-runtime", &["model"]),
    ("store/blocks", "weir-blocks", &["model", "tls"]),
    ("store/logs", "weir-logs", &["model", "blocks"]),
    ("store/metrics", "weir-metrics", &["model", "blocks"]),
    ("store/traces", "weir-traces", &["model", "blocks"]),
    ("store/heads", "weir-heads", &["model", "blocks", "logs", "metrics", "traces"]),
    ("collector", "weir-collector", &["model", "access", "tls", "bus", "runtime"]),
    ("aggregator", "weir-aggregator", &["model", "access", "bus", "blocks", "logs", "metrics", "traces", "heads"]),
    ("query/template", "weir-template", &["model"]),
    ("query/promql", "weir-promql", &["model"]),
    ("query/logql", "weir-logql", &["model", "template"]),
    ("query/traceql", "weir-traceql", &["model"]),
    ("query/budget", "weir-budget", &["model"]),
    ("query/rules", "weir-rules", &["model", "tls", "template", "promql", "logql", "budget"]),
    ("query/fanout", "weir-fanout", &["model", "access", "tls", "blocks", "logs", "metrics", "traces", "heads"]),
    ("query/api", "weir-api", &["model", "access", "promql", "logql", "traceql", "budget", "rules"]),
    ("dashboards", "weir-dashboards", &["access"]),
    (
        "cli",
        "weir",
        &[
            "model",
            "access",
            "methods",
            "tls",
            "watched",
            "bus",
            "runtime",
            "blocks",
            "logs",
            "metrics",
            "traces",
            "heads",
            "collector",
            "aggregator",
            "logql",
            "budget",
            "rules",
            "fanout",
            "api",
            "dashboards",
        ],
    ),
];

/// Crates that only one place may know, and that place.
const ONLY: [(&str, &str); 2] = [("rdkafka", "weir-bus"), ("tantivy", "weir-logs")];

/// A crate of the workspace, as `cargo metadata` tells of it.
#[derive(serde::Deserialize)]
struct Member {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(serde::Deserialize)]
struct Dependency {
    name: String,
}

fn members() -> Vec<Member> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Member>,
    }
    serde_json::from_str::<Metadata>(&cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"])).unwrap().packages
}

/// What cargo says of the workspace.
fn cargo(arguments: &[&str]) -> String {
    let told = std::process::Command::new("cargo").args(arguments).current_dir(root()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

/// A feature that tests alone take makes cargo build what stands on it a second time, after `make up`: `docs/decisions/0190-one-build.md`.
#[test]
fn tests_take_no_feature_that_weir_is_built_without() {
    let features = |of: &[&str]| -> BTreeSet<String> {
        let tree = cargo(&[&["tree", "--offline", "--locked", "--prefix=none", "--format={p}|{f}"], of].concat());
        tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
    };
    let (weir, tests) = (features(&["--package=weir", "--edges=no-dev"]), features(&["--workspace", "--edges=all"]));
    assert!(weir.len() > 100, "{weir:?}");
    let apart: Vec<_> = weir.difference(&tests).collect();
    assert!(apart.is_empty(), "tests have these with other features: {apart:#?}");
}

#[test]
fn crates_use_only_the_floors_below() {
    let members = members();
    assert_eq!(members.len(), FLOORS.len() + 1, "a crate without a floor");
    for package in members.iter().filter(|package| package.name != "weir-tests") {
        let (_, _, allowed) = FLOORS.iter().find(|(_, name, _)| package.name == *name).unwrap();
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let ours = FLOORS.iter().any(|(_, own, _)| *own == name);
            let allowed = allowed.iter().any(|own| name.strip_prefix("weir-") == Some(own));
            assert!(!ours || allowed, "{} must not use {name}", package.name);
            if let Some((_, place)) = ONLY.iter().find(|(only, _)| *only == name) {
                assert_eq!(package.name, *place, "only {place} knows {name}");
            }
        }
    }
}

#[test]
fn the_lock_file_stays_small() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(packages <= 490, "{packages} packages");
}

/// Lines above which a file is asked to be split; what stands below `#[cfg(test)]` does not count.
const LINES_MAX: usize = 400;

#[test]
fn source_files_open_with_what_they_are_and_stay_short() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            wrong.push(format!("{}: does not open with //!", path.display()));
        }
        let is_test = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing")
            || path.file_stem().is_some_and(|stem| stem == "tests");
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if !is_test && code > LINES_MAX {
            wrong.push(format!("{}: {code} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_and_words_that_say_nothing_stay_out() {
    // Spelled in halves so that this file passes its own check.
    let banned = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["#[ig", "nore"],
        ["Man", "ager {"],
        ["Hel", "per {"],
        ["mod ut", "ils"],
        ["mod com", "mon;"],
    ]
    .map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            wrong.extend(
                banned
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{}:{}: {word}", path.display(), number + 1)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whose data a request is answered with is said by what its caller was granted.
#[test]
fn no_handler_of_the_apis_names_a_tenant() {
    let handlers = root().join("query/api/src");
    let is_handler =
        |path: &PathBuf| path.starts_with(&handlers) && !path.ends_with("tests.rs") && !path.starts_with(handlers.join("tests"));
    let handlers: Vec<PathBuf> = sources().into_iter().filter(is_handler).collect();
    assert!(handlers.len() > 30, "{handlers:?}");
    let mut wrong = Vec::new();
    for path in handlers {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        let names = |line: &&str| {
            ["TENANT_DEFAULT", "Scope::of", "Scope::new", "TenantScope {", "\"default\""].iter().any(|word| line.contains(word))
        };
        wrong.extend(code.filter(names).map(|line| format!("{}: {}", path.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A route that does not say what it needs can be made in `auth/access` alone.
#[test]
fn routes_are_made_where_they_say_what_they_need() {
    let is_test = |path: &Path| {
        path.components().any(|part| ["tests", "testing", "examples", "benches"].iter().any(|name| part.as_os_str() == *name))
            || path.ends_with("tests.rs")
    };
    // Spelled in halves so that this file passes its own check.
    let makers = [".ro", ".route_", ".nest_"].map(|half| half.to_owned() + if half == ".ro" { "ute(" } else { "service(" });
    let (mut wrong, mut known) = (Vec::new(), 0);
    for path in sources() {
        let path = path.strip_prefix(root()).unwrap().to_owned();
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        let found = code.filter(|line| makers.iter().any(|maker| line.contains(maker))).count();
        if path.starts_with("auth/access/src") {
            known += found;
        } else if found > 0 && !is_test(&path) {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty() && known > 0, "{known} in auth/access, and in {}", wrong.join(", "));
}

/// Words that a reader had to be told the meaning of; the folder where (empty: everywhere), and what is written instead. Held against
/// identifiers, and against what docs have in backticks.
const GONE: [(&str, &str, &str); 36] = [
    ("Desk", "", "HeadService or AdminClient"),
    ("Question", "", "HeadRequest"),
    ("Asker", "", "HeadClient"),
    ("PartAnswer", "", "HeadResponse"),
    ("Ask", "", "HeadQuery or OwnerCommand"),
    ("Slice", "", "HeadExtract"),
    ("Sliced", "", "HeadProtocol"),
    ("SliceRecord", "", "ExtractRecord"),
    ("SliceLimits", "", "ExtractLimits"),
    ("unslice", "", "rebuild_head"),
    ("LOOK", "", "POLL_INTERVAL"),
    ("guest", "bus", "ephemeral_member"),
    ("visits", "bus", "rebalance_probe"),
    ("Beat", "", "Heartbeat"),
    ("pulse", "", "self_report"),
    ("Pulse", "", "SelfReport"),
    ("contained", "", "panic_guard::catch"),
    ("vet", "", "validate"),
    ("Patience", "", "CircuitBreaker"),
    ("in_vain", "", "last_timeout"),
    ("Tenure", "", "Assignment"),
    ("Inboxes", "", "OwnerRegistry"),
    ("Marks", "", "DedupState"),
    ("Remembered", "", "DedupSnapshot"),
    ("poison", "", "quarantine"),
    ("put_aside", "", "quarantine"),
    ("Parcel", "", "QueuedSection"),
    ("Flight", "", "InFlight"),
    ("Chain", "collector", "LogFileSet"),
    ("Generation", "collector", "RotatedFile"),
    ("Oddities", "", "ParseStats"),
    ("News", "", "PollerEvent"),
    ("obey", "", "apply"),
    ("sift", "", "filter"),
    ("Grid", "", "StepRange"),
    ("Need", "", "TokenPredicate"),
];

/// What stands between quotes of a kind, or outside of them.
fn quoted(line: &str, quote: char, inside: bool) -> String {
    line.split(quote).skip(usize::from(inside)).step_by(2).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// Identifiers of a line of Rust: neither strings nor comments.
fn code(line: &str) -> String {
    let code = quoted(&line.replace("\\\"", ""), '"', false);
    code.split("//").next().unwrap_or_default().to_owned()
}

#[test]
fn words_that_are_gone_stay_gone() {
    let pages = pages();
    let lines = sources().into_iter().map(|path| (path, code as fn(&str) -> String));
    let lines = lines.chain(pages.into_iter().map(|path| (path, (|line| quoted(line, '`', true)) as fn(&str) -> String)));
    let mut wrong = Vec::new();
    for (path, read) in lines {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap();
        for (number, line) in text.lines().enumerate() {
            let read = read(line);
            for (word, _, instead) in GONE.iter().filter(|(_, folder, _)| path.starts_with(folder)) {
                if words(&read).any(|own| own == *word) {
                    wrong.push(format!("{}:{}: {word} is {instead} now", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_word_is_found_where_it_is_code() {
    let check = |line, expected: &[&str]| assert_eq!(words(&code(line)).collect::<Vec<_>>(), expected, "{line}");
    check("let Ask { taken } = ask; // a Question", &["let", "Ask", "taken", "ask"]);
    check("tell(\"Ask \\\"Desk\\\" // not yet\", Beat::default()); // pulse", &["tell", "Beat", "default"]);
    assert_eq!(quoted("an `Ask` of the Desk: `Slice`", '`', true), "Ask Slice");
}

#[test]
fn every_crate_of_the_workspace_takes_the_lints() {
    for package in members() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package.manifest_path.display());
    }
}

/// What lands was tried on a machine that has nothing, both commands and all tests: CI does nothing else.
#[test]
fn ci_runs_on_a_machine_that_has_nothing() {
    let script = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<&str> = script.lines().filter(|line| line.starts_with("exec ") || line.contains("make ")).collect();
    assert_eq!(commands, ["exec tests/fresh/run up test"]);
}

/// `# 0097: Title`, an empty line, `2026-11-21, accepted.`; and a line of the index that says the same.
#[test]
fn decisions_have_a_number_a_day_a_status_and_a_line_of_the_index() {
    let folder = root().join("docs/decisions");
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "README.md");
    names.sort();
    assert!(names.len() > 40, "{names:?}");
    let mut wrong = Vec::new();
    for name in &names {
        let number = name.split('-').next().unwrap_or_default();
        if names.iter().filter(|other| other.starts_with(number)).count() > 1 {
            wrong.push(format!("{name}: another decision has its number"));
        }
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let lines: Vec<&str> = text.lines().take(3).collect();
        let title = lines.first().and_then(|line| line.strip_prefix(&format!("# {number}: ")));
        let dated = lines.get(2).and_then(|line| line.strip_suffix('.')?.split_once(", "));
        let (Some(title), Some((day, status))) = (title, dated) else {
            wrong.push(format!("{name}: begins with \"# {number}: Title\", an empty line, and \"YYYY-MM-DD, accepted.\""));
            continue;
        };
        let row = format!("| [{number}]({name}) | {title} | {day} | {status} |");
        if day.len() != 10 || !day.starts_with("20") {
            wrong.push(format!("{name}: {day:?} is no day"));
        }
        if !index.lines().any(|line| line == row) {
            wrong.push(format!("README.md: no line {row}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Docs that say how it is now: neither decisions, which say how it came, nor the changelog.
fn pages() -> Vec<PathBuf> {
    let docs = ["docs", "docs/formats"].map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let found = docs.into_iter().flatten().map(|entry| entry.unwrap().path());
    let found: Vec<_> = found.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// Rust files of the workspace, as git knows them or would.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules", "dist", "ui"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}
