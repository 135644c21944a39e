//! Runs the scripts of `tests/scripts/logql`: commands apart by blank lines, `#` before a comment.
//!
//! - `load {app="x"} with {meta="m"} level error` and lines `5s text`: lines of a stream, at seconds since 1970; `with` is their
//!   structured metadata. A text that begins or ends with blanks, or has others than letters, is `e"…"`.
//! - `clear`: the lines are gone.
//! - `eval lines QUERY`: a row `{labels} text` for each line of the answer; `eval instant at 10s QUERY` and
//!   `eval range from 5s to 15s step 5s QUERY`: a row `{labels} 1 _ 3` for each series, or a number. The rows come in any order,
//!   unless the first line is `expect ordered`. `expect fail words`: the error has these words.
//! - A query that names `detected_level` is asked with the levels of lines.
//!
//! Every query that answers is also written again (`Display`), read, and asked a second time.

use std::path::Path;

use weir_model::label::Labels;
use weir_model::log::severity_of_name;
use weir_model::scope::Scope;
use weir_model::select::NoBudget;
use weir_model::time::{SECOND, TimeRange, parse_duration};

use crate::eval::lines::{LogOptions, lines};
use crate::eval::metric::{MetricOptions, metric};
use crate::eval::{Steps, Value};
use crate::lex::{Token, lex};
use crate::memory::MemoryLogs;
use crate::pipeline::readable;
use crate::{Expr, parse};

#[test]
fn scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts/logql");
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let (mut evals, mut failures) = (0, Vec::new());
    for path in scripts {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (passed, failed) = run(&std::fs::read_to_string(&path).unwrap());
        assert!(passed > 0, "{name} has no eval that passes: {failed:#?}");
        evals += passed;
        failures.extend(failed.into_iter().map(|failure| format!("{name}:{failure}")));
    }
    println!("{evals} evaluations pass");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How many evals of a script pass, and which do not.
fn run(script: &str) -> (usize, Vec<String>) {
    let (mut store, mut passed, mut failed) = (MemoryLogs::default(), 0, Vec::new());
    let mut lines = script.lines().map(str::trim).enumerate().peekable();
    while let Some((at, head)) = lines.next() {
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        let mut block = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| head != "clear" && !line.is_empty()) {
            block.push(line);
        }
        let result = match head.split_once(' ').unwrap_or((head, "")) {
            ("clear", "") => {
                store = MemoryLogs::default();
                continue;
            }
            ("load", rest) => load(&mut store, rest, &block),
            ("eval", rest) => eval(&store, rest, &block).map(|()| passed += 1),
            _ => Err("no command".into()),
        };
        if let Err(why) = result {
            failed.push(format!("{}: {head}\n    {why}", at + 1));
        }
    }
    (passed, failed)
}

/// `{app="x"} with {user="u"} level error`, and lines: `5s text`.
fn load(store: &mut MemoryLogs, head: &str, block: &[&str]) -> Result<(), String> {
    let (stream, rest) = labels(head)?;
    let (metadata, rest) = match rest.trim().strip_prefix("with ") {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let severity = match rest.trim() {
        "" => 0,
        level => level.strip_prefix("level ").and_then(|name| severity_of_name(name.as_bytes())).ok_or("no level")?,
    };
    let stream: Vec<(&str, &str)> = stream.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for line in block {
        let (at, text) = line.split_once(' ').unwrap_or((line, ""));
        let at = parse_duration(at).map_err(|error| format!("{line}: {error}"))?;
        let loaded = store.push(&stream, at, body(text)?.as_bytes());
        loaded.severity = severity;
        loaded.attributes = Labels::from_pairs(metadata.iter().cloned());
    }
    Ok(())
}

/// A text as it is, or `e"…"` with escapes.
fn body(text: &str) -> Result<String, String> {
    match text.strip_prefix('e').filter(|quoted| quoted.starts_with('"')) {
        Some(quoted) => string(quoted).map(|(text, _)| text),
        None => Ok(text.to_owned()),
    }
}

/// The string that a text begins with, and what follows it.
fn string(text: &str) -> Result<(String, &str), String> {
    let ends = text.match_indices(['"', '`']).skip(1).map(|(at, _)| at + 1);
    for end in ends {
        if let Ok(tokens) = lex(&text[..end])
            && let [first, _] = &tokens[..]
            && let Token::String(inner) = &first.token
        {
            return Ok((inner.clone(), &text[end..]));
        }
    }
    Err(format!("no string: {text}"))
}

type Pairs = Vec<(String, String)>;

/// `{a="b", c="d"}` and what follows it.
fn labels(text: &str) -> Result<(Pairs, &str), String> {
    let mut rest = text.trim_start().strip_prefix('{').ok_or_else(|| format!("no labels: {text}"))?;
    let mut pairs = Pairs::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            pairs.sort();
            return Ok((pairs, rest));
        }
        let (name, tail) = rest.split_once('=').ok_or_else(|| format!("no labels: {text}"))?;
        let (value, tail) = string(tail)?;
        pairs.push((name.to_owned(), value));
        rest = tail;
    }
}

