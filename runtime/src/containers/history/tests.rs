//! Stories of containers as seen from outside: what engines, the kernel and events say, second by second, and what is shipped.

use std::os::unix::fs::MetadataExt;

use weir_model::time::UnixNanos;

use super::super::container::Engine;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A history, and a clock of seconds.
struct Node {
    history: History,
    now: UnixNanos,
}

fn container(id: &str, state: State, started: i64) -> Container {
    let mut container = Container::new(Engine::Docker, id);
    container.name = id.into();
    container.state = state;
    container.started = Some(started * SECOND);
    container.cgroup = (state == State::Running).then(|| format!("/docker/{id}"));
    container
}

fn end(at: i64, started: i64, code: i32, oom_kills: u64) -> End {
    End { at: at * SECOND, started: Some(started * SECOND), exit_code: Some(code), oom_kills }
}

fn exited(id: &str, ends: &[End]) -> Container {
    let started = ends.last().and_then(|end| end.started).unwrap_or(0) / SECOND;
    Container { ends: ends.to_vec(), ..container(id, State::Exited, started) }
}

fn event(id: &str, at: UnixNanos, what: What) -> Event {
    Event { at, container: container(id, State::Exited, 0), what }
}

impl Node {
    fn new() -> Self {
        Self { history: History::new(DAY), now: 0 }
    }

    /// A look at a second, at containers; nothing lives that is not listed.
    fn look(&mut self, second: i64, containers: &[Container]) -> &mut Self {
        self.see(second, Observed { containers, ..Observed::default() })
    }

    fn see(&mut self, second: i64, observed: Observed<'_>) -> &mut Self {
        self.now = second * SECOND;
        self.history.observe(self.now, observed, |_| false);
        self
    }

    /// Ships what is to be shipped: seconds, codes and kills.
    fn told(&mut self) -> Vec<(String, i64, Option<i32>, u64)> {
        let deaths = self.history.unshipped(self.now);
        self.history.set_shipped(&deaths);
        let row =
            |death: &Death| (death.record.container.id.clone(), death.end.at / SECOND, death.end.exit_code, death.end.oom_kills);
        deaths.iter().map(row).collect()
    }

    fn kills(&self, id: &str) -> u64 {
        self.history.state.containers[id].oom_kills(None)
    }
}

fn row(id: &str, at: i64, code: i32, kills: u64) -> (String, i64, Option<i32>, u64) {
    (id.into(), at, Some(code), kills)
}

#[test]
fn an_end_is_told_once_however_often_it_is_seen() {
    let mut node = Node::new();
    node.look(10, &[container("a", State::Running, 5)]);
    let over = [exited("a", &[end(11, 5, 3, 0)])];
    node.look(12, &[exited("a", &[end(11, 5, 0, 0)])]);
    let events = vec![event("a", 11 * SECOND + 30_000_000, What::Died(Some(3)))];
    node.see(12, Observed { containers: &over, events, ..Observed::default() }).look(14, &over);
    assert_eq!(node.told(), [row("a", 11, 3, 0)], "the code is its event's");
    assert!(node.look(20, &over).told().is_empty());
    // Replays of its event.
    for at in [11 * SECOND + 30_000_000, 11 * SECOND + 30_000_000] {
        let events = vec![event("a", at, What::Died(Some(3)))];
        node.see(21, Observed { containers: &over, events, ..Observed::default() });
        assert!(node.look(30, &over).told().is_empty());
    }
    // It is started again and ends again.
    node.look(31, &[Container { ends: vec![end(11, 5, 3, 0)], ..container("a", State::Running, 31) }]);
    node.look(32, &[exited("a", &[end(32, 31, 0, 0)])]).look(34, &over);
    assert_eq!(node.told(), [row("a", 32, 0, 0)]);
}

#[test]
fn runs_between_two_looks_are_told_by_events() {
    let mut node = Node::new();
    node.look(10, &[container("a", State::Running, 5)]);
    let events = [10, 11, 12].map(|at| event("a", at * SECOND + 500_000_000, What::Died(Some(1)))).to_vec();
    node.see(13, Observed { containers: &[container("a", State::Running, 13)], events, ..Observed::default() });
    node.look(15, &[container("a", State::Running, 13)]);
    assert_eq!(node.told(), [row("a", 10, 1, 0), row("a", 11, 1, 0), row("a", 12, 1, 0)]);
    assert!(node.history.state.containers["a"].is_running());

    // Born and removed between two looks.
    node.see(20, Observed { events: vec![event("b", 19 * SECOND, What::Died(Some(4)))], ..Observed::default() });
    node.look(22, &[]);
    let told = node.told();
    assert!(told.contains(&row("b", 19, 4, 0)), "{told:?}");
    assert_eq!(node.history.records(node.now).iter().filter(|record| record.container.state == State::Exited).count(), 2);
}

