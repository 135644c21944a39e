//! Where each partition stands, for the health view: what its owner said at the last look, else what its manifest says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use weir_blocks::engine::Engine;
use weir_model::status::OwnerStatus;
use weir_model::status::{PartitionStatus, PathStatus};
use weir_model::wire::Kind;

use super::registry::PartitionRegistry;
use super::start::Shared;

pub(super) struct OwnersStatus {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    /// By topic and partition, of owners that answered last time.
    told: BTreeMap<(String, u32), OwnerStatus>,
    looked: Result<(), String>,
}

impl OwnersStatus {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let looked = Err("manifests have not been looked at yet".into());
        Self { shared, state: Mutex::new(State { told: BTreeMap::new(), looked }) }
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        self.state.lock().looked.clone()
    }

    pub(super) fn note_look(&self, looked: Result<(), String>) {
        if let Err(error) = &looked {
            tracing::warn!(error, "manifests cannot be looked at");
        }
        self.state.lock().looked = looked;
    }

    /// Asks every owner.
    pub(super) async fn ask(&self) {
        let mut owners = BTreeSet::new();
        add_owners(&self.shared.logs, &mut owners);
        add_owners(&self.shared.samples, &mut owners);
        add_owners(&self.shared.traces, &mut owners);
        let mut asked = Vec::with_capacity(owners.len());
        for owner in &owners {
            asked.push(self.shared.heads.owners.status(owner));
        }
        let answers = join_all(asked).await.into_iter().flatten().flatten();
        let mut told: BTreeMap<(String, u32), OwnerStatus> = BTreeMap::new();
        for status in answers {
            let known = told.entry((status.topic.clone(), status.partition)).or_default();
            if status.epoch >= known.epoch {
                *known = status;
            }
        }
        self.state.lock().told = told;
    }
}

fn add_owners<E: Engine>(known: &PartitionRegistry<E>, owners: &mut BTreeSet<String>) {
    let newest = known.known().into_iter().filter_map(|part| part.newest());
    owners.extend(newest.map(|version| version.manifest.owner.clone()).filter(|owner| !owner.is_empty()));
}

impl PathStatus for OwnersStatus {
    fn status(&self) -> Vec<PartitionStatus> {
        let state = self.state.lock();
        let mut all = Vec::new();
        add(&self.shared.logs, Kind::Logs, &state.told, &mut all);
        add(&self.shared.samples, Kind::Metrics, &state.told, &mut all);
        add(&self.shared.traces, Kind::Spans, &state.told, &mut all);
        all
    }
}

fn add<E: Engine>(
    known: &PartitionRegistry<E>,
    kind: Kind,
    told: &BTreeMap<(String, u32), OwnerStatus>,
    all: &mut Vec<PartitionStatus>,
) {
    for part in known.known() {
        let Some(version) = part.newest() else { continue };
        let manifest = &version.manifest;
        let heard = told.get(&(kind.topic().to_owned(), part.partition()));
        let told = heard.filter(|told| told.epoch >= manifest.epoch);
        let mut progress = manifest.status(kind, part.partition(), version.number);
        progress.damage = heard.and_then(|heard| heard.damage.clone());
        progress.high_watermark = part.high_watermark().max(manifest.next_offset);
        if let Some(told) = told {
            part.note_high_watermark(told.high_watermark);
            (progress.high_watermark, progress.indexed_offset, progress.committed_offset) =
                (told.high_watermark, told.indexed_offset, told.committed_offset);
            progress.bus_silent_seconds = told.bus_silent_seconds;
            (progress.head_bytes, progress.head_records) = (told.head_bytes, told.head_records);
            (progress.blocks_opening, progress.blocks_unopened) = (told.blocks_opening, told.blocks_unopened);
        }
        all.push(PartitionStatus::new(progress, manifest.owner.clone(), told.is_some()));
    }
}
