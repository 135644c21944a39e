//! Signing in from a terminal at an OpenID Connect issuer, by the device authorization grant (RFC 8628): a person approves in any
//! browser, and the terminal polls. This is the client's side of it, for `weir login`; a server only says which client that is.

use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;
use weir_tls::ClientTls;

use super::codeflow::endpoint_url;
use super::config::server;
use super::exchange::exchange;
use super::jwt::Jwt;

/// Tokens with many groups are some kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;
const TIMEOUT: Duration = Duration::from_secs(30);
/// RFC 8628 §3.5: the interval where the issuer names none, and what `slow_down` adds to it.
const INTERVAL: Duration = Duration::from_secs(5);
/// … and no longer, where the issuer does not answer or asks for more.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// A code that is good for longer is not waited for.
const LASTS_MAX: Duration = Duration::from_secs(3600);
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Where a terminal signs in, as weir tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOffer {
    pub issuer: String,
    /// A public client of the issuer's.
    pub client_id: String,
    pub scopes: Vec<String>,
}

/// Why there is no token. None shows a code or a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It does not answer, or not as an issuer does: another try may help.
    #[error("the issuer: {0}")]
    Issuer(String),
    /// Its error code: it, or the person, says no.
    #[error("the issuer refuses: {0}")]
    Refused(String),
    #[error("nobody has entered the code in time")]
    Expired,
}

/// A client of one issuer's.
pub struct DeviceFlow {
    http: reqwest::Client,
    client_id: String,
    /// `None` where the issuer does not offer the grant.
    authorization: Option<Url>,
    token: Url,
}

/// A sign-in that waits for its person.
pub struct Pending {
    pub user_code: String,
    /// Where the code is typed.
    pub verification_url: Url,
    /// … or where it need not be.
    pub complete_url: Option<Url>,
    /// From now on.
    pub lasts: Duration,
    device_code: String,
    interval: Duration,
}

/// What the issuer gives.
pub struct Tokens {
    /// What weir takes.
    pub id_token: String,
    /// Its end in Unix seconds.
    pub ends: u64,
    /// For the next one.
    pub refresh_token: Option<String>,
}

/// What the issuer gives for a code or a refresh token.
pub enum Grant {
    Tokens(Tokens),
    /// No ID token that ends, which the issuer may leave out of a refresh (OpenID Connect Core 12.2); a refresh token may be another
    /// than before all the same.
    NoIdToken {
        refresh_token: Option<String>,
    },
}

