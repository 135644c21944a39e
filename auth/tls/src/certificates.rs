//! What is made of files of certificates, and made again when they change: counted, and warned of before they expire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use weir_watched::Watched;

use crate::TlsError;
use crate::metrics::metrics;
use crate::pem::Expiry;

/// A revocation list of a hundred thousand certificates has some 4 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// An expiry is warned of from so long before, once a day.
const WARN_WITHIN: i64 = 14 * 86_400;
const WARN_PAUSE: Duration = Duration::from_secs(86_400);

/// A value, and the certificates in its files.
pub(crate) type Loaded<T> = Result<(T, Vec<Expiry>), TlsError>;

/// See above.
pub(crate) struct Certificates<T> {
    watched: Watched<Made<T>>,
}

struct Made<T> {
    value: Arc<T>,
    expiries: Vec<Expiry>,
    /// When it was last said that they end soon.
    warned: Mutex<Option<Instant>>,
}

impl<T> Certificates<T> {
    /// `load` gets the files' contents in their order.
    pub fn open(files: Vec<PathBuf>, load: impl Fn(&[Vec<u8>]) -> Loaded<T> + Send + Sync + 'static) -> Result<Self, TlsError> {
        let make = move |contents: &[Vec<u8>]| {
            let (value, expiries) = load(contents)?;
            Ok::<_, TlsError>(Made { value: Arc::new(value), expiries, warned: Mutex::default() })
        };
        let names = files.clone();
        let reloaded = move |made: Result<&Made<T>, &str>| match made {
            Ok(_) => tracing::info!(files = ?names, "certificates were read again"),
            Err(error) => {
                metrics().reload_failures.inc();
                tracing::warn!(error, "changed certificates cannot be used; those of before stay in use");
            }
        };
        let watched = Watched::open(files, FILE_BYTES_MAX, make, reloaded)?;
        watched.current().note_expiries();
        Ok(Self { watched })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.watched.current().value)
    }

    /// Looks at the files first, unless that was done within a second or another does now: handshakes do not wait for each other. Blocks
    /// for as long as a look takes: some small local files.
    pub fn fresh(&self) -> Arc<T> {
        let made = self.watched.fresh_or_current();
        made.note_expiries();
        Arc::clone(&made.value)
    }

    /// Looks at the files.
    pub fn poll(&self) {
        self.watched.poll();
        self.watched.current().note_expiries();
    }
}

impl<T> Made<T> {
    fn note_expiries(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        for Expiry { file, at } in &self.expiries {
            metrics().expires(file, *at);
        }
        let mut warned = self.warned.lock();
        if warned.is_some_and(|warned| warned.elapsed() < WARN_PAUSE) {
            return;
        }
        for Expiry { file, at } in self.expiries.iter().filter(|expiry| expiry.at - now < WARN_WITHIN) {
            let days = (at - now).div_euclid(86_400);
            tracing::warn!(file = %file.display(), days, "a certificate expires soon, or has; put a new one there");
            *warned = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_leaves_what_was_and_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let path = file.clone();
        let load = move |contents: &[Vec<u8>]| {
            let number = String::from_utf8_lossy(&contents[0]).parse::<u32>();
            Ok((number.map_err(|error| TlsError::content(&path, error))?, Vec::new()))
        };
        let certificates = Certificates::open(vec![file.clone()], load).unwrap();
        let failures = || metrics().reload_failures.get();
        let before = failures();
        for (text, value, counted) in [("1", 1, 0), ("two", 1, 1), ("3", 3, 1)] {
            std::fs::write(&file, text).unwrap();
            certificates.poll();
            certificates.poll();
            assert_eq!((*certificates.current(), failures()), (value, before + counted), "{text}");
        }
    }
}
