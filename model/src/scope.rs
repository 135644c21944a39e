//! Whose records a request may see or send, and which of them. A front door makes it of who asks; readers obey it.

use std::sync::Arc;

use crate::label::{Labels, Matcher};

/// The tenants of one request, each with what may be seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope(Vec<TenantScope>);

/// One tenant, and what may be seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantScope {
    pub tenant: Arc<str>,
    pub visible: Visible,
}

/// Which label sets may be seen: those that pass all matchers of one of the lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visible(Option<Arc<[Vec<Matcher>]>>);

impl Scope {
    /// `None` without a tenant; each stands once, in the order of their names.
    pub fn new(mut tenants: Vec<TenantScope>) -> Option<Self> {
        tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        tenants.dedup_by(|one, other| one.tenant == other.tenant);
        (!tenants.is_empty()).then_some(Self(tenants))
    }

    /// All of one tenant.
    pub fn of(tenant: &str) -> Self {
        Self(vec![TenantScope { tenant: tenant.into(), visible: Visible::default() }])
    }

    /// In the order of their names; there is one at least.
    pub fn tenants(&self) -> &[TenantScope] {
        &self.0
    }

    /// The tenant where there is one only.
    pub fn single(&self) -> Option<&TenantScope> {
        match &self.0[..] {
            [tenant] => Some(tenant),
            _ => None,
        }
    }
}

impl Visible {
    /// What passes one of the lists. An empty list passes all; no list at all passes nothing.
    pub fn any_of(lists: Vec<Vec<Matcher>>) -> Self {
        if lists.iter().any(Vec::is_empty) { Self(None) } else { Self(Some(lists.into())) }
    }

    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The lists, where not all is visible.
    pub fn lists(&self) -> Option<&[Vec<Matcher>]> {
        self.0.as_deref()
    }

    pub fn passes(&self, labels: &Labels) -> bool {
        let Some(lists) = &self.0 else { return true };
        lists.iter().any(|list| list.iter().all(|matcher| matcher.matches_labels(labels)))
    }
}
