//! Routers of which every route declares what it needs. The front door serves these and no others.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::{Access, Needs};

/// A route, as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    pub method: Method,
    /// As axum writes it: `/api/v1/label/{name}/values`.
    pub path: String,
    pub needs: Needs,
}

/// What a route needs, once it has answered whether the request may. Whoever stands before the routes puts one into the request's
/// extensions and keeps a clone, which knows it whatever becomes of the answer.
#[derive(Clone, Debug, Default)]
pub struct RouteNeeds(Arc<OnceLock<Needs>>);

impl RouteNeeds {
    /// `None` before the decision, and of a route without needs.
    pub fn get(&self) -> Option<Needs> {
        self.0.get().copied()
    }
}

/// See above. `S`: the state that handlers still lack.
#[derive(Clone, Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    declared: Vec<Declared>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), declared: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get<T: 'static>(self, path: &str, needs: Needs, handler: impl Handler<T, S>) -> Self {
        self.on(&[Method::GET], path, needs, handler)
    }

    pub fn post<T: 'static>(self, path: &str, needs: Needs, handler: impl Handler<T, S>) -> Self {
        self.on(&[Method::POST], path, needs, handler)
    }

    /// What is asked by GET, and by POST where the question is long.
    pub fn get_or_post<T: 'static>(self, path: &str, needs: Needs, handler: impl Handler<T, S>) -> Self {
        self.on(&[Method::GET, Method::POST], path, needs, handler)
    }

    /// Any of these methods (as GET answers HEAD, too).
    pub fn on<T: 'static>(mut self, methods: &[Method], path: &str, needs: Needs, handler: impl Handler<T, S>) -> Self {
        let filters = methods.iter().filter_map(|method| MethodFilter::try_from(method.clone()).ok());
        let Some(filter) = filters.reduce(MethodFilter::or) else { return self };
        self.router = self.router.route(path, guarded(on(filter, handler), needs));
        let declared = methods.iter().map(|method| Declared { method: method.clone(), path: path.to_owned(), needs });
        self.declared.extend(declared);
        self
    }

    /// Answers what no route does, for all who ask: the page's files.
    pub fn fallback<T: 'static>(mut self, handler: impl Handler<T, S>) -> Self {
        self.router = self.router.fallback(handler);
        self
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.declared.extend(other.declared);
        self
    }

    /// Changes the router as a whole: layers. Routes that are added here are not declared and so need nothing; do not.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        Self { router: change(self.router), declared: self.declared }
    }

    pub fn with_state<T>(self, state: S) -> Routes<T> {
        Routes { router: self.router.with_state(state), declared: self.declared }
    }

    /// All of them.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }
}

impl Routes {
    /// For the front door, which puts an [`Access`] into each request; without one every route that needs something refuses.
    pub fn into_router(self) -> Router {
        self.router
    }
}

/// Not part of [`Routes::on`], which is compiled for each handler: the layers around a route are the largest part of it.
fn guarded<S: Clone + Send + Sync + 'static>(handlers: MethodRouter<S, Infallible>, needs: Needs) -> MethodRouter<S, Infallible> {
    handlers.route_layer(from_fn(move |request, next| check(needs, request, next)))
}

/// The needs are told through [`RouteNeeds`], so that the front door can say what was asked for.
async fn check(needs: Needs, mut request: Request, next: Next) -> Response {
    if needs == Needs::Nothing {
        return next.run(request).await;
    }
    let Some(access) = request.extensions().get::<Access>().cloned() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no front door stands before this route, a fault of weir's\n")
            .into_response();
    };
    let decision = access.grant(needs).await;
    if let Some(RouteNeeds(told)) = request.extensions().get() {
        told.get_or_init(|| needs);
    }
    match decision {
        Ok(granted) => {
            request.extensions_mut().insert(granted);
            next.run(request).await
        }
        Err(denied) => denied.into_response(),
    }
}
