//! A script as commands.

use super::histogram::converted;
use super::series::{Line, parse_line, parse_value};
use crate::lex::{parse_duration_ms, unescape};

/// A command and the line it starts on, from 1.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub line: usize,
    pub kind: CommandKind,
}

#[derive(Clone, Debug)]
pub(super) enum CommandKind {
    Clear,
    Load {
        step_ms: i64,
        series: Vec<Line>,
    },
    Eval(Box<EvalCommand>),
    /// A line that is no command, and why.
    Broken(String),
}

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub start_ms: i64,
    pub end_ms: i64,
    /// 0 for an instant.
    pub step_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct EvalCommand {
    pub expr: String,
    pub span: Option<Span>,
    /// `expect range vector from … to … step …`
    pub vector_span: Option<Span>,
    pub fail: Expect,
    pub warn: Expect,
    pub info: Expect,
    pub no_warn: bool,
    pub no_info: bool,
    pub ordered: bool,
    pub scalar: Option<f64>,
    pub string: Option<String>,
    pub series: Vec<Line>,
}

/// Whether something is expected, and how it reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Expect {
    pub wanted: bool,
    pub texts: Vec<Text>,
}

#[derive(Clone, Debug)]
pub(super) enum Text {
    Exact(String),
    Pattern(String),
}

/// Splits a script. What cannot be read becomes a broken command, never nothing.
pub(super) fn parse_script(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        if lines[first].is_empty() {
            continue;
        }
        let word = lines[first].split_whitespace().next().unwrap_or("");
        let mut block = &lines[at..at];
        if word != "clear" {
            let end = lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |length| at + length);
            block = &lines[at..end];
            at = end;
        }
        let kind = match word {
            "clear" => Ok(CommandKind::Clear),
            "load" | "load_with_nhcb" => parse_load(lines[first], block),
            _ if word.starts_with("eval") => parse_eval(lines[first], block),
            _ => Err(format!("unknown command {word:?}")),
        };
        commands.push(Command { line: first + 1, kind: kind.unwrap_or_else(CommandKind::Broken) });
    }
    commands
}

fn parse_load(head: &str, block: &[&str]) -> Result<CommandKind, String> {
    let (word, step) = head.split_once(char::is_whitespace).ok_or("load lacks its step")?;
    let step_ms = parse_millis(step.trim())?;
    let mut series: Vec<Line> = Vec::new();
    let mut starts: Option<Line> = None;
    for line in block {
        let mut line = parse_line(line)?;
        if !line.starts.is_empty() {
            starts = Some(line);
            continue;
        }
        // Start timestamps stand right before the samples that they are of.
        if let Some(own) = starts.take().filter(|own| own.labels == line.labels) {
            line.starts = own.starts;
        }
        series.push(line);
    }
    if word == "load_with_nhcb" {
        let native = converted(&series);
        series.extend(native);
    }
    Ok(CommandKind::Load { step_ms, series })
}

/// A duration, or a number of seconds.
fn parse_millis(text: &str) -> Result<i64, String> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let seconds = || text.parse::<f64>().ok().map(|seconds| (seconds * 1000.0).round() as i64);
    parse_duration_ms(text).or_else(seconds).map(|millis| sign * millis).ok_or_else(|| format!("bad time {text:?}"))
}

fn parse_eval(head: &str, block: &[&str]) -> Result<CommandKind, String> {
    let (word, rest) = head.split_once(char::is_whitespace).ok_or("eval lacks its kind")?;
    let mut eval = EvalCommand { ordered: word == "eval_ordered", ..EvalCommand::default() };
    eval.fail.wanted = word == "eval_fail";
    eval.warn.wanted = word == "eval_warn";
    eval.info.wanted = word == "eval_info";
    let (kind, rest) = rest.trim().split_once(char::is_whitespace).ok_or("eval lacks its time")?;
    let rest = rest.trim();
    let (span, expr) = match kind {
        "instant" => {
            let rest = rest.strip_prefix("at").ok_or("eval instant lacks `at`")?.trim();
            let (at, expr) = rest.split_once(char::is_whitespace).ok_or("eval lacks an expression")?;
            let at = parse_millis(at)?;
            (Span { start_ms: at, end_ms: at, step_ms: 0 }, expr)
        }
        "range" => parse_span(rest)?,
        _ => return Err(format!("unknown kind of eval {kind:?}")),
    };
    eval.span = Some(span);
    eval.expr = expr.trim().to_owned();
    for line in block {
        parse_expectation(line, &mut eval)?;
    }
    Ok(CommandKind::Eval(Box::new(eval)))
}

/// `from A to B step C rest`
fn parse_span(text: &str) -> Result<(Span, &str), String> {
    let mut rest = text;
    let mut values = [0; 3];
    for (value, word) in values.iter_mut().zip(["from", "to", "step"]) {
        rest = rest.trim_start().strip_prefix(word).ok_or_else(|| format!("expected `{word}`"))?.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        *value = parse_millis(&rest[..end])?;
        rest = &rest[end..];
    }
    Ok((Span { start_ms: values[0], end_ms: values[1], step_ms: values[2] }, rest.trim()))
}

fn parse_expectation(line: &str, eval: &mut EvalCommand) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("expect ") {
        return parse_expect(rest.trim(), eval);
    }
    if let Some(text) = line.strip_prefix("expected_fail_message ") {
        eval.fail.texts.push(Text::Exact(text.trim().to_owned()));
    } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
        eval.fail.texts.push(Text::Pattern(text.trim().to_owned()));
    } else if let Some(value) = parse_value(line) {
        eval.scalar = Some(value);
    } else {
        let series = parse_line(line)?;
        if eval.vector_span.is_none() && eval.span.is_some_and(|span| span.step_ms == 0) && series.steps.len() > 1 {
            return Err("an instant eval expects one value a series".into());
        }
        eval.series.push(series);
    }
    Ok(())
}

fn parse_expect(rest: &str, eval: &mut EvalCommand) -> Result<(), String> {
    let (word, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let detail = detail.trim();
    match word {
        "ordered" => eval.ordered = true,
        "no_warn" => eval.no_warn = true,
        "no_info" => eval.no_info = true,
        _ => return parse_expect_more(word, detail, eval),
    }
    Ok(())
}

fn parse_expect_more(word: &str, detail: &str, eval: &mut EvalCommand) -> Result<(), String> {
    let target = match word {
        "string" => {
            let inner = detail.get(1..detail.len() - 1).ok_or("bad string")?;
            eval.string = Some(if detail.starts_with('`') { inner.to_owned() } else { unescape(inner)? });
            return Ok(());
        }
        "range" => {
            let span = detail.strip_prefix("vector").ok_or("expected `range vector`")?;
            eval.vector_span = Some(parse_span(span)?.0);
            return Ok(());
        }
        "fail" => &mut eval.fail,
        "warn" => &mut eval.warn,
        "info" => &mut eval.info,
        _ => return Err(format!("unknown expectation {word:?}")),
    };
    target.wanted = true;
    if let Some(text) = detail.strip_prefix("msg:") {
        target.texts.push(Text::Exact(text.trim().to_owned()));
    } else if let Some(text) = detail.strip_prefix("regex:") {
        target.texts.push(Text::Pattern(text.trim().to_owned()));
    }
    Ok(())
}
