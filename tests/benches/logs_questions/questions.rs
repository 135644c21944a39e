//! The questions, what they are asked of, and what each costs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_tests::bench::watch::processor_time_of;
use weir_tests::nezha::Line;
use weir_tests::weir::Weir;

use crate::table::Figure;

const SECOND: i64 = 1_000_000_000;
const FOUR_HOURS: i64 = 4 * 3600 * SECOND;
/// The share of lines with the word that is counted by pod.
const WORD_SHARE: f64 = 12_512.0 / 1_871_093.0;
/// Of the lines whose words are counted: all would take long.
const SAMPLE_EACH: u64 = 97;

/// What is asked for, chosen from the lines on their way.
#[derive(Default)]
pub struct Choice {
    lines: u64,
    /// Of the middle of the lines, as far as is known how many there are: of the last line whose number is a power of two.
    trace_id: String,
    pods: HashMap<String, u64>,
    words: HashMap<String, u64>,
    first: Option<i64>,
    last: i64,
}

/// What was chosen.
#[derive(Serialize, Deserialize)]
pub struct Wanted {
    trace_id: String,
    /// The one whose share of the lines is nearest to [`WORD_SHARE`].
    word: String,
    busiest_pod: String,
    first: i64,
    last: i64,
}

impl Choice {
    pub fn note(&mut self, line: &Line, at: i64) {
        self.lines += 1;
        if !line.trace_id.is_empty() && (self.lines.is_power_of_two() || self.trace_id.is_empty()) {
            self.trace_id.clone_from(&line.trace_id);
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
        *self.pods.entry(line.pod.clone()).or_default() += 1;
        if self.lines.is_multiple_of(SAMPLE_EACH) {
            let mut words: Vec<&str> =
                line.body.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| word.len() > 4).collect();
            words.sort_unstable();
            words.dedup();
            words.into_iter().for_each(|word| *self.words.entry(word.to_owned()).or_default() += 1);
        }
    }

    pub fn made(self) -> Wanted {
        let share = (self.lines / SAMPLE_EACH) as f64 * WORD_SHARE;
        let nearest = self.words.iter().min_by(|a, b| {
            let off = |(word, count): (&String, &u64)| ((*count as f64 - share).abs(), word.clone());
            off(*a).partial_cmp(&off(*b)).expect("shares are numbers")
        });
        let word = nearest.expect("lines have words").0.clone();
        let busiest = self.pods.iter().max_by_key(|(pod, lines)| (**lines, (*pod).clone()));
        let busiest_pod = busiest.expect("lines have pods").0.clone();
        let first = self.first.expect("there are lines");
        Wanted { trace_id: self.trace_id, word, busiest_pod, first, last: self.last }
    }
}

const QUERY_RANGE: &str = "/loki/api/v1/query_range";
const PATTERNS: &str = "/loki/api/v1/patterns";

