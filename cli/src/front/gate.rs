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
use weir_access::audit::{Action, Audit, AuditSink, Event, SignInOutcome};
use weir_access::{Access, Denied, Needs, Peer, Verb};

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
        let wrong = self.identity.admit(&mut head).await;
        let told = Told::of(&head);
        if shape != Shape::Grpc {
            choose(&mut head.headers, coding);
        }
        let stalled = Arc::new(AtomicBool::new(false));
        let body = Body::new(Incoming::new(body, self.pace, Arc::clone(&stalled)));
        let mut response = next.run(Request::from_parts(head, body)).await;
        if stalled.load(Ordering::Relaxed) {
            self.metrics.timeout(listener, "body");
            response = answer::stalled(shape);
            if version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let needs = response.extensions_mut().remove::<Needs>();
        let denied = response.extensions_mut().remove::<Denied>().map(|denied| because(denied, wrong));
        if let Some(denied) = &denied {
            self.metrics.denied(listener, denied.status().as_u16());
            response = answer::deny(shape, denied, self.identity.challenges(of_a_page));
        }
        let sign_in = response.extensions_mut().remove::<SignInOutcome>();
        self.audit(told, (needs, sign_in), denied.as_ref(), &response);
        if shape != Shape::Grpc {
            response = self.compressors.apply((listener, &self.metrics), (&method, coding), response);
        }
        if let Some(origin) = origin {
            answer::allow(response.headers_mut(), origin);
        }
        hardened(response)
    }

    /// Where the audit log is written: each denied request, each sign-in, each admin action. `needs`: of the route.
    fn audit(
        &self,
        told: Told,
        (needs, sign_in): (Option<Needs>, Option<SignInOutcome>),
        denied: Option<&Denied>,
        response: &Response,
    ) {
        let action = match denied {
            Some(_) => Action::Denied,
            None if sign_in.is_some() => Action::SignIn,
            None if needs.and_then(Needs::verb) == Some(Verb::Admin) => Action::Admin,
            None => return,
        };
        let access = told.access.as_ref();
        self.audit.record(&Event {
            action,
            principal: sign_in.and_then(|outcome| outcome.principal).or_else(|| access.and_then(Access::principal).cloned()),
            peer: told.peer,
            needs,
            tenants: access.map(|access| access.asked().to_vec()).unwrap_or_default(),
            request: told.method.as_str().to_owned(),
            path: told.path,
            status: denied.map_or(response.status(), Denied::status).as_u16(),
            reason: denied.map(ToString::to_string).unwrap_or_default(),
        });
    }
}

impl Told {
    fn of(head: &Parts) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            peer: head.extensions.get::<Peer>().map(|peer| peer.address),
            access: head.extensions.get::<Access>().cloned(),
        }
    }
}

/// A route that asked for credentials did not know that there were some, which did not count.
fn because(denied: Denied, wrong: Option<Denied>) -> Denied {
    match (denied, wrong) {
        (Denied::Unauthenticated(_), Some(wrong)) => wrong,
        (denied, _) => denied,
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
