//! `weir check config --connect` against a real broker, and topics that are weaker than configured: refused at start by name.

use std::process::Command;
use std::time::Instant;

use weir_bus::kafka::{KafkaConfig, KafkaLog};
use weir_bus::{BusMetrics, Log};

use crate::kafka::Brokers;
use crate::weir::{PATIENCE, binary, free_port};

/// Exit code, lines of stdout, stderr.
fn check(folder: &std::path::Path, config: &str) -> (Option<i32>, Vec<String>, String) {
    let file = folder.join("weir.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(binary()).args(["check", "config", "--connect"]).arg(&file).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let lines = text(output.stdout).lines().map(|line| line.replace(&file.display().to_string(), "FILE")).collect();
    (output.status.code(), lines, text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_topic_is_refused_unless_named_and_a_check_says_all_that_is_wrong() {
    let broker = Brokers::start(1).await.unwrap();
    let weak = ["cleanup.policy=compact", "max.message.bytes=1000", "retention.ms=60000"];
    let weak: Vec<&str> = weak.iter().flat_map(|config| ["--config", config]).collect();
    let addresses = broker.addresses();
    let create = ["--bootstrap-server", &addresses, "--create", "--topic", "weir.logs", "--partitions", "1"];
    broker.tool("org.apache.kafka.tools.TopicCommand", &[&create[..], &weak].concat()).unwrap();
    check_start(&addresses).await;
    check_connect(&addresses);
}

/// Refused, with every setting, both values and the way out; named, it is used.
async fn check_start(addresses: &str) {
    let mut config = KafkaConfig { brokers: addresses.to_owned(), partitions: 2, replication: 1, ..KafkaConfig::default() };
    let log = KafkaLog::open(config.clone(), BusMetrics::default()).unwrap();
    let said = log.partitions("weir.logs").await.unwrap_err().to_string();
    let bytes = "max.message.bytes is 1000, and bus.kafka.record_max and what goes around a record asks for 1049600";
    let policy = "cleanup.policy is \"compact\", and weir needs \"delete\"";
    for part in ["topic weir.logs", "partitions is 1, and bus.kafka.partitions asks for 2", bytes, policy, "accept_weaker_topics"]
    {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    config.accept_weaker_topics = vec!["weir.logs".into()];
    let log = KafkaLog::open(config, BusMetrics::default()).unwrap();
    assert_eq!(log.partitions("weir.logs").await.unwrap(), 1);
    assert_eq!(log.partitions("weir.spans").await.unwrap(), 2);
}

/// The check says the same of all that is configured, and makes nothing.
fn check_connect(addresses: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().join("store").display());
    let store = format!("[store]\nurl = {url:?}\n");
    let kafka = format!("[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = {addresses:?}\nreplication = 1\n");
    for _ in 0..2 {
        let (code, lines, errors) = check(folder.path(), &format!("{store}{kafka}partitions = 2\n"));
        let expected = [
            "FILE: fine",
            &format!("bus.kafka.brokers = {addresses:?}: 1 answers"),
            "topic weir.logs: wrong: partitions is 1",
            "topic weir.logs: wrong: max.message.bytes is 1000",
            "topic weir.logs: wrong: cleanup.policy is \"compact\"",
            "topic weir.logs: wrong: retention.ms is 60000",
            "topic weir.metrics: not there yet; can be made with partitions: 2, replicas: 1",
            "topic weir.spans: partitions: 2, replicas: 1; settings fine",
            "group weir: its coordinator answers",
            &format!("store.url = {url:?}: answers"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line:?} does not begin with {expected:?}");
        }
        assert_eq!((code, errors.contains("4 of 9 cannot be used as configured")), (Some(1), true), "{errors}");
    }

    // Three replicas cannot be had of one broker; the brokers say so.
    let many = kafka.replace("replication = 1", "replication = 3\naccept_weaker_topics = [\"weir.logs\", \"weir.spans\"]");
    let (code, lines, _) = check(folder.path(), &format!("{store}{many}"));
    let wrong: Vec<&String> = lines.iter().filter(|line| line.contains(": wrong: ")).collect();
    let begins = "topic weir.metrics: wrong: kafka: create a topic: weir.metrics:";
    assert!(wrong.len() == 1 && wrong[0].starts_with(begins), "{lines:#?}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_check_of_what_is_not_there_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let away = format!("[store]\nurl = \"s3://bucket\"\n[store.options]\nendpoint = \"http://127.0.0.1:{}\"\n", free_port());
    let keys = "region = \"r\"\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\n";
    let nobody = format!("{away}{keys}[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = \"127.0.0.1:{}\"\n", free_port());
    let (code, lines, _) = check(folder.path(), &nobody);
    assert_eq!((code, lines.len()), (Some(1), 3), "{lines:#?}");
    assert!(lines[1].contains("wrong: kafka: fetch metadata:") && lines[1].contains("Connection refused"), "{}", lines[1]);
    assert!(lines[2].starts_with("store.url = \"s3://bucket\": wrong: "), "{}", lines[2]);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());

    // What is wrong in the file itself is another code, and nothing is tried.
    let (code, lines, errors) = check(folder.path(), "listne = 1\n");
    assert_eq!((code, lines.len()), (Some(2), 0), "{errors}");
}
