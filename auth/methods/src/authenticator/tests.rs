//! Several methods at once.

use std::time::Duration;

use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_access::Method;

use super::*;
use crate::certificates::tests::peer;

struct Fixture {
    authenticator: Authenticator,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(methods: &[MethodName]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tokens_file, basic_file) = (folder.path().join("tokens.csv"), folder.path().join("htpasswd"));
        std::fs::write(&tokens_file, "t-alice,alice,u1\n").unwrap();
        let hash = bcrypt::hash_with_salt("b-pw", 4, *b"0123456789abcdef").unwrap();
        std::fs::write(&basic_file, format!("bob:{}\n", hash.format_for_version(bcrypt::Version::TwoY))).unwrap();
        let mut config = AuthConfig { methods: methods.to_vec(), tokens_file, basic_file, ..AuthConfig::default() };
        config.proxy.peers = vec!["127.0.0.1".into()];
        // A port that was just given back: nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (config.keystone.url, config.keystone.user) = (format!("http://{free}"), "weir".into());
        config.keystone.password_file = config.basic_file.clone();
        Self { authenticator: Authenticator::start(&config).unwrap(), folder }
    }

    /// The principal's name and method, or the status; `None` without credentials.
    async fn outcome(&self, headers: &[(&str, &str)], peer: &Peer) -> Result<Option<(String, Method)>, u16> {
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        let (head, ()) = request.body(()).unwrap().into_parts();
        let outcome = self.authenticator.authenticate(&head, peer).await.map_err(|denied| denied.status().as_u16())?;
        Ok(outcome.map(|principal| (principal.name.clone(), principal.method)))
    }
}

