//! Prometheus' text format 0.0.4, as leniently as Prometheus reads it. Pure.

use std::collections::HashMap;

use weir_model::metric::{Family, MetricKind};

use super::line;
use super::{Exposition, ExpositionError, Sample};

/// Reads a whole body. The first line that is wrong fails all of it, as in Prometheus.
pub fn parse(body: &str) -> Result<Exposition, ExpositionError> {
    let mut samples = Vec::new();
    let families = read(body, |line| {
        let raw = line::parse(line)?;
        let timestamp = timestamp(raw.timestamp)?;
        samples.push(Sample::number(raw.labels(), line::number(raw.value)?, timestamp));
        Ok(())
    })?;
    Ok(Exposition { families, samples, ..Exposition::default() })
}

/// Reads metadata, and gives each line of a sample without the blanks around it to `take`.
pub(crate) fn read<'a>(
    body: &'a str,
    mut take: impl FnMut(&'a str) -> Result<(), String>,
) -> Result<Vec<Family>, ExpositionError> {
    let mut families = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for (i, line) in body.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
        let wrong = |reason| ExpositionError { line: i + 1, reason };
        if line.is_empty() {
            continue;
        }
        match line.strip_prefix('#') {
            Some(comment) => metadata(comment, &mut families, &mut at).map_err(wrong)?,
            None => take(line).map_err(wrong)?,
        }
    }
    Ok(families)
}

/// Milliseconds as written to nanoseconds.
pub(crate) fn timestamp(text: Option<&str>) -> Result<Option<i64>, String> {
    let Some(text) = text else { return Ok(None) };
    let millis: i64 = text.parse().map_err(|_| format!("not a time in ms: {:?}", line::clip(text)))?;
    Ok(Some(millis.checked_mul(1_000_000).ok_or("a time beyond the year 2262")?))
}

/// `# TYPE name kind`, `# HELP name text`; any other comment is none of ours.
fn metadata(comment: &str, families: &mut Vec<Family>, at: &mut HashMap<String, usize>) -> Result<(), String> {
    let comment = comment.trim_start();
    let (keyword, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
    if !matches!(keyword, "TYPE" | "HELP") {
        return Ok(());
    }
    let (name, text) = line::metadata_name(rest, &[' ', '\t']).map_err(|error| format!("{keyword} of what is {error}"))?;
    let text = text.unwrap_or("").trim();
    let i = *at.entry(name.clone().into_owned()).or_insert_with(|| {
        families.push(Family { name: name.clone().into_owned(), ..Family::default() });
        families.len() - 1
    });
    if keyword == "HELP" {
        families[i].help = unescape(text);
        return Ok(());
    }
    families[i].kind = match text {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "summary" => MetricKind::Summary,
        "untyped" | "unknown" => MetricKind::Unknown,
        other => return Err(format!("metric {name} has an unknown type {:?}", line::clip(other))),
    };
    Ok(())
}

/// `\n` and `\\` undone.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some('n')) => plain.push('\n'),
            ('\\', Some('\\')) => plain.push('\\'),
            _ => {
                plain.push(letter);
                continue;
            }
        }
        letters.next();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    type Samples<'a> = &'a [(&'a str, f64, Option<i64>)];

    fn check(body: &str, expected: Result<Samples<'_>, &str>) {
        match (parse(body), expected) {
            (Ok(seen), Ok(expected)) => {
                let seen: Vec<_> = seen.samples.iter().map(|s| (s.labels.to_string(), s.value.to_bits(), s.timestamp)).collect();
                let expected: Vec<_> =
                    expected.iter().map(|(labels, value, at)| ((*labels).to_owned(), value.to_bits(), *at)).collect();
                assert_eq!(seen, expected, "{body}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{body}: {error}"),
            (seen, _) => panic!("{body}: {seen:?}"),
        }
    }

    #[test]
    fn bodies() {
        check("a 1\n", Ok(&[(r#"{__name__="a"}"#, 1.0, None)]));
        check("a{b=\"c\",} 1.5e3 17\n", Ok(&[(r#"{__name__="a", b="c"}"#, 1500.0, Some(17_000_000))]));
        check("  a { b = \"x\\\"\\\\\\n\" , c=\"\" } +Inf\r\n", Ok(&[(r#"{__name__="a", b="x\"\\\n"}"#, f64::INFINITY, None)]));
        check("# a comment\n\n# TYPE a counter\n# HELP a b\\nc\na 0", Ok(&[(r#"{__name__="a"}"#, 0.0, None)]));
        check("a\n", Err("line 1: a sample needs a value"));
        check("ok 1\n9a 1\n", Err("line 2: not a metric name"));
        check("a{b=1} 1", Err("quotes"));
        check("a{b=\"1} 1", Err("does not end"));
        check("a{b=\"1\",b=\"2\"} 1", Err("twice"));
        let dotted = r#"{__name__="my.métric", a="b", "le.x"="1\"2"}"#.replace("\"le.x\"", "le.x");
        for series in [
            r#"{"my.métric",a="b","le.x"="1\"2"}"#,
            r#"{ "le.x" = "1\"2" , "my.métric" , "a"="b" , }"#,
            r#"{a="b","le.x"="1\"2","my.métric"}"#,
        ] {
            check(&format!("{series} 1 2"), Ok(&[(&dotted, 1.0, Some(2_000_000))]));
        }
        check(r#"a{"b c"="d"} 1"#, Ok(&[(r#"{__name__="a", b c="d"}"#, 1.0, None)]));
        check(r#"{"a"} 1"#, Ok(&[(r#"{__name__="a"}"#, 1.0, None)]));
        check(r#"{b="c"} 1"#, Err("needs a metric name"));
        check(r#"{} 1"#, Err("needs a metric name"));
        check(r#"a{"b"} 1"#, Err("\"b\" is a second metric name"));
        check(r#"{"a","b"} 1"#, Err("\"b\" is a second metric name"));
        check(r#"{"",b="c"} 1"#, Err("a name in quotes is empty"));
        check(r#"{"a"b="c"} 1"#, Err("expected label"));
        check(r#"{"a" 1"#, Err("expected label"));
        check(r#"{"a.b",c="d",c="e"} 1"#, Err("twice"));
        check("a 0x1", Err("not a number"));
        check("a 1 2 3", Err("after the timestamp"));
        check("a 1 99999999999999999", Err("2262"));
        check("# TYPE a nonsense", Err("unknown type"));
    }

    #[test]
    fn metadata_is_kept() {
        let seen = parse("# TYPE a counter\n# HELP a b\\nc\n# TYPE b untyped\n").unwrap().families;
        assert_eq!(seen[0], Family { name: "a".into(), kind: MetricKind::Counter, help: "b\nc".into(), unit: String::new() });
        assert_eq!(seen.len(), 2);
        let seen = parse("# TYPE \"a.b\" counter\n# HELP \"a.b\" c\n").unwrap().families;
        assert_eq!(seen, [Family { name: "a.b".into(), kind: MetricKind::Counter, help: "c".into(), unit: String::new() }]);
        for wrong in ["# TYPE a.b counter", "# TYPE \"a.b\"counter", "# TYPE \"\" counter", "# HELP \"a"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
