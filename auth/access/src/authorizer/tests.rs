//! Who gets what: tables of policies, principals and needs, and that nobody gets a tenant that was not given.

use proptest::prelude::*;

use super::super::policies::Policies;
use super::super::{CLUSTER_GROUP, Explanation, Method};
use super::*;

const LOGS: Needs = Needs::Tenant(Verb::Read, Telemetry::Logs);
const METRICS: Needs = Needs::Tenant(Verb::Read, Telemetry::Metrics);
const PUSH: Needs = Needs::Tenant(Verb::Push, Telemetry::Logs);
const TAIL: Needs = Needs::Tenant(Verb::Tail, Telemetry::Logs);
const RULES: Needs = Needs::Tenant(Verb::Rules, Telemetry::Metrics);

fn principal(name: &str, groups: &[&str], tenants: Option<&[&str]>) -> Principal {
    Principal {
        name: name.into(),
        uid: String::new(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        tenants: tenants.map(|tenants| tenants.iter().map(|tenant| (*tenant).into()).collect()),
        method: Method::Token,
    }
}

fn names(asked: &[&str]) -> Vec<Arc<str>> {
    asked.iter().map(|name| (*name).into()).collect()
}

/// `tenant: what is visible` joined by `; `, or `status: text`.
fn said(decision: Result<Scope, Denied>) -> String {
    match decision {
        Ok(scope) => Explanation::visible(&scope).join("; "),
        Err(denied) => format!("{}: {denied}", denied.status().as_u16()),
    }
}

/// Of every policy below, what is granted is what `expected` says, or an error that begins so.
#[test]
fn policies_grant_what_they_name() {
    let policies = r#"
        {"user": "reader", "tenant": "shop", "verb": "read", "signal": "logs", "matcher": "{namespace=\"web\"}"}
        {"user": "reader", "tenant": "shop", "verb": "read", "signal": "logs", "matcher": "{namespace=\"db\",level!=\"debug\"}"}
        {"user": "reader", "tenant": "shop", "verb": "tail", "signal": "logs"}
        {"group": "shop-dev", "tenant": "shop", "verb": "read"}
        {"group": "shop-dev", "tenant": "bank", "verb": "read", "signal": "logs", "matcher": "{team=\"dev\"}"}
        {"user": "agent", "tenant": "shop", "verb": "push"}
        {"user": "agents", "verb": "push"}
        {"user": "sre", "group": "oncall", "verb": "*"}
        {"user": "part", "matcher": "{namespace=\"web\"}"}
        {"user": "prometheus", "verb": "read", "tenant": "*", "signal": ""}
        {"user": "ruler", "tenant": "shop", "verb": "rules"}
    "#;
    let policies = Policies::parse("p", policies).unwrap();
    let own: Arc<str> = "default".into();
    let check = |who: &Principal, asked: &[&str], needs: Needs, expected: &str| {
        let said = said(policies.decide(who, &names(asked), &own, needs));
        let fits = if expected.starts_with('4') { said.starts_with(expected) } else { said == expected };
        assert!(fits, "{} {asked:?} {needs:?}: {said:?}, expected {expected:?}", who.name);
    };
    let reader = principal("reader", &[], None);
    let two = r#"shop: {namespace="web"} or {namespace="db", level!="debug"}"#;
    check(&reader, &[], LOGS, two);
    check(&reader, &["shop"], LOGS, two);
    check(&reader, &["bank"], LOGS, r#"403: "reader" may not read logs of tenant "bank""#);
    check(&reader, &["shop", "bank"], LOGS, r#"403: "reader" may not read logs of tenant "bank""#);
    check(&reader, &["shop"], METRICS, r#"403: "reader" may not read metrics"#);
    check(&reader, &["shop"], TAIL, "shop: all");
    check(&reader, &["shop"], PUSH, "403: ");
    check(&reader, &[], Needs::AnyOf(Verb::Read), two);
    check(&reader, &[], Needs::AnyOf(Verb::Push), "403: ");
    check(&reader, &[], Needs::Whole(Verb::Read), "403: ");

    let dev = principal("dev", &["x", "shop-dev", "shop-dev"], None);
    check(&dev, &[], LOGS, "400: name a tenant by X-Scope-OrgID; \"dev\" may read logs of bank, shop");
    check(&dev, &["shop", "bank"], LOGS, r#"bank: {team="dev"}; shop: all"#);
    check(&dev, &[], METRICS, "shop: all");
    check(&dev, &["shop", "bank"], METRICS, r#"403: "dev" may not read metrics of tenant "bank""#);
    // What one policy shows in full, the matcher of another does not restrict.
    check(&principal("reader", &["shop-dev"], None), &["shop"], LOGS, "shop: all");

    let agent = principal("agent", &[], None);
    check(&agent, &[], PUSH, "shop: all");
    check(&agent, &["shop", "bank"], PUSH, "400: to push logs, name one tenant");
    check(&agent, &["shop"], LOGS, "403: ");
    let agents = principal("agents", &[], None);
    check(&agents, &[], PUSH, "default: all");
    check(&agents, &["bank"], PUSH, "bank: all");
    check(&agents, &["weir-audit"], PUSH, "403: tenant \"weir-audit\" is weir's own");

    let sre = principal("sre", &["oncall"], None);
    check(&sre, &["a", "b"], LOGS, "a: all; b: all");
    check(&sre, &["weir-audit"], LOGS, "weir-audit: all");
    check(&sre, &[], Needs::Whole(Verb::Admin), "default: all");
    check(&sre, &["a", "b"], Needs::Whole(Verb::Admin), "400: ");
    check(&principal("sre", &[], None), &[], LOGS, "403: ");
    check(&principal("x", &["oncall"], None), &[], LOGS, "403: ");

    // A matcher without a verb is for what is read.
    let part = principal("part", &[], None);
    check(&part, &["a"], LOGS, r#"a: {namespace="web"}"#);
    check(&part, &["a"], RULES, r#"a: {namespace="web"}"#);
    check(&part, &["a"], PUSH, "403: ");
    check(&part, &[], Needs::Whole(Verb::Read), "403: ");
    check(&part, &[], Needs::Whole(Verb::Admin), "403: ");

    check(&principal("prometheus", &[], None), &[], Needs::Whole(Verb::Read), "default: all");
    check(&principal("prometheus", &[], None), &[], Needs::Whole(Verb::Admin), "403: ");
    check(&principal("ruler", &[], None), &[], RULES, "shop: all");
    check(&principal("ruler", &[], None), &[], Needs::Whole(Verb::Rules), "403: ");
    check(&principal("nobody", &[], None), &["shop"], LOGS, "403: \"nobody\" may not read logs");
    check(&principal("nobody", &[], None), &[], Needs::Caller, "default: ");
    check(&sre, &[], Needs::Cluster, "403: ");

    // Credentials that name tenants bind, whatever policies say.
    check(&principal("sre", &["oncall"], Some(&["a"])), &[], LOGS, "a: all");
    check(&principal("sre", &["oncall"], Some(&["a"])), &["b"], LOGS, "403: ");
    check(&principal("sre", &["oncall"], Some(&["a"])), &[], Needs::Whole(Verb::Admin), "403: ");
    check(&principal("sre", &["oncall"], Some(&["a", "b"])), &[], LOGS, "400: ");
    check(&principal("sre", &["oncall"], Some(&["../a"])), &[], LOGS, "403: ");
    // A project or namespace of that name is not weir's audit log.
    check(&principal("sre", &["oncall"], Some(&["weir-audit"])), &[], LOGS, "403: ");
    check(&principal("sre", &["oncall"], Some(&["weir-audit", "a"])), &["weir-audit"], LOGS, "403: ");
    check(&principal("sre", &["oncall"], Some(&["weir-audit", "a"])), &[], LOGS, "a: all");
    check(&principal("sre", &["oncall"], Some(&[])), &[], LOGS, "403: ");
    check(&principal("dev", &["shop-dev"], Some(&["bank", "other"])), &[], LOGS, r#"bank: {team="dev"}"#);

    let tenants = |who: &Principal| policies.tenants(who);
    assert_eq!(tenants(&dev), Tenants::Only(names(&["bank", "shop"]).into_iter().collect()));
    assert_eq!(tenants(&sre), Tenants::Any);
    assert_eq!(tenants(&principal("nobody", &[], None)), Tenants::Only(Default::default()));
}

#[tokio::test]
async fn modes_that_need_no_policies() {
    let start = |mode| {
        let config = AuthorizationConfig { mode, ..AuthorizationConfig::default() };
        Authorizer::start(&config, "default", |_| panic!("no webhook is asked")).unwrap()
    };
    let check = async |authorizer: &Authorizer, who: &Principal, asked: &[&str], needs: Needs, expected: &str| {
        let said = said(authorizer.decide(who, &names(asked), needs).await);
        let fits = if expected.starts_with('4') { said.starts_with(expected) } else { said == expected };
        assert!(fits, "{} {asked:?} {needs:?}: {said:?}, expected {expected:?}", who.name);
    };
    let (allow, deny) = (start(Mode::Allow), start(Mode::Deny));
    let (anybody, bound) = (principal("a", &[], None), principal("b", &[], Some(&["shop"])));
    check(&allow, &Principal::anonymous(), &[], LOGS, "default: all").await;
    check(&allow, &anybody, &["x", "y"], LOGS, "x: all; y: all").await;
    check(&allow, &anybody, &["x", "y"], PUSH, "400: ").await;
    check(&allow, &anybody, &["weir-audit"], PUSH, "403: ").await;
    check(&allow, &anybody, &[], Needs::Whole(Verb::Admin), "default: all").await;
    check(&allow, &bound, &[], LOGS, "shop: all").await;
    check(&allow, &bound, &["x"], LOGS, "403: ").await;
    check(&allow, &bound, &[], Needs::Whole(Verb::Read), "403: ").await;
    check(&deny, &anybody, &[], LOGS, "403: ").await;
    check(&deny, &anybody, &[], Needs::Whole(Verb::Admin), "403: ").await;
    // Shown by the deny list of an empty scope: whoever is known is told so, and sees nothing.
    check(&deny, &anybody, &[], Needs::Caller, "default: ").await;

    let with_method = |method| Principal { method, ..principal("weir-query", &[CLUSTER_GROUP], None) };
    for authorizer in [&allow, &deny] {
        check(authorizer, &with_method(Method::Certificate), &[], Needs::Cluster, "default: ").await;
        check(authorizer, &with_method(Method::Certificate), &[], Needs::Whole(Verb::Admin), "default: all").await;
        // An issuer of tokens does not say who belongs to the cluster.
        check(authorizer, &with_method(Method::Oidc), &[], Needs::Cluster, "403: ").await;
        check(authorizer, &Principal::anonymous(), &[], Needs::Cluster, "default: ").await;
        for needs in [LOGS, PUSH, TAIL, RULES, Needs::AnyOf(Verb::Read), Needs::Whole(Verb::Read)] {
            check(authorizer, &with_method(Method::Certificate), &[], needs, "403: ").await;
        }
    }
    check(&allow, &with_method(Method::Oidc), &[], LOGS, "default: all").await;
    check(&deny, &with_method(Method::Oidc), &[], Needs::Whole(Verb::Admin), "403: ").await;
}

#[tokio::test]
async fn refusals_are_counted_by_what_was_needed() {
    let authorizer =
        Authorizer::start(&AuthorizationConfig { mode: Mode::Deny, ..Default::default() }, "own", |_| panic!()).unwrap();
    let who = principal("a", &[], None);
    authorizer.grant(Ok(&who), &[], LOGS).await.unwrap_err();
    let absent = Denied::Unauthenticated("no credentials".into());
    authorizer.grant(Err(&absent), &[], Needs::Whole(Verb::Admin)).await.unwrap_err();
    authorizer.grant(Ok(&who), &[], Needs::Caller).await.unwrap();
    let mut registry = Registry::default();
    authorizer.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"weir_auth_denied_total{reason="forbidden",verb="read",signal="logs"} 1"#,
        r#"weir_auth_denied_total{reason="unauthenticated",verb="admin",signal="all"} 1"#,
        r#"weir_auth_decisions_total{result="allowed"} 1"#,
        r#"weir_auth_decisions_total{result="denied"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn a_policies_file_is_needed_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    let config = AuthorizationConfig { mode: Mode::Abac, policies_file: path.clone(), ..Default::default() };
    let start = || Authorizer::start(&config, "own", |_| panic!());
    assert!(start().unwrap_err().starts_with("policies_file: "));
    std::fs::write(&path, "{}\nx").unwrap();
    assert!(start().unwrap_err().contains("p.jsonl:2: "));
    std::fs::write(&path, "{\"user\": \"a\", \"tenant\": \"t\"}").unwrap();
    let authorizer = start().unwrap();
    assert_eq!(said(authorizer.decide(&principal("a", &[], None), &[], LOGS).await), "t: all");
    assert_eq!(authorizer.tenants(&principal("a", &[], None)), Tenants::Only(names(&["t"]).into_iter().collect()));
}

#[test]
fn explanations_name_policies_by_line() {
    let text = "{\"user\": \"a\", \"tenant\": \"t\", \"verb\": \"read\", \"matcher\": \"{n=\\\"1\\\"}\"}\n\
                {\"user\": \"b\"}\n{\"tenant\": \"t\", \"verb\": \"push\"}\n{\"user\": \"a\", \"tenant\": \"u\", \"signal\": \"traces\"}\n";
    let policies = Policies::parse("p", text).unwrap();
    let check = |asked: &[&str], needs: Needs, expected: &[&str]| {
        let explained = policies.explain(&principal("a", &[], None), &names(asked), &"own".into(), needs);
        assert_eq!(explained.because, expected, "{needs:?}");
    };
    let one = r#"p:1: user a, tenant t, verb read, matcher {n="1"}"#;
    check(&["t"], LOGS, &[one]);
    check(
        &["t"],
        TAIL,
        &[
            &format!("{one}: not for this verb"),
            "p:3: tenant t, verb push: not for this verb",
            "p:4: user a, tenant u, signal traces: not for this signal",
        ],
    );
    check(&["u"], Needs::Tenant(Verb::Read, Telemetry::Traces), &["p:4: user a, tenant u, signal traces"]);
    check(&["t"], PUSH, &["p:3: tenant t, verb push"]);
    // Whoever has to choose is shown all that there is.
    let trace = Needs::Tenant(Verb::Read, Telemetry::Traces);
    check(&[], trace, &[one, "p:4: user a, tenant u, signal traces"]);
    check(
        &[],
        Needs::Whole(Verb::Read),
        &[
            &format!("{one}: restricted, and this concerns all tenants and all signals"),
            "p:3: tenant t, verb push: not for this verb",
            "p:4: user a, tenant u, signal traces: restricted, and this concerns all tenants and all signals",
        ],
    );
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn any_needs() -> impl Strategy<Value = Needs> {
    let (verbs, telemetry): (&'static [Verb], &'static [Telemetry]) = (&Verb::ALL, &Telemetry::ALL);
    (prop::sample::select(verbs), prop::sample::select(telemetry), 0..4_u8).prop_map(|(verb, telemetry, kind)| match kind {
        0 | 1 => Needs::Tenant(verb, telemetry),
        2 => Needs::AnyOf(verb),
        _ => Needs::Whole(verb),
    })
}

fn any_line() -> impl Strategy<Value = [&'static str; 6]> {
    (
        word(&["", "*", "a", "b"]),
        word(&["", "", "*", "g", "h"]),
        word(&["", "*", "s", "t", "u"]),
        word(&["", "*", "read", "tail", "rules", "push", "admin"]),
        word(&["", "*", "logs", "metrics", "traces"]),
        word(&["", "", r#"{n="1"}"#, r#"{n="2"}"#]),
    )
        .prop_map(|(user, group, tenant, verb, signal, matcher)| [user, group, tenant, verb, signal, matcher])
}

/// Whether a line grants this, said once more in the plainest way.
fn grants(line: &[&str; 6], who: &Principal, verb: Verb, telemetry: Option<Telemetry>, tenant: Option<&str>) -> bool {
    let [user, group, of, of_verb, signal, matcher] = line;
    let is_open = |text: &str| text.is_empty() || text == "*";
    (is_open(user) || **user == *who.name)
        && (is_open(group) || who.groups.iter().any(|own| own == group))
        && (is_open(of) || tenant.is_some_and(|tenant| tenant == *of))
        && (is_open(of_verb) || *of_verb == verb.name())
        && (is_open(signal) || telemetry.is_some_and(|telemetry| *signal == telemetry.name()))
        && (matcher.is_empty() || tenant.is_some() && !matches!(verb, Verb::Push | Verb::Admin))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// A tenant is granted only if it was asked for or is the only one, credentials leave it, and a policy grants it; and no label
    /// set is visible that no policy shows.
    #[test]
    fn nobody_gets_a_tenant_that_was_not_given(
        lines in prop::collection::vec(any_line(), 0..6),
        user in word(&["a", "b", "c"]),
        groups in prop::collection::vec(word(&["g", "h"]), 0..2),
        tenants in prop::option::of(prop::collection::vec(word(&["s", "t", "u", "..", "own"]), 0..3)),
        asked in prop::collection::btree_set(word(&["s", "t", "u", "own", "x"]), 0..3),
        needs in any_needs(),
    ) {
        // Files with a matcher where it has no meaning are refused; the rest is what is decided by.
        let lines: Vec<_> = lines.into_iter().filter(|line| line[5].is_empty() || !["push", "admin"].contains(&line[3])).collect();
        let text: Vec<String> = lines.iter().map(|[user, group, tenant, verb, signal, matcher]| serde_json::json!({
            "user": user, "group": group, "tenant": tenant, "verb": verb, "signal": signal, "matcher": matcher,
        }).to_string()).collect();
        let policies = Policies::parse("p", &text.join("\n")).unwrap();
        let who = principal(user, &groups, tenants.as_deref());
        let asked: Vec<Arc<str>> = asked.into_iter().map(Into::into).collect();
        let Ok(scope) = policies.decide(&who, &asked, &"own".into(), needs) else { return Ok(()) };
        let verb = needs.verb().unwrap();
        prop_assert!(scope.tenants().len() == 1 || !matches!(verb, Verb::Push | Verb::Admin));
        for granted in scope.tenants() {
            let tenant = &*granted.tenant;
            prop_assert!(asked.is_empty() || asked.contains(&granted.tenant), "{tenant} was not asked for");
            prop_assert!(who.tenants.as_ref().is_none_or(|own| own.contains(&granted.tenant)), "{tenant} is not in the credentials");
            if let Needs::Whole(_) = needs {
                prop_assert!(lines.iter().any(|line| grants(line, &who, verb, None, None)), "no policy grants the whole");
                continue;
            }
            let telemetry: Vec<_> = needs.telemetry().iter().copied().map(Some).collect();
            let granting: Vec<_> = lines.iter().filter(|line| {
                telemetry.iter().any(|telemetry| grants(line, &who, verb, *telemetry, Some(tenant)))
            }).collect();
            prop_assert!(!granting.is_empty(), "no policy grants {tenant}");
            for n in ["1", "2", ""] {
                let labels = weir_model::label::Labels::from_pairs([("n", n)]);
                let expected = granting.iter().any(|line| line[5].is_empty() || line[5] == format!("{{n=\"{n}\"}}"));
                prop_assert_eq!(granted.visible.passes(&labels), expected, "n={} of {}", n, tenant);
            }
        }
    }
}