#[test]
fn an_engine_that_was_away_tells_of_all_afterwards() {
    let mut node = Node::new();
    node.look(10, &[container("a", State::Running, 5)]);
    let events = |range: std::ops::Range<i64>| range.map(|at| event("a", at * SECOND, What::Died(Some(2)))).collect::<Vec<_>>();
    let running = [container("a", State::Running, 500)];
    node.see(500, Observed { containers: &running, events: events(11..60), ..Observed::default() }).look(502, &running);
    assert_eq!(node.told().len(), 49);
    node.see(503, Observed { containers: &running, events: events(61..2000), ..Observed::default() }).look(505, &running);
    assert_eq!(node.told().len(), 1000, "those that are too many are lost, the oldest first");
    node.see(506, Observed { containers: &running, events: events(2000..2001), ..Observed::default() });
    assert!(node.history.state.containers["a"].runs.len() <= 17);
}

#[test]
fn what_vanishes_has_ended_and_its_event_explains_how() {
    let mut node = Node::new();
    node.look(10, &[container("a", State::Running, 5)]);
    node.history.observe(11 * SECOND, Observed::default(), |_| true);
    assert!(node.history.state.containers["a"].is_running(), "its engine went away, not the container");
    node.look(12, &[]);
    node.see(13, Observed { events: vec![event("a", 11 * SECOND, What::Died(Some(9)))], ..Observed::default() });
    node.look(15, &[]);
    assert_eq!(node.told(), [row("a", 12, 9, 0)], "told with the time at which it was noticed");
    node.look(16, &[container("b", State::Running, 15)]).look(17, &[]).look(19, &[]);
    assert_eq!(node.told(), [("b".to_owned(), 17, None, 0)]);
    // Its cgroup, in a list of a moment ago, makes it neither alive nor nameless.
    let cgroup = Container { name: String::new(), ..container("b", State::Running, 15) };
    node.look(19, &[cgroup]);
    let records = node.history.records(node.now);
    let record = records.iter().find(|record| record.container.id == "b").unwrap();
    assert_eq!((record.container.name.as_str(), record.is_running()), ("b", false));
    // Exited, and the engine does not say how.
    node.look(20, &[container("c", State::Running, 15)]).look(21, &[exited("c", &[])]).look(23, &[exited("c", &[])]);
    assert_eq!(node.told(), [("c".to_owned(), 21, None, 0)]);
}

#[test]
fn kills_are_counted_once_however_many_tell_of_them() {
    let kill = |id: &str, at: i64| Kill { cgroup: format!("/docker/{id}/inner"), at: at * SECOND };
    let count = |id: &str, at: i64, kills| (at * SECOND, OomCount { cgroup: format!("/docker/{id}"), kills });
    let mut node = Node::new();
    let running = |started| [container("a", State::Running, started)];
    node.see(
        10,
        Observed { containers: &running(5), counts: vec![count("a", 9, 1)], kills: vec![kill("a", 8)], ..Observed::default() },
    );
    assert_eq!(node.kills("a"), 1);
    // The run ends by a second kill, of which everybody tells in his own way.
    let events = vec![event("a", 11 * SECOND, What::OutOfMemory), event("a", 11 * SECOND, What::Died(Some(137)))];
    let over = [exited("a", &[end(11, 5, 137, 1)])];
    node.see(12, Observed { containers: &over, events, kills: vec![kill("a", 11)], ..Observed::default() });
    assert_eq!(node.kills("a"), 2);
    node.look(14, &over);
    assert_eq!(node.told(), [row("a", 11, 137, 2)]);
    // A late word changes nothing; a kill of which nobody had told is told again with its run.
    node.see(15, Observed { containers: &over, events: vec![event("a", 12 * SECOND, What::OutOfMemory)], ..Observed::default() });
    assert_eq!((node.kills("a"), node.look(17, &over).told()), (2, vec![]));
    node.see(18, Observed { containers: &over, kills: vec![kill("a", 11)], ..Observed::default() });
    node.look(20, &over);
    assert_eq!((node.kills("a"), node.told()), (3, vec![row("a", 11, 137, 3)]));
    // The next run has a cgroup of its own, whose counter begins at 0.
    node.see(30, Observed { containers: &running(25), counts: vec![count("a", 30, 1)], ..Observed::default() });
    assert_eq!(node.kills("a"), 4);
    // One that nobody noticed the end of, by its smaller counter.
    node.see(31, Observed { containers: &running(25), counts: vec![count("a", 31, 3)], ..Observed::default() });
    node.see(32, Observed { containers: &running(25), counts: vec![count("a", 32, 1)], ..Observed::default() });
    assert_eq!(node.kills("a"), 7);

    // A kill in a cgroup of which it is not known yet whose it is.
    node.see(40, Observed { kills: vec![kill("b", 40)], ..Observed::default() });
    node.look(41, &[container("b", State::Running, 39)]);
    assert_eq!(node.kills("b"), 1);
}

