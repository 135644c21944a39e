//! Sealing and merging on demand where nothing is owned: told to the owner of every partition, and added up.
//!
//! An owner counts only for the partitions that its answer names and that the newest manifest says are its. A partition
//! that moved meanwhile is asked of its new owner, once; what is left then is in the error, partition by partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::json;
use weir_access::{Needs, Routes, Verb};
use weir_blocks::engine::Engine;
use weir_heads::{AdminResult, COMPACT_PATH, EXPIRE_PATH, SEAL_PATH};
use weir_model::deletion::DeletionOrder;
use weir_model::id::TopicPartition;
use weir_model::wire::Kind;

use super::owners::Undone;
use super::registry::PartitionRegistry;
use super::start::Shared;

/// Those that moved while they were asked are asked once more.
const ROUNDS: usize = 2;

#[derive(Clone)]
pub(super) struct AdminClient {
    pub shared: Arc<Shared>,
    /// All that the bus has: one that nobody has begun is not forgotten.
    pub places: Vec<TopicPartition>,
}

/// What owners are told.
#[derive(Clone, Copy)]
pub(super) struct Command<'a> {
    pub path: &'a str,
    /// Of which partitions.
    pub kinds: &'a [Kind],
    pub order: Option<&'a DeletionOrder>,
}

impl<'a> Command<'a> {
    /// Of all partitions.
    pub fn to_all(path: &'a str) -> Self {
        Self { path, kinds: &Kind::ALL, order: None }
    }

    fn is_of(&self, place: &TopicPartition) -> bool {
        self.kinds.iter().any(|kind| kind.topic() == place.topic)
    }
}

/// Owners that were asked something, the places that it was about, and what came of it.
type Asked = Vec<(String, BTreeSet<TopicPartition>, Result<AdminResult, Undone>)>;

/// What is not known to be done.
#[derive(Default)]
pub(super) struct NotDone {
    /// A sentence about each owner and each partition of which that cannot be said.
    pub sentences: Vec<String>,
    /// An owner says that it may not be.
    pub is_refused: bool,
}

pub(super) fn router(shared: Arc<Shared>, places: Vec<TopicPartition>) -> Routes {
    let seal = |State(client): State<Arc<AdminClient>>| async move { answer(&client, SEAL_PATH).await };
    let compact = |State(client): State<Arc<AdminClient>>| async move { answer(&client, COMPACT_PATH).await };
    let expire = |State(client): State<Arc<AdminClient>>| async move { answer(&client, EXPIRE_PATH).await };
    let client = Arc::new(AdminClient { shared, places });
    let needs = Needs::Whole(Verb::Admin);
    Routes::new()
        .post(SEAL_PATH, needs, seal)
        .post(COMPACT_PATH, needs, compact)
        .post(EXPIRE_PATH, needs, expire)
        .with_state(client)
}

async fn answer(client: &AdminClient, path: &str) -> Response {
    let (done, undone) = client.command(Command::to_all(path)).await;
    if undone.sentences.is_empty() {
        return Json(done).into_response();
    }
    let error = undone.sentences.join("; ");
    let body = json!({"error": error, "blocks": done.blocks, "records": done.records, "partitions": done.partitions});
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

impl AdminClient {
    pub(super) async fn command(&self, command: Command<'_>) -> (AdminResult, NotDone) {
        let (mut sum, mut done) = (AdminResult::default(), BTreeSet::new());
        // The owner that was asked last, and what it said.
        let mut undone: BTreeMap<TopicPartition, (String, Undone)> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let owners = match self.owners().await {
                Ok(owners) => owners,
                Err(error) => {
                    sum.partitions.extend(done);
                    let sentences = vec![format!("the newest manifests are not known: {error}")];
                    return (sum, NotDone { sentences, is_refused: false });
                }
            };
            let moved = |place: &TopicPartition, owner: &String| undone.get(place).is_none_or(|(asked, _)| asked != owner);
            let meant = owners.iter().filter(|(place, _)| command.is_of(place));
            let request = meant.filter(|(place, owner)| !done.contains(*place) && moved(place, owner));
            let mut asking: BTreeMap<String, BTreeSet<TopicPartition>> = BTreeMap::new();
            for (place, owner) in request {
                asking.entry(owner.clone()).or_default().insert(place.clone());
            }
            for (owner, places, answered) in self.ask(command, asking).await {
                let told = match answered {
                    Ok(told) => told,
                    Err(why) => {
                        undone.extend(places.into_iter().map(|place| (place, (owner.clone(), why.clone()))));
                        continue;
                    }
                };
                (sum.blocks, sum.records) = (sum.blocks + told.blocks, sum.records + told.records);
                for place in places {
                    if told.partitions.contains(&place) {
                        undone.remove(&place);
                        done.insert(place);
                    } else {
                        undone.insert(place, (owner.clone(), "it does not own the partition".to_owned().into()));
                    }
                }
            }
        }
        let begun = |place: &&TopicPartition| command.is_of(place) && !done.contains(*place) && !undone.contains_key(*place);
        let nobodys = self.places.iter().filter(begun).map(|place| format!("{place} has no owner yet"));
        let sentences = sentences(&undone).into_iter().chain(nobodys).collect();
        let is_refused = undone.values().any(|(_, undone)| undone.is_refused);
        sum.partitions.extend(done);
        (sum, NotDone { sentences, is_refused })
    }

    async fn ask(&self, command: Command<'_>, asking: BTreeMap<String, BTreeSet<TopicPartition>>) -> Asked {
        let owners = &self.shared.heads.owners;
        let asked = asking.into_iter().map(|(owner, places)| async move {
            let answered = if owner.is_empty() {
                Err("the manifest does not say where its owner is".to_owned().into())
            } else {
                owners.command(&owner, command.path, command.order).await
            };
            (owner, places, answered)
        });
        join_all(asked).await
    }

    /// The owner of every partition that has a manifest, as the newest says.
    async fn owners(&self) -> Result<BTreeMap<TopicPartition, String>, String> {
        let shared = &self.shared;
        let (logs, samples, traces) =
            tokio::join!(self.owners_of(&shared.logs), self.owners_of(&shared.samples), self.owners_of(&shared.traces));
        Ok(logs?.into_iter().chain(samples?).chain(traces?).collect())
    }

    async fn owners_of<E: Engine>(&self, known: &PartitionRegistry<E>) -> Result<Vec<(TopicPartition, String)>, String> {
        let heads = &self.shared.heads;
        heads.store.wait(known.discover()).await.map_err(|error| error.to_string())?;
        let parts = known.known();
        let looks = join_all(parts.iter().map(|part| heads.store.wait(part.refresh_manifest()))).await;
        let mut owners = Vec::with_capacity(parts.len());
        for (part, look) in parts.iter().zip(looks) {
            let place = TopicPartition { topic: E::KIND.topic().to_owned(), partition: part.partition() };
            if let Some(newest) = look.map_err(|error| format!("{place}: {error}"))? {
                owners.push((place, newest.manifest.owner.clone()));
            }
        }
        Ok(owners)
    }
}

/// One for each owner and what it said, with its partitions.
fn sentences(undone: &BTreeMap<TopicPartition, (String, Undone)>) -> Vec<String> {
    let mut by_owner: BTreeMap<&(String, Undone), Vec<String>> = BTreeMap::new();
    undone.iter().for_each(|(place, said)| by_owner.entry(said).or_default().push(place.to_string()));
    let sentence =
        |((owner, undone), places): (&(String, Undone), Vec<String>)| format!("{} of {owner}: {}", places.join(", "), undone.why);
    by_owner.into_iter().map(sentence).collect()
}
