//! The file of policies, read again when it changes. A new one that is wrong leaves the one before in force.

use std::path::Path;
use std::sync::Arc;

use weir_watched::{Watched, keep_polling};

use super::metrics::AccessMetrics;
use super::policies::{FILE_BYTES_MAX, Policies, PolicyError};

/// Reads it, and watches it for as long as it is held. Must be called within a tokio runtime.
pub(crate) fn open(path: &Path, metrics: AccessMetrics) -> Result<Arc<Watched<Policies>>, PolicyError> {
    let (own, shown) = (path.to_owned(), path.to_owned());
    let load = move |contents: &[Vec<u8>]| Policies::parse(&own.display().to_string(), weir_watched::text(&own, &contents[0])?);
    let reloaded = move |policies: Result<&Policies, &str>| match policies {
        Ok(policies) => tracing::info!(path = %shown.display(), policies = policies.len(), "policies read again"),
        Err(error) => {
            metrics.reload_failed();
            tracing::error!(error, "changed policies cannot be read; those of before stay in force");
        }
    };
    let file = Arc::new(Watched::open(vec![path.to_owned()], FILE_BYTES_MAX, load, reloaded)?);
    tracing::info!(path = %path.display(), policies = file.current().len(), "policies read");
    keep_polling(&file, Watched::poll);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;

    fn failures(metrics: &AccessMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("weir_authorization_reload_failures_total"));
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or("0").to_owned()
    }

    #[tokio::test]
    async fn a_changed_file_counts_and_a_wrong_one_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies.jsonl");
        let missing = open(&path, AccessMetrics::default()).unwrap_err();
        assert_eq!(missing.place, path.display().to_string());
        std::fs::write(&path, "{\"user\": \"a\"}\n").unwrap();
        let metrics = AccessMetrics::default();
        let file = open(&path, metrics.clone()).unwrap();
        assert_eq!(file.current().len(), 1);
        let until = async |text: &str, expected: (usize, &str)| {
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
            let changed = async {
                while (file.current().len(), failures(&metrics).as_str()) != expected {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), changed).await.unwrap_or_else(|_| panic!("never {expected:?}"));
        };
        until("{\"user\": \"a\"}\n{\"user\": \"b\"}\n", (2, "0")).await;
        until("{\"usr\": \"a\"}\n", (2, "1")).await;
        until("", (0, "1")).await;
    }
}
