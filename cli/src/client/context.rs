//! `weir logs --context`: each line that was found between those before and behind it in its container, over stdout and stderr.

use serde_json::Value;

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
    let mut runs: Vec<Run> = Vec::new();
    let parameters = [("context", context.to_string()), ("across", "container".to_owned())];
    for line in found {
        let path = format!("/api/weir/v1/logs/line/{}", text(&line["id"]));
        let near = http::get(address, &path, &parameters).await?;
        add(&mut runs, near.body["lines"].as_array().cloned().unwrap_or_default());
    }
    let rows: Vec<Value> = runs.iter().flat_map(|run| run.lines.clone()).collect();
    let mut answer = answer;
    answer.body["lines"] = rows.clone().into();
    print::rows(&rows, &answer, output, || written(&runs, style))
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
    use serde_json::json;

    use super::*;

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
