//! Keys of earlier versions, which had their unit in their name: a file that says one is refused with the name and spelling of now.

/// The old key, the new one, and how a value of it is written. The name alone is enough: none had two successors.
const RENAMED: [(&str, &str, &str); 26] = [
    ("answer_bytes_max", "answer_max", "\"128MiB\""),
    ("body_bytes_max", "body_max", "\"16MiB\""),
    ("bytes_max", "backlog_max", "\"2GiB\""),
    ("cache_bytes", "cache_max", "\"256MiB\""),
    ("compaction_bytes_max", "compaction_block_max", "\"512MiB\""),
    ("compaction_memory_bytes_max", "compaction_memory_max", "\"1GiB\""),
    ("decompressed_bytes_max", "decompressed_max", "\"64MiB\""),
    ("head_bytes_max", "head_max", "\"256MiB\""),
    ("heads_bytes_max", "heads_memory_max", "\"1GiB\""),
    ("inflight_bytes_max", "inflight_max", "\"256MiB\""),
    ("line_bytes_max", "line_max", "\"256KiB\""),
    ("linger_ms", "linger", "\"5ms\""),
    ("lookback_seconds", "lookback", "\"5m\""),
    ("memory_bytes_max", "memory_max", "\"1GiB\""),
    ("page_bytes_max", "page_max", "\"32MiB\""),
    ("page_bytes_min", "page_min", "\"256KiB\""),
    ("pin_bytes_max", "pin_max", "\"1GiB\""),
    ("query_bytes_max", "query_memory_max", "\"512MiB\""),
    ("queue_bytes", "queue_max", "\"16MiB\""),
    ("record_bytes", "record_max", "\"1MiB\""),
    ("resend_seconds", "resend_delay", "\"60s\""),
    ("segment_bytes", "segment_max", "\"64MiB\""),
    ("slice_bytes_max", "extract_max", "\"64MiB\""),
    ("slices_max", "extracts_max", "8"),
    ("tail_silence_seconds", "tail_silence", "\"30s\""),
    ("timeout_seconds", "timeout", "\"60s\""),
];

/// One that has two successors, and what to say of it.
const PARTED: &str = "insecure_listen";
const PARTS: &str = "allow_plaintext = true for a listener without TLS, allow_anonymous = true for one that asks nobody who they are; \
                     [tls] cert_file and [auth] methods make neither necessary";

/// What to say instead of serde's "unknown field `timeout_seconds`, expected one of `timeout`, …", when the table has the new key.
pub(super) fn instead_of(message: &str) -> Option<String> {
    let (old, known) = message.strip_prefix("unknown field `")?.split_once('`')?;
    if old == PARTED {
        return known.contains("`allow_plaintext`").then(|| format!("key `{PARTED}` is now two: {PARTS}"));
    }
    let (_, new, value) = RENAMED.iter().find(|(name, ..)| *name == old)?;
    known.contains(&format!("`{new}`")).then(|| format!("key `{old}` is now `{new}`, written {new} = {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DOCUMENTED};

    /// Tables of the documented default that have this key.
    fn tables_with(key: &str) -> Vec<String> {
        let mut table = String::new();
        let mut found = Vec::new();
        for line in DOCUMENTED.lines() {
            if line.starts_with('[') {
                line.clone_into(&mut table);
            }
            if line.split(" = ").next() == Some(key) {
                found.push(table.clone());
            }
        }
        found
    }

    #[test]
    fn every_old_key_is_refused_with_the_new_one_and_its_line() {
        for (old, new, value) in RENAMED {
            let tables = tables_with(new);
            assert!(!tables.is_empty(), "{new} is no key");
            assert!(tables_with(old).is_empty(), "{old} is a key again");
            // `query.queue_max` is a number of queries and had its name before.
            for table in tables.iter().filter(|table| (old, table.as_str()) != ("queue_bytes", "[query]")) {
                let error = Config::of_text(&format!("{table}\n# one more\n{old} = 5\n")).unwrap_err();
                let expected = format!("key `{old}` is now `{new}`, written {new} = {value}");
                assert!(error.contains(&expected), "{table}: {error}");
                assert!(error.contains(" at line 3"), "{table}: {error}");
                assert!(!error.contains("unknown field"), "{table}: {error}");
                Config::of_text(&format!("{table}\n{new} = {value}\n")).unwrap();
            }
        }
    }

    #[test]
    fn insecure_listen_is_refused_with_what_takes_its_place() {
        let error = Config::of_text("data = \"x\"\ninsecure_listen = true\n").unwrap_err();
        for word in
            ["line 2", "key `insecure_listen` is now two", "allow_plaintext = true", "allow_anonymous = true", "cert_file"]
        {
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn a_key_that_never_was_is_unknown() {
        let check = |text: &str, expected: &str| {
            let error = Config::of_text(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("is now"), "{text}: {error}");
        };
        check("[query]\ninsecure_listen = true", "unknown field `insecure_listen`");
        check("[query]\ntimeout_secs = 5", "unknown field `timeout_secs`");
        check("[node]\ntimeout_seconds = 5", "unknown field `timeout_seconds`");
        check("[query]\nbytes_max = 5", "unknown field `bytes_max`");
    }
}