#[test]
fn a_restart_tells_nothing_twice_and_no_counter_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("containers");
    let open = |now| {
        let (history, error) = History::open(&file, DAY);
        assert!(error.is_none(), "{error:?}");
        Node { history, now }
    };
    let mut node = open(0);
    assert_eq!(node.history.events_since(7), 7, "nothing of before the first start is asked for");
    let kills = vec![Kill { cgroup: "/docker/a".into(), at: 11 * SECOND }];
    node.look(10, &[container("a", State::Running, 5), container("b", State::Running, 5)]);
    node.see(
        12,
        Observed {
            containers: &[container("b", State::Running, 5)],
            events: vec![event("a", 11 * SECOND, What::Died(Some(137)))],
            kills,
            ..Observed::default()
        },
    );
    node.look(14, &[container("b", State::Running, 5)]);
    assert_eq!(node.told(), [row("a", 11, 137, 1)]);
    node.history.save(20 * SECOND).unwrap();

    let mut node = open(30 * SECOND);
    assert_eq!(node.history.events_since(0), 10 * SECOND);
    let replayed = vec![event("a", 11 * SECOND, What::Died(Some(137)))];
    node.see(30, Observed { containers: &[], events: replayed, ..Observed::default() });
    node.look(32, &[]);
    assert_eq!(node.told(), [("b".to_owned(), 30, None, 0)], "it went while nobody looked");
    assert_eq!(node.kills("a"), 1);
    // Each time it is written it is another file.
    let inode = || std::fs::metadata(&file).unwrap().ino();
    let written = inode();
    node.history.save(33 * SECOND).unwrap();
    let again = inode();
    node.history.save(34 * SECOND).unwrap();
    assert_ne!(written, again);
    assert_eq!(inode(), again, "nothing has changed");

    for wrong in ["", "{", "{\"weir_container_history\": 2, \"at\": 0, \"kernel_log\": null, \"containers\": {}}"] {
        std::fs::write(&file, wrong).unwrap();
        let (history, error) = History::open(&file, DAY);
        assert!(error.is_some_and(|error| error.to_string().contains("parse")) && history.state.containers.is_empty(), "{wrong}");
    }
}

#[test]
fn the_file_is_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("containers");
    let (mut history, _) = History::open(&file, DAY);
    history.set_kernel_log(&LogPosition { boot: "b".into(), next: 7 });
    let over = [exited("a", &[end(11, 5, 137, 1)])];
    history.observe(12 * SECOND, Observed { containers: &over, ..Observed::default() }, |_| false);
    history.save(13 * SECOND).unwrap();
    let golden = include_str!("golden.json");
    let compact = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(compact(&std::fs::read_to_string(&file).unwrap()), compact(golden));
    std::fs::write(&file, golden).unwrap();
    assert_eq!(History::open(&file, DAY).0.state, history.state);
}

#[test]
fn what_is_kept_is_bounded_by_time_and_number() {
    let mut node = Node::new();
    let day = i64::try_from(DAY.as_secs()).unwrap();
    let old = [exited("old", &[end(10, 5, 1, 0)])];
    node.look(20 + day, &old).look(22 + day, &old);
    assert!(node.told().is_empty(), "it ended too long ago");
    assert!(node.history.records(node.now).is_empty(), "its engine goes on listing it; here it is over");
    let events = (0..600).map(|i| event(&format!("c{i}"), (100 + i) * SECOND, What::Died(Some(1)))).collect();
    node.see(1000, Observed { events, ..Observed::default() });
    assert_eq!(node.history.state.containers.len(), FORGOTTEN_MAX);
    assert!(!node.history.state.containers.contains_key("c99") && node.history.state.containers.contains_key("c100"));
    node.look(400 + day, &[]);
    assert_eq!(node.history.state.containers.len(), 300);
    // A pause container ends with its pod, and is none of anybody's.
    let pause = Container { sandbox: true, ..container("pause", State::Running, 0) };
    node.look(401 + day, &[pause]).look(402 + day, &[]).look(404 + day, &[]);
    assert!(node.told().iter().all(|(id, ..)| id != "pause"));
    assert!(!node.history.state.containers.contains_key("pause"));
}
