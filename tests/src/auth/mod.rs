//! Who asks, as real counterparts say it: tokens of a Keycloak, a Keystone and a Kubernetes, whose reviews decide, too. Nothing of
//! weir runs but its `Authenticator` and its `Authorizer`, and in `clients`, `device` and `servers` all of it.

mod clients;
mod device;
mod keycloak;
mod keystone;
mod kubernetes;
mod servers;

use std::sync::Arc;

use axum::http::Request;
use weir_access::{Denied, Peer, Principal};
use weir_methods::Authenticator;

/// What a request with this header is taken for.
async fn ask(authenticator: &Authenticator, name: &str, value: &str) -> Result<Option<Arc<Principal>>, Denied> {
    let (head, ()) = Request::get("/").header(name, value).body(()).expect("a request").into_parts();
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificates: [].into(), is_tls: false };
    authenticator.authenticate(&head, &peer).await
}

async fn ask_bearer(authenticator: &Authenticator, token: &str) -> Result<Option<Arc<Principal>>, Denied> {
    ask(authenticator, "authorization", &format!("Bearer {token}")).await
}

/// Whom it is taken for; panics where it is nobody.
async fn known(authenticator: &Authenticator, token: &str) -> Principal {
    match ask_bearer(authenticator, token).await {
        Ok(Some(principal)) => Principal::clone(&principal),
        other => panic!("{other:?}"),
    }
}

/// The status of its refusal.
async fn refusal(authenticator: &Authenticator, token: &str) -> u16 {
    match ask_bearer(authenticator, token).await {
        Err(denied) => denied.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

fn fetched(name: &str) -> std::path::PathBuf {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = std::process::Command::new(own.join(name).join("fetch")).status();
    assert!(done.is_ok_and(|done| done.success()), "tests/{name}/fetch failed");
    own.join("../.cache").join(name).canonicalize().expect("it was fetched")
}
