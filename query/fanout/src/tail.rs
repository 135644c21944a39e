//! A live tail over all owners of log partitions. It follows the partitions as they move: owners come and go, and a line
//! that two of them tell of (the new one reads what the old one had not sealed) is given once. What arrived while nobody
//! was listened to is read like any other lines when an owner is found again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_heads::frame::{self, Tag};
use weir_heads::request::{LinesQuery, visible_out};
use weir_heads::{PROTOCOL, TailQuery, decode_heartbeat, decode_tail, tail_lines};
use weir_model::select::{LogSelect, LogTail, OwnedLine, ReadError, TailEvent};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;

use super::catch_up::missed;
use super::start::Shared;

/// Lines that wait for the client; of more the oldest are dropped, and counted.
const LINES_MAX: usize = 16_384;
/// How often it is looked whether owners came or went.
const OWNERS_LOOK: Duration = Duration::from_millis(250);
/// An owner says every second that it is alive; one that has not for so long is asked anew.
const SILENCE_MAX: Duration = Duration::from_secs(5);

pub(super) struct FanOutTail {
    waiting: Arc<Waiting>,
    /// Ends the tasks.
    _stop: DropGuard,
}

/// What the owners' tasks and the client share.
struct Waiting {
    state: Mutex<State>,
    select: LogSelect,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<OwnedLine>,
    dropped: u64,
    /// The last line of each partition: an owner tells of its partitions in order.
    last: BTreeMap<u32, (u64, u32)>,
    /// Owners whose lines come in, and who have been caught up with.
    listening: BTreeSet<String>,
}

impl Waiting {
    fn add(&self, lines: Vec<OwnedLine>) {
        let mut state = self.state.lock();
        for line in lines {
            let place = (line.id.offset, line.id.ordinal);
            let last = state.last.get(&line.id.partition);
            if last.is_some_and(|last| place <= *last) {
                continue;
            }
            state.last.insert(line.id.partition, place);
            state.lines.push_back(line);
            if state.lines.len() > LINES_MAX {
                state.lines.pop_front();
                state.dropped += 1;
                self.shared.heads.metrics.tail_dropped.inc();
            }
        }
    }

    fn note_dropped(&self, sections: u64) {
        self.state.lock().dropped += sections;
        self.shared.heads.metrics.tail_dropped.inc_by(sections);
    }
}

impl FanOutTail {
    /// Begins to listen; returns at once.
    pub(super) fn open(shared: Arc<Shared>, select: LogSelect) -> Result<Self, ReadError> {
        let stop = shared.shutdown.child_token();
        let own = select.scope.one()?;
        let query = TailQuery {
            protocol: PROTOCOL,
            tenant: (*own.tenant).to_owned(),
            visible: visible_out(&own.visible),
            lines: LinesQuery::new(&select, 0),
        };
        let runtime = shared.runtime.clone();
        let waiting = Arc::new(Waiting { state: Mutex::default(), select, shared });
        runtime.spawn(follow_owners(Arc::clone(&waiting), Arc::new(query), stop.clone()));
        Ok(Self { waiting, _stop: stop.drop_guard() })
    }
}

impl LogTail for FanOutTail {
    fn poll(&mut self) -> Vec<TailEvent> {
        let mut state = self.waiting.state.lock();
        let dropped = std::mem::take(&mut state.dropped);
        let lines = std::mem::take(&mut state.lines);
        drop(state);
        let told = (dropped > 0).then_some(TailEvent::Dropped(dropped));
        told.into_iter().chain(lines.into_iter().map(TailEvent::Line)).collect()
    }
}

