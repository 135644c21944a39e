//! Watches a cluster while things are done to it: how long writes and complete answers stayed away, whether an answer that calls
//! itself complete holds what was acknowledged, and whether a manifest ever went back to an older owner.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use weir_blocks::manifest::{Manifest, ManifestStore, random_nonces};
use weir_model::wire::Kind;

use super::{Accounts, Ledger};
use crate::ask;
use crate::weir::eventually;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// An answer that says it is complete may be so old, and no older however slow the machine is: it is the promise of
/// `docs/reliability.md`, and not a wait. An owner asks the bus how far it is every quarter of a second, reckons what it hears from
/// when it asked, and says of what is three seconds old that the bus is silent (`weir_heads::bus_silent`); it does so after the
/// question was asked here. So two of the five seconds are to spare even where this process stands still in between.
const FRESH: Duration = Duration::from_secs(5);

struct Seen {
    acknowledged: usize,
    acknowledged_at: Instant,
    complete_at: Instant,
    /// Why the last answer was not complete.
    why: String,
    /// What query nodes said instead of answers, when they said it twice in a row.
    refused: Vec<String>,
    /// Longest time without an acknowledgement, and without a complete answer.
    longest: (Duration, Duration),
}

impl Seen {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            acknowledged: 0,
            acknowledged_at: now,
            complete_at: now,
            why: String::new(),
            refused: Vec::new(),
            longest: (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Answers to questions asked then, complete or not.
    fn note<T>(&mut self, asked: Instant, answers: Result<T, String>) {
        match answers {
            Err(why) => self.why = why,
            Ok(_) if asked > self.complete_at => {
                self.longest.1 = self.longest.1.max(self.complete_at.elapsed());
                self.complete_at = asked;
            }
            Ok(_) => {}
        }
    }
}

/// Looks until stopped.
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Watch {
    /// `queries`: the URLs of the query nodes.
    pub(super) fn start(ledger: &Ledger, queries: Vec<String>) -> Self {
        let (seen, source) = (Arc::new(Mutex::new(Seen::new())), ledger.a_pusher());
        let history = Arc::new(Mutex::new(VecDeque::new()));
        let acks = look_at_acks(Arc::clone(&ledger.accounts), source.clone(), Arc::clone(&seen), Arc::clone(&history));
        let mut tasks = vec![tokio::spawn(acks)];
        for url in queries {
            let (seen, accounts, history) = (Arc::clone(&seen), Arc::clone(&ledger.accounts), Arc::clone(&history));
            tasks.push(tokio::spawn(look_at_answers(url, source.clone(), accounts, seen, history)));
        }
        Self { seen, tasks }
    }

    /// Forgets what was longest.
    pub(super) fn begin(&self) {
        let mut seen = self.seen.lock().unwrap();
        (seen.acknowledged_at, seen.complete_at) = (Instant::now(), Instant::now());
        seen.longest = (Duration::ZERO, Duration::ZERO);
        seen.refused.clear();
    }

    /// That every question had an answer, complete or not, when it was asked again at the latest.
    pub(super) fn assert_never_refused_twice(&self) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.refused.is_empty(), "{:?}", seen.refused);
    }

    /// In words.
    pub(super) fn longest(&self) -> String {
        let (writes, answers) = self.seen.lock().unwrap().longest;
        format!(
            "{:.1} s without an acknowledged push, {:.1} s without a complete answer",
            writes.as_secs_f64(),
            answers.as_secs_f64()
        )
    }

    /// Waits for an acknowledgement of something sent from now on.
    pub(super) async fn acknowledged_again(&self) {
        self.after_now("an acknowledged push", |seen| seen.acknowledged_at).await;
    }

    /// Waits for a complete answer to a question asked from now on.
    pub(super) async fn complete_again(&self) {
        self.after_now("a complete answer", |seen| seen.complete_at).await;
    }

    /// Both.
    pub(super) async fn caught_up(&self) {
        self.acknowledged_again().await;
        self.complete_again().await;
    }

    async fn after_now(&self, what: &str, at: impl Fn(&Seen) -> Instant) {
        let now = Instant::now();
        eventually(what, async || {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "the watch has found something: see above");
            let seen = self.seen.lock().unwrap();
            if at(&seen) > now { Ok(()) } else { Err(format!("not yet; the last answer: {}", seen.why)) }
        })
        .await;
    }

    /// Ends it; panics with what it found.
    pub(super) async fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

type History = Arc<Mutex<VecDeque<(Instant, usize)>>>;

