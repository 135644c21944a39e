//! The OCI bundle: `config.json` after the OCI runtime specification 1.0.2, as much of it as we use. Written by
//! [`super::control`], read by runc.
//!
//! Without a root file system of its own, a container sees the host's root file system bind-mounted **read-only and
//! without what is mounted below it** (a recursive bind would leave those mounts writable), with an empty `/tmp`,
//! `/var/tmp`, `/run`, `/root` and `/home` in memory and a `/proc`, `/dev` and read-only `/sys` of its own. It shares the
//! host's network. It runs as root with few capabilities and cannot gain more; files that only root may read are
//! readable to it, so this is for one's own programs, not for a stranger's.

use std::path::Path;

use serde::Serialize;

use super::spec::RunSpec;

/// CFS period, µs: the kernel's and everybody's default.
const PERIOD_MICROS: u64 = 100_000;

/// Docker's default set without raw sockets (the network is the host's) and device nodes.
const CAPABILITIES: [&str; 12] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// `config.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    oci_version: &'static str,
    process: Process,
    root: Root,
    hostname: String,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    capabilities: Capabilities,
    no_new_privileges: bool,
}

#[derive(Debug, Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Debug, Serialize)]
struct Capabilities {
    bounding: &'static [&'static str],
    effective: &'static [&'static str],
    permitted: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct Root {
    path: String,
    readonly: bool,
}

#[derive(Debug, Serialize)]
struct Mount {
    destination: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<Namespace>,
    cgroups_path: String,
    resources: Resources,
    masked_paths: &'static [&'static str],
    readonly_paths: &'static [&'static str],
}

#[derive(Debug, Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Serialize)]
struct Resources {
    devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids: Option<Pids>,
}

#[derive(Debug, Serialize)]
struct Device {
    allow: bool,
    access: &'static str,
}

#[derive(Debug, Serialize)]
struct Memory {
    limit: u64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    quota: u64,
    period: u64,
}

#[derive(Debug, Serialize)]
struct Pids {
    limit: u64,
}

const fn mount(destination: &'static str, kind: &'static str, source: &'static str, options: &'static [&'static str]) -> Mount {
    Mount { destination, kind, source, options }
}

impl Config {
    /// For a container `id` named `name`, whose bundle has an empty directory `empty` for the host's root to be mounted on.
    pub fn new(spec: &RunSpec, id: &str, name: &str, empty: &Path) -> Self {
        let (path, readonly) = match &spec.rootfs {
            Some(rootfs) => (rootfs.display().to_string(), false),
            None => (empty.display().to_string(), true),
        };
        Self {
            oci_version: "1.0.2",
            process: process(spec),
            root: Root { path, readonly },
            hostname: name.chars().take(63).collect(),
            mounts: mounts(spec.rootfs.is_none()),
            linux: Linux {
                namespaces: ["pid", "mount", "ipc", "uts"].map(|kind| Namespace { kind }).into(),
                cgroups_path: cgroup_path(id),
                resources: resources(spec),
                masked_paths: &[
                    "/proc/acpi",
                    "/proc/kcore",
                    "/proc/keys",
                    "/proc/latency_stats",
                    "/proc/timer_list",
                    "/sys/firmware",
                ],
                readonly_paths: &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        }
    }
}

/// Where a container of ours is in the cgroup tree.
pub fn cgroup_path(id: &str) -> String {
    format!("/weir/{id}")
}

fn process(spec: &RunSpec) -> Process {
    let own = |name: &str| spec.env.iter().any(|pair| pair.split('=').next() == Some(name));
    let defaults = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"];
    let defaults = defaults.into_iter().filter(|pair| !own(pair.split('=').next().unwrap_or_default())).map(str::to_owned);
    Process {
        terminal: false,
        user: User { uid: 0, gid: 0 },
        args: spec.command.clone(),
        env: defaults.chain(spec.env.iter().cloned()).collect(),
        cwd: spec.workdir.clone().unwrap_or_else(|| "/".to_owned()),
        capabilities: Capabilities { bounding: &CAPABILITIES, effective: &CAPABILITIES, permitted: &CAPABILITIES },
        no_new_privileges: true,
    }
}

fn mounts(host_root: bool) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if host_root {
        mounts.push(mount("/", "bind", "/", &["bind", "private"]));
    }
    mounts.extend([
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ]);
    if host_root {
        mounts.extend(["/tmp", "/var/tmp"].map(|path| mount(path, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"])));
        mounts.extend(["/run", "/root", "/home"].map(|path| mount(path, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755"])));
    }
    mounts
}

fn resources(spec: &RunSpec) -> Resources {
    Resources {
        devices: vec![Device { allow: false, access: "rwm" }],
        memory: spec.memory_bytes.map(|limit| Memory { limit }),
        cpu: spec.cpus.map(|cpus| Cpu { quota: (cpus * PERIOD_MICROS as f64).round() as u64, period: PERIOD_MICROS }),
        pids: spec.pids.map(|limit| Pids { limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_root_are_handed_through() {
        let mut spec = RunSpec::new(["sh", "-c", "true"]);
        spec.memory_bytes = Some(64 << 20);
        spec.cpus = Some(0.5);
        spec.pids = Some(10);
        spec.env = vec!["PATH=/x".into()];
        let config = serde_json::to_value(Config::new(&spec, "id", "name", Path::new("/state/root"))).unwrap();
        assert_eq!(config["linux"]["cgroupsPath"], "/weir/id");
        assert_eq!(config["linux"]["resources"]["memory"]["limit"], 64 << 20);
        assert_eq!(config["linux"]["resources"]["cpu"]["quota"], 50_000);
        assert_eq!(config["linux"]["resources"]["pids"]["limit"], 10);
        assert_eq!(config["root"]["readonly"], true);
        assert_eq!(config["mounts"][0]["destination"], "/");
        assert_eq!(config["process"]["env"], serde_json::json!(["HOME=/root", "PATH=/x"]));
        spec.rootfs = Some("/images/busybox".into());
        let config = serde_json::to_value(Config::new(&spec, "id", "name", Path::new("/state/root"))).unwrap();
        assert_eq!((&config["root"]["path"], &config["root"]["readonly"]), (&"/images/busybox".into(), &false.into()));
        assert_eq!(config["mounts"][0]["destination"], "/proc");
    }
}
