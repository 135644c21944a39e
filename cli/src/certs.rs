//! `weir certs`: a CA and certificates for a small cluster, as files of one directory, and its revocation list.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use weir_tls::{Authority, Subject};

use crate::args::{CertsAction, CertsArguments, Holder};
use crate::{Failure, stdout};

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const CRL: &str = "crl.pem";
/// The organization whose certificates may read heads. Query nodes alone ask for them.
const CLUSTER: &str = "weir:cluster";
const CLUSTER_ROLE: &str = "query";
const PUBLIC: u32 = 0o644;
const SECRET: u32 = 0o600;

pub(crate) fn certs(arguments: &CertsArguments) -> Result<(), Failure> {
    match (&arguments.action, &arguments.directory) {
        (Some(CertsAction::Revoke { directory, certificates }), None) => revoke(directory, certificates),
        (None, Some(directory)) => make(directory, arguments),
        _ => Err(Failure::input("weir certs revoke takes the directory after the word: weir certs revoke DIR FILE…")),
    }
}

fn make(directory: &Path, arguments: &CertsArguments) -> Result<(), Failure> {
    for host in &arguments.hosts {
        check_host(host)?;
    }
    let all = || Holder::ROLES.map(Holder::Role).into_iter().chain([Holder::Client("admin".into())]).collect();
    let holders: Vec<Holder> = if arguments.roles.is_empty() { all() } else { arguments.roles.clone() };
    let files = |holder: &Holder| {
        let name = match holder {
            Holder::Role(role) => (*role).to_owned(),
            Holder::Client(name) => format!("client-{name}"),
        };
        [directory.join(format!("{name}.pem")), directory.join(format!("{name}.key"))]
    };
    let there = holders.iter().flat_map(files).find(|file| file.exists());
    if let Some(file) = there.filter(|_| !arguments.force) {
        return Err(Failure::failed(format!("{} is there already: --force makes it anew, from the same CA", file.display())));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(directory, &error))?;
    let (authority, mut made) = authority(directory)?;
    for holder in &holders {
        let [cert_file, key_file] = files(holder);
        let issued = authority.issue(&subject(holder, &arguments.hosts), SystemTime::now(), arguments.days);
        let issued = issued.map_err(Failure::failed)?;
        put(&key_file, &issued.key, SECRET)?;
        put(&cert_file, &issued.certificate, PUBLIC)?;
        made.extend([cert_file, key_file]);
    }
    made.iter().try_for_each(|file| stdout::line(&file.display().to_string()))
}

fn subject(holder: &Holder, hosts: &[String]) -> Subject {
    match holder {
        Holder::Role(role) => {
            let organization = (*role == CLUSTER_ROLE).then(|| CLUSTER.to_owned());
            Subject { common_name: format!("weir-{role}"), organization, hosts: hosts.to_vec() }
        }
        Holder::Client(name) => Subject { common_name: name.clone(), organization: None, hosts: Vec::new() },
    }
}

/// The directory's CA, made where there is none, and the files that were made.
fn authority(directory: &Path) -> Result<(Authority, Vec<PathBuf>), Failure> {
    let [ca, key, crl] = [CA, CA_KEY, CRL].map(|name| directory.join(name));
    if ca.exists() || key.exists() {
        return Ok((open(directory)?, Vec::new()));
    }
    let (authority, secret) = Authority::create(SystemTime::now()).map_err(Failure::failed)?;
    let list = authority.revoke(None, &[], SystemTime::now()).map_err(Failure::failed)?;
    put(&key, &secret, SECRET)?;
    put(&ca, authority.certificate(), PUBLIC)?;
    put(&crl, &list, PUBLIC)?;
    Ok((authority, vec![ca, key, crl]))
}

fn open(directory: &Path) -> Result<Authority, Failure> {
    let (certificate, key) = (read(&directory.join(CA))?, read(&directory.join(CA_KEY))?);
    Authority::open(&certificate, &key).map_err(|error| Failure::failed(format!("{}: {error}", directory.display())))
}

fn revoke(directory: &Path, certificates: &[PathBuf]) -> Result<(), Failure> {
    let (authority, crl) = (open(directory)?, directory.join(CRL));
    let before = if crl.exists() { Some(read(&crl)?) } else { None };
    let texts = certificates.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let list = authority.revoke(before.as_deref(), &texts, SystemTime::now()).map_err(Failure::failed)?;
    put(&crl, &list, PUBLIC)?;
    stdout::line(&crl.display().to_string())
}