fn written(pairs: &[(String, String)]) -> String {
    let one = |(name, value): &(String, String)| format!("{name}={value:?}");
    format!("{{{}}}", pairs.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// `lines QUERY`, `instant at 10s QUERY` or `range from 0s to 10s step 5s QUERY`, and what is expected.
fn eval(store: &MemoryLogs, head: &str, block: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = head.splitn(8, ' ').collect();
    let (steps, query) = match words[..] {
        ["lines", ..] => (None, head["lines".len()..].trim()),
        ["instant", "at", at, ..] => {
            let from = head.find(at).unwrap_or(0) + at.len();
            (Some(Steps::instant(nanos(at)?)), head[from..].trim())
        }
        ["range", "from", start, "to", end, "step", step, query] => {
            let (start, step) = (nanos(start)?, nanos(step)?);
            (Some(Steps { start, step, count: ((nanos(end)? - start) / step + 1) as usize }), query)
        }
        _ => return Err("eval is of lines, an instant or a range".into()),
    };
    let answer = ask(store, query, steps);
    if let Some(expected) = block.first().and_then(|line| line.strip_prefix("expect fail ")) {
        let error = answer.err().ok_or("no error")?;
        return if error.contains(expected) { Ok(()) } else { Err(format!("another error: {error}")) };
    }
    let answer = answer?;
    compare(&answer, block, steps.is_none())?;
    let again = parse(query).map_err(|error| error.to_string())?.to_string();
    let answer = ask(store, &again, steps).map_err(|error| format!("as {again}: {error}"))?;
    compare(&answer, block, steps.is_none()).map_err(|why| format!("as {again}: {why}"))
}

fn nanos(text: &str) -> Result<i64, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Labels and what they have: a text, or numbers.
type Row = (Pairs, String);

fn ask(store: &MemoryLogs, query: &str, steps: Option<Steps>) -> Result<Vec<Row>, String> {
    let pairs = |set: &crate::pipeline::labels::LabelSet| -> Pairs {
        set.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let expr = parse(query).map_err(|error| error.to_string())?;
    let level = query.contains("detected_level");
    let Some(steps) = steps else {
        let Expr::Log(log) = &expr else { return Err("no log query".into()) };
        let range = TimeRange { start: 0, end: 1_000 * SECOND };
        let options = LogOptions { scope: Scope::of("t"), range, limit: 100, newest_first: false, detected_level: level };
        let answer = lines(store, query, log, &options, &NoBudget).map_err(|error| error.to_string())?;
        return Ok(answer.value.iter().map(|entry| (pairs(&entry.labels), readable(entry.text()).into_owned())).collect());
    };
    let options = MetricOptions { scope: Scope::of("t"), steps, detected_level: level, series_max: 100 };
    let answer = metric(store, query, &expr, &options, &NoBudget).map_err(|error| error.to_string())?;
    let point = |point: &Option<f64>| point.map_or("_".to_owned(), |value| value.to_string());
    Ok(match answer.value {
        Value::Scalar(number) => vec![(Pairs::new(), number.to_string())],
        Value::Vector(series) => {
            let points = |points: &[Option<f64>]| points.iter().map(point).collect::<Vec<_>>().join(" ");
            series.iter().map(|series| (pairs(&series.labels), points(&series.points))).collect()
        }
    })
}

/// `exact`: the rows have texts, no numbers.
fn compare(answer: &[Row], block: &[&str], exact: bool) -> Result<(), String> {
    let ordered = block.first() == Some(&"expect ordered");
    let mut left: Vec<&Row> = answer.iter().collect();
    for line in block.iter().skip(usize::from(ordered)) {
        let (wanted, rest) = if line.starts_with('{') { labels(line)? } else { (Pairs::new(), *line) };
        let rest = body(rest.trim())?;
        let fits = |row: &Row| row.0 == wanted && (row.1 == rest || !exact && same(&row.1, &rest));
        let place = if ordered { left.first().filter(|row| fits(row)).map(|_| 0) } else { left.iter().position(|row| fits(row)) };
        let Some(place) = place else {
            let got: Vec<String> = left.iter().map(|row| format!("{} {}", written(&row.0), row.1)).collect();
            return Err(format!("expected {} {rest}\n    got      {}", written(&wanted), got.join("\n             ")));
        };
        left.remove(place);
    }
    match left.first() {
        Some(row) => Err(format!("not expected: {} {}", written(&row.0), row.1)),
        None => Ok(()),
    }
}

/// Numbers that differ by less than their last digits.
fn same(got: &str, wanted: &str) -> bool {
    let close = |got: &str, wanted: &str| match (got.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(got), Ok(wanted)) => got == wanted || (got - wanted).abs() <= 1e-9 * wanted.abs() || got.is_nan() && wanted.is_nan(),
        _ => got == wanted,
    };
    let (all, expected): (Vec<&str>, Vec<&str>) = (got.split(' ').collect(), wanted.split(' ').collect());
    all.len() == expected.len() && all.iter().zip(expected).all(|(got, wanted)| close(got, wanted))
}
