//! What lies in `deploy/` is looked at by the tools that it is meant for: Kubernetes' own schemas, systemd, hadolint, podman;
//! and by weir itself. Each check is also shown to refuse something. The tools come from `tests/setup/deploy`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::run;
use crate::weir::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A tool of `tests/setup/deploy`.
fn tool(name: &str) -> String {
    let path = root().join(".cache/deploy/bin").join(name);
    assert!(path.is_file(), "{} is missing; tests/setup/deploy installs it, `make test` calls that", path.display());
    path.display().to_string()
}

/// Path and text of the files of a folder of `deploy/` with this ending.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let folder = root().join("deploy").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    assert!(!paths.is_empty(), "{}: nothing ends with {ending}", folder.display());
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// All objects, as JSON.
fn objects() -> Vec<Value> {
    let mut objects = Vec::new();
    for (path, text) in files("kubernetes", ".yaml") {
        let documents = serde_saphyr::from_multiple::<Value>(&text);
        objects.extend(documents.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    objects
}

/// The error of the strict check against the schemas of the API server, if there is one.
fn schema_error(path: &Path) -> Option<String> {
    let (passed, output) = run(&tool("kubernetes-validate"), &["--strict", &path.display().to_string()], b"");
    (!passed).then_some(output)
}

#[test]
fn manifests_pass_kubernetes_schemas_strictly() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files("kubernetes", ".yaml") {
        assert_eq!(schema_error(&path), None, "{}", path.display());
        // A wrong name, a wrong type, a missing field and a wrong place are each refused, wherever they occur.
        let wrongs = [
            ("replicas: 2", "replica: 2", "replica"),
            ("replicas: 2", "replicas: two", "two"),
            ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "readOnlyRootFileSystem"),
            ("      containers:\n        - name:", "      containers:\n        - nom:", "'name' is a required property"),
            ("      terminationGracePeriodSeconds", "          terminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
            ("policyTypes: [Ingress]", "policyTypes: Ingress", "Ingress"),
        ];
        for (right, wrong, word) in wrongs.into_iter().filter(|(right, _, _)| text.contains(right)) {
            let copy = folder.path().join("wrong.yaml");
            std::fs::write(&copy, text.replace(right, wrong)).unwrap();
            let error = schema_error(&copy).unwrap_or_else(|| panic!("{}: {wrong} passes", path.display()));
            assert!(error.contains(word) || error.contains("mapping values"), "{error}");
        }
    }
}

#[test]
fn manifests_hang_together() {
    let objects = objects();
    let named = |kind: &str, name: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    };
    let workloads: Vec<&Value> = objects.iter().filter(|object| object["spec"]["template"].is_object()).collect();
    assert_eq!(workloads.len(), 3);
    for workload in &workloads {
        let pod = &workload["spec"]["template"];
        assert_eq!(workload["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"], workload["metadata"]["name"]);
        let name = workload["metadata"]["name"].as_str().unwrap();
        named("ServiceAccount", pod["spec"]["serviceAccountName"].as_str().unwrap());
        named("NetworkPolicy", name);
        safe(pod, name == "weir-collector");
        let container = &pod["spec"]["containers"][0];
        let ready = if name == "weir-query" { "/-/serving" } else { "/readyz" };
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], ready);
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{name}: {probe}");
        }
        let secrets: Vec<&str> = pod["spec"]["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|volume| volume["secret"]["secretName"].as_str())
            .collect();
        assert_eq!(secrets, [&*format!("{name}-tls"), "weir-auth"]);
        let variables = container["env"].as_array().unwrap().iter().filter_map(|variable| variable["name"].as_str());
        assert!(!variables.clone().any(|name| name.starts_with("WEIR_ALLOW")), "{name}: nothing is waived");
        for volume in pod["spec"]["volumes"].as_array().unwrap().iter().filter(|volume| volume["configMap"].is_object()) {
            named("ConfigMap", volume["configMap"]["name"].as_str().unwrap());
        }
    }
    // Each may ask about tokens, and about nothing else.
    let rules = &named("ClusterRole", "weir-token-reviews")["rules"];
    let only = serde_json::json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]);
    assert_eq!(*rules, only);
    let subjects = named("ClusterRoleBinding", "weir-token-reviews")["subjects"].as_array().unwrap();
    let bound: Vec<&str> = subjects.iter().map(|subject| subject["name"].as_str().unwrap()).collect();
    assert!(bound.len() == 3 && workloads.iter().all(|workload| bound.iter().any(|name| workload["metadata"]["name"] == **name)));

    assert_eq!(named("StatefulSet", "weir-aggregator")["spec"]["serviceName"], "weir-aggregator");
    assert_eq!(named("Service", "weir-aggregator")["spec"]["clusterIP"], "None");

    // Whatever selects pods selects the pods of one workload, and ports are asked for by names that these have.
    for object in &objects {
        let (service, selecting) =
            (&object["spec"]["selector"], ["podSelector", "selector"].map(|key| &object["spec"][key]["matchLabels"]));
        let wanted =
            [service, selecting[0], selecting[1]].into_iter().find_map(|labels| labels["app.kubernetes.io/name"].as_str());
        let Some(wanted) = wanted else { continue };
        let workload = workloads.iter().find(|workload| workload["metadata"]["name"] == wanted);
        let workload = workload.unwrap_or_else(|| panic!("{object} selects {wanted}, which is not there"));
        let ports = &workload["spec"]["template"]["spec"]["containers"][0]["ports"];
        let has = |port: &Value| port.is_null() || ports.as_array().unwrap().iter().any(|own| own["name"] == *port);
        let services = object["spec"]["ports"].as_array().into_iter().flatten().map(|port| &port["targetPort"]);
        let rules = object["spec"]["ingress"].as_array().into_iter().flatten();
        let policies = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten()).map(|port| &port["port"]);
        assert!(services.chain(policies).all(has), "{object} names a port that {wanted} does not have");
    }
}

