//! `weir logs --context`: each line that was found between those before and behind it in its container, over stdout and stderr.

use serde_json::{Value, json};

use super::address::Address;
use super::http::{self, Answer};
use super::lines::Style;
use super::print::{self, text};
use crate::Failure;
use crate::args::Output;

/// Lines that follow each other in one container.
struct Run {
    container: String,
    lines: Vec<Value>,
}

/// Asks for the neighbours of each line, and writes them. `answer`: that had the lines.
pub(super) async fn around(
    found: &[Value],
    context: u64,
    (address, answer): (&Address, Answer),
    (output, style): (Output, &Style),
) -> Result<(), Failure> {
    let (mut runs, mut answer) = (Vec::<Run>::new(), answer);
    let parameters = [("context", context.to_string()), ("across", "container".to_owned())];
    for line in found {
        let path = format!("/api/weir/v1/logs/line/{}", text(&line["id"]));
        match http::find(address, &path, &parameters).await? {
            Ok(near) => {
                add(&mut runs, near.body["lines"].as_array().cloned().unwrap_or_default());
                note_missing(&mut answer, &near, None);
            }
            // It is gone since it was found: deleted, or past its retention. Others still have neighbours.
            Err(near) => {
                add(&mut runs, vec![line.clone()]);
                note_missing(&mut answer, &near, near.body["error"].as_str());
            }
        }
    }
    let rows: Vec<Value> = runs.iter().flat_map(|run| run.lines.clone()).collect();
    answer.body["lines"] = rows.clone().into();
    if answer.body["coverage"].is_object() {
        answer.body["coverage"] = answer.coverage.clone();
    }
    print::rows(&rows, &answer, output, || written(&runs, style))
}

/// Adds what neighbours do not cover to the answer, each sentence once.
fn note_missing(answer: &mut Answer, near: &Answer, gone: Option<&str>) {
    let gone = gone.map(|sentence| Value::from(format!("{sentence}: it stands without its neighbours")));
    let more = near.coverage["missing"].as_array().into_iter().flatten().cloned().chain(gone);
    if !answer.coverage.is_object() {
        answer.coverage = json!({});
    }
    let missing = &mut answer.coverage["missing"];
    if !missing.is_array() {
        *missing = json!([]);
    }
    let Some(missing) = missing.as_array_mut() else { return };
    more.for_each(|sentence| {
        if !missing.contains(&sentence) {
            missing.push(sentence);
        }
    });
    for outage in &near.outages {
        if !answer.outages.contains(outage) {
            answer.outages.push(outage.clone());
        }
    }
}

/// Goes on with the container's last run where both have a line.
fn add(runs: &mut Vec<Run>, lines: Vec<Value>) {
    let Some(first) = lines.first() else { return };
    let container = container(first);
    let last = runs.iter_mut().rev().find(|run| run.container == container);
    match last.filter(|run| run.lines.iter().any(|line| line["id"] == first["id"])) {
        Some(run) => {
            let new: Vec<Value> =
                lines.into_iter().filter(|line| run.lines.iter().all(|known| known["id"] != line["id"])).collect();
            run.lines.extend(new);
        }
        None => runs.push(Run { container, lines }),
    }
}

/// Its stream's labels but for `stream`.
fn container(line: &Value) -> String {
    let mut labels = line["stream"].clone();
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("stream");
    }
    labels.to_string()
}

fn written(runs: &[Run], style: &Style) -> String {
    let run = |run: &Run| run.lines.iter().map(|line| style.line(line)).collect::<String>();
    runs.iter().map(run).collect::<Vec<_>>().join("--\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neighbours_do_not_cover_is_said_once() {
        let answer = |body: Value, coverage: Value, outages: &[&str]| Answer {
            body,
            coverage,
            outages: outages.iter().map(|outage| (*outage).to_owned()).collect(),
        };
        let mut all = answer(json!({}), Value::Null, &[]);
        let near = answer(json!({}), json!({"missing": ["an owner is away"]}), &["disk full"]);
        (0..2).for_each(|_| note_missing(&mut all, &near, None));
        let gone = answer(json!({"error": "no line has the id 1-2-3"}), json!({"missing": ["a block is away"]}), &[]);
        note_missing(&mut all, &gone, gone.body["error"].as_str());
        let gone = "no line has the id 1-2-3: it stands without its neighbours";
        assert_eq!(all.coverage, json!({"missing": ["an owner is away", "a block is away", gone]}));
        assert_eq!(all.outages, ["disk full"]);
    }

    #[test]
    fn runs_of_a_container_that_meet_are_one() {
        let line = |id: u64, container: &str, stream: &str| json!({"id": id.to_string(), "stream": {"pod": container, "stream": stream}});
        let mut runs = Vec::new();
        add(&mut runs, vec![line(1, "a", "stdout"), line(2, "a", "stderr")]);
        add(&mut runs, vec![line(9, "b", "stdout")]);
        add(&mut runs, vec![line(2, "a", "stderr"), line(3, "a", "stdout")]);
        add(&mut runs, vec![line(5, "a", "stdout")]);
        add(&mut runs, Vec::new());
        let ids = |run: &Run| run.lines.iter().map(|line| text(&line["id"]).to_owned()).collect::<Vec<_>>().join(" ");
        assert_eq!(runs.iter().map(ids).collect::<Vec<_>>(), ["1 2 3", "9", "5"]);
    }
}
