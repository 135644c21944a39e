//! The inventory against the real containerd (its own API and CRI) and the real podman (its service and its files), each
//! started by hand in a directory of its own. Needs root, containerd, ctr, runc, podman and busybox-static; fails without.

mod engine;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Containerd, Podman, image, poll};
use weir_runtime::cgroup::{Mounts, Tree};

use weir_runtime::containers::{Container, Engine, Event, Events, Inventory, InventoryConfig, LogFormat, State, View, What};

fn config(here: &Path) -> InventoryConfig {
    let none = here.join("none");
    InventoryConfig {
        root: PathBuf::from("/"),
        cri_sockets: Vec::new(),
        containerd_socket: none.clone(),
        docker_socket: none.clone(),
        podman_sockets: Vec::new(),
        podman_storage: none.clone(),
        podman_run: none.clone(),
        weir_dir: none,
        timeout: Duration::from_secs(20),
    }
}

async fn refresh(inventory: &mut Inventory) -> View {
    let scan = Tree::new(Mounts::detect(Path::new("/")).expect("this machine has cgroups")).scan();
    inventory.refresh(&scan.cgroups).await
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// What an engine tells next.
async fn next(events: &mut Events) -> Vec<Event> {
    tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("it tells")
}

fn named<'a>(view: &'a View, name: &str) -> &'a Container {
    view.containers.iter().find(|container| container.name == name).unwrap_or_else(|| panic!("no {name} in {view:?}"))
}