/// As little of the node as the role needs. Only the collector is root, and only it sees the node's files.
fn safe(pod: &Value, is_collector: bool) {
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsUser"] == 0, is_collector);
    assert_eq!(spec["securityContext"]["runAsNonRoot"] == true, !is_collector);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let own = &container["securityContext"];
    assert_eq!(own["capabilities"], serde_json::json!({"drop": ["ALL"]}));
    assert_eq!((&own["allowPrivilegeEscalation"], &own["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
    assert!(container["resources"]["limits"]["memory"].is_string() && container["resources"]["requests"]["cpu"].is_string());
    let host: BTreeMap<&str, &str> = spec["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| Some((volume["name"].as_str()?, volume["hostPath"]["path"].as_str()?)))
        .collect();
    assert_eq!(!host.is_empty(), is_collector);
    let mounts = container["volumeMounts"].as_array().unwrap().iter();
    let writable: Vec<&str> =
        mounts.filter(|mount| mount["readOnly"] != true).filter_map(|mount| host.get(mount["name"].as_str()?).copied()).collect();
    assert_eq!(writable, if is_collector { vec!["/var/log"] } else { vec![] });
}

/// The roles' configuration.
pub(crate) fn configuration() -> String {
    let configs: Vec<Value> = objects().into_iter().filter(|object| object["data"]["weir.toml"].is_string()).collect();
    assert_eq!(configs.len(), 1);
    configs[0]["data"]["weir.toml"].as_str().unwrap().to_owned()
}

#[test]
fn the_cluster_s_configuration_is_one_that_weir_takes() {
    let folder = tempfile::tempdir().unwrap();
    // What its Secrets hold, as deploy/kubernetes/README.md makes it.
    let at = |name: &str| folder.path().join(name).display().to_string();
    let readme = std::fs::read_to_string(root().join("deploy/kubernetes/README.md")).unwrap();
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    weir certs certs ")).collect();
    assert_eq!(commands.len(), 3);
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let (made, output) = run(&binary().display().to_string(), &[&["certs", &at("certs")][..], &words].concat(), b"");
        assert!(made, "{output}");
    }
    std::fs::write(at("tokens.csv"), "token,grafana,grafana,\"\"\n").unwrap();
    let policies = readme.lines().filter_map(|line| line.strip_prefix("    echo '")?.split_once("' >")).map(|(policy, _)| policy);
    let policies: Vec<&str> = policies.collect();
    assert_eq!(policies.len(), 2);
    std::fs::write(at("policies.jsonl"), policies.join("\n")).unwrap();
    let of_role = |role: &str| {
        let text = configuration()
            .replace("/etc/weir-tls/ca.crt", &at("certs/ca.pem"))
            .replace("/etc/weir-tls/ca.crl", &at("certs/crl.pem"))
            .replace("/etc/weir-tls/tls.crt", &at(&format!("certs/{role}.pem")))
            .replace("/etc/weir-tls/tls.key", &at(&format!("certs/{role}.key")))
            .replace("/etc/weir-auth", &folder.path().display().to_string())
            // Where a pod has its own token, and the cluster's authority.
            .replace(
                "[auth.kubernetes]\n",
                &format!("[auth.kubernetes]\napi_server = \"https://127.0.0.1:6443\"\nca_file = {:?}\n", at("certs/ca.pem")),
            );
        assert!(!text.contains("/etc/weir"), "{text}");
        text
    };
    let check = |text: &str| {
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, text).unwrap();
        run(&binary().display().to_string(), &["check", "config", &file.display().to_string()], b"")
    };
    for role in ["query", "aggregator", "collector"] {
        let (good, output) = check(&of_role(role));
        assert!(good, "{role}: {output}");
    }
    let text = of_role("query");
    // With cert-manager there is no list, and its line is removed.
    let (good, output) = check(&text.replace("crl.pem", "away.pem"));
    assert!(!good && output.contains("away.pem"), "{output}");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("client_crl_file")).collect();
    assert!(without.len() < text.lines().count());
    let (good, output) = check(&without.join("\n"));
    assert!(good, "{output}");
    let (good, output) = check(&text.replace("replication", "replications"));
    assert!(!good && output.contains("replications"), "{output}");
}

/// What `weir ROLE --help` says, if this weir has the role.
fn help(role: &str) -> Option<String> {
    let weir = binary().display().to_string();
    let (good, roles) = run(&weir, &["--help"], b"");
    assert!(good, "{roles}");
    let has = roles.lines().any(|line| line.split_whitespace().next() == Some(role));
    // Wherever a line ends.
    has.then(|| run(&weir, &[role, "--help"], b"").1.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn variables_and_flags_are_those_of_the_roles() {
    let mut roles = Vec::new();
    for object in objects().iter().filter(|object| object["spec"]["template"].is_object()) {
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        let role = container["args"][0].as_str().unwrap();
        let Some(help) = help(role) else { continue };
        roles.push(role.to_owned());
        let variables = container["env"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap());
        for name in variables.filter(|name| name.starts_with("WEIR_")) {
            assert!(help.contains(&format!("[env: {name}=")), "{role}: {name} is none of:\n{help}");
        }
    }
    for (path, text) in files("systemd", ".service") {
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/weir ")).unwrap();
        let mut words = start.split(' ');
        let role = words.next().unwrap();
        let Some(help) = help(role) else { continue };
        roles.push(role.to_owned());
        for flag in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{flag} <")), "{}: {flag} is none of:\n{help}", path.display());
        }
    }
    for role in ["up", "collector", "aggregator", "query"] {
        assert!(roles.iter().any(|own| own == role), "{role} is in {roles:?}");
    }
}

/// What systemd says of units that start this binary, and their worst exposure of 100.
fn verify(folder: &Path, change: impl Fn(String) -> String) -> String {
    let mut paths = Vec::new();
    for (path, text) in files("systemd", ".service") {
        let copy = folder.join(path.file_name().unwrap());
        std::fs::write(&copy, change(text.replace("/usr/local/bin/weir", &binary().display().to_string()))).unwrap();
        paths.push(copy.display().to_string());
    }
    let arguments: Vec<&str> = ["verify", "--man=no"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let (passed, output) = run("systemd-analyze", &arguments, b"");
    if passed { output } else { format!("refused\n{output}") }
}

#[test]
fn units_are_what_systemd_expects() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path(), |text| text), "");
    // systemd speaks of what it does not know, and goes on: silence is what passes.
    let output = verify(folder.path(), |text| text.replace("ProtectSystem=", "ProtectTheSystem="));
    assert!(output.contains("ProtectTheSystem"), "{output}");
    let output = verify(folder.path(), |text| text.replace("weir check", "weird check"));
    assert!(output.contains("is not executable"), "{output}");

    for (path, text) in files("systemd", ".service") {
        let name = path.display().to_string();
        assert!(text.contains("\nRestart=on-failure\n") && text.contains("\nMemoryMax="), "{name}");
        // systemd's own measure, of 10 at worst; an ordinary service has 9.6.
        let most = if text.contains("DynamicUser=yes") { "20" } else { "30" };
        let (passed, output) =
            run("systemd-analyze", &["security", "--offline=true", "--threshold", most, "--no-pager", &name], b"");
        assert!(passed, "{name} is more exposed than {most}:\n{output}");
    }
    let (passed, _) =
        run("systemd-analyze", &["security", "--offline=true", "--threshold", "5", "--no-pager", "/etc/none.service"], b"");
    assert!(!passed);
}

