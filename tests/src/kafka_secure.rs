//! A real broker that only speaks TLS to users it knows, with a CA of the test's own, SCRAM users, OAUTHBEARER and ACLs: weir produces and
//! consumes over it, and is refused with a wrong password, a wrong CA, a missing right, each in words that say which.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use weir_bus::contract::Contract;
use weir_bus::kafka::{KafkaConfig, KafkaLog};
use weir_bus::{BusMetrics, Event, Log, TopicPartition};
use weir_model::config::ByteSize;

use crate::kafka::{Brokers, Listener};
use crate::roles::Role;
use crate::weir::{PATIENCE, eventually};

const TOPIC: &str = "weir.logs";
const MECHANISM: &str = "SCRAM-SHA-512";
/// All of them have their name and this as a password.
const USERS: [&str; 5] = ["admin", "weir", "nowrite", "nogroup", "nocreate"];

/// A CA and a broker's certificate; another CA that has signed nothing.
struct Secrets {
    dir: tempfile::TempDir,
}

impl Secrets {
    fn make() -> Self {
        let secrets = Self { dir: tempfile::tempdir().unwrap() };
        for ca in ["ca", "other"] {
            let subject = format!("/CN=weir test {ca}");
            let files = ["-keyout", &format!("{ca}.key"), "-out", &format!("{ca}.pem")];
            secrets.openssl(
                &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject][..], &files].concat(),
            );
        }
        secrets.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=broker",
            "-keyout",
            "broker.key",
            "-out",
            "broker.csr",
        ]);
        fs::write(secrets.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"];
        secrets.openssl(&[&["x509", "-req", "-in", "broker.csr", "-out", "broker.crt"][..], &by].concat());
        let keystore = [fs::read(secrets.path("broker.key")).unwrap(), fs::read(secrets.path("broker.crt")).unwrap()].concat();
        fs::write(secrets.path("broker.pem"), keystore).unwrap();
        secrets
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").current_dir(self.dir.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn listener(&self) -> Listener {
        let pem = |name: &str| self.path(name).display().to_string();
        let scram = "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required username=\"admin\" password=\"admin\";";
        let bearer = "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\
             org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";
        let properties = format!(
            "inter.broker.listener.name=SASL_SSL\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             sasl.enabled.mechanisms={MECHANISM},OAUTHBEARER\n\
             sasl.mechanism.inter.broker.protocol={MECHANISM}\n\
             {scram}\n{bearer}\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:admin;User:ANONYMOUS\n",
            pem("broker.pem"),
            pem("ca.pem"),
        );
        let user = |name: &&str| ["--add-scram".to_owned(), format!("{MECHANISM}=[name={name},password={name}]")];
        Listener { protocol: "SASL_SSL", properties, format: USERS.iter().flat_map(user).collect() }
    }

    /// What a client needs that is called `user`.
    fn properties(&self, user: &str) -> Vec<(String, String)> {
        let ca = self.path("ca.pem").display().to_string();
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", &ca),
            ("sasl.mechanism", MECHANISM),
            ("sasl.username", user),
            ("sasl.password", user),
        ];
        properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }
}

struct Secure {
    brokers: Brokers,
    secrets: Secrets,
}

impl Secure {
    /// Who may what: `weir` all it needs, each other user all but what it is named by.
    async fn start() -> Self {
        let secrets = Secrets::make();
        let secure = Self { brokers: Brokers::start_as(1, &secrets.listener()).await.unwrap(), secrets };
        let topics = ["--topic", "weir.", "--resource-pattern-type", "prefixed"];
        secure.allow(&["weir", "nogroup", "bearer"], &["All"], &topics);
        secure.allow(&["weir", "nowrite", "bearer"], &["All"], &["--group", "weir"]);
        secure.allow(&["nowrite"], &["Read", "DescribeConfigs"], &topics);
        // So that it is given a producer's id, which takes the right to write somewhere.
        secure.allow(&["nowrite"], &["Write"], &["--topic", "elsewhere"]);
        secure
    }

    fn allow(&self, users: &[&str], operations: &[&str], what: &[&str]) {
        let client = self.secrets.path("admin.properties");
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"admin\" password=\"admin\";";
        let text = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism={MECHANISM}\nsasl.jaas.config={scram}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            self.secrets.path("ca.pem").display()
        );
        fs::write(&client, text).unwrap();
        let addresses = self.brokers.addresses();
        let mut arguments =
            vec!["--bootstrap-server", &addresses, "--command-config", client.to_str().unwrap(), "--add", "--force"];
        let users: Vec<String> = users.iter().map(|user| format!("User:{user}")).collect();
        users.iter().for_each(|user| arguments.extend(["--allow-principal", user]));
        operations.iter().for_each(|operation| arguments.extend(["--operation", operation]));
        arguments.extend(what);
        self.brokers.tool("org.apache.kafka.tools.AclCommand", &arguments).unwrap();
    }

    fn open(&self, user: &str, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
        let mut config = KafkaConfig {
            brokers: self.brokers.addresses(),
            partitions: 2,
            replication: 1,
            record_max: ByteSize::kib(8),
            properties: self.secrets.properties(user).into_iter().collect(),
            ..KafkaConfig::default()
        };
        change(&mut config);
        KafkaLog::open(config, BusMetrics::default()).unwrap()
    }
}

