//! The node itself under node_exporter's names, and cAdvisor's `machine_*`. Reads `/proc` below the node's root; the
//! tables of names are in [`names`]. Only file systems on local disks are asked for their size: a dead network mount
//! would hang the sampler.

mod names;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use weir_model::time::UnixNanos;

use super::column::Writer;
use names as n;

/// Clock ticks a second in `/proc/stat`.
const TICKS: f64 = 100.0;
/// File systems whose size is asked for.
const LOCAL: [&str; 12] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "bcachefs", "erofs", "tmpfs", "squashfs"];

/// Reads a node.
pub(super) struct Machine {
    root: PathBuf,
    memory_total: f64,
    cores: f64,
    devices: HashMap<(u32, u32), String>,
}

/// What one reading found: file contents, "" where a file is not there.
pub(super) struct Facts {
    stat: String,
    meminfo: String,
    loadavg: String,
    diskstats: String,
    net: String,
    vmstat: String,
    files: String,
    pressure: [String; 3],
    filesystems: Vec<FileSystem>,
    uname: [String; 6],
}

struct FileSystem {
    device: String,
    kind: String,
    point: String,
    read_only: bool,
    size: Option<[f64; 5]>,
}

impl Machine {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), memory_total: 0.0, cores: 0.0, devices: HashMap::new() }
    }

    /// Reads everything anew.
    pub fn read(&mut self) -> Facts {
        let text = |path: &str| std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let uname = rustix::system::uname();
        let uname = [uname.sysname(), uname.nodename(), uname.release(), uname.version(), uname.machine(), uname.domainname()];
        // The network of a node whose root is mounted into our container is that of its init.
        let own = if self.root == Path::new("/") { "proc/self" } else { "proc/1" };
        let facts = Facts {
            stat: text("proc/stat"),
            meminfo: text("proc/meminfo"),
            loadavg: text("proc/loadavg"),
            diskstats: text("proc/diskstats"),
            net: text(&format!("{own}/net/dev")),
            vmstat: text("proc/vmstat"),
            files: text("proc/sys/fs/file-nr"),
            pressure: ["cpu", "memory", "io"].map(|kind| text(&format!("proc/pressure/{kind}"))),
            filesystems: filesystems(&text(&format!("{own}/mounts")), &self.root),
            uname: uname.map(|part| part.to_string_lossy().into_owned()),
        };
        self.memory_total = meminfo(&facts.meminfo).find(|(key, _)| *key == "MemTotal").map_or(0.0, |(_, bytes)| bytes);
        self.cores = facts.stat.lines().filter(|line| cpu_number(line).is_some()).count() as f64;
        self.devices = diskstats(&facts.diskstats).map(|(number, name, _)| (number, name.to_owned())).collect();
        facts
    }

    /// A block device's name as the last reading knew it, else its number.
    pub fn device_name(&self, major: u32, minor: u32) -> String {
        self.devices.get(&(major, minor)).cloned().unwrap_or_else(|| format!("{major}:{minor}"))
    }

    /// `machine_*` of the last reading.
    pub fn cores_and_memory(&self, out: &mut Writer<'_>) {
        out.put(&n::MACHINE_CORES, self.cores);
        out.put(&n::MACHINE_MEMORY, self.memory_total);
    }
}

impl Facts {
    /// Writes `node_*`.
    pub fn emit(&self, now: UnixNanos, out: &mut Writer<'_>) {
        out.put(&n::TIME, now as f64 / 1e9);
        self.stat(out);
        for (key, value) in meminfo(&self.meminfo) {
            if let Some((_, metric)) = n::MEMORY.iter().find(|(own, _)| *own == key) {
                out.put(metric, value);
            }
        }
        let words = |text: &str, i: usize| text.split_whitespace().nth(i).and_then(|word| word.parse::<f64>().ok());
        for (i, metric) in n::LOAD.iter().enumerate() {
            out.put(metric, words(&self.loadavg, i));
        }
        out.put(&n::FILES, words(&self.files, 0));
        out.put(&n::FILES_MAX, words(&self.files, 2));
        for (key, metric) in &n::VMSTAT {
            let line = self.vmstat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            out.put(metric, line.and_then(|value| value.parse::<f64>().ok()));
        }
        self.disks(out);
        self.network(out);
        self.pressure(out);
        self.filesystems(out);
        let [sysname, nodename, release, version, machine, domainname] = &self.uname;
        let labels = [
            ("sysname", sysname.as_str()),
            ("nodename", nodename),
            ("release", release),
            ("version", version),
            ("machine", machine),
            ("domainname", domainname),
        ];
        out.put_with(&n::UNAME, &labels, 1.0);
    }

