//! The templates of `line_format` and `label_format`: Go's `text/template` as far as fields, pipes, literals and functions go.
//!
//! `{{if}}`, `{{range}}`, `{{with}}`, variables and the functions not in [`FUNCTIONS`] are refused by name.

use std::fmt::Write;

use weir_model::time::{UnixNanos, format_rfc3339};

use super::labels::LineLabels;

/// A compiled template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// Commands joined by `|`.
    Pipe(Vec<Command>),
}

/// A function and its arguments, or one operand alone.
#[derive(Clone, Debug, PartialEq)]
struct Command {
    function: Option<&'static Function>,
    operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// `.label`
    Field(String),
    /// `"text"` or a number.
    Literal(String),
    /// `(…)`
    Pipe(Vec<Command>),
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    arguments: usize,
    apply: fn(&[String]) -> Result<String, String>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A rendered line or label may be this long: weir's limit of a log line.
const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// The value that is piped in comes last, as in Go.
static FUNCTIONS: [Function; 23] = [
    Function { name: "ToLower", arguments: 1, apply: |a| Ok(a[0].to_lowercase()) },
    Function { name: "lower", arguments: 1, apply: |a| Ok(a[0].to_lowercase()) },
    Function { name: "ToUpper", arguments: 1, apply: |a| Ok(a[0].to_uppercase()) },
    Function { name: "upper", arguments: 1, apply: |a| Ok(a[0].to_uppercase()) },
    Function { name: "trim", arguments: 1, apply: |a| Ok(a[0].trim().into()) },
    Function { name: "TrimSpace", arguments: 1, apply: |a| Ok(a[0].trim().into()) },
    Function { name: "trimAll", arguments: 2, apply: |a| Ok(a[1].trim_matches(|letter| a[0].contains(letter)).into()) },
    Function { name: "trimPrefix", arguments: 2, apply: |a| Ok(a[1].strip_prefix(a[0].as_str()).unwrap_or(&a[1]).into()) },
    Function { name: "trimSuffix", arguments: 2, apply: |a| Ok(a[1].strip_suffix(a[0].as_str()).unwrap_or(&a[1]).into()) },
    Function { name: "replace", arguments: 3, apply: |a| replaced(&a[2], &a[0], &a[1]) },
    Function { name: "contains", arguments: 2, apply: |a| Ok(a[1].contains(a[0].as_str()).to_string()) },
    Function { name: "hasPrefix", arguments: 2, apply: |a| Ok(a[1].starts_with(a[0].as_str()).to_string()) },
    Function { name: "hasSuffix", arguments: 2, apply: |a| Ok(a[1].ends_with(a[0].as_str()).to_string()) },
    Function { name: "default", arguments: 2, apply: |a| Ok(a[usize::from(!a[1].is_empty())].clone()) },
    Function { name: "trunc", arguments: 2, apply: |a| trunc(&a[0], &a[1]) },
    Function { name: "substr", arguments: 3, apply: |a| substr(&a[0], &a[1], &a[2]) },
    Function { name: "len", arguments: 1, apply: |a| Ok(a[0].len().to_string()) },
    Function { name: "urlencode", arguments: 1, apply: |a| Ok(url_encoded(&a[0])) },
    Function { name: "add", arguments: 2, apply: |a| whole(a, i64::checked_add) },
    Function { name: "sub", arguments: 2, apply: |a| whole(a, i64::checked_sub) },
    Function { name: "mul", arguments: 2, apply: |a| whole(a, i64::checked_mul) },
    Function { name: "div", arguments: 2, apply: |a| whole(a, i64::checked_div) },
    Function { name: "mod", arguments: 2, apply: |a| whole(a, i64::checked_rem) },
];

impl Template {
    /// Errors say what is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once("{{") {
            let (inside, after) = split_action(tail).ok_or("the template has a {{ without its }}")?;
            let (trim_before, inside) = inside.strip_prefix("- ").map_or((false, inside), |inside| (true, inside));
            let (trim_after, inside) = inside.strip_suffix(" -").map_or((false, inside), |inside| (true, inside));
            let before = if trim_before { before.trim_end() } else { before };
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            if !inside.trim_start().starts_with("/*") {
                parts.push(Part::Pipe(Reader { rest: inside, depth: 0 }.whole()?));
            }
            rest = if trim_after { after.trim_start() } else { after };
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts))
    }

    /// Fills it in. Errors when a function fails or the result is too long.
    pub fn render(&self, line: &str, at: UnixNanos, labels: &LineLabels) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Pipe(commands) => out.push_str(&run(commands, &Scope { line, at, labels })?),
            }
            if out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("the template makes more than {OUTPUT_BYTES_MAX} bytes"));
            }
        }
        Ok(out)
    }
}

/// Splits at the `}}` that is not inside a string.
fn split_action(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some('"'), _) if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '`') => quote = Some(letter),
            (None, '}') if text[at..].starts_with("}}") => return Some((&text[..at], &text[at + 2..])),
            _ => {}
        }
    }
    None
}

struct Scope<'a> {
    line: &'a str,
    at: UnixNanos,
    labels: &'a LineLabels,
}

