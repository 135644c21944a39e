//! What the path of a cgroup tells about the container in it: every engine names its cgroups its own way.
//! Used by [`super::inventory`] for cgroups that no engine claims; pure but for [`is_alive`].

use std::path::Path;

use procfs::ProcessCGroup;

use super::container::{Container, Engine};
use super::record::ContainerRecord;
use crate::cgroup::{Cgroup, Mounts};
use crate::lifecycle::State;
use crate::processes;

/// A container as its cgroup's path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose way of naming it is.
    pub engine: Engine,
    /// Container id.
    pub id: String,
    /// Kubernetes pod uid, or "".
    pub pod_uid: String,
}

/// Prefixes of systemd scopes (and, for podman and weir, of plain directories).
const SCOPES: [(&str, Engine); 6] = [
    ("docker-", Engine::Docker),
    ("cri-containerd-", Engine::Containerd),
    ("nerdctl-", Engine::Containerd),
    ("crio-", Engine::Crio),
    ("libpod-", Engine::Podman),
    ("containerd-", Engine::Containerd),
];

/// Reads a path; `None` when it names no container. Cgroups inside a container, and those of conmon, are none.
pub fn claim(path: &str) -> Option<Claim> {
    let (parent, last) = path.rsplit_once('/')?;
    let bare = last.strip_suffix(".scope").unwrap_or(last);
    let pod_uid = pod_uid(parent).unwrap_or_default();
    let found = |engine, id: &str| Some(Claim { engine, id: id.to_owned(), pod_uid: pod_uid.clone() });
    if let Some((engine, id)) = SCOPES.iter().find_map(|(prefix, engine)| Some((*engine, bare.strip_prefix(prefix)?))) {
        return if is_id(id) { found(engine, id) } else { None };
    }
    let directory = parent.rsplit('/').next().unwrap_or_default();
    if directory == "weir" && !bare.is_empty() {
        return found(Engine::Weir, bare);
    }
    match directory {
        _ if !is_id(bare) => None,
        "docker" => found(Engine::Docker, bare),
        _ if !pod_uid.is_empty() => found(Engine::Containerd, bare),
        _ => None,
    }
}

/// The uid in `…/kubepods/burstable/pod<uid>` or `…/kubepods-burstable-pod<uid, "-" as "_">.slice`.
fn pod_uid(parent: &str) -> Option<String> {
    if !parent.contains("/kubepods") {
        return None;
    }
    let last = parent.rsplit('/').next()?;
    let uid = match last.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => last.strip_prefix("pod")?.to_owned(),
    };
    (!uid.is_empty()).then_some(uid)
}

/// 64 hex digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Containers that the tree names.
pub fn containers(cgroups: &[Cgroup]) -> Vec<Container> {
    let named = cgroups.iter().filter_map(|cgroup| {
        let claim = claim(&cgroup.path)?;
        let mut container = Container::new(claim.engine, claim.id);
        container.pod_uid = claim.pod_uid;
        container.state = State::Running;
        container.started = cgroup.created.checked_mul(1_000_000_000);
        container.cgroup = Some(cgroup.path.clone());
        Some(container)
    });
    named.collect()
}

/// The path of a process's cgroup: that of the memory controller, else of pids or cpu, else of the unified hierarchy.
/// The root is no answer: everything may be in it.
pub fn of_process(cgroups: &[ProcessCGroup]) -> Option<String> {
    let path_in = |is_meant: &dyn Fn(&[String]) -> bool| {
        let mut paths = cgroups.iter().filter(|cgroup| is_meant(&cgroup.controllers)).map(|cgroup| &cgroup.pathname);
        paths.find(|path| path.len() > 1).cloned()
    };
    let of_controller = |name: &str| path_in(&|controllers| controllers.iter().any(|own| own == name));
    // The unified hierarchy's line names no controller.
    ["memory", "pids", "cpu"].into_iter().find_map(of_controller).or_else(|| path_in(&<[String]>::is_empty))
}

