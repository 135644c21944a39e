//! Whatever lies in a configuration file: a configuration, or an error that names the line or the key; and what is reckoned
//! from one that is accepted is a number.

use weir_model::fuzz::{CountingAllocator, Fuzz, MemoryLimit};

use super::*;
use crate::service::memory::{Parts, limits};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A file is read whole, as text, as a tree with positions, and as structures.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 1 << 20, per_input_byte: 1 << 10 };

const SMALL: [&str; 8] = [
    "listen = \"0.0.0.0:80\"\nallow_plaintext = true\nallow_anonymous = true\nadvertise = \"http://weir-0.example:9640/\"\n",
    "[[collector.files.paths]]\npath = \"/var/log/*.log\"\nformat = \"cri\"\nlabels = { app = \"nginx\", \"a.b\" = '''c\nd''' }\n",
    "[bus]\nkind = \"kafka\"\nkafka.brokers = \"a:9092,b:9092\"\n[bus.kafka.properties]\n\"security.protocol\" = \"ssl\"\n",
    "store = { url = \"s3://bucket/prefix\", options = { endpoint = \"http://127.0.0.1:9000\", region = \"\\u0065u\" } }\n",
    "[rules]\nfiles = [\"a.yml\", # one\n \"b.yml\"]\nalertmanagers = [\"http://a:9093\"]\n[rules.external_labels]\ncluster = \"c\"\n",
    "[front]\nhosts = [\"weir.example\", \"*.monitoring.svc\"]\norigins = [\"https://app.example:8443\"]\nhead_timeout = \"1h30m\"\n",
    "[aggregator]\ncompactions_max = 4\ncompaction_memory_max = \"4GiB\"\nretention.logs = \"0s\"\n",
    "[query]\ntimeout = \"1s\"\nquery_memory_max = \"8388607TiB\"\nmemory_max = \"9223372036854775807B\"\n",
];

const WORDS: [&str; 24] = [
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ".a",
    "\"",
    "'''",
    "\\u",
    "\n",
    "#",
    "true",
    "\"1h\"",
    "\"99999999999999999w\"",
    "nan",
    "1979-05-27T07:32:00Z",
    "9223372036854775807",
    "_seconds = 1\n",
    "\"[::]:0\"",
    "{ a = ",
    "[query]\n",
    "partitions = 4294967295\n",
    "queue_max = \"9223372036854775807B\"\n",
];

/// Names of all keys that have a value, as the documented default has them.
fn leaves(table: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(table) if !table.is_empty() => leaves(table, found),
            _ => found.push(key.clone()),
        }
    }
}

#[test]
fn a_configuration() {
    let mut keys = Vec::new();
    leaves(&toml::from_str(DOCUMENTED).unwrap(), &mut keys);
    // Every section by itself, so that small mutations reach all keys.
    let sections = DOCUMENTED.split("\n[").enumerate().map(|(i, text)| if i == 0 { text.into() } else { format!("[{text}") });
    let seeds = sections.chain(SMALL.map(str::to_owned)).inspect(|seed| assert!(Config::of_text(seed).is_ok(), "{seed}"));
    let fuzz = seeds.fold(Fuzz::new("config").seed(DOCUMENTED), |fuzz, seed| fuzz.seed(seed));
    fuzz.text().words(&WORDS).memory(MEMORY).run(move |input| {
        let config = match Config::of_text(std::str::from_utf8(input).unwrap()) {
            Ok(config) => config,
            Err(error) => return assert!(error.to_string().contains(" at line "), "{error}"),
        };
        if let Err(error) = config.check() {
            return assert!(keys.iter().any(|key| error.contains(key)), "{error}");
        }
        let parts = Parts { collector: true, aggregator: true, query: true };
        for parts in [parts, Parts { aggregator: false, ..parts }] {
            assert!(limits(&config, parts).iter().all(|(limit, _)| !limit.is_empty()));
        }
        let _ = (config.location(), config.node.inventory());
        if let Err(error) = config.with_advertise() {
            assert!(error.message.contains("advertise"), "{}", error.message);
        }
    });
}
