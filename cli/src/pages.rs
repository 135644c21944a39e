//! `weir completions` and `weir man`: made from what can be typed, so that they never lag behind it.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::{Failure, stdout};

/// To stdout.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut written = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "weir", &mut written);
    stdout::write(&String::from_utf8_lossy(&written)).map(drop)
}

/// `weir.1`, `weir-logs.1` and so on.
pub(crate) fn manual(directory: &Path) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(wrong)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("man1");
        manual(&directory).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            read(&format!("weir-{}.1", command.get_name()));
        }
        let page = read("weir-logs.1");
        assert!(page.contains("\\-\\-follow") && page.contains("namespace="), "{page}");
        assert!(!directory.join("weir-monitor.1").exists(), "a hidden command has no page");
        let failure = manual(Path::new("/proc/nowhere")).unwrap_err();
        assert!(failure.message.contains("/proc/nowhere"), "{}", failure.message);
    }

    #[test]
    fn each_shell_is_told_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut written = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "weir", &mut written);
            let text = String::from_utf8(written).unwrap();
            for word in ["completions", "follow", "allow-plaintext", "metrics"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }
}