fn set(key: &str, value: &Path) -> impl FnOnce(&mut KafkaConfig) {
    let (key, value) = (key.to_owned(), value.display().to_string());
    move |config| drop(config.properties.insert(key, value))
}

#[track_caller]
fn says(said: &str, expected: &[&str]) {
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

async fn append(log: &KafkaLog) -> Result<u64, String> {
    let place = TopicPartition { topic: TOPIC.into(), partition: 0 };
    let ack = log.append(&place, Bytes::from_static(b"x")).await.map_err(|error| error.to_string())?;
    ack.await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_tls_users_and_rights_keeps_the_contract_and_says_what_is_wrong() {
    let secure = Secure::start().await;
    let log = secure.open("nocreate", |_| {});
    let said = log.partitions(TOPIC).await.unwrap_err().to_string();
    says(&said, &["create a topic", "user \"nocreate\" may not create topic weir.logs", "Topic authorization failed"]);

    let log = secure.open("weir", |_| {});
    Contract { log: &log, topic: TOPIC, record_bytes: 8192, quiet: Duration::from_millis(700) }.check().await;
    assert_eq!(log.obstacles(), None);

    secure.check_strangers().await;
    secure.check_missing_write().await;
    secure.check_missing_group().await;
    secure.check_role().await;
    secure.check_tokens().await;
}

impl Secure {
    /// A wrong password, and a CA that has not signed the broker's certificate.
    async fn check_strangers(&self) {
        let addresses = self.brokers.addresses();
        let log = self.open("weir", set("sasl.password", Path::new("wrong")));
        let said = log.partitions(TOPIC).await.unwrap_err().to_string();
        says(&said, &["fetch metadata", &addresses, MECHANISM, "user \"weir\"", "is refused"]);
        says(&log.obstacles().unwrap(), &[&addresses, "user \"weir\""]);
        let log = self.open("weir", set("ssl.ca.location", &self.secrets.path("other.pem")));
        let said = log.partitions(TOPIC).await.unwrap_err().to_string();
        says(&said, &["fetch metadata", &addresses, "certificate verify failed", "ssl.ca.location", "other.pem"]);
    }

    async fn check_missing_write(&self) {
        let log = self.open("nowrite", |_| {});
        let refused = "user \"nowrite\" may not write topic weir.logs";
        says(&append(&log).await.unwrap_err(), &["append", refused, "Topic authorization failed"]);
        says(&log.obstacles().unwrap(), &[refused]);
        // Given the right, it goes on with the same client.
        self.allow(&["nowrite"], &["Write"], &["--topic", TOPIC]);
        eventually("the right counts", async || append(&log).await.map(|_| ())).await;
        assert_eq!(log.obstacles(), None);
    }

    async fn check_missing_group(&self) {
        let log = self.open("nogroup", |_| {});
        let mut consumer = log.consume(&[TOPIC], "a").await.unwrap();
        let refused = "user \"nogroup\" may not read group weir";
        eventually("the group is refused", async || {
            log.obstacles().filter(|said| said.contains(refused)).map(|_| ()).ok_or_else(|| format!("{:?}", log.obstacles()))
        })
        .await;
        self.allow(&["nogroup"], &["Read"], &["--group", "weir"]);
        let given = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("given the right, it joins by itself");
        assert!(matches!(&given, Ok(Event::Assigned(places)) if places.len() == 2), "{given:?}");
        assert_eq!(log.obstacles(), None);
    }

    /// A role goes on trying, and says why.
    async fn check_role(&self) {
        let (folder, addresses) = (tempfile::tempdir().unwrap(), self.brokers.addresses());
        let config = folder.path().join("weir.toml");
        let kafka = format!("brokers = {addresses:?}\nreplication = 1\n[bus.kafka.properties]\n");
        let mut text = format!("[bus]\nkind = \"kafka\"\n[bus.kafka]\n{kafka}");
        for (key, value) in self.secrets.properties("weir") {
            let value = if key == "sasl.password" { "wrong" } else { &value };
            text += &format!("{key:?} = {value:?}\n");
        }
        fs::write(&config, text).unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        let mut role = Role::start(folder.path(), "aggregator", &["--config", config.to_str().unwrap(), "--store", &store]);
        eventually("it says why it is not ready", async || match role.ready().await {
            Err(why) if why.contains("user \"weir\" with SCRAM-SHA-512 is refused") && why.contains(&addresses) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        says(&role.log(), &["the kafka brokers cannot be used as configured", &addresses]);
        assert_eq!(role.terminate().await, Some(0), "{}", role.log());
    }

    /// A token from an endpoint, as OIDC has it.
    async fn check_tokens(&self) {
        let url = serve_tokens();
        let log = self.open("weir", |config| {
            config.properties.retain(|key, _| !key.starts_with("sasl."));
            for (key, value) in [
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.oauthbearer.method", "oidc"),
                ("sasl.oauthbearer.client.id", "bearer"),
                ("sasl.oauthbearer.client.secret", "secret"),
                ("sasl.oauthbearer.token.endpoint.url", &url),
            ] {
                config.properties.insert(key.into(), value.into());
            }
        });
        append(&log).await.unwrap();
    }
}

/// Answers every request with an unsigned token for the user `bearer`; the broker's stock validator takes such. Returns its URL.
fn serve_tokens() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]);
            let body = format!(r#"{{"access_token":"{}","token_type":"bearer","expires_in":3600}}"#, token());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(r#"{{"sub":"bearer","iat":{},"exp":{}}}"#, now - 10, now + 3600);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}
