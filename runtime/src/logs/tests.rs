//! A node's log directories, with and without an engine's account of them.

use super::*;
use crate::containers::{Engine, LogLocation};

fn touch(root: &Path, path: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "").unwrap();
}

fn names(root: &Path, found: &LogFiles) -> Vec<String> {
    found.files.iter().map(|file| file.path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn pods_without_an_engine() {
    let root = tempfile::tempdir().unwrap();
    let directory = "var/log/pods/shop_front-7d4_1b2c-3d";
    for file in
        ["1.log", "0.log", "1.log.20260131-120500", "1.log.20260131-120000.gz", "1.log.20260131-130000.tmp", "x.log", "10.log"]
    {
        touch(root.path(), &format!("{directory}/web/{file}"));
    }
    touch(root.path(), "var/log/pods/stray/file");
    std::fs::create_dir_all(root.path().join("var/log/containers")).unwrap();
    let id = "ab".repeat(32);
    let link = root.path().join(format!("var/log/containers/front-7d4_shop_web-{id}.log"));
    std::os::unix::fs::symlink(format!("/{directory}/web/1.log"), link).unwrap();

    let found = find(root.path(), "n1", &[]);
    let expected = ["0.log", "1.log", "10.log"];
    assert_eq!(names(root.path(), &found), expected.map(|name| format!("{directory}/web/{name}")));
    let labels = found.files[1].container.to_labels().to_string();
    assert_eq!(labels, format!(r#"{{container="web", container_id="{id}", namespace="shop", node="n1", pod="front-7d4"}}"#));
    assert_eq!(found.files[0].container.container_id, "", "another attempt is another container");
    let files = generations(&found.files[1].path).unwrap();
    let expected = [("1.log.20260131-120000.gz", true), ("1.log.20260131-120500", false), ("1.log", false)];
    let expected = expected.map(|(name, gzip)| Generation { path: root.path().join(format!("{directory}/web/{name}")), gzip });
    assert_eq!(files, expected);
    assert!(found.unreadable.is_empty());
    assert!(found.files.iter().all(|file| !file.is_told));
}

#[test]
fn docker_and_an_engine_that_tells() {
    let root = tempfile::tempdir().unwrap();
    let file = "var/lib/docker/containers/c1/c1-json.log";
    for suffix in ["", ".1", ".2", ".10.gz"] {
        touch(root.path(), &format!("{file}{suffix}"));
    }
    touch(root.path(), "var/log/pods/shop_a_1/web/0.log");
    let mut docker = Container::new(Engine::Docker, "c1");
    docker.log = Some(LogLocation { path: format!("/{file}").into(), format: LogFormat::DockerJson });
    let mut pod = Container::new(Engine::Containerd, "c2");
    pod.image = "shop:1".into();
    pod.log = Some(LogLocation { path: "/var/log/pods/shop_a_1/web/0.log".into(), format: LogFormat::Cri });
    let mut silent = Container::new(Engine::Containerd, "c3");
    silent.log = Some(LogLocation { path: "/nowhere/ctr.log".into(), format: LogFormat::Cri });

    let found = find(root.path(), "n1", &[docker, pod, silent]);
    assert!(found.files.iter().all(|file| file.is_told));
    assert_eq!(names(root.path(), &found), ["var/log/pods/shop_a_1/web/0.log", file]);
    assert_eq!(found.files[0].container.image, "shop:1");
    assert_eq!(found.files[1].format, LogFormat::DockerJson);
    assert_eq!(order(&root.path().join(file)), [".10.gz", ".2", ".1", ""]);
}

/// What the generations of a log have behind its name.
fn order(current: &Path) -> Vec<String> {
    let own = |file: Generation| file.path.to_str().unwrap().strip_prefix(current.to_str().unwrap()).unwrap().to_owned();
    generations(current).unwrap().into_iter().map(own).collect()
}

#[test]
fn generations_are_in_the_order_in_which_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let current = root.path().join("a.log");
    assert_eq!(order(&current), [""; 0], "nothing is there");
    assert_eq!(order(&root.path().join("nowhere/a.log")), [""; 0]);
    for suffix in ["-20260102", "-20260101.gz", ".bak", "-20260102.gz", "x"] {
        touch(root.path(), &format!("a.log{suffix}"));
    }
    assert_eq!(order(&current), ["-20260101.gz", "-20260102"], "what is being compressed is there twice");
    // Two habits at once: the time of change decides.
    let early = std::time::SystemTime::UNIX_EPOCH;
    touch(root.path(), "a.log.1");
    std::fs::File::options().write(true).open(root.path().join("a.log.1")).unwrap().set_modified(early).unwrap();
    touch(root.path(), "a.log");
    let mixed = order(&current);
    assert_eq!((mixed[0].as_str(), mixed.last().unwrap().as_str(), mixed.len()), (".1", "", 4));
}

#[test]
fn pod_names() {
    assert_eq!(pod_name("shop_front_1-2"), Some(("shop", "front")));
    assert_eq!(pod_name("shop_front"), None);
    assert_eq!(pod_name("__x"), None);
}

#[test]
fn a_path_in_an_engines_place_is_a_log_or_none() {
    let config = InventoryConfig {
        root: "/host".into(),
        podman_storage: "/podman".into(),
        weir_dir: "/weir".into(),
        ..InventoryConfig::default()
    };
    let mut known = Container::new(Engine::Containerd, "c2");
    known.image = "shop:1".into();
    known.log = Some(LogLocation { path: "/var/log/pods/shop_a_1/web/0.log".into(), format: LogFormat::Cri });
    let check = |path: &str, expected: Option<(&str, LogFormat)>| {
        let found = places(&config).iter().find_map(|place| of_path(&config.root, "n", place, Path::new(path), &[known.clone()]));
        let seen = found.map(|log| (log.container.to_labels().to_string(), log.format));
        assert_eq!(seen, expected.map(|(labels, format)| (labels.to_owned(), format)), "{path}");
    };
    let pods = "/host/var/log/pods";
    let told = r#"{container_id="c2", image="shop:1", node="n"}"#;
    check(&format!("{pods}/shop_a_1/web/0.log"), Some((told, LogFormat::Cri)));
    let own = r#"{container="web", namespace="shop", node="n", pod="a"}"#;
    check(&format!("{pods}/shop_a_1/web/1.log"), Some((own, LogFormat::Cri)));
    check("/host/var/lib/docker/containers/c1/c1-json.log", Some((r#"{container_id="c1", node="n"}"#, LogFormat::DockerJson)));
    check("/podman/overlay-containers/c3/userdata/ctr.log", Some((r#"{container_id="c3", node="n"}"#, LogFormat::Cri)));
    check("/weir/c4/logs/0.log", Some((r#"{container_id="c4", node="n"}"#, LogFormat::Cri)));
    for none in ["shop_a_1/web/0.log.20260131-120000", "shop_a_1/web/x.log", "shop_a_1/0.log", "stray/web/0.log"] {
        check(&format!("{pods}/{none}"), None);
    }
    check("/host/var/lib/docker/containers/c1/c2-json.log", None);
    check("/weir/c4/logs/0.log.20260131-120000", None);
}
