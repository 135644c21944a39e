//! An object store by its URL: a directory, S3 and what speaks like it, Google's, Azure's.
//!
//! - here: which of them a URL means, and what may be set about it;
//! - `http`: the client that the remote ones speak through.
//!
//! Not here: whether the store can be trusted (`manifest::probe`, which everyone who writes runs first).

mod http;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use weir_tls::ClientTls;

use crate::StoreError;
use crate::manifest::durable_local;
use http::{Http, Transport};

/// A request that fails is repeated for so long inside of the client; whoever publishes tries again after that, with what
/// it wants published unchanged. Short, so that an outage shows within seconds.
const RETRY: Duration = Duration::from_secs(8);

/// Where an object store is.
#[derive(Clone, Debug)]
pub struct Location {
    /// `""`, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Keys of `object_store`'s builders (`endpoint`, `region`, `access_key_id`, …). What is not named here comes from the
    /// standard variables: `AWS_…`, `GOOGLE_…`, `AZURE_…`.
    pub options: BTreeMap<String, String>,
    /// How a remote store is known, and what is shown to it; of no use to a directory.
    pub tls: ClientTls,
    /// The directory that `""` stands for.
    pub default: PathBuf,
}

/// What a URL stands for.
enum Place {
    Directory(PathBuf),
    Remote(Arc<dyn ObjectStore>),
}

impl Location {
    /// Opens it; for a directory that blocks on the disk, for the others nothing is asked yet. Errors name the key.
    pub fn open(&self, now: SystemTime) -> Result<Arc<dyn ObjectStore>, StoreError> {
        match self.place()? {
            Place::Directory(path) => Ok(Arc::new(durable_local(&path, now)?)),
            Place::Remote(store) => Ok(store),
        }
    }

    /// The directory that it is, if it is one. Errors as [`Location::open`] does for what can be known without disk and network.
    pub fn directory(&self) -> Result<Option<PathBuf>, StoreError> {
        Ok(match self.place()? {
            Place::Directory(path) => Some(path),
            Place::Remote(_) => None,
        })
    }

    fn place(&self) -> Result<Place, StoreError> {
        if self.url.is_empty() {
            return self.local(self.default.clone());
        }
        let url = Url::parse(&self.url).map_err(|error| wrong(format!("url = {:?}: {error}", self.url)))?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| wrong(format!("url = {:?}: {error}", self.url)))?;
        match scheme {
            ObjectStoreScheme::Local => {
                let path = url.to_file_path().map_err(|()| wrong(format!("url = {:?} names no absolute path", self.url)))?;
                self.local(path)
            }
            ObjectStoreScheme::AmazonS3 => Ok(Place::Remote(below(prefix, self.amazon()?))),
            ObjectStoreScheme::GoogleCloudStorage => Ok(Place::Remote(below(prefix, self.google()?))),
            ObjectStoreScheme::MicrosoftAzure => Ok(Place::Remote(below(prefix, self.azure()?))),
            _ => Err(wrong(format!("url = {:?}: only file, s3, gs and az are known", self.url))),
        }
    }

    fn local(&self, path: PathBuf) -> Result<Place, StoreError> {
        match self.options.keys().next() {
            Some(key) => Err(wrong(format!("options.{key}: a directory has no options, and url = {:?} is one", self.url))),
            None if self.tls != ClientTls::default() => {
                Err(wrong(format!("tls: a directory has no TLS, and url = {:?} is one", self.url)))
            }
            None => Ok(Place::Directory(path)),
        }
    }

    fn amazon(&self) -> Result<impl ObjectStore + use<>, StoreError> {
        let keys = self.keys::<AmazonS3ConfigKey>()?;
        let builder = AmazonS3Builder::from_env().with_url(&self.url);
        let builder = keys.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let plain = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|url| url.starts_with("http://"));
        let transport = self.transport(plain);
        builder.with_allow_http(plain).with_retry(retry()).with_http_connector(Http(transport)).build().map_err(unusable)
    }

    fn google(&self) -> Result<impl ObjectStore + use<>, StoreError> {
        let builder = GoogleCloudStorageBuilder::from_env().with_url(&self.url);
        let keys = self.keys::<GoogleConfigKey>()?;
        let builder = keys.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
        builder.with_retry(retry()).with_http_connector(Http(self.transport(false))).build().map_err(unusable)
    }

    fn azure(&self) -> Result<impl ObjectStore + use<>, StoreError> {
        let keys = self.keys::<AzureConfigKey>()?;
        let builder = MicrosoftAzureBuilder::from_env().with_url(&self.url);
        let builder = keys.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let plain = builder.get_config_value(&AzureConfigKey::Endpoint).is_some_and(|url| url.starts_with("http://"));
        let transport = self.transport(plain);
        builder.with_allow_http(plain).with_retry(retry()).with_http_connector(Http(transport)).build().map_err(unusable)
    }

    /// Plain where the endpoint's URL says `http://`.
    fn transport(&self, plain: bool) -> Transport {
        if plain { Transport::Plain } else { Transport::Tls(self.tls.clone()) }
    }

    /// The options as the builder knows them; it would pass over what it does not.
    fn keys<K: FromStr>(&self) -> Result<Vec<(K, String)>, StoreError> {
        let known = |(key, value): (&String, &String)| {
            let parsed = key.to_ascii_lowercase().parse().map_err(|_| wrong(format!("options.{key}: no such option")))?;
            Ok((parsed, value.clone()))
        };
        self.options.iter().map(known).collect()
    }
}

