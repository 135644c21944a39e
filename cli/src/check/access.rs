//! `weir check access`: whether somebody may, by which policies, and what of it they would see.

use std::sync::Arc;

use weir_access::{
    Authorizer, Denied, Explanation, Method, Mode, Needs, Principal, Telemetry, Verb, effective, is_tenant, selector_text,
};
use weir_model::label::Matcher;
use weir_model::pattern::PatternBudget;
use weir_model::scope::Scope;
use weir_model::selector;

use crate::args::AccessArguments;
use crate::config::Config;
use crate::{Failure, stdout};

/// Exit codes: 0 where one signal at least is allowed, 1 where none is, 2 for wrong input.
pub(super) fn check(arguments: &AccessArguments) -> Result<(), Failure> {
    let config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let selector = arguments.selector.as_deref().map(parse).transpose()?;
    let asked = tenants("--tenant", arguments.tenant.as_deref().into_iter().flat_map(|text| text.split('|')))?;
    let (mut allowed, mut unclear) = (false, None);
    for needs in needs(arguments)? {
        let Explanation { decision, because } = explain(&config, arguments, &asked, needs)?;
        let (is_allowed, lines) = said(needs, &decision, selector.as_deref());
        allowed |= is_allowed;
        lines.iter().try_for_each(|line| stdout::line(line))?;
        because.iter().try_for_each(|line| stdout::line(&format!("  {line}")))?;
        unclear = unclear.or(decision.err().filter(|denied| matches!(denied, Denied::Unclear(_))));
    }
    match (allowed, unclear) {
        (true, _) => Ok(()),
        (false, Some(unclear)) => Err(Failure::input(format!("{unclear} (--tenant)"))),
        (false, None) => Err(Failure::failed("denied")),
    }
}

/// Each need that is decided by itself.
fn needs(arguments: &AccessArguments) -> Result<Vec<Needs>, Failure> {
    let verb = arguments.verb;
    if matches!(verb, Verb::Push | Verb::Admin) && arguments.selector.is_some() {
        return Err(Failure::input(format!("a selector restricts what is read; it says nothing for --verb {}", verb.name())));
    }
    if verb == Verb::Admin {
        if arguments.tenant.is_some() || arguments.signal.is_some() {
            return Err(Failure::input("--verb admin concerns all tenants and signals: leave --tenant and --signal out"));
        }
        return Ok(vec![Needs::Whole(verb)]);
    }
    let signals = arguments.signal.map_or(Telemetry::ALL.to_vec(), |signal| vec![signal]);
    Ok(signals.into_iter().map(|signal| Needs::Tenant(verb, signal)).collect())
}

/// Without repetition.
fn tenants<'a>(option: &str, names: impl Iterator<Item = &'a str>) -> Result<Vec<Arc<str>>, Failure> {
    let mut asked: Vec<Arc<str>> = Vec::new();
    for name in names.map(str::trim) {
        if !is_tenant(name) {
            return Err(Failure::input(format!("{option}: {name:?} is no name of a tenant")));
        }
        if !asked.iter().any(|other| **other == *name) {
            asked.push(name.into());
        }
    }
    Ok(asked)
}

fn parse(text: &str) -> Result<Vec<Matcher>, Failure> {
    selector::parse(text, &mut PatternBudget::default()).map_err(|error| Failure::input(format!("the selector: {error}")))
}

fn explain(config: &Config, arguments: &AccessArguments, asked: &[Arc<str>], needs: Needs) -> Result<Explanation, Failure> {
    let groups = arguments.groups.clone();
    let (name, method) = (arguments.user.clone(), Method::Token);
    let bound = Some(tenants("--bound", arguments.bound.iter().map(String::as_str))?).filter(|bound| !bound.is_empty());
    let principal = Principal { name, uid: String::new(), groups, tenants: bound, method };
    let own = config.collector.tenant.as_str();
    let wrong = |error: String| Failure::input(format!("authorization.{error}"));
    let policies = config.authorization.read_policies().map_err(|error| wrong(format!("policies_file: {error}")))?;
    if let Some(policies) = policies {
        return Ok(policies.explain(&principal, asked, &own.into(), needs));
    }
    let decision = crate::runtime()?.block_on(async {
        let authorizer = Authorizer::start(&config.authorization, own, weir_methods::webhook).map_err(wrong)?;
        Ok(authorizer.decide(&principal, asked, needs).await)
    })?;
    let because = match config.authorization.mode {
        Mode::Webhook => format!("by the webhook {}", config.authorization.webhook.url),
        mode => format!("by authorization.mode = {:?}", format!("{mode:?}").to_lowercase()),
    };
    Ok(Explanation { decision, because: vec![because] })
}

