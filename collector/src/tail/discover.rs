//! Which logs there are: those of containers, and those of configured globs. Reads names only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use weir_model::label::{Labels, normalise_label_name};
use weir_runtime::containers::LogFormat;
use weir_runtime::logs::{LogFile, generations, is_rotated_suffix};

use super::{STREAMS, Stream};
use crate::config::{FileFormat, PathConfig};

/// One log as its writer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Path of the current file; names the log.
    pub current: PathBuf,
    /// How its lines are framed.
    pub format: FileFormat,
    /// Labels without `stream`.
    pub labels: Labels,
    /// Whether they are all that there will be: an engine told whose log it is, or nobody has to.
    pub is_told: bool,
    /// Its files lie below these; links that lead elsewhere are not followed.
    pub directories: Vec<PathBuf>,
}

/// Finds all logs; called off the async threads, again and again.
pub type Discover = Box<dyn FnMut(&dyn Fn(&Path) -> bool) -> Vec<LogSpec> + Send>;

/// What a path below a root is, if it is the current file of a log.
pub type SpecOf = Box<dyn Fn(&Path) -> Option<LogSpec> + Send + Sync>;

/// A directory in which log files are born.
pub struct Root {
    /// Which. It may not be there yet.
    pub directory: PathBuf,
    /// Directories so many levels below it are watched.
    pub depth: usize,
    /// Whether logs of containers lie there: one that was never seen is a loss.
    pub is_containers: bool,
    /// What a file there is.
    pub spec_of: SpecOf,
}

impl Root {
    /// Whether it lies below this path.
    pub(super) fn leads_to(&self, path: &Path) -> bool {
        self.directory.starts_with(path)
    }

    /// Whether logs may lie in or below this directory.
    pub(super) fn covers(&self, directory: &Path) -> bool {
        let Ok(below) = directory.strip_prefix(&self.directory) else { return false };
        let levels = below.components().count();
        levels < self.depth || levels == self.depth && (!self.is_containers || self.holds_log(directory))
    }

    /// Whether a directory of the lowest level is one that an engine makes for a log: other things lie beside.
    fn holds_log(&self, directory: &Path) -> bool {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let names = ["0.log", "ctr.log", &format!("{name}-json.log")].map(|name| directory.join(name));
        names.iter().any(|path| (self.spec_of)(path).is_some())
    }

    pub(super) fn is_log(&self, path: &Path) -> bool {
        path.parent().is_some_and(|directory| self.covers(directory)) && (self.spec_of)(path).is_some()
    }
}

/// Levels below the part of a glob without wildcards that are watched for `**`: deeper ones are found by listing.
const RECURSIVE_DEPTH: usize = 8;

/// Where the files of a configured glob are born.
pub fn root_of(config: &PathConfig, node: &str) -> Option<Root> {
    let pattern = glob::Pattern::new(&config.path).ok()?;
    let directory = fixed_part(&config.path);
    let below = Path::new(&config.path).strip_prefix(&directory).ok()?;
    let is_recursive = below.components().any(|part| part.as_os_str() == "**");
    let depth = if is_recursive { RECURSIVE_DEPTH } else { below.components().count().checked_sub(1)? };
    let (config, node) = (config.clone(), node.to_owned());
    // As the listing does it: a wildcard does not match a slash.
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let spec_of = move |path: &Path| {
        let matches = pattern.matches_path_with(path, options) && !is_sibling(path, &BTreeSet::new());
        matches.then(|| of_path(&config, &node, path.to_owned()))
    };
    Some(Root { directory, depth, is_containers: false, spec_of: Box::new(spec_of) })
}

/// The directories of a glob before its first wildcard.
fn fixed_part(pattern: &str) -> PathBuf {
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let parent = Path::new(pattern).parent().unwrap_or(Path::new("/"));
    parent.components().take_while(is_fixed).collect()
}

impl LogSpec {
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

/// A container's log, as the runtime found it.
pub(crate) fn of_container(file: LogFile, root: &Path) -> LogSpec {
    let format = match file.format {
        LogFormat::Cri => FileFormat::Cri,
        LogFormat::DockerJson => FileFormat::DockerJson,
    };
    // kubelet's links lead to `pods`, and where Docker is the engine from there to Docker's own files.
    let kubernetes = ["var/log/pods", "var/log/containers", "var/lib/docker/containers"].map(|directory| root.join(directory));
    let directories = kubernetes.into_iter().chain(file.path.parent().map(Path::to_owned)).collect();
    LogSpec { current: file.path, format, labels: file.container.to_labels(), is_told: file.is_told, directories }
}

/// Logs of a configured glob: every file that matches is a current one, but for those that others were rotated into. What
/// is no file is among them, and refused by name when it is opened.
///
/// Between the two steps of a rotation the current file has no name, and no glob finds it. A log that was found before is
/// there as long as a file of it is; else it would be over, and its open line with it.
pub(crate) struct Configured {
    config: PathConfig,
    node: String,
    /// Current files found by the last call.
    found: BTreeSet<PathBuf>,
}

impl Configured {
    pub fn new(config: PathConfig, node: String) -> Self {
        Self { config, node, found: BTreeSet::new() }
    }

    /// Lists the names once more.
    pub fn find(&mut self) -> Vec<LogSpec> {
        let Ok(paths) = glob::glob(&self.config.path) else { return Vec::new() };
        let named: BTreeSet<PathBuf> = paths.flatten().filter(|path| is_there(path)).collect();
        let mut found = std::mem::take(&mut self.found);
        found.retain(|path| !named.contains(path) && (is_there(path) || has_rotated_files(path)));
        let current: Vec<PathBuf> = named.into_iter().filter(|path| !is_sibling(path, &found)).collect();
        found.extend(current);
        self.found = found;
        self.found.iter().map(|path| of_path(&self.config, &self.node, path.clone())).collect()
    }
}

fn of_path(config: &PathConfig, node: &str, current: PathBuf) -> LogSpec {
    let own = config.labels.iter().map(|(name, value)| (normalise_label_name(name).into_owned(), value.clone()));
    let filename = current.to_string_lossy().into_owned();
    let fixed = [("node".to_owned(), node.to_owned()), ("filename".to_owned(), filename)];
    let labels = Labels::from_pairs(fixed.into_iter().chain(own));
    LogSpec { current, format: config.format, labels, is_told: true, directories: vec![fixed_part(&config.path)] }
}

/// Neither a directory nor a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.metadata().is_ok_and(|stat| !stat.is_dir())
}

fn has_rotated_files(current: &Path) -> bool {
    generations(current).is_ok_and(|files| files.iter().any(|file| file.path != current))
}

/// Whether a file is what another one beside it was rotated into, which may be `between` the steps of a rotation.
fn is_sibling(path: &Path, between: &BTreeSet<PathBuf>) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let mut cuts = name.char_indices().filter(|(at, letter)| *at > 0 && matches!(letter, '.' | '-')).map(|(at, _)| at);
    let is_current = |path: PathBuf| path.is_file() || between.contains(&path);
    cuts.any(|at| is_rotated_suffix(&name[at..]) && is_current(path.with_file_name(&name[..at])))
}