/// A recipe whose images are named by tag alone.
fn without_digests(recipe: &str) -> String {
    let mut pieces = recipe.split("@sha256:");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + &piece[64..])
}

#[test]
fn the_image_s_recipe_passes_hadolint() {
    let recipe = root().join("deploy/container/Dockerfile");
    let hadolint = |input: &str| run(&tool("hadolint"), &["--no-color", "-"], input.as_bytes());
    let text = std::fs::read_to_string(&recipe).unwrap();
    let (passed, output) = hadolint(&text);
    assert!(passed, "{output}");
    let froms: Vec<&str> = text.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert!(froms.len() == 2 && froms.iter().all(|line| line.contains("@sha256:")), "{froms:?}: images by digest");
    let (passed, output) = hadolint(&without_digests(&text).replace(":nonroot", ""));
    assert!(!passed && output.contains("DL3006"), "{output}");
    let (passed, output) = hadolint(&text.replace("WORKDIR /src", "WORKDIR src"));
    assert!(!passed && output.contains("DL3000"), "{output}");
}

/// The last stage, built by podman from this binary. Its base comes from no registry here: a C library like that base's is
/// put in its place under the same name. The stage that compiles is what `cargo build` does everywhere.
#[test]
fn the_image_s_last_stage_is_built_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let recipe = without_digests(&std::fs::read_to_string(root().join("deploy/container/Dockerfile")).unwrap());
    let at = recipe.find("FROM gcr.io/").unwrap();
    std::fs::write(path("Dockerfile"), &recipe[at..]).unwrap();
    let base = recipe[at..].split_whitespace().nth(1).unwrap();
    let libraries = "usr/lib/x86_64-linux-gnu";
    let put = |from: &Path, to: &str| {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    };
    put(&binary(), "build/out/usr/local/bin/weir");
    // What the binary is linked with: the base's own, and what the recipe brings.
    let (linked, output) = run("ldd", &[&binary().display().to_string()], b"");
    assert!(linked && !output.contains("not found"), "{output}");
    for path in output.split_whitespace().filter(|word| word.starts_with('/') && !word.contains("ld-linux")) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let of_base = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].contains(&name);
        let to = if of_base { format!("base/{libraries}/{name}") } else { format!("build/out/{libraries}/{name}") };
        put(Path::new(path), &to);
    }
    put(Path::new("/lib64/ld-linux-x86-64.so.2"), "base/lib64/ld-linux-x86-64.so.2");
    std::os::unix::fs::symlink("usr/lib", path("base/lib")).unwrap();
    let (done, output) = run("tar", &["-C", &path("base"), "-cf", &path("base.tar"), "."], b"");
    assert!(done, "{output}");

    let podman = |arguments: &[&str]| {
        let (store, runs) = (path("store"), path("run"));
        let own = [
            "--root",
            &store,
            "--runroot",
            &runs,
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ];
        run("podman", &[&own, arguments].concat(), b"")
    };
    let (done, output) = podman(&["import", &path("base.tar"), base]);
    assert!(done, "{output}");
    let build = format!("build={}", path("build"));
    let (done, output) = podman(&[
        "build",
        "--network",
        "none",
        "--pull=never",
        "--build-context",
        &build,
        "-f",
        &path("Dockerfile"),
        "-t",
        "weir:test",
        &path("build"),
    ]);
    assert!(done, "{output}");
    // As the manifests run it: nobody, read-only, without capabilities.
    let narrow = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "weir:test", "config"];
    let (done, output) = podman(&[&narrow[..], &limits[..]].concat());
    assert!(done && output.contains("[bus.kafka]"), "{output}");
    let (done, output) = podman(&["inspect", "--format", "{{.Config.User}} {{.Config.Entrypoint}}", "weir:test"]);
    assert!(done && output.trim() == "65532:65532 [/usr/local/bin/weir]", "{output}");
    let (done, output) = podman(&["rmi", "--all", "--force"]);
    assert!(done, "{output}");
}
