//! A file of credentials, read again when it has changed, by the next request.

use std::path::Path;
use std::sync::Arc;

use weir_watched::Watched;

use super::metrics::AuthMetrics;

/// 100,000 users at 160 bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads it. Errors name the key, the file, and what is wrong on which line.
pub(crate) fn open<T: 'static>(
    key: &'static str,
    path: &Path,
    parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    metrics: AuthMetrics,
) -> Result<Arc<Watched<T>>, String> {
    let (own, shown) = (path.to_owned(), path.to_owned());
    let load = move |contents: &[Vec<u8>]| {
        parse(weir_watched::text(&own, &contents[0])?).map_err(|error| format!("{}: {error}", own.display()))
    };
    let reloaded = move |read: Result<&T, &str>| match read {
        Ok(_) => tracing::info!(key, file = %shown.display(), "credentials were read again"),
        Err(error) => {
            metrics.reload_failure(key);
            tracing::error!(key, error, "credentials stay as they were");
        }
    };
    let watched = Watched::open(vec![path.to_owned()], FILE_BYTES_MAX, load, reloaded);
    watched.map(Arc::new).map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_at_the_start_and_counted_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let metrics = AuthMetrics::default();
        let parse = |text: &str| text.parse::<u32>().map_err(|_| "line 1 is no number".to_owned());
        let open = || open("auth.number", &path, parse, metrics.clone());
        let refused = |expected: &str| {
            let error = open().unwrap_err();
            assert_eq!(error, format!("auth.number: {}: {expected}", path.display()));
        };
        refused("No such file or directory (os error 2)");
        std::fs::write(&path, b"\xff").unwrap();
        refused("is not UTF-8");
        std::fs::write(&path, "many").unwrap();
        refused("line 1 is no number");
        std::fs::write(&path, "1").unwrap();
        let watched = open().unwrap();
        std::fs::write(&path, "many").unwrap();
        watched.poll();
        watched.poll();
        assert_eq!((*watched.current(), metrics.reload_failures("auth.number")), (1, 1));
    }
}
