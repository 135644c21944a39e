//! One request's principal, and what it is granted.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use weir_model::scope::Scope;

use super::{Authorizer, Denied, Needs, Principal, Tenants};

/// Names the tenants of a request: one, or several with `|` between them.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// A request's principal, in its extensions. Made by the front door alone.
#[derive(Clone, Debug)]
pub struct Access {
    /// Nobody: the request brought no credentials.
    principal: Option<Arc<Principal>>,
    asked: Arc<[Arc<str>]>,
    authorizer: Arc<Authorizer>,
}

impl Access {
    /// `asked`: the tenants that the request names, without repetition.
    pub fn new(principal: Option<Arc<Principal>>, asked: Vec<Arc<str>>, authorizer: Arc<Authorizer>) -> Self {
        Self { principal, asked: asked.into(), authorizer }
    }

    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The tenants that the request names.
    pub fn asked(&self) -> &[Arc<str>] {
        &self.asked
    }

    /// The tenants that the principal may name for one verb and signal at least; none where nobody is known.
    pub fn tenants(&self) -> Tenants {
        let none = || Tenants::Only(Default::default());
        self.principal.as_ref().map_or_else(none, |principal| self.authorizer.tenants(principal))
    }

    /// Whether [`Self::grant`] would grant: for telling, and so not counted.
    pub async fn may(&self, needs: Needs) -> bool {
        match &self.principal {
            Some(principal) => self.authorizer.decide(principal, &self.asked, needs).await.is_ok(),
            None => false,
        }
    }

    /// What a route's needs leave of what the request asks for.
    pub async fn grant(&self, needs: Needs) -> Result<Granted, Denied> {
        let scope = self.authorizer.grant(self.principal.as_deref(), &self.asked, needs).await?;
        let principal = self.principal.clone().expect("invariant: nobody is granted nothing");
        Ok(Granted { principal, scope: Arc::new(scope) })
    }
}

/// What a handler may do and for whom: an extractor. A route without needs has none, and its handler answers 500.
#[derive(Clone, Debug)]
pub struct Granted {
    pub principal: Arc<Principal>,
    pub scope: Arc<Scope>,
}

impl<S: Sync> FromRequestParts<S> for Granted {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let missing = (StatusCode::INTERNAL_SERVER_ERROR, "this route grants nothing, a fault of weir's\n");
        parts.extensions.get::<Self>().cloned().ok_or(missing)
    }
}
