//! Policies: who may do what, a JSON object a line. What is in a file, and which of them a principal has.
//!
//! Every policy grants; what none grants is denied. Matchers of several policies are alternatives.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use weir_model::clip;
use weir_model::label::Matcher;
use weir_model::pattern::PatternBudget;
use weir_model::selector;
use weir_watched::ReadError;

use super::tenants::{TENANT_RULE, is_tenant};
use super::{Principal, Telemetry, Verb};

/// A policy is about 120 bytes: more than [`POLICIES_MAX`] of them.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;
/// Ten of each of a thousand teams.
const POLICIES_MAX: usize = 10_000;
/// Labels that are looked at for each stream and series, by all policies together and by one.
const MATCHERS_MAX: (usize, usize) = (1_000, 32);

/// Why a file of policies is refused: its name, the line where it is one, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct PolicyError {
    pub place: String,
    pub reason: String,
}

impl From<ReadError> for PolicyError {
    fn from(ReadError { path, reason }: ReadError) -> Self {
        Self { place: path.display().to_string(), reason }
    }
}

/// As it is written. `*` and nothing do not restrict.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    user: String,
    group: String,
    tenant: String,
    verb: String,
    signal: String,
    matcher: String,
}

/// One of them; `None` does not restrict.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub line: usize,
    user: Option<String>,
    group: Option<String>,
    pub tenant: Option<Arc<str>>,
    verb: Option<Verb>,
    pub telemetry: Option<Telemetry>,
    pub matchers: Vec<Matcher>,
}

/// A file of them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// The file, for explanations.
    pub(crate) name: String,
    /// By line.
    pub(crate) all: Vec<Policy>,
    by_user: HashMap<String, Vec<usize>>,
    /// Of policies that name a group and no user.
    by_group: HashMap<String, Vec<usize>>,
    of_everybody: Vec<usize>,
}

/// The first thing because of which a policy does not grant what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    Subject,
    Verb,
    Telemetry,
    /// Pushes and admin work have no labels to be matched.
    Matcher,
}

impl Policies {
    /// Reads a file, at most 4 MiB.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Self::parse(&path.display().to_string(), &weir_watched::read_text(path, FILE_BYTES_MAX)?)
    }

    /// Empty lines, and those that begin with `#`, say nothing. Errors name `name` and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let mut policies = Self { name: name.to_owned(), ..Self::default() };
        let (mut patterns, mut matchers) = (PatternBudget::default(), 0);
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            let wrong = |reason: String| PolicyError { place: format!("{name}:{line}"), reason };
            let policy = Policy::parse(line, text, &mut patterns).map_err(wrong)?;
            matchers += policy.matchers.len();
            if matchers > MATCHERS_MAX.0 {
                return Err(wrong(format!("the policies have more than {} matchers", MATCHERS_MAX.0)));
            }
            if policies.all.len() == POLICIES_MAX {
                return Err(wrong(format!("there are more than {POLICIES_MAX} policies")));
            }
            policies.add(policy);
        }
        Ok(policies)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn add(&mut self, policy: Policy) {
        let number = self.all.len();
        match (&policy.user, &policy.group) {
            (Some(user), _) => self.by_user.entry(user.clone()).or_default().push(number),
            (None, Some(group)) => self.by_group.entry(group.clone()).or_default().push(number),
            (None, None) => self.of_everybody.push(number),
        }
        self.all.push(policy);
    }

    /// What grants this principal the verb on the telemetry (`None`: on any), whatever the tenant; by line.
    pub(crate) fn granting(&self, principal: &Principal, verb: Verb, telemetry: Option<Telemetry>) -> Vec<&Policy> {
        let of_groups = principal.groups.iter().filter_map(|group| self.by_group.get(group));
        let numbers = of_groups.chain(self.by_user.get(&principal.name)).flatten().chain(&self.of_everybody);
        let policies = numbers.map(|number| &self.all[*number]);
        let mut granting: Vec<&Policy> = policies.filter(|policy| policy.misfit(principal, verb, telemetry).is_none()).collect();
        granting.sort_by_key(|policy| policy.line);
        granting.dedup_by_key(|policy| policy.line);
        granting
    }
}

