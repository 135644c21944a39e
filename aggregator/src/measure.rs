//! How far the bus is, asked again and again beside the poll loop: a broker that is away must not hold that up.
//!
//! Coverage lives on it: an answer is complete when it has seen all that is on the bus, and a bus that has been silent for a
//! while may hold more than anybody knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use weir_bus::{Log, TopicPartition};

use crate::group::{Inboxes, Openers};

/// How often each partition is asked.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often it is looked for partitions that are due, and for new ones.
const LOOK: Duration = Duration::from_millis(50);

/// Partitions that are asked at once: a silent bus holds a thread for each until its client gives up.
const ASKED_AT_ONCE: usize = 16;

struct Known {
    heard: Instant,
    asked: Option<Instant>,
    asking: bool,
}

/// Until a question is lost, which none is.
pub(crate) async fn measure(bus: Arc<dyn Log>, openers: Openers, inboxes: Inboxes) -> JoinError {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: BTreeMap<TopicPartition, Known> = BTreeMap::new();
    let mut questions = JoinSet::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let owned = inboxes.lock().keys().cloned().collect::<std::collections::BTreeSet<_>>();
                known.retain(|place, _| owned.contains(place));
                for place in owned {
                    let known = known.entry(place.clone()).or_insert_with(|| Known { heard: Instant::now(), asked: None, asking: false });
                    if let Some(opener) = openers.get(place.topic.as_str()) {
                        opener.unheard(place.partition, known.heard.elapsed());
                    }
                }
            }
            Some(answered) = questions.join_next() => {
                let (place, next): (TopicPartition, Option<u64>) = match answered {
                    Ok(answered) => answered,
                    Err(error) => return error,
                };
                let Some(known) = known.get_mut(&place) else { continue };
                known.asking = false;
                if let (Some(next), Some(opener)) = (next, openers.get(place.topic.as_str())) {
                    known.heard = Instant::now();
                    opener.measure(place.partition, next);
                }
            }
        }
        // Whoever has waited longest is asked first.
        let rested = |known: &Known| known.asked.is_none_or(|asked| asked.elapsed() >= INTERVAL);
        let mut due: Vec<_> = known.iter_mut().filter(|(_, known)| !known.asking && rested(known)).collect();
        due.sort_by_key(|(_, known)| known.asked);
        for (place, known) in due.into_iter().take(ASKED_AT_ONCE.saturating_sub(questions.len())) {
            (known.asking, known.asked) = (true, Some(Instant::now()));
            let (bus, place) = (Arc::clone(&bus), place.clone());
            questions.spawn(async move {
                let bounds = bus.bounds(&place).await;
                (place, bounds.ok().map(|(_, next)| next))
            });
        }
    }
}
