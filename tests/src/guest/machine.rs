//! The guest: its initramfs, its disk, and QEMU. Called by [`super::tests`] only. What it needs is installed by
//! `tests/setup/packages test` and fetched by `tests/guest/fetch`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::report::Report;
use crate::process::run;
use crate::weir::binary;

/// A guest that has not ended by then is given up. It takes 40 s beside one compiler on two cores.
const PATIENCE: Duration = Duration::from_secs(300);
/// So much of the console is shown when something went wrong.
const TAIL_LINES: usize = 40;
/// Read once in the guest: its page cache is of known size.
pub const FILE_BYTES: usize = 16 << 20;
/// More than weir, its libraries, runc and the file take; the disk is sparse.
const DISK: &str = "256M";
/// For the I/O of known size.
const SCRATCH_BYTES: u64 = 32 << 20;

/// A machine that is not yet started.
pub struct Machine {
    folder: tempfile::TempDir,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// Puts together what is on its disk.
    pub fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a folder") };
        let disk = machine.disk();
        for folder in ["bin", "sbin", "usr/sbin", "etc", "dev", "proc", "sys", "tmp", "srv"] {
            create(&disk.join(folder));
        }
        for folder in ["bin", "dev", "proc", "sys", "tmp"] {
            create(&disk.join("srv/rootfs").join(folder));
        }
        copy(Path::new("/bin/busybox"), &disk.join("bin/busybox"));
        copy(Path::new("/bin/busybox"), &disk.join("srv/rootfs/bin/busybox"));
        for name in ["sh", "sleep"] {
            symlink("busybox", disk.join("srv/rootfs/bin").join(name)).expect("link");
        }
        copy(&binary(), &disk.join("usr/sbin/weir"));
        copy(&which("runc"), &disk.join("usr/sbin/runc"));
        for library in libraries(&["usr/sbin/weir", "usr/sbin/runc"].map(|name| disk.join(name))) {
            let target = disk.join(library.strip_prefix("/").expect("ldd prints absolute paths"));
            create(target.parent().expect("below the root"));
            copy(&library, &target);
        }
        copy(&source("measure"), &disk.join("sbin/measure"));
        copy(&source("weir.toml"), &disk.join("etc/weir.toml"));
        std::fs::write(disk.join("srv/file"), vec![0x5a; FILE_BYTES]).expect("write the file");
        machine
    }

    /// What will be its root directory.
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Runs it until it powers off. Errors with the console's tail when it did not boot or did not come to its end.
    pub async fn run(self) -> Result<Report, String> {
        let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/guest/vmlinuz");
        assert!(kernel.is_file(), "{} is missing; tests/guest/fetch fetches it, `make test` calls that", kernel.display());
        let path = |name: &str| self.folder.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        self.initramfs(&path("initramfs"));
        let (done, output) = run("mkfs.ext4", &["-q", "-F", "-d", &self.disk().display().to_string(), &text("root"), DISK], b"");
        assert!(done, "mkfs.ext4: {output}");
        std::fs::File::create(path("scratch")).and_then(|file| file.set_len(SCRATCH_BYTES)).expect("make the second disk");

        let mut qemu = tokio::process::Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-serial", &format!("file:{}", text("console")), "-serial", &format!("file:{}", text("report"))])
            .args(["-kernel", &kernel.display().to_string(), "-initrd", &text("initramfs")])
            .args(["-append", "console=ttyS0 psi=1 cgroup_no_v1=all quiet loglevel=4 panic=-1"]);
        for name in ["root", "scratch"] {
            qemu.args(["-drive", &format!("id={name},if=none,format=raw,file={}", text(name))]);
            qemu.args(["-device", &format!("nvme,serial={name},drive={name}")]);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = qemu.spawn().unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}; `make test` installs it"));
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let tail = tail(&path("console"));
        match ended {
            Err(_) => Err(format!("the guest did not end; its console:\n{tail}")),
            Ok(Err(error)) => Err(format!("wait for qemu: {error}")),
            Ok(Ok(output)) if !output.status.success() => {
                Err(format!("qemu: {}\n{tail}", String::from_utf8_lossy(&output.stderr)))
            }
            Ok(Ok(_)) => {
                let report = std::fs::read(path("report")).unwrap_or_default();
                Report::parse(&String::from_utf8_lossy(&report)).map_err(|error| format!("{error}; the guest's console:\n{tail}"))
            }
        }
    }

    fn initramfs(&self, to: &Path) {
        let folder = self.folder.path().join("init");
        for name in ["bin", "dev", "root"] {
            create(&folder.join(name));
        }
        copy(Path::new("/bin/busybox"), &folder.join("bin/busybox"));
        copy(&source("init"), &folder.join("init"));
        let script = r#"cd "$0" && busybox find . | busybox cpio -o -H newc > "$1""#;
        let (done, output) =
            run("/bin/busybox", &["sh", "-c", script, &folder.display().to_string(), &to.display().to_string()], b"");
        assert!(done, "cpio: {output}");
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guest").join(name)
}

fn create(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
}

/// Everything in the guest may be run.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}; `make test` installs it", from.display()));
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).expect("set permissions");
}

fn which(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    let mut places = folders.iter().map(|folder| Path::new(folder).join(name));
    places.find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} is missing; `make test` installs it"))
}

/// The shared libraries of these programs, and what loads them.
fn libraries(programs: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for program in programs {
        let (_, output) = run("ldd", &[&program.display().to_string()], b"");
        found.extend(output.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so")).map(PathBuf::from));
    }
    found.sort();
    found.dedup();
    found
}

fn tail(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
