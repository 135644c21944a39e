//! Holds the generated messages of `src/proto` to `proto/**/*.proto`. `WEIR_UPDATE=1 cargo test -p weir-runtime --test proto`
//! generates them anew.

use std::collections::BTreeMap;
use std::path::Path;

use prost_build::Module;

/// The module's root package, the generated file, and its sources.
const FILES: [(&str, &str, &[&str]); 2] = [
    (
        "containerd",
        "containerd.rs",
        &[
            "containerd/events/task.proto",
            "containerd/services/containers/v1/containers.proto",
            "containerd/services/events/v1/events.proto",
            "containerd/services/namespaces/v1/namespace.proto",
            "containerd/services/tasks/v1/tasks.proto",
            "containerd/types/event.proto",
        ],
    ),
    ("runtime.v1", "cri.rs", &["runtime/v1/api.proto"]),
];

/// Modules within modules, by name; the code of each.
#[derive(Default)]
struct Tree {
    code: String,
    inner: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &[String], code: &str) {
        match path {
            [] => self.code.push_str(code),
            [first, rest @ ..] => self.inner.entry(first.clone()).or_default().insert(rest, code),
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.code);
        for (name, tree) in &self.inner {
            out.push_str(&format!("pub mod {name} {{\n"));
            tree.write(out);
            out.push_str("}\n");
        }
    }
}

/// The text of one generated file.
fn generate(root: &str, sources: &[&str]) -> String {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile(sources.iter().map(|source| proto.join(source)), [&proto]).expect("the sources are right");
    let files = files.file.into_iter();
    let requests = files.map(|file| (Module::from_protobuf_package_name(file.package()), file)).collect();
    let generated = prost_build::Config::new().btree_map(["."]).generate(requests).expect("messages in Rust");
    let depth = root.split('.').count();
    let mut tree = Tree::default();
    // Google's own messages are the crate `prost_types`.
    for (module, code) in generated.into_iter().filter(|(module, _)| module.parts().next() != Some("google")) {
        let path: Vec<String> = module.parts().map(str::to_owned).collect();
        assert_eq!(path[..depth].join("."), root);
        tree.insert(&path[depth..], &code);
    }
    let mut text = String::new();
    text.push_str(&format!("//! Generated from {} by tests/proto.rs; not to be edited.\n", sources.join(", ")));
    tree.write(&mut text);
    text
}

#[test]
fn the_generated_messages_are_those_of_the_sources() {
    for (root, name, sources) in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto").join(name);
        let generated = generate(root, sources);
        if std::env::var_os("WEIR_UPDATE").is_some() {
            std::fs::write(&path, &generated).expect("the file is written");
        }
        let kept = std::fs::read_to_string(&path).expect("the file is there");
        assert!(kept == generated, "{name} is not what its sources say: WEIR_UPDATE=1 cargo test -p weir-runtime --test proto");
    }
}

/// A source that no generated file is made of would go unseen.
#[test]
fn every_source_is_used() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let pattern = proto.join("**/*.proto");
    let found = glob::glob(pattern.to_str().expect("UTF-8")).expect("a pattern").map(|path| path.expect("a path"));
    let unused = found.filter(|path| {
        let own = path.strip_prefix(&proto).expect("below it").to_str().expect("UTF-8");
        // tasks.proto imports it.
        own != "containerd/types/task/task.proto" && !FILES.iter().any(|(.., sources)| sources.contains(&own))
    });
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}
