//! Why there was no answer, in words, with the address and what to do.

use std::error::Error;
use std::io::ErrorKind;

use super::address::Address;

/// Of an error of a request or a WebSocket, by what caused it.
pub(super) fn in_words(address: &Address, error: &(dyn Error + 'static)) -> String {
    let host = address.host();
    let elsewhere = "or say where weir is with --addr HOST:PORT (WEIR_ADDR)";
    let causes = || causes_of(error);
    // Resolvers' errors are of no type of their own.
    if causes().any(|cause| cause.to_string().contains("failed to lookup address")) {
        return format!("no machine is known by the name {host} (of {address}): check the spelling, {elsewhere}");
    }
    if causes().any(|cause| cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)) {
        return format!(
            "no answer from {address} in time: is the machine up, and does a firewall let this through? Check it, {elsewhere}"
        );
    }
    let last = causes().last().map(ToString::to_string).unwrap_or_default();
    if last.contains("invalid peer certificate") {
        return format!("{address} is not trusted ({last}): name its authorities with --ca-file (WEIR_CA_FILE), {elsewhere}");
    }
    if last.contains("fatal alert: CertificateRequired") {
        return format!("{address} wants a client certificate: say --cert and --key (WEIR_CERT, WEIR_KEY), {elsewhere}");
    }
    let kind = causes().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(ErrorKind::ConnectionRefused) => {
            format!("nothing listens at {address} (connection refused): start weir with `weir up`, {elsewhere}")
        }
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            format!("there is no way to {address} from here (host or network unreachable): check the network, {elsewhere}")
        }
        Some(ErrorKind::TimedOut) => {
            format!(
                "no answer from {address} in time: is the machine up, and does a firewall let this through? Check it, {elsewhere}"
            )
        }
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof | ErrorKind::ConnectionAborted) => {
            closed(address)
        }
        _ if causes().any(|cause| is_foreign(&cause.to_string())) => {
            format!(
                "{address} answers, but not in HTTP: perhaps it wants TLS (--addr https://…), or it is another program's; ask weir's own address"
            )
        }
        _ if causes().any(|cause| is_closed(&cause.to_string())) => closed(address),
        _ => {
            format!("no answer from {address}: {last}")
        }
    }
}

/// The error, what caused it, and so on.
fn causes_of<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

fn closed(address: &Address) -> String {
    format!("{address} closed the connection before it had answered: weir may have just ended; look at its log, and try again")
}

/// What hyper says of a connection that ended before a request was on it, or before its answer.
fn is_closed(text: &str) -> bool {
    text.contains("connection closed") || text.contains("connection was not ready")
}

/// What hyper says of bytes that are no HTTP.
fn is_foreign(text: &str) -> bool {
    text.contains("invalid HTTP") || text.contains("HTTP version")
}
