//! Which content coding the client likes best.

use axum::http::header::{ACCEPT_ENCODING, HeaderMap};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Of those that a client likes equally, the last is taken: the smallest for its CPU time (docs/decisions/0121).
    const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// What the request's `Accept-Encoding` likes best; `None` for the answer as it is. What cannot be read is not there.
    pub fn preferred(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        let items: Vec<(&str, f32)> = texts.flat_map(|text| text.split(',')).filter_map(item).collect();
        let explicit = |wanted: &str| items.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, weight)| *weight);
        let weight = |coding: Self| {
            let alias = || explicit("x-gzip").filter(|_| coding == Self::Gzip);
            explicit(coding.name()).or_else(alias).or_else(|| explicit("*")).unwrap_or(0.0)
        };
        let best = Self::ALL.into_iter().max_by(|one, other| weight(*one).total_cmp(&weight(*other)))?;
        (weight(best) > 0.0 && weight(best) >= explicit("identity").unwrap_or(0.0)).then_some(best)
    }
}

/// `gzip;q=0.5`: its name and weight.
fn item(text: &str) -> Option<(&str, f32)> {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let Some((key, value)) = parameters.split_once('=') else { return Some((name.trim(), 1.0)) };
    let weight = value.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some((name.trim(), weight.filter(|_| key.trim().eq_ignore_ascii_case("q"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accepted: &str, expected: Option<Coding>) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())]);
        assert_eq!(Coding::preferred(&headers), expected, "{accepted}");
    }

    #[test]
    fn the_client_says_what_it_likes_best() {
        assert_eq!(Coding::preferred(&HeaderMap::new()), None);
        check("", None);
        check("identity", None);
        check("compress, deflate, sdch", None);
        check("gzip", Some(Coding::Gzip));
        check("X-GZip", Some(Coding::Gzip));
        check("GZIP ; Q=0.5", Some(Coding::Gzip));
        check("gzip, deflate, br, zstd", Some(Coding::Zstd));
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("zstd;q=0.3, br;q=0.4, gzip;q=0.5", Some(Coding::Gzip));
        check("gzip;q=0", None);
        check("gzip;q=0, *", Some(Coding::Zstd));
        check("*;q=0", None);
        check("zstd;q=0, br;q=0.000, *;q=0.1", Some(Coding::Gzip));
        check("identity;q=1, gzip;q=0.5", None);
        check("identity;q=0.5, gzip;q=1", Some(Coding::Gzip));
        check("gzip;q=2, zstd;q=-1, br;q=NaN", None);
        check("gzip;level=9", None);
        check(",;,=", None);
    }
}
