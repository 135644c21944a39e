//! `weir check config`, `weir check rules`, `weir config`; [`access`]: `weir check access`.

mod access;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use weir_blocks::manifest::{probe, random_nonces};
use weir_bus::BusMetrics;
use weir_bus::kafka::{Finding, KafkaLog};
use weir_model::wire::Kind;
use weir_rules::RuleLanguage;

use crate::args::CheckTarget;
use crate::config::{BusKind, Config, DOCUMENTED};
use crate::plan::Plan;
use crate::service::build;
use crate::text::plain;
use crate::text::units::count;
use crate::{Failure, LAST_WORK, stdout};

/// All questions to the brokers together, each of which has a shorter end of its own.
const BUS_PATIENCE: Duration = Duration::from_secs(90);
/// The object store's client tries again by itself for less than this.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn check(target: &CheckTarget) -> Result<(), Failure> {
    match target {
        CheckTarget::Config { file, connect } => {
            let in_file = |failure: Failure| Failure { message: format!("{}: {}", file.display(), failure.message), ..failure };
            let plan = Plan::of(Config::read(file)?).map_err(in_file)?;
            stdout::line(&format!("{}: fine", file.display()))?;
            if *connect { check_connections(&plan.config) } else { Ok(()) }
        }
        CheckTarget::Rules { file, logql } => check_rules(file, *logql),
        CheckTarget::Access(arguments) => access::check(arguments),
    }
}

/// One line each on what the configuration names; fails when one of them cannot be used.
fn check_connections(config: &Config) -> Result<(), Failure> {
    let runtime = crate::runtime()?;
    let findings = runtime.block_on(async {
        let mut findings = examine_bus(config).await;
        findings.push(examine_store(config).await);
        findings
    });
    // A question that was given up must not hold the answer up.
    runtime.shutdown_timeout(LAST_WORK);
    let mut wrong = 0;
    for Finding { subject, outcome } in &findings {
        wrong += usize::from(outcome.is_err());
        match outcome {
            Ok(fine) => stdout::line(&format!("{subject}: {fine}"))?,
            Err(error) => stdout::line(&format!("{subject}: wrong: {error}"))?,
        }
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::failed(format!("{wrong} of {} cannot be used as configured", findings.len()))) }
}

async fn examine_bus(config: &Config) -> Vec<Finding> {
    if config.bus.kind == BusKind::Disk {
        return vec![Finding { subject: "bus".into(), outcome: Ok("the embedded log, opened at start".into()) }];
    }
    let examined = async {
        let log = KafkaLog::open(config.bus.kafka.clone(), BusMetrics::default()).map_err(|error| error.to_string())?;
        Ok(log.examine(&Kind::ALL.map(Kind::topic)).await)
    };
    within(BUS_PATIENCE, examined)
        .await
        .unwrap_or_else(|error| vec![Finding { subject: "bus.kafka".into(), outcome: Err(error) }])
}

/// The probe that a role makes at its start.
async fn examine_store(config: &Config) -> Finding {
    let probed = async {
        let store = build::open_store(config).await.map_err(|failure| failure.message)?;
        probe(&store, &random_nonces()).await.map_err(|error| error.to_string())
    };
    let outcome = within(STORE_PATIENCE, probed).await.map(|()| "answers, and its conditional create can be trusted".to_owned());
    Finding { subject: format!("store.url = {:?}", config.store.url), outcome }
}

async fn within<T>(patience: Duration, tried: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(patience, tried).await.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

fn check_rules(file: &Path, is_logql: bool) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::input(plain::error(&format!("{}: {error}", file.display())));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let language = if is_logql { RuleLanguage::LogQl } else { RuleLanguage::PromQl };
    let summary = weir_rules::check_rules(&text, language).map_err(|error| wrong(&error))?;
    let (groups, alerting) = (count(summary.groups as u64, "group"), count(summary.alerting as u64, "alerting rule"));
    let recording = count(summary.recording as u64, "recording rule");
    stdout::line(&format!("{}: {groups}, {alerting}, {recording}", file.display()))
}

pub(crate) fn print_default() -> Result<(), Failure> {
    stdout::write(DOCUMENTED).map(drop)
}
