//! Where the containers' logs lie ([`find`]), and what such a log was rotated into ([`generations`]).
//! Looks at names only, never into a file; the collector's tail source calls it and reads. Works without any engine:
//! the names under `/var/log/pods` and `/var/log/containers` tell namespace, pod, uid, container and id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use weir_model::resource::Resource;

use crate::containers::{Container, InventoryConfig, LogFormat};

/// One container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file that the container writes now, the node's root included. It may be gone while rotated ones are there.
    pub path: PathBuf,
    /// How its lines are wrapped.
    pub format: LogFormat,
    /// Whose lines it holds.
    pub container: Resource,
    /// Whether an engine told so; else it is what the path says.
    pub is_told: bool,
}

/// One file of a log: the current one, or one that it was rotated into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where.
    pub path: PathBuf,
    /// Whether it is compressed (`.gz`): kubelet does that to all but the newest rotated file.
    pub gzip: bool,
}

/// What there is.
#[derive(Debug, Default)]
pub struct LogFiles {
    /// One a container.
    pub files: Vec<LogFile>,
    /// Directories that could not be listed, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Finds the log files of `containers` and of every pod directory below `root` (the node's root). `node` is the node's name.
pub fn find(root: &Path, node: &str, containers: &[Container]) -> LogFiles {
    let mut found = LogFiles::default();
    let mut known: HashMap<PathBuf, &Container> = HashMap::new();
    for container in containers {
        if let Some(path) = log_path(root, container) {
            known.insert(path, container);
        }
    }
    let mut covered: HashSet<PathBuf> = HashSet::new();
    pods(root, node, &known, &mut covered, &mut found);
    let mut others: Vec<_> = known.iter().filter(|(path, _)| !covered.contains(*path)).collect();
    others.sort_by(|a, b| a.0.cmp(b.0));
    for (path, container) in others {
        let Some(format) = container.log.as_ref().map(|log| log.format) else { continue };
        group(LogFile { path: path.clone(), format, container: container.resource(node), is_told: true }, &mut found);
    }
    found
}

/// `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<attempt>.log`
fn pods(root: &Path, node: &str, known: &HashMap<PathBuf, &Container>, covered: &mut HashSet<PathBuf>, found: &mut LogFiles) {
    let ids = ids(root, found);
    for pod in list(&root.join("var/log/pods"), found) {
        let Some((namespace, name)) = pod.file_name().and_then(OsStr::to_str).and_then(pod_name) else { continue };
        for directory in list(&pod, found) {
            let Some(container) = directory.file_name().and_then(OsStr::to_str).map(str::to_owned) else { continue };
            for current in attempts(&directory, found).into_values() {
                covered.insert(current.clone());
                let log =
                    known.get(&current).and_then(|container| Some((container.resource(node), container.log.as_ref()?.format)));
                let is_told = log.is_some();
                let (resource, format) = log.unwrap_or_else(|| {
                    let container_id = ids.get(&current).cloned().unwrap_or_default();
                    let resource = Resource {
                        node: node.to_owned(),
                        namespace: namespace.to_owned(),
                        pod: name.to_owned(),
                        container: container.clone(),
                        container_id,
                        ..Resource::default()
                    };
                    (resource, format_of(&current))
                });
                group(LogFile { path: current, format, container: resource, is_told }, found);
            }
        }
    }
}

/// Namespace and pod of a directory's name. Neither may hold an underscore; what follows the second is the uid.
fn pod_name(directory: &str) -> Option<(&str, &str)> {
    let mut parts = directory.splitn(3, '_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    (!namespace.is_empty() && !name.is_empty() && !uid.is_empty()).then_some((namespace, name))
}

/// `<attempt>.log` of each attempt that left any file (its current one may be gone), ascending.
fn attempts(directory: &Path, found: &mut LogFiles) -> BTreeMap<u64, PathBuf> {
    let mut attempts = BTreeMap::new();
    for path in list(directory, found) {
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        let Some((number, rest)) = name.split_once(".log") else { continue };
        if let Ok(attempt) = number.parse::<u64>()
            && (rest.is_empty() || rest.starts_with('.'))
        {
            attempts.insert(attempt, directory.join(format!("{number}.log")));
        }
    }
    attempts
}

/// Container ids by log file, from the links `/var/log/containers/<pod>_<namespace>_<container>-<id>.log`.
fn ids(root: &Path, found: &mut LogFiles) -> HashMap<PathBuf, String> {
    let links = list(&root.join("var/log/containers"), found);
    let entries = links.iter().filter_map(|link| {
        let id = link.file_name()?.to_str()?.strip_suffix(".log")?.rsplit_once('-')?.1;
        let target = std::fs::read_link(link).ok()?;
        let target = if target.is_absolute() { below(root, &target) } else { plain(&link.parent()?.join(target)) };
        Some((target, id.to_owned()))
    });
    entries.collect()
}

/// Under dockershim's successors the CRI file is a link to Docker's own.
fn format_of(path: &Path) -> LogFormat {
    let target = std::fs::read_link(path).ok();
    let docker = target.as_deref().and_then(Path::to_str).is_some_and(|target| target.ends_with("-json.log"));
    if docker { LogFormat::DockerJson } else { LogFormat::Cri }
}

/// A directory in which an engine makes the logs of its containers.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// Which, the node's root included. It may not be there yet.
    pub directory: PathBuf,
    /// Logs lie in directories so many levels below it.
    pub depth: usize,
    shape: Shape,
}

/// How a log's path below its place reads.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `<namespace>_<pod>_<uid>/<container>/<attempt>.log`
    Pods,
    /// `<id>/<id>-json.log`
    Docker,
    /// `<id>/userdata/ctr.log`
    Podman,
    /// `<id>/logs/0.log`
    Weir,
}

