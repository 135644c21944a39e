//! Whether a principal may.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use weir_model::scope::Scope;
use weir_watched::Watched;

use super::abac::{self, forbidden, nothing};
use super::metrics::AccessMetrics;
use super::reload;
use super::webhook::{Reviewer, Webhook};
use super::{AuthorizationConfig, Denied, Mode, Needs, Policies, Principal, Telemetry, Tenants, Verb, WebhookConfig};

/// Decides for all requests of a process.
#[derive(Debug)]
pub struct Authorizer {
    /// The tenant of requests that name none, where no principal or policy says another.
    own: Arc<str>,
    decider: Decider,
    metrics: AccessMetrics,
}

#[derive(Debug)]
enum Decider {
    Allow,
    Deny,
    Policies(Arc<Watched<Policies>>),
    Webhook(Box<Webhook>),
}

impl Authorizer {
    /// As `[authorization]` says, which was checked. `own`: the tenant of this process' own data. `reach`: makes what sends reviews
    /// to the webhook. Errors name the key. Must be called within a tokio runtime, which watches the file of policies.
    pub fn start(
        config: &AuthorizationConfig,
        own: &str,
        reach: impl FnOnce(&WebhookConfig) -> Result<Arc<dyn Reviewer>, String>,
    ) -> Result<Self, String> {
        let metrics = AccessMetrics::default();
        let decider = match config.mode {
            Mode::Allow => Decider::Allow,
            Mode::Deny => Decider::Deny,
            Mode::Abac => {
                let file = reload::open(&config.policies_file, metrics.clone());
                Decider::Policies(file.map_err(|error| format!("policies_file: {error}"))?)
            }
            Mode::Webhook => {
                let reviewer = reach(&config.webhook).map_err(|error| format!("webhook.{error}"))?;
                Decider::Webhook(Box::new(Webhook::new(config.webhook.clone(), reviewer, metrics.clone())))
            }
        };
        Ok(Self { own: own.into(), decider, metrics })
    }

    /// Everybody may everything.
    pub fn allow(own: &str) -> Self {
        Self { own: own.into(), decider: Decider::Allow, metrics: AccessMetrics::default() }
    }

    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// What the principal is granted of what it asks for. `asked`: the tenants that the request names, without repetition.
    pub async fn decide(&self, principal: &Principal, asked: &[Arc<str>], needs: Needs) -> Result<Scope, Denied> {
        match needs {
            Needs::Nothing | Needs::Caller => return Ok(nothing(&self.own)),
            Needs::Cluster if principal.is_cluster() => return Ok(nothing(&self.own)),
            Needs::Cluster => return Err(forbidden(principal, needs)),
            // A query node passes the admin's command on to all owners.
            Needs::Whole(Verb::Admin) if principal.is_cluster_member() => {
                return abac::whole(principal, asked, &self.own, needs);
            }
            // It reads heads and nothing else, whatever the mode and the policies: its key is no way to what is stored.
            Needs::Tenant(..) | Needs::AnyOf(_) | Needs::Whole(_) if principal.is_cluster_member() => {
                return Err(forbidden(principal, needs));
            }
            Needs::Tenant(..) | Needs::AnyOf(_) | Needs::Whole(_) => {}
        }
        match &self.decider {
            Decider::Deny => Err(forbidden(principal, needs)),
            Decider::Allow => self.all_of_own(principal, asked, needs).map(|(scope, _)| scope),
            Decider::Policies(file) => file.current().decide(principal, asked, &self.own, needs),
            Decider::Webhook(webhook) => {
                let (scope, tenants) = self.all_of_own(principal, asked, needs)?;
                webhook.decide(principal, &tenants, needs).await?;
                Ok(scope)
            }
        }
    }

    /// [`Self::decide`], counted: for requests. `known`: its principal, or why nothing is granted.
    pub(crate) async fn grant(
        &self,
        known: Result<&Principal, &Denied>,
        asked: &[Arc<str>],
        needs: Needs,
    ) -> Result<Scope, Denied> {
        let decision = match known {
            Ok(principal) => self.decide(principal, asked, needs).await,
            Err(denied) => Err(denied.clone()),
        };
        self.metrics.decided(needs, decision.as_ref().err());
        decision
    }

    /// The tenants that a principal may name for one verb and signal at least: for telling them, not for deciding. With a webhook,
    /// which cannot be asked for a list, those that its credentials leave.
    pub fn tenants(&self, principal: &Principal) -> Tenants {
        match &self.decider {
            Decider::Policies(file) => file.current().tenants(principal),
            Decider::Deny => Tenants::Only(Default::default()),
            Decider::Allow | Decider::Webhook(_) => Tenants::of(principal),
        }
    }

    /// All of the tenants that are asked for, within the principal's own; and these tenants, none where all are meant.
    fn all_of_own(&self, principal: &Principal, asked: &[Arc<str>], needs: Needs) -> Result<(Scope, Vec<Arc<str>>), Denied> {
        if let Needs::Whole(_) = needs {
            if principal.tenants.is_some() {
                return Err(forbidden(principal, needs));
            }
            return Ok((abac::whole(principal, asked, &self.own, needs)?, Vec::new()));
        }
        let tenants = Tenants::of(principal).choose(principal, asked, &self.own, needs)?;
        let scope = abac::all_of(tenants.clone()).ok_or_else(|| forbidden(principal, needs))?;
        Ok((scope, tenants))
    }
}

impl Needs {
    /// The telemetry that has to be granted: one, or one of all three.
    pub(crate) fn telemetry(self) -> &'static [Telemetry] {
        match self {
            Self::Tenant(_, Telemetry::Logs) => &[Telemetry::Logs],
            Self::Tenant(_, Telemetry::Metrics) => &[Telemetry::Metrics],
            Self::Tenant(_, Telemetry::Traces) => &[Telemetry::Traces],
            _ => &Telemetry::ALL,
        }
    }
}

#[cfg(test)]
mod tests;