fn run(commands: &[Command], scope: &Scope<'_>) -> Result<String, String> {
    let mut piped: Option<String> = None;
    for command in commands {
        let mut arguments = command.operands.iter().map(|operand| value(operand, scope)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped.take());
        piped = Some(match command.function {
            None => arguments.pop().unwrap_or_default(),
            Some(Function { name: "__line__", .. }) => scope.line.into(),
            Some(Function { name: "__timestamp__", .. }) => format_rfc3339(scope.at),
            Some(function) => (function.apply)(&arguments).map_err(|message| format!("{}: {message}", function.name))?,
        });
    }
    Ok(piped.unwrap_or_default())
}

fn value(operand: &Operand, scope: &Scope<'_>) -> Result<String, String> {
    match operand {
        Operand::Field(name) => Ok(scope.labels.get(name).unwrap_or_default().into()),
        Operand::Literal(text) => Ok(text.clone()),
        Operand::Pipe(commands) => run(commands, scope),
    }
}

static LINE: Function = Function { name: "__line__", arguments: 0, apply: |_| Ok(String::new()) };
static TIMESTAMP: Function = Function { name: "__timestamp__", arguments: 0, apply: |_| Ok(String::new()) };

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn whole(mut self) -> Result<Vec<Command>, String> {
        let commands = self.pipe()?;
        match self.rest.trim_start() {
            "" => Ok(commands),
            rest => Err(format!("unexpected {:?} in a template", rest.chars().take(20).collect::<String>())),
        }
    }

    fn pipe(&mut self) -> Result<Vec<Command>, String> {
        let mut commands: Vec<Command> = Vec::new();
        loop {
            let command = self.command()?;
            let piped = usize::from(!commands.is_empty());
            match command.function {
                Some(function) if function.arguments != command.operands.len() + piped => {
                    let (name, wanted) = (function.name, function.arguments);
                    return Err(format!(
                        "the template function {name} takes {wanted} arguments, not {}",
                        command.operands.len() + piped
                    ));
                }
                None if piped == 1 || command.operands.len() != 1 => {
                    return Err("a template pipe needs a function after |".into());
                }
                _ => commands.push(command),
            }
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => return Ok(commands),
            }
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut command = Command { function: None, operands: Vec::new() };
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            command.function = Some(known(self.word())?);
        }
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None | Some('|' | ')') => return Ok(command),
                Some(_) => command.operands.push(self.operand()?),
            }
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn operand(&mut self) -> Result<Operand, String> {
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            return Ok(Operand::Field(self.word().into()));
        }
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.depth += 1;
            if self.depth > 32 {
                return Err("brackets of a template nest deeper than 32".into());
            }
            self.rest = rest;
            let inner = self.pipe()?;
            self.rest = self.rest.trim_start().strip_prefix(')').ok_or("a template has a ( without its )")?;
            self.depth -= 1;
            return Ok(Operand::Pipe(inner));
        }
        if let Some((text, rest)) = self.rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            self.rest = rest;
            return Ok(Operand::Literal(text.into()));
        }
        if self.rest.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
            let text = texts.next().and_then(Result::ok).ok_or("a template has a bad string")?;
            let read = texts.byte_offset();
            self.rest = &self.rest[read..];
            return Ok(Operand::Literal(text));
        }
        let end = self.rest.find([' ', ')', '|']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.parse::<f64>() {
            Ok(_) => Ok(Operand::Literal(word.into())),
            Err(_) if word.starts_with('$') => Err(format!("template variables ({word}) are not supported yet")),
            Err(_) => Err(format!("unexpected {word:?} in a template")),
        }
    }
}

fn known(name: &str) -> Result<&'static Function, String> {
    match name {
        "__line__" => Ok(&LINE),
        "__timestamp__" => Ok(&TIMESTAMP),
        _ => FUNCTIONS
            .iter()
            .find(|function| function.name == name)
            .ok_or_else(|| format!("the template function or keyword {name} is not supported yet")),
    }
}

fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{:?} is no whole number", text.chars().take(40).collect::<String>()))
}

fn whole(arguments: &[String], operator: fn(i64, i64) -> Option<i64>) -> Result<String, String> {
    let result = operator(integer(&arguments[0])?, integer(&arguments[1])?);
    result.map(|number| number.to_string()).ok_or_else(|| "the result is no 64-bit number".into())
}

/// A positive length keeps the first letters, a negative one the last.
fn trunc(length: &str, text: &str) -> Result<String, String> {
    let (length, letters) = (integer(length)?, text.chars().count());
    let count = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(if length >= 0 { text.chars().take(count).collect() } else { text.chars().skip(letters.saturating_sub(count)).collect() })
}

fn substr(start: &str, end: &str, text: &str) -> Result<String, String> {
    let start = usize::try_from(integer(start)?).unwrap_or(0);
    let end = usize::try_from(integer(end)?).unwrap_or(usize::MAX);
    Ok(text.chars().take(end).skip(start).collect())
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String, String> {
    let grown = (text.matches(from).count() as u128) * to.len() as u128 + text.len() as u128;
    if grown > OUTPUT_BYTES_MAX as u128 { Err("the result is too long".into()) } else { Ok(text.replace(from, to)) }
}

fn url_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