    fn stat(&self, out: &mut Writer<'_>) {
        for line in self.stat.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if let Some(cpu) = cpu_number(line) {
                let times: Vec<f64> = words.filter_map(|word| word.parse::<f64>().ok()).collect();
                for (mode, ticks) in n::CPU_MODES.iter().zip(&times) {
                    out.put_with(&n::CPU, &[("cpu", cpu), ("mode", mode)], ticks / TICKS);
                }
                for (mode, ticks) in ["user", "nice"].iter().zip(times.iter().skip(n::CPU_MODES.len())) {
                    out.put_with(&n::CPU_GUEST, &[("cpu", cpu), ("mode", mode)], ticks / TICKS);
                }
            } else if let Some((_, metric)) = n::STAT.iter().find(|(key, _)| *key == first) {
                out.put(metric, words.next().and_then(|word| word.parse::<f64>().ok()));
            }
        }
    }

    fn disks(&self, out: &mut Writer<'_>) {
        for (_, name, numbers) in diskstats(&self.diskstats) {
            // As node_exporter: devices without a medium of their own stay out.
            if ["ram", "loop", "fd", "zram"].iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            for ((metric, scale), value) in n::DISK.iter().zip(&numbers) {
                out.put_with(metric, &[("device", name)], value * scale);
            }
        }
    }

    fn network(&self, out: &mut Writer<'_>) {
        for line in self.net.lines() {
            let Some((name, numbers)) = line.split_once(':') else { continue };
            let numbers = numbers.split_whitespace().map(|word| word.parse::<f64>().ok());
            for (metric, value) in n::NETWORK.iter().zip(numbers) {
                out.put_with(metric, &[("device", name.trim())], value);
            }
        }
    }

    fn pressure(&self, out: &mut Writer<'_>) {
        for (text, (some, full)) in self.pressure.iter().zip(&n::PRESSURE) {
            let Some(stall) = crate::cgroup::parse::pressure(text) else { continue };
            out.put(some, stall.some_nanos as f64 / 1e9);
            if let Some(full) = full {
                out.put(full, stall.full_nanos as f64 / 1e9);
            }
        }
    }

    fn filesystems(&self, out: &mut Writer<'_>) {
        for system in &self.filesystems {
            let labels = [("device", system.device.as_str()), ("fstype", &system.kind), ("mountpoint", &system.point)];
            out.put_with(&n::FILESYSTEM_READ_ONLY, &labels, f64::from(u8::from(system.read_only)));
            out.put_with(&n::FILESYSTEM_ERROR, &labels, f64::from(u8::from(system.size.is_none())));
            for (metric, value) in n::FILESYSTEM.iter().zip(system.size.into_iter().flatten()) {
                out.put_with(metric, &labels, value);
            }
        }
    }
}

/// `"3"` of a line `cpu3 …` of `/proc/stat`.
fn cpu_number(line: &str) -> Option<&str> {
    let number = line.strip_prefix("cpu")?.split(' ').next()?;
    (!number.is_empty()).then_some(number)
}

/// Keys and bytes (or counts, where there is no unit).
fn meminfo(text: &str) -> impl Iterator<Item = (&str, f64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        let mut words = value.split_whitespace();
        let number: f64 = words.next()?.parse().ok()?;
        Some((key, if words.next() == Some("kB") { number * 1024.0 } else { number }))
    })
}

/// Device number, name, and the counters behind them.
fn diskstats(text: &str) -> impl Iterator<Item = ((u32, u32), &str, Vec<f64>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let number = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let name = words.next()?;
        Some((number, name, words.filter_map(|word| word.parse().ok()).collect()))
    })
}

/// Mounted local file systems, each (device, mount point) once.
fn filesystems(mounts: &str, root: &Path) -> Vec<FileSystem> {
    let mut found: Vec<FileSystem> = Vec::new();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) = (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let hidden =
            ["/dev", "/proc", "/sys", "/run/containerd/", "/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/pods"];
        let is_hidden = hidden.iter().any(|prefix| {
            point.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
        });
        let known = found.iter().any(|system| system.point == point);
        if !LOCAL.contains(&kind) || is_hidden || known {
            continue;
        }
        let size = rustix::fs::statvfs(root.join(point.trim_start_matches('/'))).ok().map(|stat| {
            let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
            [bytes(stat.f_blocks), bytes(stat.f_bfree), bytes(stat.f_bavail), stat.f_files as f64, stat.f_ffree as f64]
        });
        found.push(FileSystem {
            device: device.to_owned(),
            kind: kind.to_owned(),
            point: point.to_owned(),
            read_only: options.split(',').any(|option| option == "ro"),
            size,
        });
    }
    found
}

#[cfg(test)]
mod tests;
