//! What every request of every listener passes before a router sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONNECTION, HeaderValue};
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::Response;

use super::admit::{Admitted, Rules};
use super::answer;
use super::body::{Incoming, Pace};
use super::coding::Coding;
use super::compress::Compressors;
use super::metrics::FrontMetrics;

pub(crate) struct Gate {
    pub rules: Rules,
    pub pace: Pace,
    pub compressors: Compressors,
    pub metrics: FrontMetrics,
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
        let (version, kind) = (head.version, answer::Kind::of(&head));
        let (method, coding) = (head.method.clone(), Coding::preferred(&head.headers));
        if kind == answer::Kind::Http {
            choose(&mut head.headers, coding);
        }
        let stalled = Arc::new(AtomicBool::new(false));
        let body = Body::new(Incoming::new(body, self.pace, Arc::clone(&stalled)));
        let mut response = next.run(Request::from_parts(head, body)).await;
        if stalled.load(Ordering::Relaxed) {
            self.metrics.timeout(listener, "body");
            response = answer::stalled(kind);
            if version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if kind == answer::Kind::Http {
            response = self.compressors.apply((listener, &self.metrics), (&method, coding), response);
        }
        if let Some(origin) = origin {
            answer::allow(response.headers_mut(), origin);
        }
        hardened(response)
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
