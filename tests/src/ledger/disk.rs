//! A small file system of its own, to be filled by someone else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when dropped.
pub(super) struct Small {
    pub path: PathBuf,
}

impl Small {
    pub(super) fn mount(path: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "weir-test"]).arg(path).status().unwrap();
        assert!(status.success(), "mounting a tmpfs takes root");
        Self { path: path.to_path_buf() }
    }

    /// Writes until there is no room.
    pub(super) fn fill(&self) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Writes until so many bytes are free.
    pub(super) fn fill_but(&self, bytes: u64) {
        self.fill();
        let file = std::fs::File::options().write(true).open(self.filler()).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    /// The inverse of [`Self::fill`] and [`Self::fill_but`].
    pub(super) fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
