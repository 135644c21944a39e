//! The smallest program with the hidden subcommand: `monitor --dir DIR`. The tests start containers with it; the real
//! one is the weir binary.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, command, flag, directory] = arguments.as_slice() else { return ExitCode::from(2) };
    if command != "monitor" || flag != "--dir" {
        return ExitCode::from(2);
    }
    match weir_runtime::monitor::monitor_main(Path::new(directory), now) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
