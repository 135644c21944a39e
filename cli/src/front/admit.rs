//! Whether a request may come in. Browsers carry any page's requests to whatever listens on their machine or network;
//! without authentication, what tells these from our own page's is what the browser says about them: `Host`, `Origin`,
//! `Sec-Fetch-Site`. A program that is no browser says none of the latter two and is not asked for them. (Grafana's proxy
//! takes `Origin` away and passes `Sec-Fetch-Site: same-origin` on.)

use std::fmt;

use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Version};

use super::hosts::{Hosts, Place};

/// What may come in.
#[derive(Debug)]
pub(crate) struct Rules {
    pub hosts: Hosts,
    pub origins: Vec<Origin>,
    /// Whether a path is an API's, where no link of another site leads.
    pub is_api: fn(&str) -> bool,
}

/// Scheme, host and port of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `https`, or else `http`.
    secure: bool,
    place: Place,
}

impl Origin {
    /// Of a web page; `None` for `null` and other schemes.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let mut place = Place::parse(rest)?;
        place.port.get_or_insert(if secure { 443 } else { 80 });
        Some(Self { secure, place })
    }

    /// Whether a page of this origin that asks its own server sends this `Host`. A proxy may have taken TLS away, so the
    /// scheme only says what the port is where none is named.
    fn is_at(&self, host: &Place) -> bool {
        let port = host.port.unwrap_or(if self.secure { 443 } else { 80 });
        self.place == Place { host: host.host.clone(), port: Some(port) }
    }
}

/// How a request may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// From our own page, or from no page at all.
    Own,
    /// From a page of a configured origin, which may read the answer.
    From(HeaderValue),
    /// A browser asks whether a page of a configured origin may ask.
    Preflight(HeaderValue),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not say, or not clearly, whom it asks.
    Malformed(&'static str),
    /// It asks for a name that weir does not answer to.
    Host(String),
    /// A page of another origin sent it.
    Origin { origin: String, host: String },
    /// A page of another site made a browser send it.
    Site(String),
}

impl Refusal {
    /// The label of its counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Host(_) => "host",
            Self::Origin { .. } => "origin",
            Self::Site(_) => "site",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => out.write_str(what),
            Self::Host(host) => write!(
                out,
                "the host {host:?} is not one that weir answers to: list it in [front] hosts, or ask by an IP address"
            ),
            Self::Origin { origin, host } => write!(
                out,
                "a page of the origin {origin:?} may not ask {host:?}: list it in [front] origins if it may, or, behind a \
                 proxy, pass the Host header on"
            ),
            Self::Site(site) => write!(
                out,
                "a page of another site made this request (Sec-Fetch-Site: {site}); its origin may be listed in [front] origins"
            ),
        }
    }
}

/// Longest name that a refusal repeats.
const QUOTED_MAX: usize = 128;

impl Rules {
    /// Whether the request may come in, by its head alone.
    pub fn admit(&self, head: &Parts) -> Result<Admitted, Refusal> {
        let asked = self.host(head)?;
        let configured = self.origin(&head.headers, asked.as_ref())?;
        if let Some(origin) = configured {
            let preflight = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
            return Ok(if preflight { Admitted::Preflight(origin) } else { Admitted::From(origin) });
        }
        self.site(head)?;
        Ok(Admitted::Own)
    }

