//! One request's principal, and what it is granted.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use weir_model::scope::Scope;

use super::{Authorizer, Denied, Needs, Principal, Reauthenticate, Telemetry, Tenants, Verb};

/// Names the tenants of a request: one, or several with `|` between them.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// A request's principal, in its extensions. Made by the front door alone.
#[derive(Clone, Debug)]
pub struct Access {
    /// Nobody: the request brought no credentials that count.
    principal: Option<Arc<Principal>>,
    asked: Arc<[Arc<str>]>,
    /// Why its credentials, or the tenants that it names, do not count: nothing is granted.
    wrong: Option<Denied>,
    /// Of a connection that stays open.
    credentials: Option<Arc<dyn Reauthenticate>>,
    authorizer: Arc<Authorizer>,
}

impl Access {
    /// `asked`: the tenants that the request names, without repetition.
    pub fn new(principal: Option<Arc<Principal>>, asked: Vec<Arc<str>>, authorizer: Arc<Authorizer>) -> Self {
        Self { principal, asked: asked.into(), wrong: None, credentials: None, authorizer }
    }

    /// Of a request that is granted nothing, because its credentials are `wrong`, or, where the principal is known, the tenants that it
    /// names are.
    pub fn wrong(principal: Option<Arc<Principal>>, wrong: Denied, authorizer: Arc<Authorizer>) -> Self {
        Self { principal, asked: Arc::default(), wrong: Some(wrong), credentials: None, authorizer }
    }

    /// That can be looked at again.
    #[must_use]
    pub fn with_credentials(self, credentials: Arc<dyn Reauthenticate>) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// What would be granted now, with the credentials looked at again: not counted.
    pub(crate) async fn again(&self, needs: Needs) -> Result<Scope, Denied> {
        let principal = match &self.credentials {
            Some(credentials) => credentials.principal().await?,
            None => self.principal.clone(),
        };
        let now = Self { principal, ..self.clone() };
        self.authorizer.decide(now.known()?, &self.asked, needs).await
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
        self.known().map_or_else(|_| Tenants::Only(Default::default()), |principal| self.authorizer.tenants(principal))
    }

    /// Whether [`Self::grant`] would grant: for telling, and so not counted.
    pub async fn may(&self, needs: Needs) -> bool {
        self.would_grant(needs).await.is_ok()
    }

    /// What [`Self::grant`] would grant: for telling, and so not counted.
    async fn would_grant(&self, needs: Needs) -> Result<Scope, Denied> {
        self.authorizer.decide(self.known()?, &self.asked, needs).await
    }

    /// Whether all of a tenant's telemetry of this kind may be read.
    pub async fn reads_all_of(&self, tenant: &Arc<str>, telemetry: Telemetry) -> bool {
        let own = Self { asked: Arc::from([Arc::clone(tenant)]), ..self.clone() };
        let scope = own.would_grant(Needs::Tenant(Verb::Read, telemetry)).await;
        scope.is_ok_and(|scope| scope.tenants().iter().all(|own| own.tenant == *tenant && own.visible.is_all()))
    }

    /// What a route's needs leave of what the request asks for.
    pub async fn grant(&self, needs: Needs) -> Result<Granted, Denied> {
        let known = self.known();
        let scope = self.authorizer.grant(known.as_ref().map(|principal| &***principal), &self.asked, needs).await?;
        Ok(Granted { principal: Arc::clone(known?), scope: Arc::new(scope) })
    }

    /// [`Self::grant`] for what an answer can do without: what is refused so refuses no request, and is not counted.
    pub async fn grant_optional(&self, needs: Needs) -> Result<Granted, Denied> {
        self.would_grant(needs).await?;
        self.grant(needs).await
    }

    /// The same access for the first tenant that the request names alone.
    #[must_use]
    pub fn of_first_tenant(&self) -> Self {
        Self { asked: self.asked.iter().take(1).cloned().collect(), ..self.clone() }
    }

    fn known(&self) -> Result<&Arc<Principal>, Denied> {
        let absent = || Denied::Unauthenticated("no credentials: this needs a token, a password or a client certificate".into());
        match &self.wrong {
            Some(wrong) => Err(wrong.clone()),
            None => self.principal.as_ref().ok_or_else(absent),
        }
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