impl DeviceFlow {
    /// Asks the issuer for its endpoints. `ca_file`: authorities of its certificate; the machine's where it is empty.
    pub async fn discover(issuer: &str, client_id: &str, ca_file: &Path) -> Result<Self, DeviceError> {
        server("the issuer", issuer).map_err(DeviceError::Issuer)?;
        let tls = ClientTls { ca_file: ca_file.to_owned(), ..ClientTls::default() };
        let wrong = |error: &dyn std::fmt::Display| DeviceError::Issuer(error.to_string());
        let builder = weir_tls::client_builder_with(&tls).map_err(|error| wrong(&error))?;
        // A redirection would carry a refresh token elsewhere.
        let builder = builder.redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT);
        let http = builder.build().map_err(|error| wrong(&error))?;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let reply = exchange(http.get(url), ANSWER_BYTES_MAX).await.map_err(DeviceError::Issuer)?;
        if !reply.status.is_success() {
            return Err(DeviceError::Issuer(format!("status {} for its discovery document", reply.status)));
        }
        let document = reply.json().map_err(DeviceError::Issuer)?;
        if document["issuer"].as_str() != Some(issuer) {
            return Err(DeviceError::Issuer(format!("its discovery document names another issuer than {issuer}")));
        }
        let endpoint = |name: &str| endpoint_url(name, document[name].as_str().unwrap_or_default()).map_err(DeviceError::Issuer);
        let name = "device_authorization_endpoint";
        let authorization = if document[name].is_string() { Some(endpoint(name)?) } else { None };
        Ok(Self { http, client_id: client_id.to_owned(), authorization, token: endpoint("token_endpoint")? })
    }

    /// Asks for a code that a person enters.
    pub async fn begin(&self, scopes: &[String]) -> Result<Pending, DeviceError> {
        let Some(endpoint) = &self.authorization else {
            return Err(DeviceError::Issuer("it has no device_authorization_endpoint".into()));
        };
        let said = self.post(endpoint, &[("scope", &scopes.join(" "))]).await?;
        let text = |name: &str| {
            let found = said[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            found.ok_or_else(|| DeviceError::Issuer(format!("its answer has no {name}")))
        };
        let url = |name: &str| endpoint_url(name, &text(name)?).map_err(DeviceError::Issuer);
        let seconds = |name: &str| said[name].as_u64().map(Duration::from_secs);
        let complete = "verification_uri_complete";
        Ok(Pending {
            user_code: text("user_code")?,
            verification_url: url("verification_uri")?,
            complete_url: if said[complete].is_string() { Some(url(complete)?) } else { None },
            lasts: seconds("expires_in").unwrap_or(LASTS_MAX).min(LASTS_MAX),
            device_code: text("device_code")?,
            interval: seconds("interval").unwrap_or(INTERVAL).clamp(Duration::from_secs(1), INTERVAL_MAX),
        })
    }

    /// Waits until the person has entered the code, or said no.
    pub async fn finish(&self, pending: &Pending) -> Result<Tokens, DeviceError> {
        let (end, mut interval) = (Instant::now() + pending.lasts, pending.interval);
        let mut last = DeviceError::Expired;
        loop {
            sleep(interval).await;
            if Instant::now() >= end {
                return Err(last);
            }
            last = match self.grant(&[("grant_type", DEVICE_GRANT), ("device_code", &pending.device_code)]).await {
                Ok(Grant::Tokens(tokens)) => return Ok(tokens),
                Ok(Grant::NoIdToken { .. }) => {
                    return Err(DeviceError::Refused("it gives no ID token that ends; is openid among auth.oidc.scopes?".into()));
                }
                Err(error) => after(error, &mut interval)?,
            };
        }
    }

    /// Asks for a new ID token. The refresh token may be used up by it.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Grant, DeviceError> {
        self.grant(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn grant(&self, form: &[(&str, &str)]) -> Result<Grant, DeviceError> {
        let said = self.post(&self.token, form).await?;
        let refresh_token = said["refresh_token"].as_str().map(str::to_owned);
        let id_token = said["id_token"].as_str().map(str::to_owned);
        let ends = id_token.as_deref().and_then(|token| Jwt::parse(token)?.ends());
        Ok(match (id_token, ends) {
            (Some(id_token), Some(ends)) => Grant::Tokens(Tokens { id_token, ends, refresh_token }),
            _ => Grant::NoIdToken { refresh_token },
        })
    }

    /// With the client's id. What is refused by a code is `Refused`, but for codes that say that another try may help.
    async fn post(&self, endpoint: &Url, form: &[(&str, &str)]) -> Result<Value, DeviceError> {
        let form: Vec<(&str, &str)> = form.iter().copied().chain([("client_id", self.client_id.as_str())]).collect();
        let reply = exchange(self.http.post(endpoint.clone()).form(&form), ANSWER_BYTES_MAX).await;
        let reply = reply.map_err(DeviceError::Issuer)?;
        let said = reply.json();
        match said {
            Ok(said) if reply.status.is_success() => Ok(said),
            Ok(said) if reply.status.is_client_error() && said["error"].is_string() => {
                let code = said["error"].as_str().unwrap_or_default();
                // Some issuers give `slow_down` with 429; it is the grant's own word.
                let is_busy = reply.status == StatusCode::TOO_MANY_REQUESTS && code != "slow_down";
                Err(if is_busy || matches!(code, "temporarily_unavailable" | "server_error") {
                    DeviceError::Issuer(format!("status {}: {code}", reply.status))
                } else {
                    DeviceError::Refused(code.to_owned())
                })
            }
            Err(error) if reply.status.is_success() => Err(DeviceError::Issuer(error)),
            _ => Err(DeviceError::Issuer(format!("status {}", reply.status))),
        }
    }
}

/// How long is waited after an answer without tokens, and what is wrong should there be no time left. Errors where nothing else is
/// to be waited for.
fn after(error: DeviceError, interval: &mut Duration) -> Result<DeviceError, DeviceError> {
    match error {
        DeviceError::Refused(code) => match code.as_str() {
            "authorization_pending" => Ok(DeviceError::Expired),
            "slow_down" => {
                *interval = (*interval + INTERVAL).min(INTERVAL_MAX);
                Ok(DeviceError::Expired)
            }
            "expired_token" => Err(DeviceError::Expired),
            _ => Err(DeviceError::Refused(code)),
        },
        // RFC 8628 §3.5: a timeout is a reason to ask more rarely.
        silent => {
            *interval = (*interval * 2).min(INTERVAL_MAX);
            Ok(silent)
        }
    }
}

#[cfg(test)]
mod tests;
