//! `weir check config`, `weir check rules`, `weir config`.

use std::path::Path;

use crate::Failure;
use crate::args::CheckTarget;
use crate::config::{Config, DOCUMENTED};

pub(crate) fn check(target: &CheckTarget) -> Result<(), Failure> {
    match target {
        CheckTarget::Config { file } => {
            Config::read(file)?;
            println!("{}: fine", file.display());
            Ok(())
        }
        CheckTarget::Rules { file } => check_rules(file),
    }
}

fn check_rules(file: &Path) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let summary = weir_query::rules::check_rules(&text).map_err(|error| wrong(&error))?;
    println!(
        "{}: {} groups, {} alerting and {} recording rules",
        file.display(),
        summary.groups,
        summary.alerting,
        summary.recording
    );
    Ok(())
}

pub(crate) fn print_default() -> Result<(), Failure> {
    print!("{DOCUMENTED}");
    Ok(())
}