/// Where logs of containers are born. Engines that were told to use other directories are not among them.
pub fn places(config: &InventoryConfig) -> Vec<LogPlace> {
    let place = |directory, depth, shape| LogPlace { directory, depth, shape };
    vec![
        place(config.root.join("var/log/pods"), 2, Shape::Pods),
        place(config.root.join("var/lib/docker/containers"), 1, Shape::Docker),
        place(config.podman_storage.join("overlay-containers"), 2, Shape::Podman),
        place(config.weir_dir.clone(), 2, Shape::Weir),
    ]
}

/// What a path in a place is, if it is the current file of a container's log: with what the engine says of the container,
/// else with what the path says. The file may be gone already.
pub fn of_path(root: &Path, node: &str, place: &LogPlace, path: &Path, containers: &[Container]) -> Option<LogFile> {
    let below: Vec<&str> = path.strip_prefix(&place.directory).ok()?.iter().map(OsStr::to_str).collect::<Option<_>>()?;
    let (resource, format) = of_shape(place.shape, &below)?;
    let known = containers.iter().find(|container| log_path(root, container).is_some_and(|log| log == path));
    let is_told = known.is_some();
    let (container, format) = match known.and_then(|known| Some((known.resource(node), known.log.as_ref()?.format))) {
        Some(known) => known,
        None => (Resource { node: node.to_owned(), ..resource }, if format == LogFormat::Cri { format_of(path) } else { format }),
    };
    Some(LogFile { path: path.to_owned(), format, container, is_told })
}

fn of_shape(shape: Shape, below: &[&str]) -> Option<(Resource, LogFormat)> {
    let of_id = |id: &str| Resource { container_id: id.to_owned(), ..Resource::default() };
    match (shape, below) {
        (Shape::Pods, [pod, container, file]) => {
            let (namespace, pod) = pod_name(pod)?;
            file.strip_suffix(".log")?.parse::<u64>().ok()?;
            let (namespace, pod, container) = (namespace.to_owned(), pod.to_owned(), (*container).to_owned());
            Some((Resource { namespace, pod, container, ..Resource::default() }, LogFormat::Cri))
        }
        (Shape::Docker, [id, file]) => (file.strip_suffix("-json.log") == Some(id)).then(|| (of_id(id), LogFormat::DockerJson)),
        (Shape::Podman, [id, "userdata", "ctr.log"]) | (Shape::Weir, [id, "logs", "0.log"]) => Some((of_id(id), LogFormat::Cri)),
        _ => None,
    }
}