/// Whether a container that no engine lists any more still runs: by its first process, else by its cgroup.
pub fn is_alive(root: &Path, mounts: &Mounts, record: &ContainerRecord) -> bool {
    let cgroup = record.container.cgroup.as_deref();
    if let Some(pid) = record.container.pid {
        let Some(cgroups) = processes::cgroups(root, pid) else { return false };
        return match cgroup {
            Some(cgroup) => of_process(&cgroups).as_deref() == Some(cgroup),
            None => cgroups.iter().any(|own| own.pathname.contains(&record.container.id)),
        };
    }
    cgroup.is_some_and(|cgroup| mounts.points().iter().any(|point| point.join(cgroup.trim_start_matches('/')).is_dir()))
}

#[cfg(test)]
mod tests {
    use procfs::{FromBufRead, ProcessCGroups};

    use super::*;

    #[test]
    fn paths_of_every_engine() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "1b2c3d4e-0000-4a5b-8c9d-abcdefabcdef";
        let check = |path: String, expected: Option<(Engine, &str)>| {
            let expected = expected.map(|(engine, uid)| Claim { engine, id: id.clone(), pod_uid: uid.into() });
            assert_eq!(claim(&path), expected, "{path}");
        };
        check(format!("/system.slice/docker-{id}.scope"), Some((Engine::Docker, "")));
        check(format!("/docker/{id}"), Some((Engine::Docker, "")));
        check(format!("/kubepods/besteffort/pod{uid}/{id}"), Some((Engine::Containerd, uid)));
        let slice = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        check(format!("{slice}/cri-containerd-{id}.scope"), Some((Engine::Containerd, uid)));
        check(format!("{slice}/crio-{id}.scope"), Some((Engine::Crio, uid)));
        check(format!("{slice}/crio-conmon-{id}.scope"), None);
        check(format!("/machine.slice/libpod-{id}.scope"), Some((Engine::Podman, "")));
        check(format!("/machine.slice/libpod-{id}.scope/container"), None);
        check(format!("/libpod_parent/libpod-{id}"), Some((Engine::Podman, "")));
        check(format!("/machine.slice/libpod-conmon-{id}.scope"), None);
        check(format!("/weir/{id}"), Some((Engine::Weir, "")));
        check("/kubepods/burstable/podx".into(), None);
        check("/system.slice/ssh.service".into(), None);
        check("/".into(), None);
        check(format!("/docker/{}", &id[1..]), None);
    }

    #[test]
    fn who_is_alive() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/7")).unwrap();
        std::fs::create_dir_all(root.path().join("u/docker/a")).unwrap();
        std::fs::write(root.path().join("proc/7/cgroup"), "0::/docker/a\n").unwrap();
        let mounts = Mounts::from_mountinfo("2 0 0:2 / /u rw - cgroup2 cgroup2 rw\n", root.path());
        let check = |pid, cgroup: Option<&str>, expected: bool| {
            let mut container = Container::new(Engine::Docker, "a");
            (container.pid, container.cgroup) = (pid, cgroup.map(str::to_owned));
            assert_eq!(is_alive(root.path(), &mounts, &container.into()), expected, "{pid:?} {cgroup:?}");
        };
        check(Some(7), Some("/docker/a"), true);
        check(Some(7), Some("/docker/b"), false);
        check(Some(7), None, true);
        check(Some(8), Some("/docker/a"), false);
        check(None, Some("/docker/a"), true);
        check(None, Some("/docker/b"), false);
        check(None, None, false);
    }

    #[test]
    fn the_cgroup_of_a_process() {
        let check = |text: &str, expected: Option<&str>| {
            let cgroups = ProcessCGroups::from_buf_read(text.as_bytes()).unwrap();
            assert_eq!(of_process(&cgroups.0).as_deref(), expected, "{text}");
        };
        check("9:name=systemd:/\n4:memory:/m/x\n1:cpu:/c\n0::/u\n", Some("/m/x"));
        check("8:pids:/p\n4:memory:/\n0::/u\n", Some("/p"));
        check("0::/system.slice/a:b.service\n", Some("/system.slice/a:b.service"));
        check("4:memory:/\n0::/\n", None);
        check("", None);
    }
}
