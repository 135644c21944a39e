//! Names that weir answers to. A page of a stranger can make a browser ask any address under the stranger's own name (DNS
//! rebinding); the name still stands in `Host`, so a name that nobody listed is refused.
//!
//! An IP address cannot be rebound, so it needs no listing; the unspecified one (`0.0.0.0`) is nobody's address, though
//! browsers connect it to this machine.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::uri::Authority;

/// Host and port of a `Host` header, `:authority` or origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub host: Host,
    pub port: Option<u16>,
}

/// A name in lower case without the root's dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Ip(IpAddr),
}

impl Place {
    /// `None` for what is neither `host` nor `host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        // User information stands before the host, so it makes this fail as well.
        let port = match text.strip_prefix(host)? {
            "" | ":" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(address.to_canonical()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        (!name.is_empty()).then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

#[derive(Debug)]
pub(crate) struct Hosts {
    exact: Vec<String>,
    /// With the dot in front: `.monitoring.svc`.
    suffixes: Vec<String>,
}

impl Hosts {
    /// `configured` as in `[front] hosts`; `own` are names that need no configuring.
    pub fn new(configured: &[String], own: impl IntoIterator<Item = String>) -> Self {
        let (mut exact, mut suffixes) = (vec!["localhost".to_owned()], vec![".localhost".to_owned()]);
        for pattern in configured {
            match pattern.strip_prefix('*') {
                Some(suffix) => suffixes.push(suffix.to_ascii_lowercase()),
                None => exact.push(pattern.to_ascii_lowercase()),
            }
        }
        exact.extend(own.into_iter().map(|name| name.to_ascii_lowercase()));
        Self { exact, suffixes }
    }

    /// Whether weir answers to it.
    pub fn has(&self, host: &Host) -> bool {
        match host {
            Host::Ip(address) => !address.is_unspecified(),
            Host::Name(name) => {
                let below = |suffix: &String| name.len() > suffix.len() && name.ends_with(suffix.as_str());
                self.exact.contains(name) || self.suffixes.iter().any(below)
            }
        }
    }
}

/// Errors unless `pattern` is a name, or `*.` and a name.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || !name.chars().all(fits) {
        return Err(format!(
            "{pattern:?} is neither a name (\"weir.example\") nor a domain (\"*.weir.example\"), without scheme and port"
        ));
    }
    Ok(())
}

/// The name that this machine has, and its first label.
pub(crate) fn of_this_machine() -> Vec<String> {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let name = name.as_ref();
    let short = name.split('.').next().unwrap_or_default();
    [name, short].into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The name in a URL of weir's own, as `http://weir-0.weir:9640`; `None` without one.
pub(crate) fn of_url(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    match Place::parse(rest.split('/').next()?)?.host {
        Host::Name(name) => Some(name),
        Host::Ip(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_weir_answers_to() {
        let configured = ["weir.example".to_owned(), "*.Monitoring.svc".to_owned()];
        let hosts = Hosts::new(&configured, ["node-7".to_owned()]);
        let check = |text: &str, expected: Option<bool>| {
            assert_eq!(Place::parse(text).map(|place| hosts.has(&place.host)), expected, "{text:?}");
        };
        for known in
            ["localhost", "LOCALHOST:9640", "localhost.", "a.b.localhost:1", "weir.example", "Weir.Example:", "node-7:80"]
        {
            check(known, Some(true));
        }
        for known in [
            "weir.monitoring.svc",
            "0.weir.monitoring.svc:9640",
            "127.0.0.1:9640",
            "127.9.9.9",
            "[::1]:9640",
            "10.0.0.7",
            "[fd00::7]",
        ] {
            check(known, Some(true));
        }
        for foreign in ["evil.example", "monitoring.svc", "xmonitoring.svc", "weir.example.evil.example", "evilweir.example"] {
            check(foreign, Some(false));
        }
        for foreign in [
            "localhost.evil.example",
            "xlocalhost",
            ".localhost",
            "127.0.0.1.evil.example",
            "0.0.0.0:9640",
            "[::]",
            "[::ffff:0.0.0.0]",
        ] {
            check(foreign, Some(false));
        }
        for wrong in
            ["", ":9640", "a b", "user@localhost", "localhost:port", "localhost:99999", "[::1", "localhost/", "[localhost]", "."]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn names_in_urls() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(of_url(url).as_deref(), expected, "{url}");
        check("http://weir-0.weir-aggregator.weir.svc:9640", Some("weir-0.weir-aggregator.weir.svc"));
        check("https://Weir.Example/prefix/", Some("weir.example"));
        check("http://10.0.0.7:9640", None);
        check("", None);
        check("weir.example", None);
    }

    #[test]
    fn patterns_are_names() {
        for right in ["weir", "weir.example", "*.svc", "under_score.example"] {
            assert_eq!(check_pattern(right), Ok(()));
        }
        for wrong in ["", "*", "*.", "http://weir", "weir:9640", "a.*.b", "weir/", ".weir", "weir.", "we ir"] {
            assert!(check_pattern(wrong).is_err(), "{wrong}");
        }
    }
}
