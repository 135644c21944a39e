//! The file of overrides: limits by tenant, read at start and again when it changes. A new one that is wrong leaves the one before in
//! force, is counted, logged once, and told by `/readyz`.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use weir_access::is_tenant;
use weir_model::limits::{Limits, Overrides, OverridesFile};

use crate::Failure;
use crate::service::health::Readiness;
use crate::text::plain;

/// A changed file is in force after this long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
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
        parse(&read_text(&self.overrides_file)?).map_err(|error| wrong(&self.overrides_file, &error))
    }
}

/// Limits of all tenants, as the file says now. Clones share it; it is watched for as long as one is held.
#[derive(Clone)]
pub(crate) struct LimitsWatch(Arc<Watched>);

struct Watched {
    path: PathBuf,
    limits: Limits,
    seen: Mutex<Seen>,
    reload_failures: Counter,
    is_current: Gauge,
}

struct Seen {
    /// Of the version that was read last, even where it is wrong; `None` where it could not be read.
    stamp: Option<Stamp>,
    /// What was said last of a version that could not be used.
    failure: Option<String>,
}

/// Modification and change in nanoseconds, size, inode and device.
type Stamp = (i128, i128, u64, u64, u64);

impl LimitsWatch {
    /// Reads the file and watches it. Must be called within a tokio runtime.
    pub fn start(config: &LimitsConfig, registry: &mut Registry) -> Result<Self, Failure> {
        let watch = Self::open(config, registry)?;
        if !config.overrides_file.as_os_str().is_empty() {
            tokio::spawn(poll(Arc::downgrade(&watch.0)));
        }
        Ok(watch)
    }

    fn open(config: &LimitsConfig, registry: &mut Registry) -> Result<Self, Failure> {
        let (path, reload_failures, is_current) = (config.overrides_file.clone(), Counter::default(), Gauge::default());
        let help = "Changed files of overrides that could not be used; the one before stays in force";
        registry.register("weir_limits_reload_failures", help, reload_failures.clone());
        let help = "Whether the limits in force are those of the file of overrides as it is";
        registry.register("weir_limits_last_reload_successful", help, is_current.clone());
        // Before the text: what changes in between is read again.
        let seen = Mutex::new(Seen { stamp: stamp(&path), failure: None });
        let overrides = config.read().map_err(|error| Failure::input(format!("limits.overrides_file: {error}")))?;
        is_current.set(1);
        Ok(Self(Arc::new(Watched { path, limits: Limits::new(overrides), seen, reload_failures, is_current })))
    }

    pub fn limits(&self) -> Limits {
        self.0.limits.clone()
    }

    /// Adds to what `/readyz` says that the file is wrong, where it is.
    pub fn told_by<R: Readiness>(&self, readiness: R) -> impl Readiness {
        Telling { readiness, watch: self.clone() }
    }
}

impl Watched {
    /// Reads the file if it is not the one that was read last. Blocks.
    fn refresh(&self) {
        let stamp = stamp(&self.path);
        if stamp.is_some() && self.seen().stamp == stamp {
            return;
        }
        // Where it cannot be read there is no stamp, so that it is read again: the fault may not have been the file's.
        match read_text(&self.path).map(|text| parse(&text)) {
            Ok(Ok(overrides)) => {
                tracing::info!(path = %self.path.display(), tenants = overrides.tenants().len(), "limits read again");
                self.limits.replace(overrides);
                self.is_current.set(1);
                *self.seen() = Seen { stamp, failure: None };
            }
            Ok(Err(error)) => self.refuse(stamp, wrong(&self.path, &error)),
            Err(error) => self.refuse(None, error),
        }
    }

    /// Counted and said once for each version, and for each reason of a file that cannot be read.
    fn refuse(&self, stamp: Option<Stamp>, error: String) {
        let mut seen = self.seen();
        let is_new = seen.failure.as_ref() != Some(&error) || stamp.is_some();
        if is_new {
            self.reload_failures.inc();
            self.is_current.set(0);
            tracing::error!(error, "a changed file of overrides cannot be used; the limits of before stay in force");
        }
        *seen = Seen { stamp, failure: Some(error) };
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Errors with the line, or with the path of the key.
fn parse(text: &str) -> Result<Overrides, String> {
    let file: OverridesFile = toml::from_str(text).map_err(|error| error.to_string())?;
    if let Some(name) = file.tenants.keys().find(|name| !is_tenant(name)) {
        return Err(format!("tenants.{name:?}: no tenant has such a name"));
    }
    file.try_into()
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| wrong(path, &error))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| wrong(path, &error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(path, &format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> String {
    plain::error(&format!("{}: {error}", path.display()))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (modified, changed) = (nanos(data.mtime(), data.mtime_nsec()), nanos(data.ctime(), data.ctime_nsec()));
    Some((modified, changed, data.size(), data.ino(), data.dev()))
}

async fn poll(watched: Weak<Watched>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(watched) = watched.upgrade() else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || watched.refresh()).await {
            tracing::error!(%error, "the file of overrides is not watched any more");
            return;
        }
    }
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
        let failure = self.watch.0.seen().failure.clone();
        failure.into_iter().map(|error| format!("limits of before are in force: {error}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
        let streams = || limits.of("shop").logs.streams_max;
        let replace = |text: &str| {
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
            watch.0.refresh();
            watch.0.refresh();
        };
        assert_eq!((streams(), readiness.warnings()), (Some(1), Vec::new()));
        replace("[tenants.shop.logs]\nstreams_max = 2\n");
        assert_eq!((streams(), watch.0.reload_failures.get(), watch.0.is_current.get()), (Some(2), 0, 1));
        replace("[tenants.shop.logs]\nstreams_max = 0\n");
        assert_eq!((streams(), watch.0.reload_failures.get(), watch.0.is_current.get()), (Some(2), 1, 0));
        let warned = readiness.warnings().join("");
        assert!(warned.contains("overrides.toml") && warned.contains("logs.streams_max: must be above 0"), "{warned}");
        std::fs::remove_file(&path).unwrap();
        watch.0.refresh();
        watch.0.refresh();
        assert_eq!((streams(), watch.0.reload_failures.get()), (Some(2), 2));
        replace("");
        assert_eq!((streams(), watch.0.reload_failures.get(), watch.0.is_current.get()), (None, 2, 1));
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
        let held = Arc::downgrade(&watch.0);
        drop(watch);
        while held.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "still held");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
