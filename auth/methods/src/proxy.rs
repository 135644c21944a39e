//! `proxy`: the user and groups that a proxy has known, in `X-Forwarded-User` and `X-Forwarded-Groups`, from named peers alone.
//! From all others, and where the method is not configured, these headers say nothing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use weir_access::{Denied, Method, Peer, Principal};

use super::certificates::peer_name;
use super::credentials::single;
use super::verdict::Verdict;

const USER: &str = "x-forwarded-user";
const GROUPS: &str = "x-forwarded-groups";

/// Peers whose headers are believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrustedPeers {
    networks: Vec<(IpAddr, u8)>,
    /// Common names of client certificates.
    names: Vec<String>,
}

impl TrustedPeers {
    /// Addresses, networks, and names. Errors have what is none of these.
    pub fn parse(peers: &[String]) -> Result<Self, String> {
        let mut trusted = Self::default();
        for peer in peers {
            if let Ok(address) = peer.parse::<IpAddr>() {
                trusted.networks.push((address, bits(address)));
            } else if let Some((address, prefix)) = peer.split_once('/') {
                let (address, prefix) = (address.parse::<IpAddr>(), prefix.parse::<u8>());
                match (address, prefix) {
                    (Ok(address), Ok(prefix)) if prefix <= bits(address) => trusted.networks.push((address, prefix)),
                    _ => return Err(format!("{peer:?} is not ADDRESS/BITS")),
                }
            } else if peer.is_empty() {
                return Err("an empty name".into());
            } else {
                trusted.names.push(peer.clone());
            }
        }
        Ok(trusted)
    }

    fn contains(&self, peer: &Peer) -> bool {
        let address = peer.address.ip().to_canonical();
        self.networks.iter().any(|(network, prefix)| shares(*network, address, *prefix))
            || (!self.names.is_empty() && peer_name(peer).is_some_and(|name| self.names.contains(&name)))
    }

    /// Errors where a header stands twice or is too long.
    pub fn judge(&self, headers: &HeaderMap, peer: &Peer) -> Result<Verdict, Denied> {
        if !headers.contains_key(USER) || !self.contains(peer) {
            return Ok(Verdict::Pass);
        }
        let Some(name) = single(headers, USER)? else { return Ok(Verdict::Pass) };
        let groups = single(headers, GROUPS)?.unwrap_or_default().split(',').map(str::trim);
        let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
        let principal = Principal { name: name.into(), uid: String::new(), groups, tenants: None, method: Method::Proxy };
        Ok(Verdict::Known(Arc::new(principal)))
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether the first `prefix` bits are the same.
fn shares(network: IpAddr, address: IpAddr, prefix: u8) -> bool {
    let differs = match (network, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differs.leading_zeros() >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::peer;

    fn trusted(peers: &[&str]) -> TrustedPeers {
        TrustedPeers::parse(&peers.iter().map(|peer| (*peer).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn only_named_peers_are_believed() {
        let check = |peers: &[&str], address: &str, expected: bool| {
            let mut from = peer(&["proxy"], None, vec![]);
            from.address = (address.parse::<IpAddr>().unwrap(), 1).into();
            let verdict = trusted(peers).judge(&headers(&[(USER, "alice")]), &from).unwrap();
            assert_eq!(matches!(verdict, Verdict::Known(_)), expected, "{peers:?} {address}");
        };
        check(&["192.0.2.7"], "192.0.2.7", true);
        check(&["192.0.2.7"], "192.0.2.8", false);
        check(&["192.0.2.7"], "::ffff:192.0.2.7", true);
        check(&["10.0.0.0/8"], "10.200.3.4", true);
        check(&["10.0.0.0/8"], "11.0.0.1", false);
        check(&["10.0.0.0/8"], "::1", false);
        check(&["0.0.0.0/0"], "203.0.113.9", true);
        check(&["2001:db8::/33"], "2001:db8:7fff::1", true);
        check(&["2001:db8::/33"], "2001:db8:8000::1", false);
        check(&["proxy"], "203.0.113.9", true);
        check(&["proxy.example"], "203.0.113.9", false);
        check(&[], "127.0.0.1", false);
        let wrong = |peer: &str| TrustedPeers::parse(&[peer.to_owned()]).unwrap_err();
        assert!(wrong("10.0.0.0/33").contains("10.0.0.0/33"));
        assert!(wrong("ten/8").contains("ten/8"));
    }

    #[test]
    fn its_headers_are_read_and_must_be_single() {
        let (trusted, from) = (trusted(&["127.0.0.1"]), peer(&[], None, vec![]));
        let both = headers(&[(USER, "alice"), (GROUPS, "dev, ops,,")]);
        let Ok(Verdict::Known(alice)) = trusted.judge(&both, &from) else { panic!("alice is not known") };
        assert_eq!((alice.name.as_str(), &alice.groups[..]), ("alice", &["dev".to_owned(), "ops".to_owned()][..]));
        assert_eq!(trusted.judge(&headers(&[(GROUPS, "ops")]), &from), Ok(Verdict::Pass));
        assert_eq!(trusted.judge(&headers(&[(USER, " ")]), &from), Ok(Verdict::Pass));
        let mut twice = headers(&[(USER, "alice")]);
        twice.append(USER, "root".parse().unwrap());
        assert_eq!(trusted.judge(&twice, &from).unwrap_err().status(), 400);
    }
}
