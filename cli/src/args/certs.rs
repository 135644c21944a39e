//! What `weir certs` takes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::examples;

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct CertsArguments {
    #[command(subcommand)]
    pub action: Option<CertsAction>,
    /// Where they are kept; made if it is not there
    #[arg(value_name = "DIR", required = true)]
    pub directory: Option<PathBuf>,
    /// Names and addresses that the roles are reached at, separated by commas
    #[arg(
        long = "host",
        env = "WEIR_CERTS_HOST",
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "localhost,127.0.0.1"
    )]
    pub hosts: Vec<String>,
    /// For whom: collector, aggregator, query, or client:NAME; may be said several times [default: all three, and client:admin]
    #[arg(long = "role", env = "WEIR_CERTS_ROLE", value_delimiter = ',', value_name = "ROLE")]
    pub roles: Vec<Holder>,
    /// How long they are good for; never longer than their CA
    #[arg(long, env = "WEIR_CERTS_DAYS", default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Make certificates anew that are there already, from the same CA
    #[arg(long, env = "WEIR_CERTS_FORCE")]
    pub force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsAction {
    /// Put certificates on the CA's revocation list, crl.pem
    #[command(after_help = examples::CERTS_REVOKE)]
    Revoke {
        /// The CA's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The certificates
        #[arg(value_name = "FILE", required = true)]
        certificates: Vec<PathBuf>,
    },
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// `collector`, `aggregator` or `query`.
    Role(&'static str),
    Client(String),
}

impl Holder {
    pub const ROLES: [&str; 3] = ["collector", "aggregator", "query"];
}

impl FromStr for Holder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(role) = Self::ROLES.into_iter().find(|role| *role == text) {
            return Ok(Self::Role(role));
        }
        let name = text.strip_prefix("client:").ok_or("write collector, aggregator, query or client:NAME")?;
        // It is a part of a file's name.
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
            return Err("a client's name has letters, digits and -_.@, at most 64".into());
        }
        Ok(Self::Client(name.to_owned()))
    }
}
