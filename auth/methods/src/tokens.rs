//! `tokens`: Kubernetes' static token file, `token,user,uid,"group1,group2"`, sent as `Authorization: Bearer`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use weir_access::{Method, Principal};
use weir_watched::Watched;

use super::digest::{Digest, DigestKey};
use super::file;
use super::metrics::AuthMetrics;
use super::verdict::Verdict;

/// See above.
pub(crate) struct Tokens {
    key: DigestKey,
    file: Arc<Watched<HashMap<Digest, Arc<Principal>>>>,
}

impl Tokens {
    pub fn open(path: &Path, key: DigestKey, metrics: AuthMetrics) -> Result<Self, String> {
        let for_file = key.clone();
        let file = file::open("auth.tokens_file", path, move |text| parse(text, &for_file), metrics)?;
        Ok(Self { key, file })
    }

    /// Whether the file has a token of this principal with the same groups, for sessions.
    pub async fn has(&self, principal: &Principal) -> bool {
        self.file.get().await.values().any(|known| **known == *principal)
    }

    /// A bearer that is none of the file's may be another method's.
    pub async fn judge(&self, bearer: Option<&str>) -> Verdict {
        let Some(bearer) = bearer else { return Verdict::Pass };
        let digest = self.key.digest(&[bearer.as_bytes()]);
        self.file.get().await.get(&digest).map_or(Verdict::Pass, |principal| Verdict::Known(Arc::clone(principal)))
    }
}

/// Errors name the line, and nothing of what it says.
fn parse(text: &str, key: &DigestKey) -> Result<HashMap<Digest, Arc<Principal>>, String> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.has_headers(false).flexible(true).comment(Some(b'#')).trim(csv::Trim::All);
    let mut tokens = HashMap::new();
    for record in reader.from_reader(text.as_bytes()).records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            format!("line {line} is not CSV")
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(token), Some(name), Some(uid)) = (record.get(0), record.get(1), record.get(2)) else {
            return Err(format!("line {line} has not token,user,uid"));
        };
        if token.is_empty() || name.is_empty() {
            return Err(format!("line {line} has no token or no user"));
        }
        let groups = record.get(3).unwrap_or_default().split(',').map(str::trim).filter(|group| !group.is_empty());
        let groups = groups.map(str::to_owned).collect();
        let principal = Principal { name: name.into(), uid: uid.into(), groups, tenants: None, method: Method::Token };
        if tokens.insert(key.digest(&[token.as_bytes()]), Arc::new(principal)).is_some() {
            return Err(format!("line {line} has a token that stands further up"));
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_of_kubernetes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.csv");
        std::fs::write(&path, "# made by hand\nt-alice,alice,u1,\"dev,ops\"\n\nt-bob,bob,u2\nt-eve,eve,u3,\n").unwrap();
        let tokens = Tokens::open(&path, DigestKey::new(), AuthMetrics::default()).unwrap();
        let Verdict::Known(alice) = tokens.judge(Some("t-alice")).await else { panic!("alice is not known") };
        assert_eq!((alice.name.as_str(), alice.uid.as_str(), alice.method), ("alice", "u1", Method::Token));
        assert_eq!((&alice.groups[..], &alice.tenants), (&["dev".to_owned(), "ops".to_owned()][..], &None));
        let Verdict::Known(bob) = tokens.judge(Some("t-bob")).await else { panic!("bob is not known") };
        assert!(bob.groups.is_empty());
        for other in [Some("t-alic"), Some("t-alice,alice"), Some(""), None] {
            assert_eq!(tokens.judge(other).await, Verdict::Pass, "{other:?}");
        }
        std::fs::write(&path, "t-bob,bob,u2\n").unwrap();
        tokens.file.poll();
        tokens.file.poll();
        assert_eq!(tokens.judge(Some("t-alice")).await, Verdict::Pass);
        assert!(matches!(tokens.judge(Some("t-bob")).await, Verdict::Known(_)));
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_without_the_token() {
        let check = |text: &str, expected: &str| {
            let error = parse(text, &DigestKey::new()).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{text:?}: {error}");
        };
        check("a,a,1\nsecret,alice\n", "line 2 has not token,user,uid");
        check("a,a,1\n,secret,1\n", "line 2 has no token");
        check("secret,alice,1\nsecret,bob,2\n", "line 2 has a token that stands further up");
    }
}
