//! YAML as Prometheus reads it: rule files, scrape configurations and files of targets. Not weir's own configuration, which is TOML.
//!
//! Prometheus reads with go-yaml, whose rules these are: a text is any scalar as it is written (`severity: 010` is "010"), `yes` and
//! `on` are booleans where one is wanted, `010` is eight where a number is wanted, a key stands once in a map, aliases and merges
//! (`<<`) are resolved. What Prometheus reads as nothing, an empty list or map, is [`or_default`]'s.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use thiserror::Error;

/// Bytes of a file: the largest sets of rules that are published have a tenth of it.
pub const YAML_BYTES_MAX: usize = 16 << 20;
/// Bytes of all scalars, those of aliases counted each time: four times a file that has none.
const SCALAR_BYTES_MAX: usize = 4 * YAML_BYTES_MAX;
/// Scalars, lists, maps and their ends, those of aliases counted each time: a scalar with its line's end and indentation takes at
/// least four bytes of a file.
const EVENTS_MAX: usize = YAML_BYTES_MAX / 4;
/// What is kept of them for aliases to come, about a hundred bytes each.
const ANCHOR_EVENTS_MAX: usize = 100_000;

/// Why a text is not what was expected. The message ends with line and column where they are known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct YamlError {
    /// From 1.
    pub line: Option<usize>,
    pub message: String,
}

/// Reads the one document of a text; a text without any is as an empty map.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    if text.len() > YAML_BYTES_MAX {
        let message = format!("a YAML file may have {YAML_BYTES_MAX} bytes, this has {}", text.len());
        return Err(YamlError { line: None, message });
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        null_as_string: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_nodes: EVENTS_MAX,
            max_total_scalar_bytes: SCALAR_BYTES_MAX,
            max_recorded_anchor_events: ANCHOR_EVENTS_MAX,
            // One anchor that many rules name is usual; what they come to is counted above.
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok());
        YamlError { line, message: plain(&error.to_string()) }
    })
}

/// What a parser says, in words of those who write YAML.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 10] = [
        ("expected mapping start", "expected a map"),
        ("expected sequence start", "expected a list"),
        ("expected string scalar", "expected a text"),
        ("invalid u64", "expected a whole number, not negative"),
        ("invalid u32", "expected a whole number, not negative"),
        ("invalid usize", "expected a whole number, not negative"),
        ("invalid i64", "expected a whole number"),
        ("invalid i32", "expected a whole number"),
        ("invalid f64", "expected a number"),
        ("invalid bool", "expected true or false"),
    ];
    WORDS.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// For `#[serde(default, deserialize_with = "weir_model::yaml::or_default")]`: a key without a value is as if it were not there.
pub fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Read {
        text: String,
        truth: bool,
        number: u64,
        #[serde(deserialize_with = "or_default")]
        list: Vec<String>,
        #[serde(deserialize_with = "or_default")]
        map: BTreeMap<String, String>,
    }

    #[test]
    fn scalars_are_what_prometheus_takes_them_for() {
        let check = |text: &str, expected: Read| assert_eq!(parse::<Read>(text), Ok(expected), "{text}");
        check("", Read::default());
        check("# nothing\n", Read::default());
        for text in ["010", "1.0", "yes", "1e3", "0x1F", "2020-01-01", "1_000", "a: b"] {
            let written = if text.contains(' ') { format!("text: '{text}'") } else { format!("text: {text}") };
            check(&written, Read { text: text.into(), ..Read::default() });
        }
        for (text, truth) in [("true", true), ("yes", true), ("on", true), ("True", true), ("no", false), ("off", false)] {
            check(&format!("truth: {text}"), Read { truth, ..Read::default() });
        }
        for (text, number) in [("10", 10), ("010", 8), ("0o10", 8), ("0x10", 16), ("1_000", 1000)] {
            check(&format!("number: {text}"), Read { number, ..Read::default() });
        }
        check("list:\nmap: ~", Read::default());
        let (list, map) = (vec!["a".into(), "1".into()], [("b".into(), "a".into())].into());
        check("list: [&x a, 1]\nmap: {b: *x}", Read { list, map, ..Read::default() });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_column() {
        let check = |text: &str, line: usize, part: &str| {
            let error = parse::<Read>(text).unwrap_err();
            assert_eq!(error.line, Some(line), "{error}");
            assert!(error.message.contains(part) && !error.message.contains('\n'), "{error}");
            assert!(error.message.contains(&format!("line {line}, column ")), "{error}");
        };
        check("text: a\n\ntxet: b", 3, "unknown field `txet`");
        check("text: a\ntext: b", 2, "duplicate");
        check("map:\n  a: b\n  a: c", 3, "duplicate");
        check("number: many", 1, "expected a whole number, not negative");
        check("truth: maybe", 1, "expected true or false");
        check("list: {}", 1, "expected a list");
        check("map: 5", 1, "expected a map");
        check("map: [", 1, "");
        check("text: *nobody", 1, "anchor");
        check("text: a\n---\ntext: b", 3, "document");
    }

    #[test]
    fn what_grows_beyond_reason_is_refused_at_once() {
        let check = |text: String, part: &str| {
            let start = Instant::now();
            let error = parse::<BTreeMap<String, serde_json::Value>>(&text).unwrap_err();
            assert!(error.message.contains(part), "{error}");
            println!("{:?}: {error}", start.elapsed());
            assert!(start.elapsed().as_secs() < 60, "{error}");
        };
        // Nine levels of nine aliases: 387 million texts.
        let levels = (1..10).map(|i| format!("l{i}: &l{i} [{}]\n", vec![format!("*l{}", i - 1); 9].join(", ")));
        check(format!("l0: &l0 [{}]\n{}", ["lol"; 9].join(", "), levels.collect::<String>()), "RecordedAnchorEvents");
        // Of a thousand texts, many times, without aliases in aliases.
        let many = format!("many: &many [{}]\nmore: [{}]", ["x"; 1000].join(", "), vec!["*many"; 5000].join(", "));
        check(many, "replay");
        // A mebibyte, a thousand times.
        let long = "x".repeat(1 << 20);
        check(format!("long: &long {long}\nmany: [{}]", vec!["*long"; 1000].join(", ")), "scalar");
        check(format!("deep: {}", "[".repeat(100_000)), "");
        check("x".repeat(YAML_BYTES_MAX + 1), "may have 16777216 bytes");
    }
}
