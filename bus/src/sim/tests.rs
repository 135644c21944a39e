//! The simulation: the contract, and that each mishap does what it says and nothing else.

use std::time::Duration;

use bytes::Bytes;

use super::{Sim, SimConfig};
use crate::contract::Contract;
use crate::{Consumer, Event, Log, TopicPartition};

const TOPIC: &str = "weir.logs";

fn place(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract() {
    for seed in 0..50 {
        let log = Sim::new(SimConfig { seed, partitions: 2, record_bytes: 4096, ..SimConfig::default() });
        Contract { log: &log, topic: TOPIC, record_bytes: 4096, quiet: Duration::from_secs(1) }.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn appends_wait_at_the_cap_until_released() {
    let log = Sim::new(SimConfig { record_bytes: 1000, bytes_max: 10_000, ..SimConfig::default() });
    let contract = Contract { log: &log, topic: TOPIC, record_bytes: 1000, quiet: Duration::from_secs(1) };
    let relieve = async || {
        let mut consumer = log.consume(&[TOPIC], "a").await.unwrap();
        read(&mut *consumer, 10).await;
        log.release(&place(0), 5).await.unwrap();
    };
    assert_eq!(contract.check_back_pressure(relieve).await, 10);
}

/// Seeks every assigned partition to 0 and reads until there are `count` records.
async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<(u32, u64, Bytes)> {
    let mut all = Vec::new();
    while all.len() < count {
        match consumer.next().await.unwrap() {
            Event::Assigned(places) => {
                for place in places {
                    consumer.seek(&place, 0).await.unwrap();
                }
            }
            Event::Records(records) => {
                all.extend(records.into_iter().map(|record| (record.place.partition, record.offset, record.value)))
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

async fn run(seed: u64) -> String {
    let log = Sim::new(SimConfig { seed, duplicate_percent: 20, fail_ack_percent: 20, ..SimConfig::default() });
    let (mut story, mut stored) = (String::new(), 0);
    for i in 0..100_u32 {
        let ack = log.append(&place(i % 4), Bytes::from(i.to_string())).await.unwrap();
        story += &format!("{:?} ", ack.await.ok());
    }
    for partition in 0..4 {
        stored += log.bounds(&place(partition)).await.unwrap().1;
    }
    let mut consumer = log.consume(&[TOPIC], "a").await.unwrap();
    let records = read(&mut *consumer, stored as usize).await;
    for i in 0..100_u32 {
        let copies = records.iter().filter(|(.., value)| *value == i.to_string()).count();
        assert!((1..=2).contains(&copies), "seed {seed}: record {i} is there {copies} times");
    }
    assert!(stored > 100 && story.contains("None"), "seed {seed}: some are doubled, some acks fail");
    story + &format!("{records:?}")
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_a_story() {
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8).await);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_never_acknowledged_is_lost() {
    let log = Sim::new(SimConfig::default());
    let kept = log.append(&place(0), Bytes::from_static(b"kept")).await.unwrap();
    assert_eq!(kept.await.unwrap(), 0);
    let lost = log.append(&place(0), Bytes::from_static(b"lost")).await.unwrap();
    assert_eq!(log.lose_tail(&place(0)).unwrap(), 1);
    assert!(lost.await.is_err());
    let next = log.append(&place(0), Bytes::from_static(b"next")).await.unwrap();
    assert_eq!(next.await.unwrap(), 1);
    assert_eq!(log.lose_tail(&place(0)).unwrap(), 0);
    let mut consumer = log.consume(&[TOPIC], "a").await.unwrap();
    let texts: Vec<_> = read(&mut *consumer, 2).await.into_iter().map(|(.., value)| value).collect();
    assert_eq!(texts, ["kept", "next"]);
    log.expire(&place(0), 1).unwrap();
    consumer.seek(&place(0), 0).await.unwrap();
    assert!(matches!(consumer.next().await.unwrap(), Event::OutOfRange { wanted: 0, first: 1, next: 2, .. }));
}

/// Hears everything there is to hear now.
async fn hear(consumer: &mut dyn Consumer) -> Vec<String> {
    let mut news = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), consumer.next()).await {
        news.push(match event.unwrap() {
            Event::Assigned(places) => places.first().map_or("+".into(), |place| format!("+{}", place.partition)),
            Event::Revoked(places) => format!("-{}", places[0].partition),
            Event::Records(records) => format!("r{}", records[0].offset),
            other => panic!("{other:?}"),
        });
    }
    news
}

#[tokio::test(start_paused = true)]
async fn partitions_move_between_members_and_the_old_owner_hears_first() {
    let log = Sim::new(SimConfig { partitions: 2, ..SimConfig::default() });
    let mut a = log.consume(&[TOPIC], "a").await.unwrap();
    assert_eq!(hear(&mut *a).await, ["+0", "+1"]);
    let mut b = log.consume(&[TOPIC], "b").await.unwrap();
    assert_eq!(hear(&mut *b).await, ["+"], "a has not heard yet");
    assert_eq!(hear(&mut *a).await, ["-1"]);
    assert_eq!(hear(&mut *b).await, ["+1"]);
    drop(a);
    assert_eq!(hear(&mut *b).await, ["+0"]);
    assert!(log.usurp(&place(0), "nobody", 0).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_zombie_goes_on_until_it_hears() {
    let log = Sim::new(SimConfig { partitions: 1, batch_records: 1, ..SimConfig::default() });
    for _ in 0..3 {
        log.append(&place(0), Bytes::from_static(b"x")).await.unwrap().await.unwrap();
    }
    let mut a = log.consume(&[TOPIC], "a").await.unwrap();
    let mut b = log.consume(&[TOPIC], "b").await.unwrap();
    assert_eq!(hear(&mut *a).await, ["+0"]);
    a.seek(&place(0), 0).await.unwrap();
    log.usurp(&place(0), "b", 2).unwrap();
    assert_eq!(hear(&mut *b).await, ["+", "+0"]);
    assert_eq!(hear(&mut *a).await, ["r0", "r1", "-0"]);
    assert!(a.seek(&place(0), 0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn after_any_rebalances_each_partition_has_one_owner() {
    for seed in 0..100 {
        let log = Sim::new(SimConfig { seed, partitions: 3, ..SimConfig::default() });
        let mut members = [log.consume(&[TOPIC], "a").await.unwrap(), log.consume(&[TOPIC], "b").await.unwrap()];
        let mut owned = vec![std::collections::BTreeSet::new(); 2];
        for _ in 0..5 {
            log.rebalance();
            // Twice: what one gives up, the other is told of only then.
            for _ in 0..2 {
                for (member, owned) in members.iter_mut().zip(&mut owned) {
                    // A bare "+" is the first answer to one for whom there was nothing yet.
                    for news in hear(&mut **member).await.into_iter().filter(|news| news != "+") {
                        let (sign, partition) = news.split_at(1);
                        let changed = if sign == "+" { owned.insert(partition.to_owned()) } else { owned.remove(partition) };
                        assert!(changed, "seed {seed}: {news}");
                    }
                }
            }
            assert_eq!((owned[0].len() + owned[1].len(), owned[0].is_disjoint(&owned[1])), (3, true), "seed {seed}");
        }
    }
}