impl Policy {
    fn parse(line: usize, text: &str, patterns: &mut PatternBudget) -> Result<Self, String> {
        // Of an array serde would make a policy as well: `[]` would be one that does not restrict.
        if !text.starts_with('{') {
            return Err("a policy is a JSON object, {\"user\": …}".into());
        }
        let written: Written = serde_json::from_str(text).map_err(|error| {
            let text = error.to_string();
            // The line that serde counts is the only one that it sees.
            text.split(" at line 1").next().unwrap_or(&text).to_owned()
        })?;
        let restricting = |text: String| (!text.is_empty() && text != "*").then_some(text);
        let tenant = restricting(written.tenant);
        if let Some(tenant) = tenant.as_deref().filter(|tenant| !is_tenant(tenant)) {
            return Err(format!("tenant {:?} cannot be: {TENANT_RULE}", clip(tenant)));
        }
        let verb = restricting(written.verb).map(|verb| named("verb", &verb, &Verb::ALL, Verb::name)).transpose()?;
        let telemetry = restricting(written.signal);
        let telemetry = telemetry.map(|signal| named("signal", &signal, &Telemetry::ALL, Telemetry::name)).transpose()?;
        let matchers = match restricting(written.matcher) {
            Some(matcher) => selector::parse(&matcher, patterns).map_err(|error| format!("matcher: {error}"))?,
            None => Vec::new(),
        };
        if matchers.len() > MATCHERS_MAX.1 {
            return Err(format!("matcher: has more than {} labels", MATCHERS_MAX.1));
        }
        if let Some(verb) = verb.filter(|verb| !matchers.is_empty() && !has_labels(*verb)) {
            return Err(format!("matcher: restricts what is read, and has no meaning for verb {:?}", verb.name()));
        }
        let (user, group) = (restricting(written.user), restricting(written.group));
        Ok(Self { line, user, group, tenant: tenant.map(Into::into), verb, telemetry, matchers })
    }

    /// `None` where it grants the verb on the telemetry (`None`: on any), whatever the tenant.
    pub fn misfit(&self, principal: &Principal, verb: Verb, telemetry: Option<Telemetry>) -> Option<Misfit> {
        let is_user = self.user.as_ref().is_none_or(|user| *user == principal.name);
        let is_group = self.group.as_ref().is_none_or(|group| principal.groups.contains(group));
        if !is_user || !is_group {
            return Some(Misfit::Subject);
        }
        if self.verb.is_some_and(|own| own != verb) {
            return Some(Misfit::Verb);
        }
        if self.telemetry.is_some_and(|own| telemetry.is_some_and(|telemetry| own != telemetry)) {
            return Some(Misfit::Telemetry);
        }
        (!self.matchers.is_empty() && !has_labels(verb)).then_some(Misfit::Matcher)
    }

    pub fn is_for(&self, tenant: &str) -> bool {
        self.tenant.as_ref().is_none_or(|own| **own == *tenant)
    }

    /// What it grants, for explanations.
    pub fn describe(&self) -> String {
        let part = |key: &str, value: Option<&str>| value.map(|value| format!("{key} {value}"));
        let matcher = (!self.matchers.is_empty()).then(|| format!("matcher {}", selector_text(&self.matchers)));
        let parts = [
            part("user", self.user.as_deref()),
            part("group", self.group.as_deref()),
            part("tenant", self.tenant.as_deref()),
            part("verb", self.verb.map(Verb::name)),
            part("signal", self.telemetry.map(Telemetry::name)),
            matcher,
        ];
        let said: Vec<String> = parts.into_iter().flatten().collect();
        if said.is_empty() { "everybody, everything".into() } else { said.join(", ") }
    }
}

