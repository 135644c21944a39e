//! Names of tenants, the header in which requests name them, and which of them a request can mean.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::HeaderMap;
use weir_model::clip;

use super::access::TENANT_HEADER;
use super::{Denied, Needs, Principal, Verb};

/// Loki's and Mimir's limit.
pub const TENANT_BYTES_MAX: usize = 150;
/// A query runs for each tenant that it names; this many make a panel of a platform team's own.
pub const TENANTS_MAX: usize = 32;
/// The tenant of weir's audit log. Nobody may push to it.
pub const AUDIT_TENANT: &str = "weir-audit";

/// Tenants that an error lists at most.
const LISTED_MAX: usize = 20;

/// Whether this can be a tenant: what Loki and Mimir take, letters, digits and `!-_.*'()`, but neither `.`, `..` nor `*` alone.
pub fn is_tenant(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    (1..=TENANT_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter) && ![".", "..", "*"].contains(&name)
}

/// The tenants that a request names by `X-Scope-OrgID`, each once, in its order; none where the header is missing or empty.
/// Errors with 400 what is no name, stands twice, or is too many.
pub fn asked_tenants(headers: &HeaderMap) -> Result<Vec<Arc<str>>, Denied> {
    let mut values = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    if values.next().is_some() {
        return Err(Denied::Unclear("X-Scope-OrgID is sent twice: name several tenants in one, as a|b".into()));
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut asked: Vec<Arc<str>> = Vec::new();
    for name in text.split('|').map(str::trim).filter(|_| !text.trim().is_empty()) {
        if !is_tenant(name) {
            return Err(Denied::Unclear(format!("X-Scope-OrgID: {:?} is no tenant: {TENANT_RULE}", clip(name))));
        }
        if !asked.iter().any(|other| **other == *name) {
            asked.push(name.into());
        }
        if asked.len() > TENANTS_MAX {
            return Err(Denied::Unclear(format!("X-Scope-OrgID names more than {TENANTS_MAX} tenants")));
        }
    }
    Ok(asked)
}

/// For errors.
pub(crate) const TENANT_RULE: &str = "at most 150 letters, digits and !-_.*'(), and neither \".\", \"..\" nor \"*\"";

/// Tenants that somebody may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    Any,
    Only(BTreeSet<Arc<str>>),
}

impl Tenants {
    /// Those that the principal's credentials leave: of what they name, no tenant that cannot be one, and never the audit log's, which
    /// is nobody's project or namespace.
    pub fn of(principal: &Principal) -> Self {
        match &principal.tenants {
            None => Self::Any,
            Some(names) => Self::Only(names.iter().filter(|name| is_tenant(name) && ***name != *AUDIT_TENANT).cloned().collect()),
        }
    }

    pub fn includes(&self, tenant: &str) -> bool {
        match self {
            Self::Any => is_tenant(tenant),
            Self::Only(names) => names.contains(tenant),
        }
    }

    /// The tenants that a request means: those it names (`asked`), or the only one that it can mean; `own` where that is any.
    /// Never empty, and all of them among these. What changes something has one.
    pub(crate) fn choose(
        &self,
        principal: &Principal,
        asked: &[Arc<str>],
        own: &Arc<str>,
        needs: Needs,
    ) -> Result<Vec<Arc<str>>, Denied> {
        let forbidden = |tenant: &str| Denied::Forbidden(format!("{} may not {needs} of tenant {tenant:?}", principal.shown()));
        let chosen = match (asked, self) {
            ([], Self::Any) => vec![Arc::clone(own)],
            ([], Self::Only(names)) => vec![only(principal, names, needs)?],
            (_, _) => asked.to_vec(),
        };
        if chosen.len() > 1 && !needs.takes_several_tenants() {
            return Err(Denied::Unclear(format!("to {needs}, name one tenant by X-Scope-OrgID, not {}", chosen.len())));
        }
        if let Some(other) = asked.iter().find(|tenant| !self.includes(tenant)) {
            return Err(forbidden(other));
        }
        if needs.verb() == Some(Verb::Push) && chosen.iter().any(|tenant| **tenant == *AUDIT_TENANT) {
            return Err(Denied::Forbidden(format!("tenant {AUDIT_TENANT:?} is weir's own audit log: nobody may push to it")));
        }
        Ok(chosen)
    }
}

fn only(principal: &Principal, names: &BTreeSet<Arc<str>>, needs: Needs) -> Result<Arc<str>, Denied> {
    let mut listed = names.iter();
    match (listed.next(), names.len()) {
        (None, _) => Err(Denied::Forbidden(format!("{} may not {needs} of any tenant", principal.shown()))),
        (Some(tenant), 1) => Ok(Arc::clone(tenant)),
        (Some(_), count) => {
            let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(|name| &**name).collect();
            let more = if count > LISTED_MAX { format!(" and {} more", count - LISTED_MAX) } else { String::new() };
            let text = format!("name a tenant by X-Scope-OrgID; {} may {needs} of {}{more}", principal.shown(), shown.join(", "));
            Err(Denied::Unclear(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_header_names_tenants_or_is_refused() {
        let check = |values: &[&[u8]], expected: Result<&[&str], &str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TENANT_HEADER, HeaderValue::from_bytes(value).unwrap());
            }
            match (asked_tenants(&headers), expected) {
                (Ok(asked), Ok(expected)) => assert_eq!(asked.iter().map(|name| &**name).collect::<Vec<_>>(), expected),
                (Err(Denied::Unclear(text)), Err(expected)) => assert!(text.contains(expected), "{values:?}: {text}"),
                (got, _) => panic!("{values:?}: {got:?}"),
            }
        };
        check(&[], Ok(&[]));
        check(&[b""], Ok(&[]));
        check(&[b"shop"], Ok(&["shop"]));
        check(&[b"b | a|b"], Ok(&["b", "a"]));
        check(&[b"a-b_c.d!'(e)*0"], Ok(&["a-b_c.d!'(e)*0"]));
        check(&["x".repeat(150).as_bytes()], Ok(&["x".repeat(150).as_str()]));
        check(&["x".repeat(151).as_bytes()], Err("is no tenant"));
        check(&[b"a", b"a"], Err("sent twice"));
        for wrong in ["..", ".", "*", "a/b", "../a", "a,b", "a||b", "a|", "|", "a b", "a\tb", "a\\b", "a%2f", "ä", "a:b"] {
            check(&[wrong.as_bytes()], Err("is no tenant"));
        }
        check(&[b"\xff"], Err("is no tenant"));
        let many = |count: usize| (0..count).map(|i| format!("t{i}")).collect::<Vec<_>>().join("|");
        check(&[many(33).as_bytes()], Err("more than 32"));
        let mut headers = HeaderMap::new();
        headers.insert(TENANT_HEADER, HeaderValue::from_str(&many(32)).unwrap());
        assert_eq!(asked_tenants(&headers).unwrap().len(), 32);
    }
}