/// Where a container's log is as we see it, if its engine says.
pub fn log_path(root: &Path, container: &Container) -> Option<PathBuf> {
    container.log.as_ref().map(|log| below(root, &log.path))
}

/// Adds a log of which any file is there.
fn group(log: LogFile, found: &mut LogFiles) {
    match generations(&log.path) {
        Ok(files) if files.is_empty() => {}
        Ok(_) => found.files.push(log),
        Err(error) => found.unreadable.push((log.path, error)),
    }
}

/// The files of a log in the order in which they were written, the current one, when it is there, last. One look at a
/// directory that may be changing meanwhile: a file renamed at that moment may be missing. A directory that is not there
/// holds none.
pub fn generations(current: &Path) -> io::Result<Vec<Generation>> {
    let (Some(directory), Some(name)) = (current.parent(), current.file_name().and_then(OsStr::to_str)) else {
        return Ok(Vec::new());
    };
    let mut rotated: Vec<(Age, Generation)> = Vec::new();
    let mut exists = false;
    for path in entries(directory)? {
        let Some(own) = path.file_name().and_then(OsStr::to_str) else { continue };
        exists |= own == name;
        if let Some(age) = own.strip_prefix(name).and_then(age) {
            rotated.push((age, Generation { gzip: own.ends_with(".gz"), path }));
        }
    }
    // While a file is compressed it is there twice, and the copy is not whole.
    let plain: HashSet<PathBuf> = rotated.iter().filter(|(_, file)| !file.gzip).map(|(_, file)| file.path.clone()).collect();
    rotated.retain(|(_, file)| !file.gzip || !plain.contains(&file.path.with_extension("")));
    let same_kind = rotated.windows(2).all(|pair| std::mem::discriminant(&pair[0].0) == std::mem::discriminant(&pair[1].0));
    if same_kind {
        rotated.sort_by(|a, b| a.0.cmp(&b.0));
    } else {
        let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        rotated.sort_by_cached_key(|(_, file)| (changed(&file.path), file.path.clone()));
    }
    let current = exists.then(|| Generation { path: current.to_owned(), gzip: false });
    Ok(rotated.into_iter().map(|(_, file)| file).chain(current).collect())
}

/// Sorts rotated files, oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    /// Docker, logrotate: `.1` is the newest.
    Turns(std::cmp::Reverse<u32>),
    /// kubelet and weir, logrotate with `dateext`: the time of rotation, whose text sorts as the time does.
    Time(String),
}

/// Whether a name's end says that the file was rotated: `.1`, `.2.gz`, `-20230101`, `.20230101-120000`.
pub fn is_rotated_suffix(suffix: &str) -> bool {
    age(suffix).is_some()
}

/// Reads the suffix of a rotated file; `None` for anything else (kubelet's `.tmp` is an unfinished copy of another).
fn age(suffix: &str) -> Option<Age> {
    let bare = suffix.strip_prefix(['.', '-'])?;
    let bare = bare.strip_suffix(".gz").unwrap_or(bare);
    if bare.len() <= 4 {
        return bare.parse().ok().map(|turns| Age::Turns(std::cmp::Reverse(turns)));
    }
    let of_time = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'T' | b'Z' | b'.' | b':');
    (bare.starts_with(|first: char| first.is_ascii_digit()) && bare.bytes().all(of_time)).then(|| Age::Time(bare.to_owned()))
}

/// Entries of a directory, ascending; one that cannot be listed is noted.
fn list(directory: &Path, found: &mut LogFiles) -> Vec<PathBuf> {
    entries(directory).unwrap_or_else(|error| {
        found.unreadable.push((directory.to_owned(), error));
        Vec::new()
    })
}

/// Entries of a directory, ascending. One that does not exist has none.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = match listed {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Vec::new(),
        listed => listed?,
    };
    paths.sort();
    Ok(paths)
}

/// A path of the node below the root at which we see the node.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Without `..` and `.`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