fn known(name: &str, method: Method) -> Result<Option<(String, Method)>, u16> {
    Ok(Some((name.to_owned(), method)))
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn without_methods_everybody_is_anonymous() {
    let fixture = Fixture::new(&[]);
    let from = peer(&["web"], None, vec![]);
    for headers in [&[][..], &[("authorization", "Bearer anything")], &[("x-forwarded-user", "root")]] {
        assert_eq!(fixture.outcome(headers, &from).await, known("anonymous", Method::Anonymous));
    }
}

#[tokio::test]
async fn the_first_method_that_knows_the_credential_decides() {
    let fixture = Fixture::new(&[MethodName::Tokens, MethodName::Basic, MethodName::Certificates]);
    let (named, unnamed) = (peer(&["web"], None, vec![]), Peer { certificates: [].into(), ..peer(&[], None, vec![]) });
    let right = basic("bob:b-pw");
    assert_eq!(fixture.outcome(&[("authorization", "Bearer t-alice")], &named).await, known("alice", Method::Token));
    assert_eq!(fixture.outcome(&[("authorization", &right)], &named).await, known("bob", Method::Basic));
    assert_eq!(fixture.outcome(&[], &named).await, known("web", Method::Certificate));
    assert_eq!(fixture.outcome(&[("authorization", "Bearer other")], &named).await, known("web", Method::Certificate));
    assert_eq!(fixture.outcome(&[], &unnamed).await, Ok(None));
    // A password that is wrong decides: no other method is asked.
    for wrong in ["bob:x", "nobody:b-pw"] {
        assert_eq!(fixture.outcome(&[("authorization", &basic(wrong))], &named).await, Err(401));
    }
    for wrong in ["Bearer other", "Negotiate x"] {
        assert_eq!(fixture.outcome(&[("authorization", wrong)], &unnamed).await, Err(401), "{wrong}");
    }
    let twice = [("authorization", "Bearer t-alice"), ("authorization", "Bearer t-alice")];
    assert_eq!(fixture.outcome(&twice, &named).await, Err(400));
    let metrics = &fixture.authenticator.metrics;
    let counts = [("tokens", "ok", 1), ("basic", "ok", 1), ("basic", "wrong", 2), ("certificates", "ok", 2)];
    for (method, result, count) in counts.into_iter().chain([("none", "absent", 1), ("none", "wrong", 3)]) {
        assert_eq!(metrics.requested(method, result), count, "{method} {result}");
    }
}

#[tokio::test]
async fn one_text_says_nothing_of_which_users_there_are() {
    let fixture = Fixture::new(&[MethodName::Tokens, MethodName::Basic]);
    let from = peer(&[], None, vec![]);
    let mut texts = Vec::new();
    for wrong in ["Bearer other".to_owned(), basic("bob:x"), basic("nobody:x")] {
        let (head, ()) = Request::get("/").header("authorization", wrong).body(()).unwrap().into_parts();
        texts.push(fixture.authenticator.authenticate(&head, &from).await.unwrap_err());
    }
    assert_eq!(texts, vec![Denied::Unauthenticated(WRONG.into()); 3]);
}

#[tokio::test]
async fn a_proxys_headers_count_only_where_they_are_configured() {
    let from = Peer { certificates: [].into(), ..peer(&[], None, vec![]) };
    let headers = [("x-forwarded-user", "root")];
    assert_eq!(Fixture::new(&[MethodName::Tokens]).outcome(&headers, &from).await, Ok(None));
    let fixture = Fixture::new(&[MethodName::Tokens, MethodName::Proxy]);
    assert_eq!(fixture.outcome(&headers, &from).await, known("root", Method::Proxy));
    let stranger = Peer { address: ([192, 0, 2, 1], 1).into(), ..from };
    assert_eq!(fixture.outcome(&headers, &stranger).await, Ok(None));
}

/// Of files, which are asked at each request; not of issuers, which are not.
#[tokio::test]
async fn a_session_ends_when_its_user_is_removed_or_the_password_is_another() {
    let fixture = Fixture::new(&[MethodName::Tokens, MethodName::Basic]);
    let from = Peer { certificates: [].into(), ..peer(&[], None, vec![]) };
    let principal =
        |name: &str, uid: &str, method| Principal { name: name.into(), uid: uid.into(), method, ..Principal::anonymous() };
    let password = fixture.authenticator.password_of("bob").await;
    assert!(password.is_some() && fixture.authenticator.password_of("alice").await.is_none());
    let session = |principal: &Principal| {
        let password = password.clone().filter(|_| principal.method == Method::Basic);
        let set = fixture.authenticator.sessions.begin_for(Duration::MAX, principal, password, unix_seconds()).unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    let (alice, bob) = (principal("alice", "u1", Method::Token), principal("bob", "", Method::Basic));
    let (of_alice, of_bob) = (session(&alice), session(&bob));
    let moved = session(&Principal { groups: vec!["admins".into()], ..alice });
    let shown = async |cookie: &str| fixture.outcome(&[("cookie", cookie)], &from).await;
    assert_eq!(shown(&of_alice).await, known("alice", Method::Token));
    assert_eq!(shown(&of_bob).await, known("bob", Method::Basic));
    assert_eq!(shown(&moved).await, Ok(None), "the file says other groups");
    let hash = bcrypt::hash_with_salt("b-pw", 4, *b"another salt 123").unwrap();
    let bobs = format!("bob:{}\n", hash.format_for_version(bcrypt::Version::TwoY));
    for (name, text) in [("tokens.csv", ""), ("htpasswd", &bobs)] {
        std::fs::write(fixture.folder.path().join(name), text).unwrap();
    }
    let begun = std::time::Instant::now();
    while (shown(&of_alice).await, shown(&of_bob).await) != (Ok(None), Ok(None)) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the files are not read again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_is_silent_matters_where_no_other_method_knows() {
    let from = Peer { certificates: [].into(), ..peer(&[], None, vec![]) };
    let fixture = Fixture::new(&[MethodName::Keystone, MethodName::Tokens]);
    assert_eq!(fixture.outcome(&[("authorization", "Bearer t-alice")], &from).await, known("alice", Method::Token));
    assert_eq!(fixture.outcome(&[("authorization", "Bearer other")], &from).await, Err(503));
    assert_eq!(fixture.outcome(&[], &from).await, Ok(None));
}

#[test]
fn what_cannot_be_opened_is_named_by_its_key() {
    let error = |change: fn(&mut AuthConfig)| {
        let mut config = AuthConfig::default();
        change(&mut config);
        Authenticator::start(&config).unwrap_err()
    };
    let absent = error(|config| {
        (config.methods, config.tokens_file) = (vec![MethodName::Tokens], "/nowhere/tokens.csv".into());
    });
    assert!(absent.contains("auth.tokens_file") && absent.contains("/nowhere/tokens.csv"), "{absent}");
    let empty = error(|config| config.methods = vec![MethodName::Basic]);
    assert!(empty.contains("auth.basic_file is empty"), "{empty}");
}
