//! How single values are read, with errors for people.

use std::net::SocketAddr;

/// An IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:9640 or [::1]:9640".to_owned())
}

/// Zero or more.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "this takes a whole number".to_owned())
}

/// One or more.
pub(super) fn positive(text: &str) -> Result<u64, String> {
    whole(text).ok().filter(|number| *number > 0).ok_or_else(|| "this takes a whole number above 0".to_owned())
}

/// Any number.
pub(super) fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "this takes a number such as 0.5".to_owned())
}
