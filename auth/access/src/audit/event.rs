//! What is written of one event. Of the request only its method and path: queries, bodies and headers can hold secrets.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use weir_model::time::format_rfc3339;

use super::super::{Needs, Principal, Verb};

/// A line is no longer than this, whatever its texts hold.
#[cfg(test)]
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;
/// Of a name, a path, a reason; what is longer is cut.
const TEXT_CHARS_MAX: usize = 200;
/// Of an HTTP method.
const REQUEST_CHARS_MAX: usize = 16;
/// Of groups and tenants; what is more is counted.
const LIST_MAX: usize = 8;
/// Of a group or a tenant.
const NAME_CHARS_MAX: usize = 64;

/// The status of a request whose client left before the answer: nginx' number.
pub const CLIENT_LEFT: u16 = 499;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A request was refused.
    Denied,
    /// Work on the whole of weir was asked for, and begun.
    Admin,
    /// Somebody began or ended a session, or tried to.
    SignIn,
    /// Data was deleted, or a deletion cancelled.
    Deletion,
}

/// That a route takes requests to delete, and which one it took: goes with its response as an extension, for the audit log.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Its id; empty where it is of no one request.
    pub request: String,
}

/// That a route began or ended a session, or would not: goes with its response as an extension, for the audit log.
#[derive(Clone, Debug)]
pub struct SignInOutcome {
    /// Whose session it is; `None` where nobody was known.
    pub principal: Option<Arc<Principal>>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub action: Action,
    /// `None` where nobody is known.
    pub principal: Option<Arc<Principal>>,
    pub peer: Option<SocketAddr>,
    /// What the route needs, where that is known.
    pub needs: Option<Needs>,
    /// Those that the request names, or was granted.
    pub tenants: Vec<Arc<str>>,
    /// `GET`; or `gRPC`.
    pub request: String,
    /// Without the query.
    pub path: String,
    /// Of HTTP; [`CLIENT_LEFT`] where there was nobody to answer.
    pub status: u16,
    /// Why it was refused; never with credentials.
    pub reason: String,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Admin => "admin",
            Self::SignIn => "sign_in",
            Self::Deletion => "deletion",
        }
    }
}

impl Event {
    /// Whether strangers can cause it at will.
    pub(super) fn is_limited(&self) -> bool {
        match self.action {
            Action::Denied => true,
            // At an issuer a sign-in that fails is a redirect as well.
            Action::SignIn => self.status >= 400 || self.principal.is_none(),
            Action::Admin | Action::Deletion => false,
        }
    }

    /// `at`: Unix nanoseconds.
    pub(super) fn line(&self, at: i64) -> String {
        let principal = self.principal.as_deref();
        let needs = self.needs;
        json!({
            "time": format_rfc3339(at),
            "action": self.action.name(),
            "principal": principal.map(|principal| text(&principal.name)),
            "method": principal.map(|principal| principal.method.name()),
            "groups": principal.map(|principal| list(principal.groups.iter().map(String::as_str))),
            "peer": self.peer.map(|peer| peer.to_string()),
            "verb": needs.and_then(Needs::verb).map(Verb::name),
            "signal": needs.map(Needs::signal).filter(|signal| !signal.is_empty()),
            "tenants": list(self.tenants.iter().map(AsRef::as_ref)),
            "request": cut(&self.request, REQUEST_CHARS_MAX),
            "path": text(self.path.split('?').next().unwrap_or_default()),
            "status": self.status,
            "reason": text(&self.reason),
        })
        .to_string()
    }
}

fn text(long: &str) -> String {
    cut(long, TEXT_CHARS_MAX)
}

fn cut(long: &str, chars: usize) -> String {
    long.char_indices().nth(chars).map_or_else(|| long.to_owned(), |(end, _)| format!("{}…", &long[..end]))
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    let more = names.len().saturating_sub(LIST_MAX);
    let mut shown: Vec<String> = names.take(LIST_MAX).map(|name| cut(name, NAME_CHARS_MAX)).collect();
    shown.extend((more > 0).then(|| format!("… {more} more")));
    shown
}
