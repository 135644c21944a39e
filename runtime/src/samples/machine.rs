//! The node itself under node_exporter's names, and cAdvisor's `machine_*`. Reads `/proc` below the node's root; the
//! tables of names are in [`names`].
//!
//! The `procfs` crate reads disks and network devices, line by line: one that cannot be read hides no other, and is counted. These
//! files are read here, because the crate would change values or lose them: `vmstat` (all of it, when one counter has wrapped), `stat` (it numbers the CPUs by their order, which is wrong when one is offline, and leaves out `intr`), `meminfo`
//! (it reads no key that it does not know, `Balloon` for one, and nothing at all when one that it wants is missing), `loadavg`
//! (it rounds to `f32`), `file-nr` (it reads that of our own root only), `pressure` (it wants lines that kernels before 5.13 lack),
//! and `mounts` (5.2 ms of CPU for 1,000 mounts, of which 500 are overlays, against 0.17 ms).

mod filesystem;
mod names;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use procfs::net::{DeviceStatus, InterfaceDeviceStatus};
use procfs::{DiskStat, FromBufRead};
use weir_model::time::UnixNanos;

use super::column::Writer;
use crate::cgroup::Stall;
use crate::cgroup::parse::pressure;
use filesystem::FileSystem;
use names as n;

/// Reads a node.
pub(super) struct Machine {
    root: PathBuf,
    memory_total: f64,
    cores: f64,
    devices: HashMap<(i32, i32), String>,
    unreadable_lines: u64,
}

/// What one reading found: file contents, and what they say; empty where a file is not there or is no such file.
pub(super) struct Reading {
    stat: String,
    meminfo: String,
    loadavg: String,
    files: String,
    disks: Vec<DiskStat>,
    /// Ascending, so that every reading has its series in one order.
    network: BTreeMap<String, DeviceStatus>,
    vmstat: HashMap<String, f64>,
    pressure: [Option<Stall>; 3],
    filesystems: Vec<FileSystem>,
    uname: [String; 6],
}

impl Machine {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), memory_total: 0.0, cores: 0.0, devices: HashMap::new(), unreadable_lines: 0 }
    }

    /// Reads everything anew.
    pub fn read(&mut self) -> Reading {
        let text = |path: &str| std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let uname = rustix::system::uname();
        let uname = [uname.sysname(), uname.nodename(), uname.release(), uname.version(), uname.machine(), uname.domainname()];
        // The network of a node whose root is mounted into our container is that of its init.
        let own = if self.root == Path::new("/") { "proc/self" } else { "proc/1" };
        let (disks, vmstat, network) = (text("proc/diskstats"), text("proc/vmstat"), text(&format!("{own}/net/dev")));
        let unreadable = &mut self.unreadable_lines;
        let reading = Reading {
            stat: text("proc/stat"),
            meminfo: text("proc/meminfo"),
            loadavg: text("proc/loadavg"),
            files: text("proc/sys/fs/file-nr"),
            disks: readable(disks.lines(), unreadable, |line| DiskStat::from_line(line).ok()).collect(),
            // Two lines are headings.
            network: readable(network.lines().skip(2), unreadable, network_device).collect(),
            vmstat: readable(vmstat.lines(), unreadable, key_and_number).collect(),
            pressure: ["cpu", "memory", "io"].map(|kind| pressure(&text(&format!("proc/pressure/{kind}")))),
            filesystems: filesystem::mounted(&text(&format!("{own}/mounts")), &self.root),
            uname: uname.map(|part| part.to_string_lossy().into_owned()),
        };
        self.memory_total = meminfo(&reading.meminfo).find(|(key, _)| *key == "MemTotal").map_or(0.0, |(_, bytes)| bytes);
        self.cores = reading.stat.lines().filter(|line| cpu_number(line).is_some()).count() as f64;
        self.devices = reading.disks.iter().map(|disk| ((disk.major, disk.minor), disk.name.clone())).collect();
        reading
    }

    /// A block device's name as the last reading knew it, else its number.
    pub fn device_name(&self, major: u32, minor: u32) -> String {
        let name = self.devices.get(&(major.cast_signed(), minor.cast_signed()));
        name.cloned().unwrap_or_else(|| format!("{major}:{minor}"))
    }

    /// Lines of all readings that could not be read.
    pub fn unreadable_lines(&self) -> u64 {
        self.unreadable_lines
    }

    /// `machine_*` of the last reading.
    pub fn cores_and_memory(&self, out: &mut Writer<'_>) {
        out.put(&n::MACHINE_CORES, self.cores);
        out.put(&n::MACHINE_MEMORY, self.memory_total);
    }
}

