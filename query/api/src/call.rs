//! One request: the API that answers it, and the tenants whose it is. What a handler asks the store runs through it, in their turn and
//! within what all of them may take.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use tokio::sync::oneshot;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::panic_guard;
use weir_model::scope::Scope;
use weir_model::select::ReadError;

use super::Api;
use super::reply::Reply;

/// What a handler asks the store, without its type.
type Work = Box<dyn FnOnce(&Api, RequestBudget) + Send>;

/// See above; a handler has it by extraction.
pub(crate) struct Call {
    api: Arc<Api>,
    /// None where nothing of a tenant's is granted: what is only parsed.
    tenants: Vec<Arc<str>>,
}

impl Deref for Call {
    type Target = Arc<Api>;

    fn deref(&self) -> &Arc<Api> {
        &self.api
    }
}

impl FromRequestParts<Arc<Api>> for Call {
    type Rejection = <Granted as FromRequestParts<Arc<Api>>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Self::Rejection> {
        Ok(Self::of(api, &Granted::from_request_parts(parts, api).await?.scope))
    }
}

impl Call {
    pub(crate) fn of(api: &Arc<Api>, scope: &Scope) -> Self {
        let seen = scope.tenants().iter().filter(|own| own.visible.lists().is_none_or(|lists| !lists.is_empty()));
        Self { api: Arc::clone(api), tenants: seen.map(|own| Arc::clone(&own.tenant)).collect() }
    }

    /// Runs a query's sync work, parsing included, off the async threads, at most `concurrency` at once, with a fresh
    /// budget that is cancelled when the caller is dropped. Errors when too many wait already.
    pub(crate) async fn run<T: Send + 'static, E: From<ReadError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Api, &RequestBudget) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.within(|api, budget| work(api, &budget)).await
    }

    /// The same for work that makes the whole answer. Its text stays in the memory of queries until it is sent.
    pub(crate) async fn answer<E: From<ReadError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Api, &RequestBudget) -> Result<Reply, E> + Send + 'static,
    ) -> Result<Response, E> {
        let answered = self.within(|api, budget| {
            let reply = work(api, &budget)?;
            let held = budget.keep(reply.bytes())?;
            Ok(reply.into_response(held))
        });
        answered.await
    }

    async fn within<T: Send + 'static, E: From<ReadError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Api, RequestBudget) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        self.in_turn(Box::new(move |api, budget| drop(answer.send(work(api, budget))))).await?;
        answered.await.unwrap_or_else(|_| Err(fault().into()))
    }

    /// Not part of [`Call::within`], which is compiled for each question of each language: tasks are the largest part of it.
    async fn in_turn(&self, work: Work) -> Result<(), ReadError> {
        let (mut budget, _guard) = RequestBudget::new(&self.config, &self.load, &self.tenants);
        let asked = Instant::now();
        let place = self.load.place(&self.tenants, budget.patience()).await?;
        let api = Arc::clone(&self.api);
        let ran = tokio::task::spawn_blocking(move || {
            let _place = place;
            budget.begin(asked.elapsed());
            panic_guard::catch(|| work(&api, budget))
        });
        ran.await.map_err(|error| error.to_string()).flatten().map_err(|_| fault())
    }
}

fn fault() -> ReadError {
    ReadError::Store("the query stopped by a fault of weir's; the log says more".into())
}