    /// Whom it asks: all that name a host have to name the same one, and weir has to answer to it. `None` for HTTP/1.0 without
    /// one: a probe of a load balancer, and never a browser.
    fn host(&self, head: &Parts) -> Result<Option<Place>, Refusal> {
        let mut headers = head.headers.get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(Refusal::Malformed("there is more than one Host header"));
        }
        let header = header.map(|value| value.to_str().map_err(|_| Refusal::Malformed("the Host header is no text")));
        let authority = head.uri.authority().map(|authority| Ok(authority.as_str()));
        let mut asked: Option<Place> = None;
        for text in [authority, header].into_iter().flatten() {
            let text = text?;
            let place = Place::parse(text).ok_or(Refusal::Malformed("the Host header is neither HOST nor HOST:PORT"))?;
            if !self.hosts.has(&place.host) {
                return Err(Refusal::Host(quoted(text)));
            }
            if asked.as_ref().is_some_and(|other| *other != place) {
                return Err(Refusal::Malformed("the Host header and the request's target name two hosts"));
            }
            asked = Some(place);
        }
        if asked.is_none() && head.version >= Version::HTTP_11 {
            return Err(Refusal::Malformed("there is no Host header"));
        }
        Ok(asked)
    }

    /// The origin of the page that sent it, when that is a configured one; `None` for our own page and for no page.
    fn origin(&self, headers: &HeaderMap, asked: Option<&Place>) -> Result<Option<HeaderValue>, Refusal> {
        let mut configured = None;
        for value in headers.get_all(ORIGIN) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let origin = Origin::parse(&text);
            if origin.as_ref().is_some_and(|origin| self.origins.contains(origin)) {
                configured = Some(value.clone());
            } else if !origin.is_some_and(|origin| asked.is_some_and(|asked| origin.is_at(asked))) {
                let host = headers.get(HOST).map_or_else(String::new, |host| quoted(&String::from_utf8_lossy(host.as_bytes())));
                return Err(Refusal::Origin { origin: quoted(&text), host });
            }
        }
        Ok(configured)
    }

    /// What no origin tells: an image, a script, a form or a link of another site. A link to the page itself is what chats are
    /// full of; a link into an API would run a query.
    fn site(&self, head: &Parts) -> Result<(), Refusal> {
        let said = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(site) = said("sec-fetch-site").filter(|site| site != "same-origin" && site != "none") else { return Ok(()) };
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let opens = said("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
            && said("sec-fetch-dest").is_some_and(|dest| dest == "document");
        if reads && opens && !(self.is_api)(head.uri.path()) {
            return Ok(());
        }
        Err(Refusal::Site(quoted(&site)))
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn rules() -> Rules {
        let hosts = Hosts::new(&["weir.example".to_owned()], []);
        let origins = vec![Origin::parse("https://app.example").unwrap(), Origin::parse("http://localhost:3000").unwrap()];
        Rules { hosts, origins, is_api: |path| path.starts_with("/api/") }
    }

    fn head(line: &str, headers: &[(&str, &str)]) -> Parts {
        let (method, target) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(target);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    /// `expected`: "" for in, the origin that may read the answer, "preflight", or the reason of a refusal.
    #[track_caller]
    fn check(line: &str, headers: &[(&str, &str)], expected: &str) {
        let got = match rules().admit(&head(line, headers)) {
            Ok(Admitted::Own) => String::new(),
            Ok(Admitted::From(origin)) => origin.to_str().unwrap().to_owned(),
            Ok(Admitted::Preflight(_)) => "preflight".into(),
            Err(refusal) => refusal.reason().into(),
        };
        assert_eq!(got, expected, "{line} {headers:?}");
    }

    const LOCAL: (&str, &str) = ("host", "127.0.0.1:9640");

    #[test]
    fn hosts() {
        check("POST /api/seal", &[LOCAL], "");
        check("POST /api/seal", &[("host", "weir.example")], "");
        check("POST /api/seal", &[("host", "evil.example:9640")], "host");
        check("GET /", &[("host", "evil.example")], "host");
        // HTTP/2's `:authority`, and HTTP/1's absolute form.
        check("POST http://evil.example/svc/Export", &[], "host");
        check("POST http://localhost:4317/svc/Export", &[], "");
        check("GET http://localhost/", &[("host", "evil.example")], "host");
        check("GET http://evil.example/", &[("host", "localhost")], "host");
        check("GET http://localhost/", &[("host", "127.0.0.1")], "malformed");
        check("GET http://localhost/", &[("host", "localhost")], "");
        check("GET /", &[], "malformed");
        check("GET /", &[LOCAL, ("host", "evil.example")], "malformed");
        check("GET /", &[("host", "user@localhost")], "malformed");
        let mut probe = head("GET /healthz", &[]);
        probe.version = Version::HTTP_10;
        assert_eq!(rules().admit(&probe), Ok(Admitted::Own));
    }

    #[test]
    fn origins() {
        check("POST /api/seal", &[LOCAL, ("origin", "http://evil.example")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "null")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "file://")], "origin");
        check("GET /api/tail", &[LOCAL, ("origin", "http://evil.example"), ("upgrade", "websocket")], "origin");
        check("GET /api/tail", &[LOCAL, ("origin", "http://127.0.0.1:9640"), ("upgrade", "websocket")], "");
        check("POST /api/seal", &[LOCAL, ("origin", "http://127.0.0.1:9640")], "");
        // Another port is another program's page.
        check("POST /api/seal", &[LOCAL, ("origin", "http://127.0.0.1:9641")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "http://127.0.0.1")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "http://localhost:9640")], "origin");
        // Behind a proxy that speaks TLS and passes Host on.
        check("POST /api/seal", &[("host", "weir.example"), ("origin", "https://weir.example")], "");
        check("POST /api/seal", &[("host", "weir.example:443"), ("origin", "https://weir.example")], "");
        check("POST /api/seal", &[("host", "weir.example"), ("origin", "http://weir.example:80")], "");
        check("POST /api/seal", &[("host", "weir.example"), ("origin", "http://weir.example:443")], "origin");
        check("POST /api/seal", &[LOCAL, ("origin", "http://127.0.0.1:9640"), ("origin", "http://evil.example")], "origin");
        // An allowed origin does not make a host one.
        check("POST /api/seal", &[("host", "evil.example"), ("origin", "http://evil.example")], "host");
    }

    #[test]
    fn configured_origins() {
        let app = ("origin", "https://app.example");
        check("POST /v1/traces", &[LOCAL, app, ("sec-fetch-site", "cross-site")], "https://app.example");
        check(
            "POST /v1/traces",
            &[LOCAL, ("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")],
            "http://localhost:3000",
        );
        check("POST /v1/traces", &[LOCAL, ("origin", "http://app.example")], "origin");
        check("POST /v1/traces", &[LOCAL, ("origin", "https://app.example:8443")], "origin");
        let wants = ("access-control-request-method", "POST");
        check("OPTIONS /v1/traces", &[LOCAL, app, wants, ("sec-fetch-site", "cross-site")], "preflight");
        check("OPTIONS /v1/traces", &[LOCAL, ("origin", "http://evil.example"), wants], "origin");
        check("OPTIONS /v1/traces", &[LOCAL, app], "https://app.example");
        check("OPTIONS /v1/traces", &[("host", "evil.example"), app, wants], "host");
    }

    #[test]
    fn sites() {
        let from = |site, mode, dest| [LOCAL, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        for site in ["same-origin", "none"] {
            check("GET /api/v1/query", &from(site, "cors", "empty"), "");
            check("GET /api/v1/query", &from(site, "navigate", "document"), "");
        }
        for site in ["cross-site", "same-site", "new-word"] {
            // A link in a chat opens the page and its views, and nothing else.
            check("GET /", &from(site, "navigate", "document"), "");
            check("GET /logs?query=x", &from(site, "navigate", "document"), "");
            check("GET /api/v1/query?query=1", &from(site, "navigate", "document"), "site");
            check("POST /", &from(site, "navigate", "document"), "site");
            check("GET /", &from(site, "navigate", "iframe"), "site");
            // An image, a script.
            check("GET /api/v1/query?query=1", &from(site, "no-cors", "image"), "site");
            check("GET /assets/index.js", &from(site, "no-cors", "script"), "site");
            check("GET /api/v1/query?query=1", &[LOCAL, ("sec-fetch-site", site)], "site");
            check("POST /loki/api/v1/push", &[LOCAL, ("sec-fetch-site", site)], "site");
        }
    }

    #[test]
    fn programs_that_are_no_browsers_say_nothing_of_it() {
        for line in ["GET /api/v1/query?query=1", "POST /loki/api/v1/push", "GET /metrics", "DELETE /api/x", "OPTIONS /"] {
            check(line, &[LOCAL, ("user-agent", "curl/8"), ("content-type", "text/plain")], "");
        }
        // Grafana's proxy on behalf of a browser that looks at Grafana.
        check("GET /api/v1/query", &[LOCAL, ("sec-fetch-site", "same-origin"), ("x-grafana-referer", "http://grafana/d/1")], "");
    }

    #[test]
    fn refusals_name_what_is_wrong_and_what_to_do() {
        let long = "x".repeat(5000);
        let text = rules().admit(&head("GET /", &[("host", &format!("{long}.evil.example"))])).unwrap_err().to_string();
        assert!(text.contains("[front] hosts") && text.contains("xxx") && text.len() < 400, "{text}");
        let text = rules().admit(&head("GET /", &[LOCAL, ("origin", "http://evil.example")])).unwrap_err().to_string();
        assert!(text.contains("[front] origins") && text.contains("evil.example") && text.contains("127.0.0.1:9640"), "{text}");
    }
}
