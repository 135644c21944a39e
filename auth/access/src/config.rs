//! `[authorization]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};

use super::{Policies, PolicyError};

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody who is known may everything, within the tenants that their credentials name.
    #[default]
    Allow,
    /// Nobody may anything but ask who they are.
    Deny,
    /// Policies of a file.
    Abac,
    /// A service that is asked.
    Webhook,
}

/// `[authorization]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationConfig {
    pub mode: Mode,
    /// With `abac`: a JSON object a line; read again when it changes.
    pub policies_file: PathBuf,
    pub webhook: WebhookConfig,
}

/// What is decided where the webhook does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    #[default]
    Deny,
    Allow,
}

/// `[authorization.webhook]`: who answers Kubernetes' `SubjectAccessReview`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// `https://…`, to which reviews are sent by POST.
    pub url: String,
    /// Sent as `Authorization: Bearer`; read for each review.
    pub token_file: PathBuf,
    /// Authorities of the webhook's certificate in PEM; this machine's where it is empty.
    pub ca_file: PathBuf,
    /// Client certificate and key in PEM.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Of one review.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long an answer holds.
    #[serde(with = "duration")]
    pub allowed_ttl: Duration,
    #[serde(with = "duration")]
    pub denied_ttl: Duration,
    /// All answers that are held.
    pub cache_max: ByteSize,
    pub on_failure: OnFailure,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            token_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            timeout: Duration::from_secs(3),
            // As the kube-apiserver's own webhook has them.
            allowed_ttl: Duration::from_secs(300),
            denied_ttl: Duration::from_secs(30),
            cache_max: ByteSize::mib(8),
            on_failure: OnFailure::Deny,
        }
    }
}

impl AuthorizationConfig {
    /// What serde cannot see. The message names the key. Files are not looked at.
    pub fn check(&self) -> Result<(), String> {
        let (has_file, has_url) = (!self.policies_file.as_os_str().is_empty(), !self.webhook.url.is_empty());
        match self.mode {
            Mode::Abac if !has_file => return Err("policies_file: mode = \"abac\" needs a file of policies".into()),
            Mode::Webhook if !has_url => return Err("webhook.url: mode = \"webhook\" needs the URL that answers reviews".into()),
            _ => {}
        }
        if has_file && self.mode != Mode::Abac {
            return Err("policies_file: is read with mode = \"abac\" only".into());
        }
        if self.mode != Mode::Webhook {
            let unused = self.webhook != WebhookConfig::default();
            return if unused { Err("webhook: is asked with mode = \"webhook\" only".into()) } else { Ok(()) };
        }
        self.webhook.check().map_err(|error| format!("webhook.{error}"))
    }

    /// The policies that it names, where it names any.
    pub fn read_policies(&self) -> Result<Option<Policies>, PolicyError> {
        if self.mode == Mode::Abac { Policies::read(&self.policies_file).map(Some) } else { Ok(None) }
    }
}

impl WebhookConfig {
    fn check(&self) -> Result<(), String> {
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err("url: must start with https:// or http://".into());
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(60) {
            return Err("timeout: must be above 0 and at most 60s".into());
        }
        if self.cache_max < ByteSize::kib(64) {
            return Err("cache_max: must be at least 64KiB".into());
        }
        if self.cert_file.as_os_str().is_empty() != self.key_file.as_os_str().is_empty() {
            return Err("cert_file: a certificate and key_file go together".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_do_not_go_together_are_refused_by_name() {
        let check = |text: &str, expected: &str| {
            let config: AuthorizationConfig = serde_json::from_str(text).unwrap();
            match config.check() {
                Ok(()) => assert_eq!(expected, "", "{text}"),
                Err(error) => assert!(error.contains(expected) && !expected.is_empty(), "{text}: {error}"),
            }
        };
        check("{}", "");
        check(r#"{"mode": "deny"}"#, "");
        check(r#"{"mode": "abac"}"#, "policies_file:");
        check(r#"{"mode": "abac", "policies_file": "p"}"#, "");
        check(r#"{"mode": "allow", "policies_file": "p"}"#, "policies_file: is read with");
        check(r#"{"mode": "abac", "policies_file": "p", "webhook": {"timeout": "1s"}}"#, "webhook: is asked");
        check(r#"{"mode": "webhook"}"#, "webhook.url:");
        let webhook = |keys: &str| format!(r#"{{"mode": "webhook", "webhook": {{"url": "https://a"{keys}}}}}"#);
        check(&webhook(""), "");
        check(&webhook(r#", "timeout": "61s""#), "webhook.timeout");
        check(&webhook(r#", "cache_max": "1KiB""#), "webhook.cache_max");
        check(&webhook(r#", "key_file": "k""#), "webhook.cert_file");
        check(r#"{"mode": "webhook", "webhook": {"url": "a:1"}}"#, "webhook.url: must start");
        assert!(serde_json::from_str::<AuthorizationConfig>(r#"{"mode": "rbac"}"#).is_err());
    }
}
