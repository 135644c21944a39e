//! Which chains there are: those of containers, and those of configured globs. Looks at names only.

use std::path::{Path, PathBuf};

use weir_model::label::{Labels, normalise_label_name};
use weir_runtime::containers::LogFormat;
use weir_runtime::logs::{LogFile, is_rotated_suffix};

use super::{STREAMS, Stream};
use crate::config::{FileFormat, PathConfig};

/// One log as its writer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// Path of the current file; names the chain.
    pub current: PathBuf,
    /// How its lines are framed.
    pub format: FileFormat,
    /// Labels without `stream`.
    pub labels: Labels,
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
    let chain = |file: LogFile| {
        let format = match file.format {
            LogFormat::Cri => FileFormat::Cri,
            LogFormat::DockerJson => FileFormat::DockerJson,
        };
        ChainSpec { current: file.path, format, labels: file.container.to_labels() }
    };
    files.into_iter().map(chain).collect()
}

/// Chains of a configured glob: every file that matches is a current one, but for those that others were rotated into.
pub fn configured(config: &PathConfig, node: &str) -> Vec<ChainSpec> {
    let Ok(paths) = glob::glob(&config.path) else { return Vec::new() };
    let paths: Vec<PathBuf> = paths.flatten().filter(|path| path.is_file() && !is_sibling(path)).collect();
    paths.into_iter().map(|path| of_path(config, node, path)).collect()
}

fn of_path(config: &PathConfig, node: &str, current: PathBuf) -> ChainSpec {
    let own = config.labels.iter().map(|(name, value)| (normalise_label_name(name).into_owned(), value.clone()));
    let filename = current.to_string_lossy().into_owned();
    let fixed = [("node".to_owned(), node.to_owned()), ("filename".to_owned(), filename)];
    let labels = Labels::from_pairs(fixed.into_iter().chain(own));
    ChainSpec { current, format: config.format, labels }
}

/// Whether a file is what another one beside it was rotated into.
fn is_sibling(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let mut cuts = name.char_indices().filter(|(at, letter)| *at > 0 && matches!(letter, '.' | '-')).map(|(at, _)| at);
    cuts.any(|at| is_rotated_suffix(&name[at..]) && path.with_file_name(&name[..at]).is_file())
}
