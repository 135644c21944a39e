//! How far the bus is, asked again and again beside the poll loop: a broker that is away must not hold that up.
//!
//! Coverage lives on it: an answer is complete when it has seen all that is on the bus, and a bus that has been silent for a
//! while may hold more than anybody knows.

use std::collections::{BTreeMap, BTreeSet};
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

#[derive(Default)]
struct Question {
    asked: Option<Instant>,
    open: bool,
}

/// Until a question is lost, which none is.
pub(crate) async fn measure(bus: Arc<dyn Log>, openers: Openers, inboxes: Inboxes) -> JoinError {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut questions: BTreeMap<TopicPartition, Question> = BTreeMap::new();
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let owned: BTreeSet<TopicPartition> = inboxes.lock().keys().cloned().collect();
                questions.retain(|place, _| owned.contains(place));
                for place in owned {
                    questions.entry(place).or_default();
                }
            }
            Some(answered) = asking.join_next() => {
                let (place, next): (TopicPartition, Option<u64>) = match answered {
                    Ok(answered) => answered,
                    Err(error) => return error,
                };
                let Some(question) = questions.get_mut(&place) else { continue };
                question.open = false;
                if let (Some(next), Some(opener)) = (next, openers.get(place.topic.as_str())) {
                    opener.measure(place.partition, next);
                }
            }
        }
        // Whoever has waited longest is asked first.
        let rested = |question: &Question| question.asked.is_none_or(|asked| asked.elapsed() >= INTERVAL);
        let mut due: Vec<_> = questions.iter_mut().filter(|(_, question)| !question.open && rested(question)).collect();
        due.sort_by_key(|(_, question)| question.asked);
        for (place, question) in due.into_iter().take(ASKED_AT_ONCE.saturating_sub(asking.len())) {
            *question = Question { asked: Some(Instant::now()), open: true };
            let (bus, place) = (Arc::clone(&bus), place.clone());
            asking.spawn(async move {
                let bounds = bus.bounds(&place).await;
                (place, bounds.ok().map(|(_, next)| next))
            });
        }
    }
}