async fn look_at_acks(accounts: Accounts, source: String, seen: Arc<Mutex<Seen>>, history: History) {
    loop {
        let (total, of_source) = {
            let accounts = accounts.lock().unwrap();
            let pushed =
                accounts.iter().filter(|(name, _)| name.starts_with("push")).map(|(_, account)| account.acknowledged).sum();
            (pushed, accounts.get(&source).map_or(0, |account| account.acknowledged))
        };
        let now = Instant::now();
        {
            let mut history = history.lock().unwrap();
            history.push_back((now, of_source));
            while history.len() > 2 && history[1].0 + FRESH < now {
                history.pop_front();
            }
        }
        {
            let mut seen = seen.lock().unwrap();
            seen.longest.0 = seen.longest.0.max(now - seen.acknowledged_at);
            if total != seen.acknowledged {
                (seen.acknowledged, seen.acknowledged_at) = (total, now);
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn look_at_answers(url: String, source: String, accounts: Accounts, seen: Arc<Mutex<Seen>>, history: History) {
    let http = weir_tls::client_builder().timeout(Duration::from_secs(10)).build().unwrap();
    let lines = format!("sum(count_over_time({{ledger={source:?}}}[1d]))");
    // Owners have different partitions of lines, samples and spans: an answer is complete when all three are.
    let questions = [
        ("/loki/api/v1/query", vec![("query", lines.as_str())]),
        ("/api/v1/query", vec![("query", "count(ledger_number)")]),
        ("/api/weir/v1/traces", vec![("limit", "1")]),
    ];
    let mut before = vec![None; questions.len()];
    loop {
        let asked = Instant::now();
        let wanted = history.lock().unwrap().front().filter(|(at, _)| *at + FRESH < asked).map_or(0, |(_, count)| *count);
        let asking = questions.iter().map(async |(path, parameters)| {
            let answer = ask::get(&http, &format!("{url}{path}"), parameters).await;
            let refused = answer.as_ref().err().map(|why| format!("{url}{path}: {why}"));
            (refused, answer.and_then(ask::complete))
        });
        let (refused, answers): (Vec<_>, Vec<_>) = futures_util::future::join_all(asking).await.into_iter().unzip();
        let twice = refused.iter().zip(&before).filter(|(_, before)| before.is_some()).filter_map(|(now, _)| now.clone());
        seen.lock().unwrap().refused.extend(twice);
        before = refused;
        if let Ok(answer) = &answers[0] {
            let count = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse::<f64>().unwrap() as usize;
            let sent = accounts.lock().unwrap().get(&source).map_or(0, |account| account.sent.len());
            assert!(
                count >= wanted,
                "{url}: an answer that says it is complete has {count} of {wanted} lines acknowledged long ago"
            );
            assert!(count <= sent, "{url}: an answer has {count} of {sent} lines sent");
        }
        seen.lock()
            .unwrap()
            .note(asked, answers.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| format!("{url}: {why}")));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Reads every partition's newest manifest again and again: an owner that was replaced never publishes again.
pub(super) struct Notary {
    task: tokio::task::JoinHandle<()>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    publications: BTreeMap<(&'static str, u32), Publication>,
    /// Manifests that were read, and how often the store did not give one; it is taken away now and then.
    read: u64,
    failed: u64,
    last_failure: String,
    /// When the last look began that read every partition's.
    whole_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Publication {
    version: u64,
    epoch: u64,
    owner: String,
}

impl Notary {
    pub(super) fn start(object_store: Arc<dyn ObjectStore>, partitions: u32) -> Self {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let task = tokio::spawn(note(object_store, partitions, Arc::clone(&notes)));
        Self { task, notes }
    }

    /// Waits until it has read all manifests once more; panics when it has found something, or nothing to look at.
    pub(super) async fn check(&self) {
        let now = Instant::now();
        eventually("the notary reads every manifest", async || {
            assert!(!self.task.is_finished(), "a manifest went back, away, or cannot be read: see above");
            let notes = self.notes.lock().unwrap();
            let Notes { read, failed, last_failure, .. } = &*notes;
            let why = || format!("{read} were read, {failed} were not, the last because: {last_failure}");
            if notes.whole_at > Some(now) { Ok(()) } else { Err(why()) }
        })
        .await;
        let notes = self.notes.lock().unwrap();
        println!("{} manifests were read, {} were not: {:?}", notes.read, notes.failed, notes.last_failure);
        let publications = &notes.publications;
        assert!(publications.values().any(|newest| newest.epoch > 1), "no partition ever moved: {publications:?}");
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn note(object_store: Arc<dyn ObjectStore>, partitions: u32, notes: Arc<Mutex<Notes>>) {
    loop {
        let (begun, mut whole) = (Instant::now(), true);
        for kind in Kind::ALL {
            for partition in 0..partitions {
                let store = ManifestStore { object_store: Arc::clone(&object_store), kind, partition, nonces: random_nonces() };
                let loaded = store.load_latest().await;
                let mut notes = notes.lock().unwrap();
                let before = notes.publications.get(&(kind.topic(), partition)).cloned();
                match loaded {
                    Ok(Some((version, Manifest { epoch, owner, .. }))) => {
                        let now = Publication { version, epoch, owner };
                        notes.read += 1;
                        notes.publications.insert((kind.topic(), partition), now.clone());
                        let Some(before) = before else { continue };
                        let forward = before.version <= now.version && before.epoch <= now.epoch;
                        let same = before.epoch != now.epoch || before.owner == now.owner;
                        assert!(forward && same, "{} partition {partition}: {before:?}, then {now:?}", kind.topic());
                    }
                    Ok(None) => {
                        assert!(before.is_none(), "{} partition {partition}: {before:?}, then none", kind.topic());
                        whole = false;
                    }
                    Err(error) => {
                        assert!(error.is_of_the_store(), "{} partition {partition}: {error}", kind.topic());
                        notes.failed += 1;
                        notes.last_failure = error.to_string();
                        whole = false;
                    }
                }
            }
        }
        if whole {
            notes.lock().unwrap().whole_at = Some(begun);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
