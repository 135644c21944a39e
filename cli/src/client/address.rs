//! Which weir is asked, and as whom: `HOST`, `HOST:PORT` or a URL of http or https, with the certificates that go with the latter; and
//! the credentials of a profile at its own address.

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use weir_tls::ClientTls;

use super::device;
use super::profile::{Profile, Profiles};
use crate::Failure;
use crate::args::ServerArguments;

/// Where weir listens when nobody says otherwise.
const PORT: u16 = 9640;
const DEFAULT: &str = "127.0.0.1:9640";

/// A weir to ask.
#[derive(Clone, Debug)]
pub(super) struct Address {
    base: Url,
    /// As it was typed.
    given: String,
    pub tls: ClientTls,
    /// Credentials and tenant.
    headers: HeaderMap,
    /// The file and the profile's name, where an issuer gave the credentials.
    kept: Option<(PathBuf, String)>,
}

impl Address {
    /// The address that is named, without credentials; else that of the profile that is named, or of the last one signed in to.
    pub async fn of(server: &ServerArguments) -> Result<Self, Failure> {
        let name = match (&server.profile, &server.addr) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => Profiles::read(&Profiles::path()?)?.current_name().map(str::to_owned),
        };
        let Some(name) = name else {
            let url = server.addr.clone().unwrap_or_else(|| DEFAULT.into());
            return Self::over(server, Profile { url, ..Profile::default() });
        };
        let path = Profiles::path()?;
        let profile = device::renewed(&path, &name).await?;
        let is_issued = profile.device.is_some();
        let address = Self::over(server, profile)?;
        Ok(if is_issued { address.kept_as(path, name) } else { address })
    }

    fn over(server: &ServerArguments, profile: Profile) -> Result<Self, Failure> {
        let tls = server.tls.over(profile.tls.clone()).map_err(Failure::input)?;
        Self::of_profile(&Profile { tenant: server.tenant.clone().or(profile.tenant), tls, ..profile })
    }

    pub fn kept_as(self, path: PathBuf, name: String) -> Self {
        Self { kept: Some((path, name)), ..self }
    }

    /// With a token that goes on being good, where an issuer gave it.
    pub async fn renewed(&self) -> Result<Self, Failure> {
        let mut address = self.clone();
        if let Some((path, name)) = &self.kept {
            let profile = device::renewed(path, name).await?;
            // It may have become another's meanwhile.
            if profile.url == self.given
                && let Some(credentials) = profile.headers()?.remove(AUTHORIZATION)
            {
                address.headers.insert(AUTHORIZATION, credentials);
            }
        }
        Ok(address)
    }

    pub fn of_profile(profile: &Profile) -> Result<Self, Failure> {
        let address = Self { headers: profile.headers()?, ..Self::parse(&profile.url)? };
        // Certificates of the environment are passed over where it is not https.
        let tls = if address.base.scheme() == "https" { profile.tls.clone() } else { ClientTls::default() };
        Ok(Self { tls, ..address })
    }

    /// What goes with every request.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether others on the way can read what is sent.
    pub fn is_plain(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        let is_here = match host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        self.base.scheme() == "http" && !is_here
    }

    /// Errors with what was typed and what is wrong with it.
    pub fn parse(given: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::input(format!("--addr {given:?}: {why}; write HOST:PORT, such as localhost:{PORT}"));
        let has_scheme = given.contains("://");
        let text = if has_scheme { given.to_owned() } else { format!("http://{given}") };
        let mut base = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        match base.scheme() {
            "http" | "https" => {}
            other => return Err(wrong(&format!("{other}:// is not HTTP"))),
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("credentials do not belong into an address: `weir login` keeps them"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("an address has no ? and no #"));
        }
        if !has_scheme && base.port().is_none() && !text.ends_with(":80") {
            base.set_port(Some(PORT)).map_err(|()| wrong("this has no host"))?;
        }
        Ok(Self { base, given: given.to_owned(), tls: ClientTls::default(), headers: HeaderMap::new(), kept: None })
    }

    /// The URL of a path that begins with a slash.
    pub fn url(&self, path: &str, parameters: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }

    /// The host, for errors of its name.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }
}

/// As it was typed.
impl std::fmt::Display for Address {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_ports_may_be_left_out() {
        let check = |given: &str, expected: &str| {
            let address = Address::parse(given).unwrap_or_else(|failure| panic!("{}", failure.message));
            assert_eq!(address.url("/x", &[]).as_str(), expected, "{given}");
            assert_eq!(address.to_string(), given);
        };
        check("localhost:9641", "http://localhost:9641/x");
        check("localhost", "http://localhost:9640/x");
        check("127.0.0.1:9640", "http://127.0.0.1:9640/x");
        check("[::1]:9640", "http://[::1]:9640/x");
        check("weir.example:80", "http://weir.example/x");
        check("http://weir.example", "http://weir.example/x");
        check("https://weir.example", "https://weir.example/x");
        check("https://weir.example:9640", "https://weir.example:9640/x");
        check("http://weir.example/below/", "http://weir.example/below/x");
        check("weir.example/below", "http://weir.example:9640/below/x");
        let address = Address::parse("localhost").unwrap();
        let url = address.url("/x", &[("query", "{a=\"b\"} |= \"ä&\"".to_owned())]);
        assert_eq!(url.query_pairs().next().unwrap().1, "{a=\"b\"} |= \"ä&\"");
    }

    #[test]
    fn what_is_no_address_is_named() {
        let check = |given: &str, expected: &str| {
            let failure = Address::parse(given).unwrap_err();
            assert!(failure.message.contains(expected) && failure.message.contains(given), "{given:?}: {}", failure.message);
            assert_eq!(failure.code, 2);
        };
        check("ftp://weir.example", "not HTTP");
        check("localhost:99999", "port");
        check("localhost:port", "port");
        check("", "localhost:9640");
        check("me@localhost", "weir login");
        check("localhost?x", "no ?");
    }
}