/// One task an owner, as long as it owns a partition; begun again when it ends by itself.
async fn follow_owners(waiting: Arc<Waiting>, query: Arc<TailQuery>, stop: CancellationToken) {
    let mut look = tokio::time::interval(OWNERS_LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tasks: JoinSet<String> = JoinSet::new();
    let mut running: BTreeMap<String, CancellationToken> = BTreeMap::new();
    // When every owner was last listened to; `None` as long as that never was.
    let mut whole: Option<UnixNanos> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                if let Ok(owner) = ended {
                    running.remove(&owner);
                }
                continue;
            }
            _ = look.tick() => {}
        }
        let owners = owners(&waiting, whole.is_none()).await;
        running.iter().filter(|(owner, _)| !owners.contains(*owner)).for_each(|(_, stop)| stop.cancel());
        let all = !owners.is_empty() && waiting.state.lock().listening.is_superset(&owners);
        let since = whole;
        if all || (whole.is_none() && !owners.is_empty()) {
            whole = Some((waiting.shared.clock)());
        }
        for owner in owners {
            if running.contains_key(&owner) {
                continue;
            }
            let own = stop.child_token();
            running.insert(owner.clone(), own.clone());
            let (waiting, query) = (Arc::clone(&waiting), Arc::clone(&query));
            tasks.spawn(async move {
                tokio::select! {
                    () = own.cancelled() => {}
                    ended = listen(&waiting, &owner, &query, since) => {
                        if let Err(error) = ended {
                            tracing::debug!(owner, error, "an owner's tail ended; it is asked again");
                        }
                    }
                }
                waiting.state.lock().listening.remove(&owner);
                owner
            });
        }
    }
}

/// Of all partitions. The first time they are looked up where they are not known yet: an owner that is found later counts as one
/// that was away.
async fn owners(waiting: &Waiting, first: bool) -> BTreeSet<String> {
    let logs = &waiting.shared.logs;
    let known = logs.known();
    if known.is_empty() || (first && known.iter().any(|part| part.newest().is_none())) {
        // An error is told by the look that goes on between queries.
        let _told_elsewhere = logs.refresh().await;
    }
    let newest = logs.known().into_iter().filter_map(|part| part.newest());
    newest.map(|version| version.manifest.owner.clone()).filter(|owner| !owner.is_empty()).collect()
}

/// What arrived since an owner was last listened to. The owner keeps what arrives meanwhile.
async fn catch_up(waiting: &Waiting, since: UnixNanos) -> Result<(), String> {
    let (shared, select) = (Arc::clone(&waiting.shared), waiting.select.clone());
    let last = waiting.state.lock().last.clone();
    let read = tokio::task::spawn_blocking(move || missed(&shared, &select, last, since)).await;
    let missed = read.map_err(|error| error.to_string())??;
    waiting.add(missed.lines);
    if missed.more {
        waiting.note_dropped(1);
    }
    Ok(())
}

/// Until the owner or the connection ends.
async fn listen(waiting: &Waiting, owner: &str, query: &TailQuery, since: Option<UnixNanos>) -> Result<(), String> {
    let mut response = waiting.shared.heads.owners.tail(owner, query).await?;
    let mut bytes: Vec<u8> = Vec::new();
    let mut begun = false;
    loop {
        let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
        let chunk = chunk.map_err(|_| format!("silent for {SILENCE_MAX:?}"))?.map_err(|error| error.to_string())?;
        let Some(chunk) = chunk else { return Ok(()) };
        bytes.extend_from_slice(&chunk);
        let mut at = 0;
        if !begun {
            if bytes.len() < frame::PREAMBLE_BYTES {
                continue;
            }
            frame::check_preamble(&bytes, Kind::Logs)?;
            (begun, at) = (true, frame::PREAMBLE_BYTES);
            if let Some(since) = since {
                catch_up(waiting, since).await?;
            }
            waiting.state.lock().listening.insert(owner.to_owned());
        }
        while let Some((tag, payload, length)) = frame::next(&bytes[at..])? {
            take(waiting, tag, payload)?;
            at += length;
        }
        bytes.drain(..at);
    }
}

fn take(waiting: &Waiting, tag: Tag, payload: &[u8]) -> Result<(), String> {
    match tag {
        Tag::Tail => {
            let (partition, record) = decode_tail(payload)?;
            waiting.add(tail_lines(partition, &record)?);
        }
        Tag::Heartbeat => {
            let dropped = decode_heartbeat(payload)?.dropped;
            if dropped > 0 {
                waiting.note_dropped(dropped);
            }
        }
        other => return Err(format!("a frame {other:?} in a tail")),
    }
    Ok(())
}
