//! A clock that is set while nobody owns a partition, or while somebody does: what is sent again is known again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use weir_bus::{Log, TopicPartition};

use super::quarantine::{send, sources, stored_when_heard, until, world};
use super::{Source, World, compare};
use crate::machine::OwnerCommand;

const DAYS_31: i64 = 31 * 24 * 3600 * 1_000_000_000;

async fn send_again(world: &World, source: &Source) {
    let record = source.record(0, source.lines);
    world.sim.append(&source.place(), record).await.expect("appends").await.expect("acknowledges");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_nothing_be_stored_twice() {
    let store = Arc::new(InMemory::new());
    let (world, mut sources) = (world(&store), sources());
    let upto = |offset: u64| move |place: &TopicPartition| if place.partition == 0 { offset } else { 0 };
    send(&world, &mut sources[0], 10).await;
    let mut member = world.start("a");
    for round in 0..3 {
        until("it is taken", || member.found(&sources[0]) == 1 + 2 * round).await;
        let end = upto(1 + 2 * round);
        member.registry.command_all(|place, reply| OwnerCommand::Seal(end(place), reply)).await.expect("seals");
        world.clock.fetch_add(DAYS_31, Ordering::Relaxed);
        if round == 1 {
            member.end().await;
            member = world.start("b");
            until("it is open again", || member.partitions.all().len() == sources.len()).await;
        }
        // Something else, so that there is a seal in which sources could be forgotten; then all of it again.
        let place = sources[0].place();
        world.sim.append(&place, "poison".into()).await.expect("appends").await.expect("acknowledges");
        until("it is taken", || member.found(&sources[0]) == 2 + 2 * round).await;
        let end = upto(2 + 2 * round);
        member.registry.command_all(|place, reply| OwnerCommand::Seal(end(place), reply)).await.expect("seals");
        send_again(&world, &sources[0]).await;
    }
    until("it is taken", || member.found(&sources[0]) == 7).await;
    compare("in the end", &sources, &stored_when_heard(&member).await);
    member.end().await;
}