/// What is read has labels; pushes and admin work have none yet.
fn has_labels(verb: Verb) -> bool {
    !matches!(verb, Verb::Push | Verb::Admin)
}

/// `{a="b", c=~"d"}`
pub fn selector_text(matchers: &[Matcher]) -> String {
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", texts.join(", "))
}

fn named<T: Copy>(key: &str, text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        format!("{key} {:?} is none of {}", clip(text), names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_or_refused_by_line() {
        let check = |text: &str, expected: Result<usize, &str>| match (Policies::parse("p.jsonl", text), expected) {
            (Ok(policies), Ok(count)) => assert_eq!(policies.len(), count, "{text}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("", Ok(0));
        check("# nobody\n\n{\"user\": \"a\"}\r\n{}\n", Ok(2));
        check(r#"{"user": "*", "group": "", "tenant": "*", "verb": "*", "signal": "*", "matcher": "*"}"#, Ok(1));
        check(r#"{"user": "reader", "tenant": "shop", "verb": "read", "signal": "logs", "matcher": "{a=\"b\"}"}"#, Ok(1));
        check("{}\n{\"usr\": \"a\"}", Err("p.jsonl:2: unknown field `usr`"));
        check("{\"user\": \"a\", \"user\": \"b\"}", Err("p.jsonl:1: duplicate field `user`"));
        check("{\"user\": 5}", Err("p.jsonl:1: invalid type"));
        check("{\"group\": null}", Err("p.jsonl:1: invalid type"));
        check("{}\n[]", Err("p.jsonl:2: a policy is a JSON object"));
        check("[\"a\"]", Err("p.jsonl:1: a policy is a JSON object"));
        check("null", Err("p.jsonl:1: a policy is a JSON object"));
        check("{} {}", Err("p.jsonl:1: trailing characters"));
        check("{", Err("p.jsonl:1: EOF"));
        check(r#"{"verb": "Read"}"#, Err("verb \"Read\" is none of push, read, tail, admin, rules"));
        check(r#"{"signal": "log"}"#, Err("signal \"log\" is none of logs, metrics, traces"));
        check(r#"{"tenant": "../a"}"#, Err("tenant \"../a\" cannot be"));
        check(r#"{"tenant": ".."}"#, Err("cannot be"));
        check(r#"{"matcher": "a=b"}"#, Err("p.jsonl:1: matcher: expected {name"));
        check(r#"{"matcher": "{a=~\"(\"}"}"#, Err("unclosed group"));
        check(r#"{"verb": "push", "matcher": "{a=\"b\"}"}"#, Err("has no meaning for verb \"push\""));
        check(r#"{"verb": "admin", "matcher": "{a=\"b\"}"}"#, Err("has no meaning for verb \"admin\""));
        check(r#"{"verb": "push", "matcher": "{}"}"#, Ok(1));
    }

    #[test]
    fn files_have_limits() {
        let refused = |text: &str| Policies::parse("p", text).unwrap_err().to_string();
        assert_eq!(refused(&"{}\n".repeat(10_001)), "p:10001: there are more than 10000 policies");
        let matcher = |count: usize| {
            let pairs: Vec<String> = (0..count).map(|i| format!("a{i}=\\\"b\\\"")).collect();
            format!("{{\"matcher\": \"{{{}}}\"}}\n", pairs.join(","))
        };
        assert_eq!(refused(&matcher(33)), "p:1: matcher: has more than 32 labels");
        assert_eq!(refused(&matcher(32).repeat(32)), "p:32: the policies have more than 1000 matchers");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        std::fs::write(&path, "#".repeat((4 << 20) + 1)).unwrap();
        assert!(Policies::read(&path).unwrap_err().to_string().ends_with("p: is larger than 4194304 bytes"));
        std::fs::write(&path, b"{\"user\": \"\xff\"}").unwrap();
        assert!(Policies::read(&path).unwrap_err().to_string().ends_with("p: is not UTF-8"));
        assert!(Policies::read(&folder.path().join("none")).is_err());
    }
}
