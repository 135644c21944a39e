//! Whose records a request may see or send, and which of them. A front door makes it of who asks; readers obey it.

use std::sync::Arc;

use crate::label::{Labels, Matcher};
use crate::select::ReadError;

/// Says whose it is, where one answer has what is of several tenants: Loki's and Mimir's name for it.
pub const TENANT_LABEL: &str = "__tenant_id__";

/// The tenants of one request, each with what may be seen of it. Clones share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope(Arc<[TenantScope]>);

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
        (!tenants.is_empty()).then(|| Self(tenants.into()))
    }

    /// All of one tenant.
    pub fn of(tenant: &str) -> Self {
        TenantScope { tenant: tenant.into(), visible: Visible::default() }.into()
    }

    /// Whether a label set of a tenant may be seen.
    pub fn sees(&self, tenant: &str, labels: &Labels) -> bool {
        self.0.iter().any(|own| *own.tenant == *tenant && own.visible.passes(labels))
    }

    /// The tenant, for readers in which equal label sets and ids of two tenants would be one. Errors when there are several.
    pub fn one(&self) -> Result<&TenantScope, ReadError> {
        self.single().ok_or_else(|| ReadError::Store(format!("{} tenants were asked of a reader of one", self.0.len())))
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

impl From<TenantScope> for Scope {
    fn from(tenant: TenantScope) -> Self {
        Self(Arc::new([tenant]))
    }
}

/// weir's names of what a container is, and the names that OpenTelemetry's resource attributes have as labels. What is pushed has
/// these alone: without them `namespace!="a"` would show the lines and spans that an SDK sends from that namespace.
const RESOURCE_NAMES: [(&str, &[&str]); 5] = [
    ("namespace", &["k8s_namespace_name"]),
    ("pod", &["k8s_pod_name"]),
    ("container", &["k8s_container_name", "container_name"]),
    ("node", &["k8s_node_name", "host_name"]),
    ("image", &["container_image_name"]),
];

/// A label's value for a matcher of a scope: of a name that is missing, that of its OpenTelemetry name.
fn value<'a>(labels: &'a Labels, name: &str) -> &'a str {
    let own = labels.get(name);
    let others = RESOURCE_NAMES.iter().filter(|(known, _)| own.is_empty() && *known == name).flat_map(|(_, others)| *others);
    others.map(|other| labels.get(other)).find(|value| !value.is_empty()).unwrap_or(own)
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

    /// Where a label set has no `namespace`, `pod`, `container`, `node` or `image`, OpenTelemetry's label of it is meant.
    pub fn passes(&self, labels: &Labels) -> bool {
        let Some(lists) = &self.0 else { return true };
        lists.iter().any(|list| list.iter().all(|matcher| matcher.matches(value(labels, &matcher.name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::MatchOp;

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn a_label_set_passes_one_list_as_a_whole() {
        let web = || matcher("namespace", MatchOp::Equal, "web");
        let visible =
            Visible::any_of(vec![vec![web(), matcher("pod", MatchOp::Regex, "a.*")], vec![matcher("team", MatchOp::Equal, "x")]]);
        let check = |pairs: &[(&str, &str)], expected| {
            assert_eq!(visible.passes(&Labels::from_pairs(pairs.iter().copied())), expected, "{pairs:?}");
        };
        check(&[("namespace", "web"), ("pod", "ab")], true);
        check(&[("namespace", "web"), ("pod", "b")], false);
        check(&[("namespace", "other"), ("pod", "ab"), ("team", "x")], true);
        check(&[], false);
        assert!(!Visible::any_of(Vec::new()).passes(&Labels::from_pairs([("namespace", "web")])), "no list, nothing");
        assert!(Visible::any_of(vec![vec![web()], Vec::new()]).is_all());
    }

    #[test]
    fn what_opentelemetry_names_otherwise_is_meant_too() {
        let check = |op, value, pairs: &[(&str, &str)], expected| {
            let visible = Visible::any_of(vec![vec![matcher("namespace", op, value)]]);
            assert_eq!(visible.passes(&Labels::from_pairs(pairs.iter().copied())), expected, "{value} {pairs:?}");
        };
        check(MatchOp::Equal, "web", &[("k8s_namespace_name", "web")], true);
        check(MatchOp::NotEqual, "web", &[("k8s_namespace_name", "web")], false);
        check(MatchOp::Equal, "web", &[("k8s_namespace_name", "web"), ("namespace", "other")], false);
        check(MatchOp::NotEqual, "web", &[("service_name", "s")], true);
    }

    #[test]
    fn a_scope_sees_its_tenants_and_one_is_one() {
        let all = |tenant: &str| TenantScope { tenant: tenant.into(), visible: Visible::default() };
        let none = TenantScope { tenant: "c".into(), visible: Visible::any_of(Vec::new()) };
        let scope = Scope::new(vec![all("b"), all("a"), none, all("a")]).unwrap();
        let seen = ["a", "b", "c", "d"].map(|tenant| scope.sees(tenant, &Labels::EMPTY));
        assert_eq!(seen, [true, true, false, false]);
        assert!(scope.one().is_err() && scope.single().is_none() && scope.tenants().len() == 3);
        assert_eq!(&*Scope::of("a").one().unwrap().tenant, "a");
        assert_eq!(Scope::new(Vec::new()), None);
    }
}
