//! The configuration in `deploy/` knows the names under which its own parts ask each other.

use std::path::Path;

use super::super::hosts::{Hosts, Place};
use crate::config::Config;

#[test]
fn kubernetes_services_are_names_that_weir_answers_to() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let map = text("10-config.yaml");
    let block = map.split_once("  weir.toml: |\n").unwrap().1.split_once("\n---").unwrap().0;
    let toml: Vec<&str> = block.lines().map(|line| line.strip_prefix("    ").unwrap_or_default()).collect();
    let config: Config = toml::from_str(&toml.join("\n")).unwrap();
    config.check().unwrap();
    assert!(!config.auth.methods.is_empty() && !config.tls.cert_file.as_os_str().is_empty());
    assert!(!config.allow_plaintext && !config.allow_anonymous);
    let hosts = Hosts::new(&config.front.hosts, []);
    let mut services = 0;
    for name in ["20-collector.yaml", "30-aggregator.yaml", "40-query.yaml"] {
        for object in text(name).split("\n---\n").filter(|object| object.contains("\nkind: Service\n")) {
            let service = object.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
            let forms = ["", ".weir", ".weir.svc", ".weir.svc.cluster.local"].map(|domain| format!("{service}{domain}:9640"));
            for asked in forms.into_iter().chain([format!("pod-0.{service}.weir.svc:9640")]) {
                assert!(hosts.has(&Place::parse(&asked).unwrap().host), "{asked}");
            }
            services += 1;
        }
    }
    assert_eq!(services, 3);
    assert!(!hosts.has(&Place::parse("weir.evil.example").unwrap().host));
}
