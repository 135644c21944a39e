//! Decisions by policies, and why they are what they are. Pure.

use std::sync::Arc;

use weir_model::scope::{Scope, TenantScope, Visible};

use super::policies::{Misfit, Policies, Policy, selector_text};
use super::{Denied, Needs, Principal, Telemetry, Tenants, Verb};

/// Policies that an explanation shows at most.
const SHOWN_MAX: usize = 50;

/// A decision, and the policies behind it.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub decision: Result<Scope, Denied>,
    /// `file:line: …` of each policy that grants, or why those of this principal do not.
    pub because: Vec<String>,
}

impl Policies {
    /// What they grant the principal of what it asks for. `asked`: the tenants that the request names; `own`: the one that is meant
    /// where any may be named and none is.
    pub fn decide(&self, principal: &Principal, asked: &[Arc<str>], own: &Arc<str>, needs: Needs) -> Result<Scope, Denied> {
        match needs {
            Needs::Cluster if !principal.is_cluster() => Err(forbidden(principal, needs)),
            Needs::Nothing | Needs::Caller | Needs::Cluster => Ok(nothing(own)),
            Needs::Tenant(verb, telemetry) => self.of_tenants(principal, asked, own, (needs, verb, Some(telemetry))),
            Needs::AnyOf(verb) => self.of_tenants(principal, asked, own, (needs, verb, None)),
            Needs::Whole(verb) => self.whole(principal, asked, own, (needs, verb)),
        }
    }

    fn of_tenants(
        &self,
        principal: &Principal,
        asked: &[Arc<str>],
        own: &Arc<str>,
        (needs, verb, telemetry): (Needs, Verb, Option<Telemetry>),
    ) -> Result<Scope, Denied> {
        let granting = self.granting(principal, verb, telemetry);
        if granting.is_empty() {
            return Err(forbidden(principal, needs));
        }
        let tenants = candidates(principal, &granting).choose(principal, asked, own, needs)?;
        let scopes = tenants.into_iter().map(|tenant| TenantScope { visible: visible(&granting, &tenant), tenant }).collect();
        Scope::new(scopes).ok_or_else(|| forbidden(principal, needs))
    }

    fn whole(
        &self,
        principal: &Principal,
        asked: &[Arc<str>],
        own: &Arc<str>,
        (needs, verb): (Needs, Verb),
    ) -> Result<Scope, Denied> {
        let granting = self.granting(principal, verb, None);
        if principal.tenants.is_some() || !granting.iter().any(|policy| policy.is_whole()) {
            return Err(forbidden(principal, needs));
        }
        whole(principal, asked, own, needs)
    }

    /// The tenants that the principal may name for one verb and signal at least.
    pub(crate) fn tenants(&self, principal: &Principal) -> Tenants {
        let granting = Verb::ALL.into_iter().flat_map(|verb| self.granting(principal, verb, None));
        candidates(principal, &granting.collect::<Vec<_>>())
    }

    /// The same decision with its reasons, for people.
    pub fn explain(&self, principal: &Principal, asked: &[Arc<str>], own: &Arc<str>, needs: Needs) -> Explanation {
        let decision = self.decide(principal, asked, own, needs);
        let telemetry = if let Needs::Tenant(_, telemetry) = needs { Some(telemetry) } else { None };
        let mut because = Vec::new();
        for policy in &self.all {
            let Some(verb) = needs.verb() else { break };
            let misfit = policy.misfit(principal, verb, telemetry);
            let because_of = match (&decision, misfit) {
                (_, Some(Misfit::Subject)) => continue,
                (Ok(scope), None) if scope.tenants().iter().any(|scope| policy.is_for(&scope.tenant)) => String::new(),
                (Ok(_), _) | (Err(Denied::Unclear(_)), Some(_)) => continue,
                (Err(_), Some(Misfit::Verb)) => ": not for this verb".into(),
                (Err(_), Some(Misfit::Telemetry)) => ": not for this signal".into(),
                (Err(_), Some(Misfit::Matcher)) => format!(": its matcher has no meaning for verb {:?}", verb.name()),
                (Err(_), None) if matches!(needs, Needs::Whole(_)) && !policy.is_whole() => {
                    ": restricted, and this concerns all tenants and all signals".into()
                }
                (Err(Denied::Unclear(_)), None) => String::new(),
                (Err(_), None) => ": not for this tenant".into(),
            };
            because.push(format!("{}:{}: {}{because_of}", self.name, policy.line, policy.describe()));
        }
        let more = because.len().saturating_sub(SHOWN_MAX);
        because.truncate(SHOWN_MAX);
        if more > 0 {
            because.push(format!("and {more} more"));
        }
        Explanation { decision, because }
    }
}

impl Policy {
    /// Whether it restricts neither tenant, telemetry nor labels.
    fn is_whole(&self) -> bool {
        self.tenant.is_none() && self.telemetry.is_none() && self.matchers.is_empty()
    }
}

/// Tenants that these policies and the principal's credentials leave.
fn candidates(principal: &Principal, granting: &[&Policy]) -> Tenants {
    match Tenants::of(principal) {
        Tenants::Only(names) => {
            Tenants::Only(names.into_iter().filter(|name| granting.iter().any(|policy| policy.is_for(name))).collect())
        }
        Tenants::Any if granting.iter().any(|policy| policy.tenant.is_none()) => Tenants::Any,
        Tenants::Any => Tenants::Only(granting.iter().filter_map(|policy| policy.tenant.clone()).collect()),
    }
}

fn visible(granting: &[&Policy], tenant: &str) -> Visible {
    let mut lists: Vec<Vec<_>> = Vec::new();
    for policy in granting.iter().filter(|policy| policy.is_for(tenant)) {
        if policy.matchers.is_empty() {
            return Visible::default();
        }
        if !lists.contains(&policy.matchers) {
            lists.push(policy.matchers.clone());
        }
    }
    Visible::any_of(lists)
}

pub(crate) fn forbidden(principal: &Principal, needs: Needs) -> Denied {
    Denied::Forbidden(format!("{} may not {needs}", principal.shown()))
}

/// The scope of a need that grants no data.
pub(crate) fn nothing(own: &Arc<str>) -> Scope {
    let own = TenantScope { tenant: Arc::clone(own), visible: Visible::any_of(Vec::new()) };
    Scope::new(vec![own]).expect("invariant: one tenant is a scope")
}

/// The scope of who may do this to all: the tenants that are named, all of each.
pub(crate) fn whole(principal: &Principal, asked: &[Arc<str>], own: &Arc<str>, needs: Needs) -> Result<Scope, Denied> {
    all_of(Tenants::Any.choose(principal, asked, own, needs)?).ok_or_else(|| forbidden(principal, needs))
}

/// All of these tenants; `None` without one.
pub(crate) fn all_of(tenants: Vec<Arc<str>>) -> Option<Scope> {
    Scope::new(tenants.into_iter().map(|tenant| TenantScope { tenant, visible: Visible::default() }).collect())
}

impl Explanation {
    /// What is visible of each tenant, for people: `shop: all`, `shop: {a="b"} or {c="d"}`.
    pub fn visible(scope: &Scope) -> Vec<String> {
        let text = |scope: &TenantScope| match scope.visible.lists() {
            None => format!("{}: all", scope.tenant),
            Some(lists) => {
                let lists: Vec<String> = lists.iter().map(|list| selector_text(list)).collect();
                format!("{}: {}", scope.tenant, lists.join(" or "))
            }
        };
        scope.tenants().iter().map(text).collect()
    }
}
