//! `certificates`: the client certificate that the listener's CA has verified. Its name is the user's, its organisations (O) are
//! the groups.

use std::sync::Arc;

use weir_access::{Method, Peer, Principal};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::config::CertificateName;
use super::verdict::Verdict;

/// A certificate without the name that is asked for is nobody's.
pub(crate) fn judge(peer: &Peer, name: CertificateName) -> Verdict {
    let Some(certificate) = peer.certificates.first() else { return Verdict::Pass };
    principal(certificate, name).map_or(Verdict::Wrong, |principal| Verdict::Known(Arc::new(principal)))
}

fn principal(der: &[u8], name: CertificateName) -> Option<Principal> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = match name {
        CertificateName::Cn => common_name(&certificate)?,
        CertificateName::San => alternative_name(&certificate)?,
    };
    let groups = certificate.subject().iter_organization().filter_map(|group| group.as_str().ok());
    let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
    Some(Principal { name, uid: String::new(), groups, tenants: None, method: Method::Certificate })
}

/// Of the peer, for what is allowed to certificates by their common name.
pub(crate) fn peer_name(peer: &Peer) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(peer.certificates.first()?).ok()?;
    common_name(&certificate)
}

/// The only one.
fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    name.as_str().ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn alternative_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let first = |pick: fn(&GeneralName<'_>) -> Option<String>| names.iter().find_map(pick);
    first(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None })
        .or_else(|| first(|name| if let GeneralName::RFC822Name(email) = name { Some((*email).to_owned()) } else { None }))
        .or_else(|| first(|name| if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None }))
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// A peer with such a certificate.
    pub(crate) fn peer(common_names: &[&str], organisation: Option<&str>, alternatives: Vec<SanType>) -> Peer {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        if let Some(organisation) = organisation {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.subject_alt_names = alternatives;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Peer { address: ([127, 0, 0, 1], 1).into(), certificates: vec![certificate.der().to_vec()].into(), is_tls: true }
    }

    fn name(peer: &Peer, name: CertificateName) -> Option<String> {
        match judge(peer, name) {
            Verdict::Known(principal) => Some(principal.name.clone()),
            Verdict::Wrong => None,
            Verdict::Pass => panic!("there is a certificate"),
        }
    }

    #[test]
    fn names_and_groups_come_from_the_subject_or_its_alternatives() {
        let dns = SanType::DnsName("pod.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://example/ns/shop".try_into().unwrap());
        let email = SanType::Rfc822Name("alice@example".try_into().unwrap());
        let alice = peer(&["alice"], Some("weir:cluster"), vec![dns.clone(), email.clone(), uri]);
        let Verdict::Known(principal) = judge(&alice, CertificateName::Cn) else { panic!("alice is not known") };
        assert_eq!((principal.name.as_str(), &principal.groups[..]), ("alice", &["weir:cluster".to_owned()][..]));
        assert_eq!(principal.method, Method::Certificate);
        assert_eq!(name(&alice, CertificateName::San).as_deref(), Some("spiffe://example/ns/shop"));
        assert_eq!(name(&peer(&[], None, vec![dns.clone(), email]), CertificateName::San).as_deref(), Some("alice@example"));
        assert_eq!(name(&peer(&[], None, vec![dns.clone()]), CertificateName::San).as_deref(), Some("pod.example"));
        // Neither name stands for the other.
        assert_eq!(name(&peer(&[], None, vec![dns]), CertificateName::Cn), None);
        assert_eq!(name(&peer(&["alice"], None, vec![]), CertificateName::San), None);
    }

    #[test]
    fn no_certificate_and_none_that_can_be_read() {
        let mut nobody = peer(&["alice"], None, vec![]);
        nobody.certificates = vec![b"not DER".to_vec()].into();
        assert_eq!(name(&nobody, CertificateName::Cn), None);
        nobody.certificates = vec![].into();
        assert_eq!(judge(&nobody, CertificateName::Cn), Verdict::Pass);
    }
}