#[tokio::test]
async fn containerd_and_cri() {
    let here = tempfile::tempdir().unwrap();
    let containerd = Containerd::start(here.path());
    containerd.ctr("k8s.io", &["images", "import", image(here.path()).to_str().unwrap()]);
    // runc's state below /run/containerd is shared by all containerds of a machine.
    let namespace = format!("weir-test-{}", std::process::id());
    containerd.ctr(&namespace, &["images", "import", "--snapshotter", "native", image(here.path()).to_str().unwrap()]);
    let command = [
        "run",
        "-d",
        "--null-io",
        "--snapshotter",
        "native",
        "--label",
        "app=shop",
        "localhost/weir-test:1",
        "plain",
        "sleep",
        "1000",
    ];
    containerd.ctr(&namespace, &command);
    let pod = engine::cri::run_pod(&containerd.socket(), here.path()).await;

    let mut inventory = Inventory::new(InventoryConfig {
        cri_sockets: vec![containerd.socket()],
        containerd_socket: containerd.socket(),
        ..config(here.path())
    });
    let view = refresh(&mut inventory).await;
    let plain = named(&view, "plain");
    assert_eq!((plain.engine, plain.state, plain.image.as_str()), (Engine::Containerd, State::Running, "localhost/weir-test:1"));
    assert_eq!(plain.cgroup.as_deref(), Some(format!("/{namespace}/plain").as_str()));
    assert!(plain.pid.is_some() && plain.started.is_some());
    assert_eq!(plain.labels.get("app").map(String::as_str), Some("shop"));

    let web = named(&view, "web");
    assert_eq!((web.namespace.as_str(), web.pod.as_str(), web.pod_uid.as_str()), ("shop", "front-1", "uid-1"));
    assert_eq!((web.id.as_str(), web.state, web.restarts), (pod.container.as_str(), State::Running, Some(0)));
    let log = web.log.as_ref().expect("CRI tells the log");
    assert_eq!(
        (log.path.as_path(), log.format),
        (here.path().join("pods/shop_front-1_uid-1/web/0.log").as_path(), LogFormat::Cri)
    );
    poll("its log", || std::fs::read_to_string(&log.path).is_ok_and(|text| text.contains(" stdout F hello\n")));
    assert!(web.cgroup.as_ref().is_some_and(|path| path.ends_with(&web.id)), "{web:?}");
    assert_eq!(web.resource("n1").to_labels().get("app"), "front", "the pod's labels are the container's");
    let sandbox = view.containers.iter().find(|container| container.id == pod.sandbox).expect("the sandbox is there");
    assert!(sandbox.sandbox && sandbox.pid.is_some());

    // It ends, and how is told by its task; and by containerd itself, to whoever listens by then.
    let mut events = Events::listen(inventory.config(), now());
    let told = tokio::spawn(async move { next(&mut events).await });
    let mut number = 0;
    while !told.is_finished() {
        number += 1;
        assert!(number < 200, "containerd tells of no end");
        let name = format!("short-{number}");
        let image = ["--null-io", "--snapshotter", "native", "localhost/weir-test:1", &name, "sh", "-c", "exit 3"];
        containerd.try_ctr(&namespace, &[&["run", "--rm"], &image[..]].concat());
        // The listener is on this thread.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = told.await.expect("no panic");
    assert_eq!(told[0].what, What::Died(Some(3)), "{told:?}");
    assert!(told[0].container.id.starts_with("short-"), "{told:?}");
    containerd.ctr(&namespace, &["tasks", "kill", "-s", "SIGKILL", "plain"]);
    let over = loop {
        let view = refresh(&mut inventory).await;
        if named(&view, "plain").state == State::Exited {
            break view;
        }
        number += 1;
        assert!(number < 10_000, "it does not end: {view:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let [end] = &named(&over, "plain").ends[..] else { panic!("it ended once: {over:?}") };
    assert_eq!(end.signal(), "SIGKILL");

    // The engine dies: what it said last stays, and that it does not answer is said.
    pod.remove(&containerd.socket()).await;
    let socket = containerd.socket();
    containerd.ctr(&namespace, &["tasks", "rm", "-f", "plain"]);
    containerd.stop();
    let after = refresh(&mut inventory).await;
    assert!(after.containers.iter().any(|container| container.name == "plain"), "{after:?}");
    let mut blind: Vec<_> =
        after.blind.iter().filter(|blind| blind.reason.contains("refused")).map(|blind| &blind.engine).collect();
    blind.sort();
    assert_eq!(blind, [&"containerd".to_owned(), &format!("cri {}", socket.display())], "{:?}", after.blind);
}

#[tokio::test]
async fn podman_with_and_without_its_service() {
    let here = tempfile::tempdir().unwrap();
    let podman = Podman::new(here.path());
    podman.run(&["load", "-i", image(here.path()).to_str().unwrap()]);
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    let script = "echo hello; exec sleep 1000";
    let run = [&["run", "-d", "--network", "host", "--name", "front", "--label", "team=a"][..], &limits];
    podman.run(&[&run.concat()[..], &["localhost/weir-test:1", "sh", "-c", script]].concat());

    let files = InventoryConfig { podman_storage: podman.graph(), podman_run: podman.run_root(), ..config(here.path()) };
    let view = refresh(&mut Inventory::new(files.clone())).await;
    let front = named(&view, "front");
    assert_eq!((front.engine, front.state, front.image.as_str()), (Engine::Podman, State::Running, "localhost/weir-test:1"));
    assert!(front.cgroup.as_ref().is_some_and(|path| path.ends_with(&format!("libpod-{}", front.id))), "{front:?}");
    let log = front.log.clone().expect("a log");
    poll("its log", || std::fs::read_to_string(&log.path).is_ok_and(|text| text.contains(" stdout F hello\n")));

    let service = podman.serve();
    let both = InventoryConfig { podman_sockets: vec![service.socket()], ..files };
    let mut inventory = Inventory::new(both);
    let view = refresh(&mut inventory).await;
    let served = named(&view, "front");
    assert_eq!(served.labels, BTreeMap::from([("team".to_owned(), "a".to_owned())]));
    assert_eq!((served.cgroup.as_ref(), served.log.as_ref(), served.restarts), (front.cgroup.as_ref(), Some(&log), Some(0)));
    let ours = view.containers.iter().filter(|container| container.name == "front").count();
    assert_eq!(ours, 1, "one container, however many tell of it");

    let since = now() - 1_000_000_000;
    let mut events = Events::listen(inventory.config(), since);
    podman.run(&["kill", "front"]);
    poll("its end", || podman.output(&["ps", "-q"]).trim().is_empty());
    let view = refresh(&mut inventory).await;
    assert_eq!((named(&view, "front").state, named(&view, "front").cgroup.as_ref()), (State::Exited, None));
    let [end] = &named(&view, "front").ends[..] else { panic!("it ended once: {view:?}") };
    assert_eq!((end.exit_code, end.signal()), (Some(137), "SIGKILL"));
    // Told by itself, too; and to one who asks for it afterwards.
    let died = |events: Vec<Event>| events.iter().map(|event| (event.container.name.clone(), event.what)).collect::<Vec<_>>();
    assert_eq!(died(next(&mut events).await), [("front".to_owned(), What::Died(Some(137)))]);
    let mut later = Events::listen(inventory.config(), since);
    assert_eq!(died(next(&mut later).await), [("front".to_owned(), What::Died(Some(137)))]);
    podman.run(&["rm", "-f", "front"]);
}

#[tokio::test]
async fn a_socket_that_never_answers_does_not_hang() {
    let here = tempfile::tempdir().unwrap();
    let socket = here.path().join("mute.sock");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut inventory = Inventory::new(InventoryConfig {
        cri_sockets: vec![socket.clone()],
        containerd_socket: socket.clone(),
        docker_socket: socket.clone(),
        podman_sockets: vec![socket],
        timeout: Duration::from_millis(100),
        ..config(here.path())
    });
    let view = tokio::time::timeout(Duration::from_secs(20), refresh(&mut inventory)).await.expect("it answers in time");
    let silent = view.blind.iter().filter(|blind| blind.reason.contains("no answer within 100ms")).count();
    assert_eq!(silent, 4, "{:?}", view.blind);
}
