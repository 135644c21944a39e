//! Which chains there are: those of containers, and those of configured globs. Looks at names only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_model::label::{Labels, normalise_label_name};
use weir_runtime::containers::LogFormat;
use weir_runtime::logs::LogFile;

use super::{STREAMS, Stream};
use crate::config::{FileFormat, PathConfig};

/// One file of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub path: PathBuf,
    /// Compressed after rotation.
    pub gzip: bool,
}

/// One log as its writer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// Path of the current file; names the chain.
    pub current: PathBuf,
    /// How its lines are framed.
    pub format: FileFormat,
    /// Labels without `stream`.
    pub labels: Labels,
    /// Files in the order in which they were written; the current one, when it is there, last.
    pub files: Vec<Candidate>,
}

/// Finds all chains; called off the async threads, again and again.
pub type Discover = Box<dyn FnMut() -> Vec<ChainSpec> + Send>;

impl ChainSpec {
    pub(super) fn id(&self) -> String {
        self.current.to_string_lossy().into_owned()
    }

    /// Labels of the streams; plain files have no streams.
    pub(super) fn stream_labels(&self) -> [Labels; STREAMS] {
        Stream::ALL.map(|stream| match self.format {
            FileFormat::Plain => self.labels.clone(),
            FileFormat::Cri | FileFormat::DockerJson => self.labels.with("stream", stream.name()),
        })
    }
}

/// Chains of containers, from what the runtime found.
pub(crate) fn of_containers(files: Vec<LogFile>) -> Vec<ChainSpec> {
    let mut chains: Vec<ChainSpec> = Vec::new();
    let mut at: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in files {
        let current = if file.rotated { base_of(&file.path) } else { file.path.clone() };
        let format = match file.format {
            LogFormat::Cri => FileFormat::Cri,
            LogFormat::DockerJson => FileFormat::DockerJson,
        };
        let labels = file.container.to_labels();
        let i = *at.entry(current.clone()).or_insert_with(|| {
            chains.push(ChainSpec { current, format, labels, files: Vec::new() });
            chains.len() - 1
        });
        chains[i].files.push(Candidate { path: file.path, gzip: file.gzip });
    }
    chains
}

/// The name that a rotated file had: `0.log.20230101-120000.gz` → `0.log`, `x-json.log.1` → `x-json.log`.
fn base_of(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.find(".log.") {
        Some(at) => path.with_file_name(&name[..at + 4]),
        None => path.to_owned(),
    }
}

/// Chains of a configured glob: every file that matches is a current one; `<name>.1`, `<name>.2.gz`, `<name>-<date>` and
/// `<name>.<date>` beside it are its rotated siblings, by their time of change.
pub fn configured(config: &PathConfig, node: &str) -> Vec<ChainSpec> {
    let Ok(paths) = glob::glob(&config.path) else { return Vec::new() };
    let paths: Vec<PathBuf> = paths.flatten().filter(|path| path.is_file() && sibling_suffix(path).is_none()).collect();
    paths.into_iter().map(|path| of_path(config, node, path)).collect()
}

fn of_path(config: &PathConfig, node: &str, current: PathBuf) -> ChainSpec {
    let own = config.labels.iter().map(|(name, value)| (normalise_label_name(name).into_owned(), value.clone()));
    let filename = current.to_string_lossy().into_owned();
    let fixed = [("node".to_owned(), node.to_owned()), ("filename".to_owned(), filename)];
    let labels = Labels::from_pairs(fixed.into_iter().chain(own));
    let mut files = siblings(&current);
    files.push(Candidate { path: current.clone(), gzip: false });
    ChainSpec { current, format: config.format, labels, files }
}

fn siblings(current: &Path) -> Vec<Candidate> {
    let (Some(directory), Some(name)) = (current.parent(), current.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let mut found: Vec<(std::time::SystemTime, Candidate)> = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let own = entry.file_name();
        let Some(rest) = own.to_str().and_then(|own| own.strip_prefix(name)) else { continue };
        if rest.is_empty() || !is_suffix(rest) {
            continue;
        }
        if let Ok(changed) = entry.metadata().and_then(|facts| facts.modified()) {
            found.push((changed, Candidate { path: entry.path(), gzip: rest.ends_with(".gz") }));
        }
    }
    found.sort_by_key(|(changed, _)| *changed);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// `.1`, `.2.gz`, `-20230101`, `.20230101-120000`
fn is_suffix(rest: &str) -> bool {
    let rest = rest.strip_suffix(".gz").unwrap_or(rest);
    let digits = rest.strip_prefix(['.', '-']).unwrap_or("");
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'T' | b':'))
}

/// What a rotated file's name has behind its base's, when that base exists.
fn sibling_suffix(path: &Path) -> Option<()> {
    let name = path.file_name()?.to_str()?;
    let cuts = name.char_indices().filter(|(_, letter)| matches!(letter, '.' | '-')).map(|(at, _)| at);
    cuts.into_iter().find(|at| *at > 0 && is_suffix(&name[*at..]) && path.with_file_name(&name[..*at]).is_file()).map(|_| ())
}
