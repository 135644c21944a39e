//! The file of overrides: limits by tenant, read at start and again when it changes. A new one that is wrong leaves the one before in
//! force, is counted, logged once, and told by `/readyz`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use weir_access::is_tenant;
use weir_model::limits::{Limits, Overrides, OverridesFile};
use weir_watched::{Watched, keep_polling};

use crate::Failure;
use crate::service::health::Readiness;
use crate::text::plain;

/// A tenant with all of its keys has about 1 KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// `[limits]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// Limits by tenant; none where it is empty.
    pub overrides_file: PathBuf,
}

impl LimitsConfig {
    /// What the file says. Errors with the file, the line or the path of the key, and what is wrong.
    pub fn read(&self) -> Result<Overrides, String> {
        if self.overrides_file.as_os_str().is_empty() {
            return Ok(Overrides::default());
        }
        read(&self.overrides_file, &weir_watched::read(&self.overrides_file, FILE_BYTES_MAX)?)
    }
}

/// Limits of all tenants, as the file says now. Clones share it; it is watched for as long as one is held.
#[derive(Clone)]
pub(crate) struct LimitsWatch {
    limits: Limits,
    told: Arc<Told>,
    /// `None` where there is no file.
    file: Option<Arc<Watched<Overrides>>>,
}

/// How the last change of the file was taken.
#[derive(Default)]
struct Told {
    /// Why a changed file cannot be used.
    failure: Mutex<Option<String>>,
    reload_failures: Counter,
    is_current: Gauge,
}

impl LimitsWatch {
    /// Reads the file and watches it. Must be called within a tokio runtime.
    pub fn start(config: &LimitsConfig, registry: &mut Registry) -> Result<Self, Failure> {
        let watch = Self::open(config, registry)?;
        if let Some(file) = &watch.file {
            keep_polling(file, Watched::poll);
        }
        Ok(watch)
    }

    fn open(config: &LimitsConfig, registry: &mut Registry) -> Result<Self, Failure> {
        let (limits, told) = (Limits::default(), Arc::new(Told::default()));
        let help = "Changed files of overrides that could not be used; the one before stays in force";
        registry.register("weir_limits_reload_failures", help, told.reload_failures.clone());
        let help = "Whether the limits in force are those of the file of overrides as it is";
        registry.register("weir_limits_last_reload_successful", help, told.is_current.clone());
        told.is_current.set(1);
        let path = &config.overrides_file;
        if path.as_os_str().is_empty() {
            return Ok(Self { limits, told, file: None });
        }
        let (own, of_file, said) = (path.clone(), limits.clone(), Arc::clone(&told));
        let load = move |contents: &[Vec<u8>]| read(&own, &contents[0]);
        let shown = path.clone();
        let reloaded = move |read: Result<&Overrides, &str>| match read {
            Ok(overrides) => {
                tracing::info!(path = %shown.display(), tenants = overrides.tenants().len(), "limits read again");
                of_file.replace(overrides.clone());
                said.set(None);
            }
            Err(error) => {
                tracing::error!(error, "a changed file of overrides cannot be used; the limits of before stay in force");
                said.set(Some(error.to_owned()));
            }
        };
        let file = Watched::open(vec![path.clone()], FILE_BYTES_MAX, load, reloaded);
        let file = file.map_err(|error| Failure::input(format!("limits.overrides_file: {error}")))?;
        limits.replace(Overrides::clone(&file.current()));
        Ok(Self { limits, told, file: Some(Arc::new(file)) })
    }

    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// Adds to what `/readyz` says that the file is wrong, where it is.
    pub fn told_by<R: Readiness>(&self, readiness: R) -> impl Readiness {
        Telling { readiness, watch: self.clone() }
    }
}

