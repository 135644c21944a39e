//! What every request of every listener passes before a router sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONNECTION, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Version};
use axum::middleware::Next;
use axum::response::Response;
use weir_access::audit::{Action, Audit, AuditSink, CLIENT_LEFT, Deleted, Event, SignInOutcome};
use weir_access::{Access, Denied, Needs, Peer, RouteNeeds, Verb};

use super::admit::{Admitted, Rules};
use super::answer;
use super::body::{Incoming, Pace};
use super::coding::Coding;
use super::compress::Compressors;
use super::identity::Identity;
use super::metrics::FrontMetrics;
use super::shape::Shape;

pub(crate) struct Gate {
    pub rules: Rules,
    pub identity: Identity,
    pub audit: Audit,
    pub pace: Pace,
    pub compressors: Compressors,
    pub metrics: FrontMetrics,
}

/// What of a request is told about it afterwards.
struct Told {
    method: Method,
    path: String,
    peer: Option<SocketAddr>,
    access: Option<Access>,
    needs: RouteNeeds,
}

/// A request under way. Dropped before its answer, because its client has left, it is told all the same where what it asked for may be
/// done by now.
struct UnderWay<'a> {
    audit: &'a Audit,
    told: Told,
    is_answered: bool,
}

impl Gate {
    /// Refuses the request, or passes it on and adds to its answer what a browser wants to know.
    pub async fn pass(&self, listener: &'static str, request: Request, next: Next) -> Response {
        let (mut head, body) = request.into_parts();
        let origin = match self.rules.admit(&head) {
            Ok(Admitted::Own) => None,
            Ok(Admitted::From(origin)) => Some(origin),
            Ok(Admitted::Preflight(origin)) => return hardened(answer::preflight(&head, origin)),
            Err(refusal) => {
                self.metrics.refused_request(listener, refusal.reason());
                tracing::debug!(listener, reason = refusal.reason(), %refusal, "a request was refused");
                return hardened(answer::refuse(&head, &refusal));
            }
        };
        let (version, shape) = (head.version, Shape::of(&head));
        let (method, coding) = (head.method.clone(), Coding::preferred(&head.headers));
        let of_a_page = head.headers.contains_key("sec-fetch-mode");
        self.identity.admit(&mut head).await;
        let mut under_way = UnderWay { audit: &self.audit, told: Told::of(&mut head), is_answered: false };
        if shape != Shape::Grpc {
            choose(&mut head.headers, coding);
        }
        let stalled = Arc::new(AtomicBool::new(false));
        let body = Body::new(Incoming::new(body, self.pace, Arc::clone(&stalled)));
        let mut response = next.run(Request::from_parts(head, body)).await;
        under_way.is_answered = true;
        if stalled.load(Ordering::Relaxed) {
            self.metrics.timeout(listener, "body");
            response = answer::stalled(shape);
            if version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let denied = response.extensions_mut().remove::<Denied>();
        if let Some(denied) = &denied {
            self.metrics.denied(listener, denied.status().as_u16());
            response = answer::deny(shape, denied, self.identity.challenges(of_a_page));
        }
        let sign_in = response.extensions_mut().remove::<SignInOutcome>();
        let deleted = response.extensions_mut().remove::<Deleted>();
        under_way.told.answered(&self.audit, (sign_in, deleted), denied.as_ref(), &response);
        if shape != Shape::Grpc {
            response = self.compressors.apply((listener, &self.metrics), (&method, coding), response);
        }
        if let Some(origin) = origin {
            answer::allow(response.headers_mut(), origin);
        }
        hardened(response)
    }
}

impl Told {
    /// Before the request goes on: its routes tell what they need.
    fn of(head: &mut Parts) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            peer: head.extensions.get::<Peer>().map(|peer| peer.address),
            access: head.extensions.get::<Access>().cloned(),
            needs: head.extensions.get_or_insert_default::<RouteNeeds>().clone(),
        }
    }

    /// Where the audit log is written: each denied request, each sign-in, each deletion, each other admin action.
    fn answered(
        &self,
        audit: &Audit,
        (sign_in, deleted): (Option<SignInOutcome>, Option<Deleted>),
        denied: Option<&Denied>,
        response: &Response,
    ) {
        let action = match denied {
            Some(_) => Action::Denied,
            None if sign_in.is_some() => Action::SignIn,
            None if deleted.is_some() => Action::Deletion,
            None if self.is_admin() => Action::Admin,
            None => return,
        };
        let mut event = self.event(action, denied.map_or(response.status(), Denied::status).as_u16());
        event.principal = sign_in.and_then(|outcome| outcome.principal).or(event.principal);
        let request = deleted.filter(|deleted| !deleted.request.is_empty()).map(|deleted| format!("request {}", deleted.request));
        event.reason = denied.map(ToString::to_string).or(request).unwrap_or_default();
        audit.record(&event);
    }

    fn is_admin(&self) -> bool {
        self.needs.get().and_then(Needs::verb) == Some(Verb::Admin)
    }

    fn event(&self, action: Action, status: u16) -> Event {
        let access = self.access.as_ref();
        Event {
            action,
            principal: access.and_then(Access::principal).cloned(),
            peer: self.peer,
            needs: self.needs.get(),
            tenants: access.map(|access| access.asked().to_vec()).unwrap_or_default(),
            request: self.method.as_str().to_owned(),
            path: self.path.clone(),
            status,
            reason: String::new(),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.told.is_admin() {
            let reason = "the client left before the answer".to_owned();
            self.audit.record(&Event { reason, ..self.told.event(Action::Admin, CLIENT_LEFT) });
        }
    }
}

/// A router that has an answer compressed already hands it out in this coding alone.
fn choose(headers: &mut HeaderMap, coding: Option<Coding>) {
    headers.remove(ACCEPT_ENCODING);
    if let Some(coding) = coding {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

fn hardened(mut response: Response) -> Response {
    answer::harden(response.headers_mut());
    response
}
