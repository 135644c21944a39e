//! `ip("…")` of line filters and label filters: one address, a block (`10.0.0.0/8`) or a range (`10.0.0.1-10.0.0.9`), of
//! version 4 or 6, and which addresses stand in a text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_model::clip;

/// Which addresses are looked for: all from the first to the last, of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpMatch {
    /// As written.
    pub text: String,
    first: IpAddr,
    last: IpAddr,
}

impl IpMatch {
    /// Errors when it is no address, block or range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("ip: invalid pattern: {:?}: write 10.0.0.1, 10.0.0.0/8 or 10.0.0.1-10.0.0.9", clip(text));
        let (first, last) = bounds(text).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), first, last })
    }

    fn has(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether one of the addresses stands somewhere in the text.
    pub fn is_in(&self, text: &[u8]) -> bool {
        if self.first.is_ipv4() {
            runs(text, |byte| byte.is_ascii_digit() || byte == b'.').any(|run| v4(run).is_some_and(|found| self.has(found)))
        } else {
            let is_v6 = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            runs(text, is_v6).any(|run| v6(run).is_some_and(|found| self.has(found)))
        }
    }
}

fn bounds(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Ok(one) = text.parse::<IpAddr>() {
        return Some((one, one));
    }
    if let Some((address, bits)) = text.split_once('/') {
        let bits = bits.parse::<u8>().ok().filter(|_| bits.bytes().all(|digit| digit.is_ascii_digit()))?;
        return block(address.parse().ok()?, u32::from(bits));
    }
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<IpAddr>().ok()?, last.trim().parse::<IpAddr>().ok()?);
    (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last))
}

/// The first and the last address that begin with the same so many bits.
fn block(address: IpAddr, bits: u32) -> Option<(IpAddr, IpAddr)> {
    Some(match address {
        IpAddr::V4(address) => {
            let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
            let whole = address.to_bits();
            (bits <= 32).then_some((Ipv4Addr::from_bits(whole & !rest).into(), Ipv4Addr::from_bits(whole | rest).into()))?
        }
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(bits).unwrap_or(0);
            let whole = address.to_bits();
            (bits <= 128).then_some((Ipv6Addr::from_bits(whole & !rest).into(), Ipv6Addr::from_bits(whole | rest).into()))?
        }
    })
}

/// The longest pieces of the text that consist of such bytes.
fn runs(text: &[u8], of: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = &str> {
    text.split(move |byte| !of(*byte)).filter(|run| run.len() > 1).filter_map(|run| std::str::from_utf8(run).ok())
}

/// The address that a run is; the dots of a sentence may stand around it.
fn v4(run: &str) -> Option<IpAddr> {
    run.trim_matches('.').parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// The same; a colon may stand before it (`addr:fe80::1`) or behind it.
fn v6(run: &str) -> Option<IpAddr> {
    let run = run.trim_end_matches('.');
    let before = run.strip_prefix(':').filter(|rest| !rest.starts_with(':'));
    let behind = run.strip_suffix(':').filter(|rest| !rest.ends_with(':'));
    [Some(run), before, behind].into_iter().flatten().find_map(|run| run.parse::<Ipv6Addr>().ok()).map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_texts() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(IpMatch::parse(pattern).unwrap().is_in(text.as_bytes()), expected, "{pattern} in {text}");
        };
        check("10.0.0.1", "from 10.0.0.1", true);
        check("10.0.0.1", "from=10.0.0.1:8080.", true);
        check("10.0.0.1", "It was 10.0.0.1.", true);
        check("10.0.0.1", "10.0.0.10", false);
        check("10.0.0.1", "110.0.0.1", false);
        check("10.0.0.1", "10.0.0.1.5", false);
        check("10.0.0.1", "x10.0.0.1", true);
        check("10.0.0.1", "first 10.0.0.2, then 10.0.0.1", true);
        check("10.0.0.1", "", false);
        check("10.1.2.3/8", "10.255.0.9", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1 and 1.2.3", false);
        check("10.0.0.7/32", "10.0.0.7", true);
        check("192.168.4.5-192.168.4.20", "192.168.4.20", true);
        check("192.168.4.5 - 192.168.4.20", "192.168.4.21", false);
        check("::1", "[::1]:80", true);
        check("2001:db8::/32", "addr:2001:db8:0:1::5, x", true);
        check("2001:DB8::/32", "2001:db9::1", false);
        check("fe80::1-fe80::ff", "fe80::a0: up", true);
        check("::/0", "12:30:45 face", false);
        check("::ffff:1.2.3.4", "::ffff:1.2.3.4", true);
        check("::/0", "1.2.3.4", false);
    }

    #[test]
    fn what_is_no_address() {
        for pattern in
            ["", "x", "10.0.0", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "010.0.0.1"]
        {
            let error = IpMatch::parse(pattern).unwrap_err();
            assert!(error.starts_with(&format!("ip: invalid pattern: {pattern:?}: ")), "{error}");
        }
    }
}