fn check_host(host: &str) -> Result<(), Failure> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if host.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.len() <= 253 && name.chars().all(fits)) {
        return Ok(());
    }
    Err(Failure::input(format!("--host: {host:?} is neither a host name nor an IP address; a port is no part of it")))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

/// Under another name first: who reads it meanwhile sees all of it, or what was there.
fn put(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::args::{Arguments, Command as Given};

    fn run(words: &[&str]) -> Result<(), Failure> {
        let Given::Certs(arguments) = Arguments::read(["weir", "certs"].iter().chain(words)).unwrap().command else { panic!() };
        certs(&arguments)
    }

    /// What openssl says, which takes it or not.
    fn openssl(words: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(words).output().expect("openssl runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    #[test]
    fn a_cluster_has_certificates_that_openssl_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("certs").join(name).display().to_string();
        let (directory, ca, crl) = (at(""), at("ca.pem"), at("crl.pem"));
        run(&[&directory, "--host", "weir.example,10.0.0.1", "--days", "30"]).unwrap();
        for name in ["collector", "aggregator", "query", "client-admin", "ca"] {
            let mode = fs::metadata(at(&format!("{name}.key"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let verify = |name: &str, purpose: &str| {
            let file = at(&format!("{name}.pem"));
            openssl(&["verify", "-x509_strict", "-CAfile", &ca, "-CRLfile", &crl, "-crl_check", "-purpose", purpose, &file])
        };
        assert_eq!(verify("query", "sslserver"), (true, format!("{}: OK\n", at("query.pem"))));
        assert!(verify("query", "sslclient").0 && verify("client-admin", "sslclient").0);
        assert!(!verify("client-admin", "sslserver").0, "a client is no server");
        let (_, text) = openssl(&["x509", "-in", &at("query.pem"), "-noout", "-text"]);
        assert!(text.contains("O = weir:cluster, CN = weir-query") || text.contains("O=weir:cluster, CN=weir-query"), "{text}");
        assert!(text.contains("DNS:weir.example, IP Address:10.0.0.1"), "{text}");
        for name in ["collector", "aggregator"] {
            let (_, text) = openssl(&["x509", "-in", &at(&format!("{name}.pem")), "-noout", "-text"]);
            assert!(text.contains(&format!("CN = weir-{name}")) || text.contains(&format!("CN=weir-{name}")), "{text}");
            assert!(!text.contains("weir:cluster"), "{text}");
        }

        let refused = run(&[&directory, "--role", "query"]).unwrap_err().message;
        assert!(refused.contains("query.pem") && refused.contains("--force"), "{refused}");
        let (own, other) = (fs::read(at("query.pem")).unwrap(), fs::read(at("collector.pem")).unwrap());
        run(&[&directory, "--role", "query", "--force"]).unwrap();
        assert!(fs::read(at("query.pem")).unwrap() != own && fs::read(at("collector.pem")).unwrap() == other);
        run(&[&directory, "--role", "client:grafana"]).unwrap();
        assert!(verify("query", "sslserver").0 && verify("client-grafana", "sslclient").0);

        run(&["revoke", &directory, &at("client-grafana.pem")]).unwrap();
        run(&["revoke", &directory, &at("collector.pem")]).unwrap();
        for (name, taken) in [("client-grafana", false), ("collector", false), ("query", true)] {
            let (is_taken, said) = verify(name, "sslclient");
            assert_eq!((is_taken, said.contains("certificate revoked")), (taken, !taken), "{said}");
        }
        let stranger = folder.path().join("other").display().to_string();
        run(&[&stranger]).unwrap();
        let message = run(&["revoke", &stranger, &at("query.pem")]).unwrap_err().message;
        assert!(message.contains("another CA's"), "{message}");
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().display().to_string();
        let message = run(&[&directory, "--host", "weir.example:9640"]).unwrap_err().message;
        assert!(message.contains("--host") && message.contains("port"), "{message}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        for role in ["admin", "client:", "client:../x", "client:a b"] {
            let words = ["weir", "certs", &directory, "--role", role];
            assert!(Arguments::read(words).is_err(), "{role}");
        }
        fs::write(folder.path().join("ca.pem"), "x").unwrap();
        assert!(run(&[&directory]).unwrap_err().message.contains("ca.key"), "half a CA is not made over");
    }
}
