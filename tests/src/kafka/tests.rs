//! The bus over real brokers: its contract, and members of a group whose broker is away, forgets them or fences them.

use std::time::Duration;

use bytes::Bytes;
use weir_bus::contract::Contract;
use weir_bus::kafka::{KafkaConfig, KafkaLog};
use weir_bus::{BusMetrics, Consumer, Event, Log, TopicPartition};
use weir_model::config::ByteSize;

use super::Brokers;
use crate::weir::{PATIENCE, free_port};

fn open(broker: &Brokers, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
    open_counted(broker, &BusMetrics::default(), change)
}

fn open_counted(broker: &Brokers, metrics: &BusMetrics, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
    let mut config = KafkaConfig {
        brokers: broker.addresses(),
        partitions: 2,
        replication: 1,
        record_max: ByteSize::kib(8),
        ..KafkaConfig::default()
    };
    config.queue_max = ByteSize::mib(1);
    change(&mut config);
    KafkaLog::open(config, metrics.clone()).unwrap()
}

/// A consumer, and what it owns.
type Member = (Box<dyn Consumer>, Vec<TopicPartition>);

/// Takes what a member hears within `wait`.
async fn hear((member, owned): &mut Member, wait: Duration) {
    match tokio::time::timeout(wait, member.next()).await {
        Err(_) => {}
        Ok(Ok(Event::Assigned(places))) => owned.extend(places),
        Ok(Ok(Event::Revoked(places))) => owned.retain(|place| !places.contains(place)),
        Ok(other) => panic!("{other:?}"),
    }
}

