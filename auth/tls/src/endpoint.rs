//! One peer of a client: its URL, under another name where `server_name` says one. That name is sent in the handshake and verified;
//! the connection goes to the URL's host, and the request names the URL's host as before. It goes through no proxy: a proxy would
//! look the other name up by itself.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HOST;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Url};

use crate::{ClientTls, TlsError, client_builder_with};

/// Cloning shares the client.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: Client,
    url: Url,
    /// What the request says, where it is not the URL's.
    host: Option<String>,
}

impl Endpoint {
    /// With a client of its own. `change` sets what else the client needs; a proxy has no effect under another name.
    pub fn new(url: &str, tls: &ClientTls, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Self, TlsError> {
        let url = parse(url)?;
        let builder = change(client_builder_with(tls)?);
        if tls.server_name.is_empty() || url.scheme() != "https" {
            return Ok(Self { client: builder.build()?, url, host: None });
        }
        let mut named = url.clone();
        let wrong = || TlsError::ServerName(tls.server_name.clone());
        named.set_host(Some(&tls.server_name)).map_err(|_| wrong())?;
        // An address is no name that is sent: that the certificate is for it is verified all the same.
        if named.domain().is_none() {
            return Ok(Self { client: builder.build()?, url, host: None });
        }
        let real = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| real.to_owned(), |port| format!("{real}:{port}"));
        let real = real.trim_start_matches('[').trim_end_matches(']').to_owned();
        let resolver = Elsewhere { name: named.host_str().unwrap_or_default().to_owned(), real };
        let client = builder.no_proxy().dns_resolver(resolver).build()?;
        Ok(Self { client, url: named, host: Some(host) })
    }

    /// Of a client that several share.
    pub fn of(client: Client, url: &str) -> Result<Self, TlsError> {
        Ok(Self { client, url: parse(url)?, host: None })
    }

    pub fn request(&self, method: Method) -> RequestBuilder {
        let request = self.client.request(method, self.url.clone());
        match &self.host {
            Some(host) => request.header(HOST, host),
            None => request,
        }
    }
}

fn parse(url: &str) -> Result<Url, TlsError> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| TlsError::Url(url.to_owned()))
}

/// Sends who asks for `name` to `real`; a redirect to any other host goes where it says.
struct Elsewhere {
    name: String,
    real: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str().eq_ignore_ascii_case(&self.name) { self.real.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The innermost cause says most: "connection refused", "invalid peer certificate: UnknownIssuer". Without the URL, which some put
/// secrets into.
pub fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let first: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}