/// Whether it is allowed, and lines for people.
fn said(needs: Needs, decision: &Result<Scope, Denied>, selector: Option<&[Matcher]>) -> (bool, Vec<String>) {
    let scope = match decision {
        Ok(scope) => scope,
        Err(denied) => return (false, vec![format!("denied: {denied}")]),
    };
    if let Needs::Whole(_) = needs {
        return (true, vec![format!("allowed: {needs}")]);
    }
    let names: Vec<&str> = scope.tenants().iter().map(|scope| &*scope.tenant).collect();
    let names = names.join(", ");
    let mut lines = vec![format!("allowed: {needs} of {names}")];
    let Some(selector) = selector else {
        lines.extend(Explanation::visible(scope).into_iter().map(|visible| format!("  visible of {visible}")));
        return (true, lines);
    };
    let mut is_visible = false;
    for scope in scope.tenants() {
        let left = effective(&scope.visible, selector);
        is_visible |= !left.is_empty();
        let texts: Vec<String> = left.iter().map(|list| selector_text(list)).collect();
        let text = if texts.is_empty() { "nothing".into() } else { texts.join(" or ") };
        lines.push(format!("  {} of {}: {text}", selector_text(selector), scope.tenant));
    }
    if !is_visible {
        lines[0] = format!("denied: {needs} of {names} is allowed, but nothing of {} is visible", selector_text(selector));
    }
    (is_visible, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, CheckTarget, Command};

    fn run(folder: &std::path::Path, words: &[&str]) -> Result<(), Failure> {
        let config = folder.join("weir.toml");
        let all = ["weir", "check", "access", "--config", config.to_str().unwrap()];
        let Command::Check(CheckTarget::Access(arguments)) = Arguments::read(all.iter().chain(words)).unwrap().command else {
            panic!("{words:?}")
        };
        check(&arguments)
    }

    #[test]
    fn it_exits_as_the_decision_says() {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies.jsonl");
        let text = r#"{"user": "reader", "tenant": "shop", "verb": "read", "matcher": "{namespace=\"web\"}"}
                      {"group": "dev", "tenant": "shop", "signal": "logs"}
                      {"group": "dev", "tenant": "bank", "signal": "logs"}
                      {"user": "root"}"#;
        std::fs::write(&policies, text).unwrap();
        let config = format!("[authorization]\nmode = \"abac\"\npolicies_file = {policies:?}\n");
        std::fs::write(folder.path().join("weir.toml"), config).unwrap();
        let check = |words: &[&str], code: u8, expected: &str| match run(folder.path(), words) {
            Ok(()) => assert_eq!(code, 0, "{words:?}"),
            Err(failure) => {
                assert_eq!(failure.code, code, "{words:?}: {}", failure.message);
                assert!(failure.message.contains(expected), "{words:?}: {}", failure.message);
            }
        };
        check(&["--as", "reader"], 0, "");
        check(&["--as", "reader", "{namespace=\"web\"}"], 0, "");
        check(&["--as", "reader", "{pod=~\"web-.*\"}"], 0, "");
        check(&["--as", "reader", "--verb", "read", "{namespace=\"x\"}"], 1, "denied");
        check(&["--as", "reader", "--tenant", "bank"], 1, "denied");
        check(&["--as", "reader", "--verb", "push"], 1, "denied");
        check(&["--as", "x", "--group", "a,dev", "--signal", "logs", "--tenant", "bank|shop"], 0, "");
        check(&["--as", "x", "--group", "dev", "--signal", "logs"], 2, "bank, shop");
        check(&["--as", "x", "--group", "dev", "--signal", "traces", "--tenant", "shop"], 1, "denied");
        check(&["--as", "root", "--verb", "admin"], 0, "");
        check(&["--as", "root", "--bound", "shop", "--verb", "admin"], 1, "denied");
        check(&["--as", "root", "--bound", "shop,bank", "--tenant", "shop"], 0, "");
        check(&["--as", "root", "--bound", "shop", "--tenant", "bank"], 1, "denied");
        check(&["--as", "x", "--group", "dev", "--bound", "bank", "--signal", "logs"], 0, "");
        check(&["--as", "root", "--bound", "a|b"], 2, "--bound: \"a|b\" is no name");
        check(&["--as", "reader", "--verb", "admin"], 1, "denied");
        check(&["--as", "root", "--verb", "admin", "--tenant", "shop"], 2, "--tenant");
        check(&["--as", "root", "--verb", "push", "{a=\"b\"}"], 2, "selector");
        check(&["--as", "root", "--tenant", "../x"], 2, "no name of a tenant");
        check(&["--as", "root", "{a=b}"], 2, "the selector: value of a");
        std::fs::write(&policies, "{\"usr\": \"a\"}").unwrap();
        check(&["--as", "root"], 2, "policies.jsonl:1: unknown field");
    }

    #[test]
    fn a_decision_is_said_in_words() {
        let own: Arc<str> = "own".into();
        let policies = r#"{"user": "a", "tenant": "t", "verb": "read", "matcher": "{n=\"1\"}"}"#;
        let policies = weir_access::Policies::parse("p", policies).unwrap();
        let who = |name: &str| Principal { name: name.into(), ..Principal::anonymous() };
        let needs = Needs::Tenant(Verb::Read, Telemetry::Logs);
        let check = |name: &str, selector: Option<&str>, expected: (bool, &[&str])| {
            let decision = policies.decide(&who(name), &[], &own, needs);
            let selector = selector.map(|text| parse(text).unwrap());
            let (is_allowed, lines) = said(needs, &decision, selector.as_deref());
            assert_eq!((is_allowed, lines.iter().map(String::as_str).collect::<Vec<_>>().as_slice()), expected);
        };
        check("a", None, (true, &["allowed: read logs of t", "  visible of t: {n=\"1\"}"]));
        check("a", Some("{m=\"2\"}"), (true, &["allowed: read logs of t", "  {m=\"2\"} of t: {m=\"2\", n=\"1\"}"]));
        let denied = "denied: read logs of t is allowed, but nothing of {n=\"2\"} is visible";
        check("a", Some("{n=\"2\"}"), (false, &[denied, "  {n=\"2\"} of t: nothing"]));
        check("b", None, (false, &["denied: \"b\" may not read logs"]));
    }
}