impl Reading {
    /// Writes `node_*`.
    pub fn emit(&self, now: UnixNanos, out: &mut Writer<'_>) {
        out.put(&n::TIME, now as f64 / 1e9);
        self.cpus(out);
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
            out.put(metric, self.vmstat.get(*key).copied());
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

    fn cpus(&self, out: &mut Writer<'_>) {
        let per_second = procfs::ticks_per_second() as f64;
        for line in self.stat.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if let Some(cpu) = cpu_number(line) {
                let times: Vec<f64> = words.filter_map(|word| word.parse::<f64>().ok()).collect();
                for (mode, ticks) in n::CPU_MODES.iter().zip(&times) {
                    out.put_with(&n::CPU, &[("cpu", cpu), ("mode", mode)], ticks / per_second);
                }
                for (mode, ticks) in ["user", "nice"].iter().zip(times.iter().skip(n::CPU_MODES.len())) {
                    out.put_with(&n::CPU_GUEST, &[("cpu", cpu), ("mode", mode)], ticks / per_second);
                }
            } else if let Some((_, metric)) = n::STAT.iter().find(|(key, _)| *key == first) {
                out.put(metric, words.next().and_then(|word| word.parse::<f64>().ok()));
            }
        }
    }

    fn disks(&self, out: &mut Writer<'_>) {
        // As node_exporter: devices without a medium of their own stay out.
        let has_medium = |disk: &&DiskStat| !["ram", "loop", "fd", "zram"].iter().any(|kind| disk.name.starts_with(kind));
        for disk in self.disks.iter().filter(has_medium) {
            for (metric, value) in &n::DISK {
                out.put_with(metric, &[("device", &disk.name)], value(disk));
            }
        }
    }

    fn network(&self, out: &mut Writer<'_>) {
        for (name, device) in &self.network {
            for (metric, value) in &n::NETWORK {
                out.put_with(metric, &[("device", name)], value(device) as f64);
            }
        }
    }

    fn pressure(&self, out: &mut Writer<'_>) {
        for (stall, (some, full)) in self.pressure.iter().zip(&n::PRESSURE) {
            let Some(stall) = stall else { continue };
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

/// What the lines of a file say; those that cannot be read are counted.
fn readable<'a, T>(
    lines: impl Iterator<Item = &'a str>,
    unreadable: &mut u64,
    read: impl Fn(&str) -> Option<T>,
) -> impl Iterator<Item = T> {
    lines.filter(|line| !line.trim().is_empty()).filter_map(move |line| {
        let found = read(line);
        *unreadable += u64::from(found.is_none());
        found
    })
}

/// A line of `net/dev`. The crate reads whole files only, with two lines of headings.
fn network_device(line: &str) -> Option<(String, DeviceStatus)> {
    InterfaceDeviceStatus::from_buf_read(format!("\n\n{line}").as_bytes()).ok()?.0.into_iter().next()
}

/// A line of `vmstat`.
fn key_and_number(line: &str) -> Option<(String, f64)> {
    let (key, value) = line.split_once(' ')?;
    Some((key.to_owned(), value.trim().parse().ok()?))
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

#[cfg(test)]
mod tests;
