//! `weir admin`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::address::Address;
use super::print::number;
use super::{disk, http, print};
use crate::args::{AdminAction, DeleteArguments, DeleteTenantArguments, ServerArguments};
use crate::service::lifecycle;
use crate::text::clock::Clock;
use crate::text::units::count;
use crate::{Failure, stdout};

/// How often it is asked how far a deletion is.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn admin(action: &AdminAction) -> Result<(), Failure> {
    match action {
        AdminAction::Seal(server) => upkeep(server, "/api/weir/v1/admin/seal").await,
        AdminAction::Compact(server) => upkeep(server, "/api/weir/v1/admin/compact").await,
        AdminAction::Expire(server) => upkeep(server, "/api/weir/v1/admin/expire").await,
        AdminAction::Disk(server) => disk::disk(server).await,
        AdminAction::Delete(arguments) => delete(arguments).await,
        AdminAction::DeleteTenant(arguments) => delete_tenant(arguments).await,
    }
}

async fn upkeep(server: &ServerArguments, path: &str) -> Result<(), Failure> {
    let answer = http::ask(&Address::of(server).await?, Method::POST, path, &[]).await?;
    print::rows(std::slice::from_ref(&answer.body), &answer, server.output, || {
        let counted = |key: &str, one: &str| count(number(&answer.body[key]).unsigned_abs(), one);
        format!("{}, {}\n", counted("blocks", "block"), counted("records", "record"))
    })
}

async fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let (clock, now) = (Clock::local(), lifecycle::now());
    let instant = |text: &str| clock.parse(text, now).map(|at| at.to_string()).map_err(|error| Failure::input(error.to_string()));
    let mut parameters = vec![("query", arguments.query.clone()), ("start", instant(&arguments.start)?)];
    if let Some(end) = &arguments.end {
        parameters.push(("end", instant(end)?));
    }
    http::ask(&Address::of(&arguments.server).await?, Method::POST, "/loki/api/v1/delete", &parameters).await?;
    stdout::write("what was stored of it is unseen from now on\n").map(drop)
}

/// Says how far it is whenever that changes.
async fn delete_tenant(arguments: &DeleteTenantArguments) -> Result<(), Failure> {
    let DeleteTenantArguments { name: tenant, confirm, server } = arguments;
    if tenant != confirm {
        return Err(Failure::input(format!("--confirm says {confirm:?}, the tenant is {tenant:?}")));
    }
    let (address, path) = (Address::of(server).await?, format!("/api/weir/v1/tenants/{tenant}"));
    let accepted = http::ask(&address, Method::DELETE, &path, &[("confirm", confirm.clone())]).await?;
    print::note(&format!("{tenant} is unseen from now on; its records go from the blocks"));
    let mut said = String::new();
    loop {
        let answer = http::get(&address, &format!("{path}/deletions"), &[]).await?;
        let all = answer.body["deletions"].as_array().cloned().unwrap_or_default();
        let own: Vec<&Value> = all.iter().filter(|one| one["request_id"] == accepted.body["request_id"]).collect();
        let sum = |key: &str| own.iter().map(|one| number(&one[key]).unsigned_abs()).sum::<u64>();
        let (partitions, processed) = (sum("partitions"), sum("processed"));
        let now = format!("gone from {processed} of {}", count(partitions, "partition"));
        if now != said {
            print::note(&now);
            said = now;
        }
        if !own.is_empty() && processed >= partitions {
            return stdout::write(&format!("{tenant} is deleted\n")).map(drop);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