/// Until the members own `counts` partitions each.
async fn settle(members: &mut [Member], counts: &[usize]) {
    let all = async {
        while members.iter().map(|(_, owned)| owned.len()).ne(counts.iter().copied()) {
            for member in &mut *members {
                hear(member, Duration::from_millis(100)).await;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        let owned: Vec<_> = members.iter().map(|(_, owned)| owned).collect();
        panic!("the members own {owned:?} instead of {counts:?} partitions each");
    }
}

/// Until a member has lost what it owned, doing `meanwhile` again and again.
async fn lose(member: &mut Member, meanwhile: impl AsyncFn()) {
    let all = async {
        while !member.1.is_empty() {
            meanwhile().await;
            hear(member, Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("its session ends");
}

#[tokio::test]
async fn kafka_keeps_the_contract_of_the_bus() {
    let broker = Brokers::start(1).await.unwrap();
    let log = open(&broker, |_| {});
    let quiet = Duration::from_millis(700);
    Contract { log: &log, topic: "weir.logs", record_bytes: 8192, quiet }.check().await;
    drop(log);

    // A frozen broker: appends wait, and go on when it does.
    let log = open(&broker, |config| config.queue_max = ByteSize::kib(64));
    let contract = Contract { log: &log, topic: "weir.logs", record_bytes: 8192, quiet };
    log.bounds(&TopicPartition { topic: "weir.logs".into(), partition: 0 }).await.unwrap();
    broker.freeze();
    let taken = contract.check_back_pressure(async || broker.thaw()).await;
    assert!((4..=16).contains(&taken), "{taken} records of 8 KiB in a queue of 64 KiB");
    drop(log);

    // A second member gets its share of a topic that the first had alone.
    let log = open(&broker, |config| config.group = "other".into());
    let mut members = vec![(log.consume(&["weir.spans"], "a").await.unwrap(), Vec::new())];
    settle(&mut members, &[2]).await;
    members.push((log.consume(&["weir.spans"], "b").await.unwrap(), Vec::new()));
    settle(&mut members, &[1, 1]).await;

    // For a third there is nothing, and it is told so.
    let mut third = log.consume(&["weir.spans"], "c").await.unwrap();
    let told = async {
        loop {
            for (member, _) in &mut members {
                let _nothing_yet = tokio::time::timeout(Duration::from_millis(20), member.next()).await;
            }
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(100), third.next()).await {
                return event.unwrap();
            }
        }
    };
    let first = tokio::time::timeout(PATIENCE, told).await.expect("the third is told");
    assert!(matches!(&first, Event::Assigned(places) if places.is_empty()), "{first:?}");
}

#[tokio::test]
async fn a_member_that_heard_nothing_for_its_session_comes_back() {
    let mut broker = Brokers::start(1).await.unwrap();
    // Longer than a broker needs to start.
    let log = open(&broker, |config| drop(config.properties.insert("session.timeout.ms".into(), "10000".into())));
    let mut members = [(log.consume(&["weir.logs"], "a").await.unwrap(), Vec::new())];
    settle(&mut members, &[2]).await;
    let place = members[0].1[0].clone();
    broker.kill(0);
    // What is sealed meanwhile is released as always.
    lose(&mut members[0], async || log.release(&place, 0).await.unwrap()).await;
    broker.spawn(0).unwrap();
    settle(&mut members, &[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_broker_knew_no_broker_come_back() {
    let broker = Brokers::start(1).await.unwrap();
    let metrics = BusMetrics::default();
    // As after the race that librdkafka loses now and then: it does not begin again by itself (0107).
    let log = open_counted(&broker, &metrics, |config| {
        drop(config.properties.insert("metadata.recovery.strategy".into(), "none".into()));
    });
    let mut members = [(log.consume(&["weir.logs"], "a").await.unwrap(), Vec::new())];
    settle(&mut members, &[2]).await;
    let place = members[0].1[0].clone();
    // The broker that is thawed answers with metadata that name none until the controller lets it in again; whoever asks in
    // time forgets all brokers, and not every time somebody does.
    for round in 0.. {
        assert!(round < 40, "nobody has forgotten the broker");
        broker.freeze();
        lose(&mut members[0], async || {}).await;
        let ack = log.append(&place, Bytes::from_static(b"x")).await.unwrap();
        broker.thaw();
        settle(&mut members, &[2]).await;
        tokio::time::timeout(PATIENCE, ack).await.expect("an acknowledgement").unwrap();
        if metrics.rebootstraps.get() > 0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_member_that_is_fenced_comes_again_unless_it_has_a_twin() {
    let broker = Brokers::start(1).await.unwrap();
    let log = open(&broker, |_| {});
    let join = async || log.consume(&["weir.logs"], "a").await.unwrap();
    let mut members = [(join().await, Vec::new())];
    settle(&mut members, &[2]).await;
    // Somebody comes under its name and goes again.
    let mut guest = [(join().await, Vec::new())];
    settle(&mut guest, &[2]).await;
    drop(guest);
    hear(&mut members[0], PATIENCE).await;
    assert_eq!(members[0].1.len(), 0, "what it had is another's");
    settle(&mut members, &[2]).await;
    // Somebody comes under its name and stays.
    let mut twin = join().await;
    let ended = async |member: &mut Box<dyn Consumer>| loop {
        if let Err(error) = member.next().await {
            return error.to_string();
        }
    };
    let ended = async {
        tokio::select! { said = ended(&mut members[0].0) => said, said = ended(&mut twin) => said }
    };
    let said = tokio::time::timeout(PATIENCE, ended).await.expect("one of them ends");
    assert_eq!(said, "kafka: consume: another member of the group has the identity \"a\" too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_has_left_out_is_given_out() {
    let broker = Brokers::start(1).await.unwrap();
    let wait = |config: &mut KafkaConfig| drop(config.properties.insert("session.timeout.ms".into(), "30000".into()));
    let mut members = [(open(&broker, wait).consume(&["weir.logs"], "a").await.unwrap(), Vec::new())];
    settle(&mut members, &[2]).await;
    drop(members);
    let more = ["--bootstrap-server", &broker.addresses(), "--alter", "--topic", "weir.logs", "--partitions", "3"];
    broker.tool("org.apache.kafka.tools.TopicCommand", &more).unwrap();
    // It comes back within its session, and the group gives it the two that it had, without counting.
    let mut members = [(open(&broker, wait).consume(&["weir.logs"], "a").await.unwrap(), Vec::new())];
    hear(&mut members[0], PATIENCE).await;
    assert_eq!(members[0].1.len(), 2);
    settle(&mut members, &[3]).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_an_error_and_not_a_wait() {
    let port = free_port();
    let config = KafkaConfig { brokers: format!("127.0.0.1:{port}"), ..KafkaConfig::default() };
    let log = KafkaLog::open(config, BusMetrics::default()).unwrap();
    let error = log.partitions("weir.logs").await.unwrap_err().to_string();
    assert!(error.starts_with("kafka: fetch metadata:"), "{error}");
}

/// A process joins once for each topic, as the aggregator does: a second one is given its share of each topic.
#[tokio::test]
async fn each_topic_is_balanced_by_itself() {
    const TOPICS: [&str; 3] = ["weir.logs", "weir.metrics", "weir.spans"];
    let broker = Brokers::start(1).await.unwrap();
    let log = open(&broker, |config| config.partitions = 4);
    let join = async |process: &str| {
        let mut members: Vec<Member> = Vec::new();
        for topic in TOPICS {
            members.push((log.consume(&[topic], &format!("{process}/{topic}")).await.unwrap(), Vec::new()));
        }
        members
    };
    let mut members = join("a").await;
    settle(&mut members, &[4; 3]).await;
    members.extend(join("b").await);
    settle(&mut members, &[2; 6]).await;
    drop(members.split_off(3));
    settle(&mut members, &[4; 3]).await;
}
