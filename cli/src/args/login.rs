//! What `weir login`, `logout` and `whoami` take.

use std::path::PathBuf;

use clap::Args;

use super::TlsArguments;

#[derive(Debug, Args)]
pub(crate) struct LoginArguments {
    /// The weir to sign in to: HOST:PORT, or a URL
    pub url: String,
    /// File with a token in its first line; - reads stdin
    #[arg(long, env = "WEIR_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// User name; the password is asked for
    #[arg(long, env = "WEIR_USER", value_name = "NAME", conflicts_with = "token_file")]
    pub user: Option<String>,
    /// File with the password in its first line, instead of asking; - reads stdin
    #[arg(long, env = "WEIR_PASSWORD_FILE", value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Sign in at weir's OpenID Connect issuer, in a browser on any device
    #[arg(long, conflicts_with_all = ["token_file", "user"])]
    pub device: bool,
    /// Authorities of the issuer's certificate, in PEM, instead of this machine's
    #[arg(long, value_name = "FILE", requires = "device")]
    pub issuer_ca_file: Option<PathBuf>,
    /// Whose data to ask for: a tenant, or several with | between them
    #[arg(long, env = "WEIR_TENANT", value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Name to keep this under, beside others
    #[arg(long, env = "WEIR_PROFILE", value_name = "NAME", default_value = "default")]
    pub profile: String,
    #[command(flatten)]
    pub tls: TlsArguments,
    /// Send credentials to another machine although http:// shows them to whoever is on the way
    #[arg(long, env = "WEIR_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArguments {
    /// Which to forget [default: the last one signed in to]
    #[arg(long, env = "WEIR_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
}