impl Told {
    fn set(&self, failure: Option<String>) {
        self.reload_failures.inc_by(u64::from(failure.is_some()));
        self.is_current.set(i64::from(failure.is_none()));
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Errors with the file, and with the line or the path of the key.
fn read(path: &Path, bytes: &[u8]) -> Result<Overrides, String> {
    parse(weir_watched::text(path, bytes)?).map_err(|error| plain::error(&format!("{}: {error}", path.display())))
}

/// Errors with the line, or with the path of the key.
fn parse(text: &str) -> Result<Overrides, String> {
    let file: OverridesFile = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(name) = file.tenants.keys().find(|name| !is_tenant(name)) {
        return Err(format!("tenants.{name:?}: no tenant has such a name"));
    }
    file.try_into()
}

struct Telling<R> {
    readiness: R,
    watch: LimitsWatch,
}

impl<R: Readiness> Readiness for Telling<R> {
    fn ready(&self) -> Result<(), String> {
        self.readiness.ready()
    }

    fn serves(&self) -> bool {
        self.readiness.serves()
    }

    fn quarantined(&self) -> Vec<String> {
        self.readiness.quarantined()
    }

    fn warnings(&self) -> Vec<String> {
        let failure = self.watch.told.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.into_iter().map(|error| format!("limits of before are in force: {error}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Every key, documented.
    const EXAMPLE: &str = include_str!("../../deploy/overrides.toml");

    #[test]
    fn the_example_says_every_key() {
        let file: OverridesFile = toml::from_str(EXAMPLE).unwrap();
        let example = serde_json::to_value(&file.defaults).unwrap();
        let all = serde_json::to_value(weir_model::limits::TenantLimits::default()).unwrap();
        fn missing(path: &str, all: &serde_json::Value, said: &serde_json::Value, found: &mut Vec<String>) {
            for (key, value) in all.as_object().into_iter().flatten() {
                match said.get(key) {
                    Some(other) if value.is_object() => missing(&format!("{path}{key}."), value, other, found),
                    Some(other) if !other.is_null() && *other != "" => {}
                    _ => found.push(format!("{path}{key}")),
                }
            }
        }
        let mut found = Vec::new();
        missing("", &all, &example, &mut found);
        assert!(found.is_empty(), "not in deploy/overrides.toml: {found:?}");
        parse(EXAMPLE).unwrap();
    }

    #[test]
    fn a_wrong_file_is_refused_by_line_or_path() {
        let check = |text: &str, expected: &[&str]| {
            let error = parse(text).unwrap_err();
            expected.iter().for_each(|part| assert!(error.contains(part), "{text:?}: {error}"));
        };
        check("[defaults.logs]\nstream_max = 5", &["line 2", "stream_max", "streams_max"]);
        check("[defaults.logs]\nline_max = 5", &["line 2", "has no unit: write \"5B\""]);
        check("[tenants.\"shop\".logs.ingestion]\nrate = \"5MB\"", &["line 2", "rate", "is not a size"]);
        check("[tenants.shop.logs.ingestion]\nburst = \"5MiB\"", &["tenants.\"shop\".logs.ingestion.burst: needs rate"]);
        check("[tenants.\"a/b\"]", &["tenants.\"a/b\": no tenant has such a name"]);
        check("[defaults.query]\nconcurrency = 0", &["defaults.query.concurrency: must be above 0"]);
        let stream = "[defaults.logs]\nretention_stream = [{ selector = \"{a=}\", period = \"1d\" }]";
        check(stream, &["line 2", "value of a is not a quoted string"]);
    }

    #[test]
    fn a_changed_file_counts_and_a_wrong_one_leaves_the_one_before() {
        struct Fine;
        impl Readiness for Fine {
            fn ready(&self) -> Result<(), String> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("overrides.toml");
        let config = LimitsConfig { overrides_file: path.clone() };
        let refused = LimitsWatch::open(&config, &mut Registry::default()).err().unwrap().message;
        assert!(refused.contains("limits.overrides_file") && refused.contains("No such file"), "{refused}");
        std::fs::write(&path, "[tenants.shop.logs]\nstreams_max = 1\n").unwrap();
        let watch = LimitsWatch::open(&config, &mut Registry::default()).unwrap();
        let (limits, readiness) = (watch.limits(), watch.told_by(Fine));
        let polled = || (0..3).for_each(|_| watch.file.as_ref().unwrap().poll());
        let streams = || limits.of("shop").logs.streams_max;
        let replace = |text: &str| {
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
            polled();
        };
        assert_eq!((streams(), readiness.warnings()), (Some(1), Vec::new()));
        replace("[tenants.shop.logs]\nstreams_max = 2\n");
        assert_eq!((streams(), watch.told.reload_failures.get(), watch.told.is_current.get()), (Some(2), 0, 1));
        replace("[tenants.shop.logs]\nstreams_max = 0\n");
        assert_eq!((streams(), watch.told.reload_failures.get(), watch.told.is_current.get()), (Some(2), 1, 0));
        let warned = readiness.warnings().join("");
        assert!(warned.contains("overrides.toml") && warned.contains("logs.streams_max: must be above 0"), "{warned}");
        std::fs::remove_file(&path).unwrap();
        polled();
        assert_eq!((streams(), watch.told.reload_failures.get()), (Some(2), 2));
        replace("");
        assert_eq!((streams(), watch.told.reload_failures.get(), watch.told.is_current.get()), (None, 2, 1));
        assert_eq!(readiness.warnings(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_file_is_watched_for_as_long_as_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let config = LimitsConfig { overrides_file: folder.path().join("overrides.toml") };
        std::fs::write(&config.overrides_file, "").unwrap();
        let watch = LimitsWatch::start(&config, &mut Registry::default()).unwrap();
        std::fs::write(&config.overrides_file, "[defaults.metrics]\nseries_max = 7\n").unwrap();
        let began = Instant::now();
        while watch.limits().of("anybody").metrics.series_max != Some(7) {
            assert!(began.elapsed() < Duration::from_secs(60), "not read again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = Arc::downgrade(watch.file.as_ref().unwrap());
        drop(watch);
        while held.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "still held");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
