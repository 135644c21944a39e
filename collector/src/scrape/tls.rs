//! `tls_config` of a job, as Prometheus writes it, and the clients of its targets.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use weir_model::yaml;
use weir_tls::{ClientTls, Endpoint, MinVersion, client_builder_with};

use super::config::Job;

/// `tls_config`. What stands in the file itself instead of files of its own is refused by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    #[serde(deserialize_with = "yaml::or_default")]
    ca_file: PathBuf,
    #[serde(deserialize_with = "yaml::or_default")]
    cert_file: PathBuf,
    #[serde(deserialize_with = "yaml::or_default")]
    key_file: PathBuf,
    #[serde(deserialize_with = "yaml::or_default")]
    server_name: String,
    #[serde(deserialize_with = "yaml::or_default")]
    insecure_skip_verify: bool,
    #[serde(deserialize_with = "min_version")]
    min_version: MinVersion,
    #[serde(deserialize_with = "Unsupported::<0>::refuse")]
    ca: (),
    #[serde(deserialize_with = "Unsupported::<1>::refuse")]
    cert: (),
    #[serde(deserialize_with = "Unsupported::<2>::refuse")]
    key: (),
    #[serde(deserialize_with = "Unsupported::<3>::refuse")]
    max_version: (),
}

/// What a key of this place is told.
struct Unsupported<const KEY: usize>;

const REFUSALS: [&str; 4] = [
    "ca is not supported yet, only ca_file",
    "cert is not supported yet, only cert_file",
    "key is not supported yet, only key_file",
    "max_version is not supported: the newest that both sides have is spoken",
];

impl<const KEY: usize> Unsupported<KEY> {
    fn refuse<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
        Err(D::Error::custom(REFUSALS[KEY]))
    }
}

/// weir speaks nothing older than 1.2, so that a lower bound is met as well.
fn min_version<'de, D: Deserializer<'de>>(from: D) -> Result<MinVersion, D::Error> {
    match Option::<String>::deserialize(from)?.unwrap_or_default().as_str() {
        "" | "TLS10" | "TLS11" | "TLS12" => Ok(MinVersion::Tls12),
        "TLS13" => Ok(MinVersion::Tls13),
        other => Err(D::Error::custom(format!("min_version: {other:?} is none of TLS10, TLS11, TLS12 and TLS13"))),
    }
}

impl TlsSection {
    pub(super) fn files(&mut self) -> [&mut PathBuf; 3] {
        [&mut self.ca_file, &mut self.cert_file, &mut self.key_file]
    }
}

impl From<TlsSection> for ClientTls {
    fn from(section: TlsSection) -> Self {
        // Prometheus verifies nothing then, whatever else is said.
        let ca_file = if section.insecure_skip_verify { PathBuf::new() } else { section.ca_file };
        Self {
            ca_file,
            server_name: section.server_name,
            cert_file: section.cert_file,
            key_file: section.key_file,
            insecure_skip_verify: section.insecure_skip_verify,
            min_version: section.min_version,
        }
    }
}

/// Makes the clients of a job's targets: one for all, or one each where `server_name` is said.
pub(super) struct Connector {
    job: Arc<Job>,
    /// Guards the making of it; none until its files could be used.
    shared: Mutex<Option<reqwest::Client>>,
}

impl Connector {
    pub fn new(job: Arc<Job>) -> Self {
        Self { job, shared: Mutex::default() }
    }

    /// Errors name the file that cannot be used.
    pub fn target(&self, url: &str) -> Result<Endpoint, String> {
        let tls = self.job.tls();
        let made = if tls.server_name.is_empty() {
            let mut shared = self.shared.lock();
            let client = match &*shared {
                Some(client) => client.clone(),
                None => {
                    let made = client_builder_with(&tls).and_then(|builder| Ok(builder.build()?));
                    shared.insert(made.map_err(|error| error.to_string())?).clone()
                }
            };
            Endpoint::of(client, url)
        } else {
            Endpoint::new(url, &tls, |builder| builder)
        };
        made.map_err(|error| error.to_string())
    }
}
