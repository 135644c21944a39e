//! What an ordinary user sees: what it can, and what it cannot with the reason. Runs itself again as `nobody`, so it
//! needs root; fails without.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_runtime::containers::{Inventory, InventoryConfig};
use weir_runtime::samples::{NodeSampler, SamplerConfig};

const PLACE: &str = "WEIR_TEST_WITHOUT_ROOT";

#[tokio::test]
async fn an_ordinary_user_is_told_what_it_cannot_see() {
    if let Ok(place) = std::env::var(PLACE) {
        return as_nobody(Path::new(&place)).await;
    }
    assert!(rustix::process::geteuid().is_root(), "this test gives up root, so it must have it");
    let here = tempfile::tempdir().unwrap();
    // The test program itself may lie where nobody may look.
    let program = here.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(here.path(), 0o755);
    open(&program, 0o755);
    std::fs::create_dir_all(here.path().join("closed/storage")).unwrap();
    open(&here.path().join("closed"), 0o700);
    let socket = here.path().join("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    open(&socket, 0o600);
    let mut again = Command::new(&program);
    again.args(["--exact", "an_ordinary_user_is_told_what_it_cannot_see"]).env(PLACE, here.path()).uid(65534).gid(65534);
    let output = again.current_dir("/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn as_nobody(here: &Path) {
    assert!(!rustix::process::geteuid().is_root());
    let mut sampler = NodeSampler::new(SamplerConfig::local("here")).expect("mountinfo is open to all");
    let [cgroups, machine] = sampler.sample(1);
    assert!(!cgroups.schema.series.is_empty() && !machine.schema.series.is_empty());
    let none = PathBuf::from("/nowhere");
    let mut inventory = Inventory::new(InventoryConfig {
        cri_sockets: vec![none.clone()],
        containerd_socket: here.join("sock"),
        docker_socket: here.join("sock"),
        podman_sockets: Vec::new(),
        podman_storage: here.join("closed/storage"),
        weir_dir: none,
        ..InventoryConfig::default()
    });
    let view = inventory.refresh(sampler.cgroups()).await;
    let denied: Vec<_> = view.blind.iter().filter(|blind| blind.reason.contains("ermission denied")).collect();
    let mut engines: Vec<&str> = denied.iter().map(|blind| blind.engine.split(' ').next().unwrap_or_default()).collect();
    engines.sort_unstable();
    assert_eq!(engines, ["containerd", "docker", "podman"], "{:?}", view.blind);
}
