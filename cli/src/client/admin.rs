//! `weir admin`.

use reqwest::Method;

use super::address::Address;
use super::print::number;
use super::{http, print};
use crate::Failure;
use crate::args::AdminAction;
use crate::text::units::count;

pub(crate) async fn admin(action: &AdminAction) -> Result<(), Failure> {
    let (server, path) = match action {
        AdminAction::Seal(server) => (server, "/api/weir/v1/admin/seal"),
        AdminAction::Compact(server) => (server, "/api/weir/v1/admin/compact"),
        AdminAction::Expire(server) => (server, "/api/weir/v1/admin/expire"),
    };
    let answer = http::ask(&Address::of(server).await?, Method::POST, path, &[]).await?;
    print::rows(std::slice::from_ref(&answer.body), &answer, server.output, || {
        let counted = |key: &str, one: &str| count(number(&answer.body[key]).unsigned_abs(), one);
        format!("{}, {}\n", counted("blocks", "block"), counted("records", "record"))
    })
}
