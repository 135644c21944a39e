//! The `weir` binary: reads arguments, hands over to a command, turns errors into exit codes.
//!
//! - [`args`]: what can be typed.
//! - [`arenas`]: how the allocator is set.
//! - [`config`]: the one configuration file.
//! - [`up`]: all roles in one process; [`role`]: each of them as a process; [`service`]: what these share.
//! - [`front`]: what every socket is served by.
//! - [`audit`]: the audit log on its way.
//! - [`fault`]: what a panic does.
//! - [`client`]: commands that ask a running weir.
//! - [`rules`]: rule files, and where their samples go.
//! - [`containers`]: `run`, `ps`, `stop`, `rm`.
//! - [`certs`]: a small CA.
//! - [`limits`]: the file of limits by tenant.
//! - [`plan`]: all that can be refused before anything is opened; [`check`]: `check config`, `check rules`, `check access`, `config`.
//! - [`found`]: what `up` says when it is up.
//! - [`usage`]: what each tenant has sent and asked, told.
//! - [`stdout`]: where data goes.
//! - [`pages`]: `completions`, `man`.
//! - [`text`]: how all of it is written for people.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or wrong input file.

mod arenas;
mod args;
mod audit;
mod certs;
mod check;
mod client;
mod config;
mod containers;
mod fault;
mod found;
mod front;
mod limits;
mod pages;
mod plan;
mod role;
mod rules;
mod service;
mod stdout;
mod telemetry;
mod text;
mod up;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Arguments, Command};

/// Work off the async threads may take this long after everything else has drained.
const LAST_WORK: Duration = Duration::from_secs(2);

/// Why a command failed, and how the shell should hear of it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// 1, or 2 for wrong input.
    pub code: u8,
    /// One or more lines for people.
    pub message: String,
}

impl Failure {
    /// The command could not do its work.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    /// What was given cannot be right.
    pub fn input(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }
}

fn main() -> ExitCode {
    arenas::limit();
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help that nobody reads is no error.
            let _unread = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    telemetry::init_logging();
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {}", failure.message.trim_end());
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        // The monitor outlives everything and stays small: it has no use for a pool of threads.
        Command::Monitor(arguments) => containers::monitor(&arguments),
        Command::Run(arguments) => containers::run(arguments),
        Command::Ps(arguments) => containers::ps(&arguments),
        Command::Stop(arguments) => containers::stop(&arguments),
        Command::Rm(arguments) => containers::remove(&arguments),
        Command::Certs(arguments) => certs::certs(&arguments),
        Command::Check(target) => check::check(&target),
        Command::Config => check::print_default(),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::manual(&directory),
        Command::Up(arguments) => serve(up::up(arguments)),
        Command::Collector(arguments) => serve(role::collector::run(arguments)),
        Command::Query(arguments) => serve(role::query::run(arguments)),
        Command::Aggregator(arguments) => serve(role::aggregator::run(arguments)),
        Command::Logs(arguments) => runtime()?.block_on(client::logs(&arguments)),
        Command::Metrics(arguments) => runtime()?.block_on(client::metrics(&arguments)),
        Command::Trace(arguments) => runtime()?.block_on(client::trace(&arguments)),
        Command::Usage(arguments) => runtime()?.block_on(client::usage(&arguments)),
        Command::Cardinality(arguments) => runtime()?.block_on(client::cardinality(&arguments)),
        Command::Login(arguments) => runtime()?.block_on(client::login(&arguments)),
        Command::Logout(arguments) => runtime()?.block_on(client::logout(&arguments)),
        Command::Whoami(server) => runtime()?.block_on(client::whoami(&server)),
        Command::Admin(action) => runtime()?.block_on(client::admin(&action)),
    }
}

/// A command that serves: a part that panics ends it.
fn serve(service: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    fault::install();
    let runtime = runtime()?;
    let outcome = runtime.block_on(service);
    fault::end();
    // A question to a bus or a store that does not answer must not hold the end up: its answer is of no use any more.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)
}