pub struct LogQuery {
    pub what: &'static str,
    path: &'static str,
    /// Of 1 GB, and of 10 GB; empty where nothing is said.
    goals: [&'static str; 2],
    query: String,
    /// Start, end and step of a range query, nanoseconds; else lines of all time.
    steps: Option<(i64, i64, i64)>,
}

/// All of them, or those that `ASK` names by a part of what they are.
pub fn questions(wanted: &Wanted) -> Vec<LogQuery> {
    let asked = std::env::var("ASK").unwrap_or_default();
    every_question(wanted).into_iter().filter(|question| question.what.contains(&asked)).collect()
}

fn every_question(wanted: &Wanted) -> Vec<LogQuery> {
    let all = "{namespace=\"nezha\"}";
    let Wanted { trace_id: trace, word, busiest_pod: pod, first, last } = wanted;
    let (first, last) = (*first, *last);
    let days = format!("[{}s]", (last - first) / SECOND + 2);
    let whole = Some((last + 1, last + 1, SECOND));
    let aligned = Some((first.div_euclid(FOUR_HOURS) * FOUR_HOURS, (last / FOUR_HOURS + 1) * FOUR_HOURS, FOUR_HOURS));
    let odd = Some((first, last + FOUR_HOURS, FOUR_HOURS));
    let one = |what, goals, query, steps| LogQuery { what, path: QUERY_RANGE, goals, query, steps };
    vec![
        one("every line of a trace id", ["≤ 3", "≤ 5"], format!("{all} |= `{trace}`"), None),
        one("the same by the attribute", ["≤ 3", "≤ 5"], format!("{all} | trace_id=`{trace}`"), None),
        one("a word that is nowhere", ["≤ 1", "≤ 5"], format!("{all} |= `zebrafinch`"), None),
        one("12 digits inside an id", ["≤ 10", "≤ 20"], format!("{all} |= `{}`", &trace[9..21]), None),
        // Lines say `TraceID`: the index knows no case.
        one("a word in another case than the lines'", ["", ""], format!("{all} |= `traceid`"), None),
        one(
            "a regex over everything, counted",
            ["≤ 100", "≤ 1000"],
            format!("sum(count_over_time({all} |~ `status=[0-9]+, msg=[A-Z][a-z]+ .*[Ff]ail` {days}))"),
            whole,
        ),
        one(
            "one that thousands of lines match, counted",
            ["≤ 100", "≤ 1000"],
            format!("sum(count_over_time({all} |~ `[Oo]rder.*[Ff]ail` {days}))"),
            whole,
        ),
        one("a word counted by pod", ["≤ 15", ""], format!("sum by (pod) (count_over_time({all} |= `{word}` {days}))"), whole),
        one("volume in 4 h buckets, as LogQL", ["≤ 5", ""], format!("sum(count_over_time({all}[4h]))"), aligned),
        one(
            "the same by level, as Grafana asks",
            ["≤ 5", ""],
            format!("sum by (level, detected_level) (count_over_time({all}[4h]))"),
            aligned,
        ),
        one("the same of one level", ["≤ 5", ""], format!("sum(count_over_time({all} | detected_level=`error` [4h]))"), aligned),
        one("volume in 4 h buckets from any nanosecond", ["≤ 5", ""], format!("sum(count_over_time({all}[4h]))"), odd),
        one("latest 100 lines of the busiest pod", ["≤ 3", "≤ 10"], format!("{{namespace=\"nezha\", pod=\"{pod}\"}}"), None),
        LogQuery { path: PATTERNS, ..one("patterns of all lines in 4 h buckets", ["≤ 1000", ""], all.to_owned(), aligned) },
    ]
}

/// Asks each question so many times, prints a row of what it costs, and returns the best times.
pub async fn ask(weir: &Weir, wanted: &Wanted, (times, is_scaled): (u32, bool)) -> Vec<Figure> {
    println!("| question | goal, ms | best, ms | CPU, ms | answer, bytes | found |\n| --- | --- | --- | --- | --- | --- |");
    let pid = weir.pid().expect("weir runs");
    let mut figures = Vec::new();
    for question in questions(wanted) {
        let (mut best, mut shown, before) = (Duration::MAX, String::new(), processor_time_of(pid));
        let (mut asked, mut failed) = (0, None);
        while asked < times && failed.is_none() {
            let answer = question.answer(weir, wanted).await;
            asked += 1;
            best = best.min(answer.took);
            shown = answer.found(&question);
            failed = answer.failed();
        }
        let cpu = (processor_time_of(pid) - before) / asked.max(1);
        let (goal, best) = (question.goals[usize::from(is_scaled)], best.as_secs_f64() * 1e3);
        println!("| {} | {goal} | {best:.2} | {:.1} | {shown} |", question.what, cpu.as_secs_f64() * 1e3);
        figures.push(question.figure("warm", goal, (best, 2), failed));
    }
    figures
}

impl LogQuery {
    /// Asks it once. What is answered with an error, as after `query.timeout`, is an answer too.
    pub async fn answer(&self, weir: &Weir, wanted: &Wanted) -> Answer {
        let (start, end, step) = self.steps.unwrap_or((wanted.first, wanted.last + 1, SECOND));
        let (start, end, step) = (start.to_string(), end.to_string(), (step / SECOND).to_string());
        let mut parameters = vec![("query", &*self.query), ("start", &start), ("end", &end), ("limit", "100")];
        if self.steps.is_some() {
            parameters.push(("step", &step));
        }
        let begun = Instant::now();
        let (status, body) = weir.try_get(self.path, &parameters).await;
        Answer { took: begun.elapsed(), status, body }
    }

    /// Of a question that was answered in so many milliseconds, shown with so many decimals, or failed.
    pub fn figure(&self, how: &str, goal: &'static str, (took, decimals): (f64, usize), failed: Option<String>) -> Figure {
        let what = format!("{how}: {}, ms", self.what);
        match failed {
            None => Figure::new(what, goal, took, decimals),
            Some(shown) => Figure { what, goal, value: f64::INFINITY, shown },
        }
    }

    /// Of those that are asked cold.
    pub fn cold_goal(&self) -> Option<&'static str> {
        match self.what {
            "every line of a trace id" | "the same by the attribute" => Some("≤ 30"),
            "a word that is nowhere" | "12 digits inside an id" | "latest 100 lines of the busiest pod" => Some(""),
            "one that thousands of lines match, counted" => Some(""),
            _ => None,
        }
    }
}

/// What a question came to.
pub struct Answer {
    pub took: Duration,
    status: u16,
    body: String,
}

impl Answer {
    /// The status and the time, unless it is an answer to the question.
    pub fn failed(&self) -> Option<String> {
        (self.status != 200).then(|| format!("{} after {:.1} s", self.status, self.took.as_secs_f64()))
    }

    /// Bytes of the answer and what was found, as two cells of a row.
    pub fn found(&self, question: &LogQuery) -> String {
        match self.status {
            200 => format!("{} | {}", self.body.len(), found(question, &self.body)),
            status => format!("{} | status {status}: {}", self.body.len(), self.body.trim().replace(['|', '\n'], " ")),
        }
    }
}

/// Lines, or the sum of all points and their series.
fn found(question: &LogQuery, body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    if question.path == PATTERNS {
        let patterns = body["data"].as_array().cloned().unwrap_or_default();
        let samples = patterns.iter().filter_map(|pattern| pattern["samples"].as_array()).flatten();
        let lines: u64 = samples.filter_map(|sample| sample[1].as_u64()).sum();
        return format!("{lines} lines in {} patterns", patterns.len());
    }
    let values = |series: &Value| series["values"].as_array().cloned().unwrap_or_default();
    let series = body["data"]["result"].as_array().cloned().unwrap_or_default();
    if question.steps.is_none() {
        return format!("{} lines", series.iter().map(|one| values(one).len()).sum::<usize>());
    }
    let point = |point: &Value| point[1].as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    // The sum of nothing is -0.
    let sum = series.iter().flat_map(values).map(|value| point(&value)).sum::<f64>() + 0.0;
    format!("{sum} lines in {} series", series.len())
}