fn below(prefix: object_store::path::Path, store: impl ObjectStore) -> Arc<dyn ObjectStore> {
    if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 8, retry_timeout: RETRY }
}

fn wrong(detail: String) -> StoreError {
    StoreError::engine("open the object store", format!("store.{detail}"))
}

fn unusable(source: object_store::Error) -> StoreError {
    StoreError::engine("open the object store", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: &str, options: &[(&str, &str)]) -> Location {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Location { url: url.into(), options, tls: ClientTls::default(), default: PathBuf::from("/nowhere") }
    }

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        let check = |url: &str, options: &[(&str, &str)], expected: &str| {
            let error = location(url, options).open(SystemTime::UNIX_EPOCH).unwrap_err().to_string();
            assert!(error.contains(expected), "{url} {options:?}: {error}");
        };
        check("no url", &[], "store.url");
        check("ftp://bucket", &[], "store.url");
        check("memory:///", &[], "only file, s3, gs and az");
        check("file:///tmp", &[("region", "x")], "store.options.region");
        check("", &[("region", "x")], "store.options.region");
        check("s3://bucket", &[("regoin", "x")], "store.options.regoin");
        let tls = ClientTls { server_name: "x".into(), ..ClientTls::default() };
        let error = Location { tls, ..location("", &[]) }.open(SystemTime::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains("store.tls"), "{error}");
        let away = ClientTls { ca_file: "/away.pem".into(), ..ClientTls::default() };
        let keys = [("access_key_id", "a"), ("secret_access_key", "b"), ("endpoint", "https://127.0.0.1:1")];
        let error = Location { tls: away, ..location("s3://bucket", &keys) }.open(SystemTime::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("/away.pem"), "{error}");
        check("az://container", &[("bucket_name", "x")], "store.options.bucket_name");
    }

    #[test]
    fn each_kind_opens() {
        let check = |url: &str, options: &[(&str, &str)], expected: &str| {
            let store = location(url, options).open(SystemTime::UNIX_EPOCH).unwrap();
            assert!(store.to_string().contains(expected), "{url}: {store}");
        };
        let keys = [("access_key_id", "a"), ("secret_access_key", "b"), ("region", "eu-west-1")];
        check("s3://bucket", &[&keys[..], &[("endpoint", "http://127.0.0.1:1")]].concat(), "AmazonS3(bucket)");
        check("s3://bucket/a/b", &[&keys[..], &[("endpoint", "http://127.0.0.1:1")]].concat(), "a/b");
        let folder = tempfile::tempdir().unwrap();
        check(Url::from_directory_path(folder.path()).unwrap().as_str(), &[], "LocalFileSystem");
        let store = Location { default: folder.path().join("store"), ..location("", &[]) };
        store.open(SystemTime::UNIX_EPOCH).unwrap();
        assert!(folder.path().join("store").is_dir());
    }
}
