//! The part of TraceQL that is understood: one span set, conditions joined by `&&`:
//! `{ resource.service.name = "x" && name =~ "y.*" && duration > 100ms && span.http.status_code >= 500 && status = error }`.
//!
//! Everything else (`||`, `>>`, pipes, arithmetic) is refused by name and place. What the reader understands is handed to
//! it; every condition is judged on the span itself as well, so that scopes and types are exact.

use std::fmt;

use regex::Regex;
use weir_model::clip;
use weir_model::pattern::PatternBudget;
use weir_model::select::TraceSelect;
use weir_model::span::{Attributes, Origin, Span, SpanKind, StatusCode, Value};
use weir_model::time::parse_duration;

use super::super::trace_search::Condition;

/// Fields of a span that are no attributes.
pub(super) const INTRINSICS: [&str; 4] = ["duration", "kind", "name", "status"];

/// A query longer than this is refused, as in the other languages.
const QUERY_BYTES_MAX: usize = 128 << 10;
/// Far more than people write; each is judged on each span.
const CONDITIONS_MAX: usize = 1_024;

/// Conditions that must hold on one span.
#[derive(Debug)]
pub(super) struct Query(Vec<Compare>);

#[derive(Clone, Debug)]
struct Compare {
    field: Field,
    op: Op,
    value: Literal,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Name,
    Duration,
    Status,
    Kind,
    Resource(String),
    Span(String),
    Either(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Regex,
    NotRegex,
}

#[derive(Clone, Debug)]
enum Literal {
    Text(String),
    Pattern(Regex),
    Int(i64),
    Number(f64),
    Bool(bool),
    Duration(i64),
    Status(StatusCode),
    Kind(SpanKind),
}

const OPS: [(&str, Op); 8] = [
    ("=~", Op::Regex),
    ("!~", Op::NotRegex),
    ("!=", Op::NotEqual),
    (">=", Op::GreaterEqual),
    ("<=", Op::LessEqual),
    ("=", Op::Equal),
    (">", Op::Greater),
    ("<", Op::Less),
];

/// Reads a query; errors say what and at which character.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    let mut reader = Reader { text, rest: text, patterns: PatternBudget::default() };
    if text.len() > QUERY_BYTES_MAX {
        return Err(reader.wrong(format!("a query may have {QUERY_BYTES_MAX} bytes, this has {}", text.len())));
    }
    reader.want("{")?;
    let mut compares = Vec::new();
    if !reader.take("}") {
        loop {
            if compares.len() == CONDITIONS_MAX {
                return Err(reader.wrong(format!("a query may have {CONDITIONS_MAX} conditions, this is one more")));
            }
            compares.push(reader.compare()?);
            if reader.take("}") {
                break;
            }
            if !reader.take("&&") {
                return Err(reader.wrong("expected && or }; ||, arithmetic and brackets are not supported yet"));
            }
        }
    }
    reader.blank();
    if reader.rest.is_empty() {
        Ok(Query(compares))
    } else {
        Err(reader.wrong("combining span sets and pipes are not supported yet"))
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    patterns: PatternBudget,
}

impl<'a> Reader<'a> {
    fn wrong(&self, message: impl fmt::Display) -> String {
        let at = self.text[..self.text.len() - self.rest.len()].chars().count() + 1;
        format!("invalid TraceQL query: parse error at line 1, col {at}: {message}")
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.blank();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn want(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(self.wrong(format!("expected {sign}"))) }
    }

    fn word(&mut self) -> &'a str {
        self.blank();
        let ends = |letter: char| letter.is_whitespace() || "=!<>~&|{}()\"`".contains(letter);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn compare(&mut self) -> Result<Compare, String> {
        self.blank();
        let before = self.rest;
        let word = self.word();
        let scoped = |scope: &str| word.strip_prefix(scope).filter(|name| !name.is_empty()).map(str::to_owned);
        let field = match word {
            "name" => Field::Name,
            "duration" => Field::Duration,
            "status" => Field::Status,
            "kind" => Field::Kind,
            _ => match (scoped("resource."), scoped("span."), scoped(".")) {
                (Some(name), _, _) => Field::Resource(name),
                (_, Some(name), _) => Field::Span(name),
                (_, _, Some(name)) => Field::Either(name),
                _ => {
                    self.rest = before;
                    return Err(self.wrong(format!(
                        "{:?} is not supported yet: name, duration, status, kind, resource.…, span.… or .… are",
                        clip(word)
                    )));
                }
            },
        };
        self.blank();
        let Some((sign, op)) = OPS.iter().find(|(sign, _)| self.rest.starts_with(sign)) else {
            return Err(self.wrong("expected one of = != > >= < <= =~ !~"));
        };
        self.take(sign);
        self.blank();
        let before = self.rest;
        let value = self.literal(&field, *op);
        value.map(|value| Compare { field, op: *op, value }).map_err(|message| {
            self.rest = before;
            self.wrong(message)
        })
    }

    fn literal(&mut self, field: &Field, op: Op) -> Result<Literal, String> {
        if self.rest.starts_with(['"', '`']) {
            let text = self.string()?;
            return match op {
                _ if matches!(field, Field::Duration | Field::Status | Field::Kind) => {
                    Err("this field does not compare with a string".into())
                }
                Op::Regex | Op::NotRegex => {
                    self.patterns.compile_anchored(&text).map(Literal::Pattern).map_err(|error| error.to_string())
                }
                _ => Ok(Literal::Text(text)),
            };
        }
        let word = self.word();
        if matches!(op, Op::Regex | Op::NotRegex) {
            return Err("a regular expression stands in quotes".into());
        }
        let known = match (field, word) {
            (Field::Status, "error") => Some(Literal::Status(StatusCode::Error)),
            (Field::Status, "ok") => Some(Literal::Status(StatusCode::Ok)),
            (Field::Status, "unset") => Some(Literal::Status(StatusCode::Unset)),
            (Field::Kind, _) => {
                let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
                kinds.iter().position(|kind| *kind == word).map(|number| Literal::Kind(SpanKind::from_number(number as i32)))
            }
            (Field::Duration, _) => parse_duration(word).ok().map(Literal::Duration),
            (Field::Status | Field::Name, _) => None,
            (_, "true" | "false") => Some(Literal::Bool(word == "true")),
            _ => word.parse().map(Literal::Int).or_else(|_| word.parse().map(Literal::Number)).ok(),
        };
        let known = known.ok_or_else(|| format!("{:?} does not compare with this field, or is not supported yet", clip(word)))?;
        if matches!(known, Literal::Status(_) | Literal::Kind(_) | Literal::Bool(_)) && !matches!(op, Op::Equal | Op::NotEqual) {
            return Err(format!("{word} compares with = and != only"));
        }
        Ok(known)
    }

    fn string(&mut self) -> Result<String, String> {
        if let Some(raw) = self.rest.strip_prefix('`') {
            let (text, rest) = raw.split_once('`').ok_or("the string has no closing `")?;
            self.rest = rest;
            return Ok(text.into());
        }
        let mut texts = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let text = texts.next().and_then(Result::ok).ok_or("bad string, or it has no closing \"")?;
        let read = texts.byte_offset();
        self.rest = &self.rest[read..];
        Ok(text)
    }
}

impl Literal {
    /// The text that names every value that equals this, if there is one.
    fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Bool(flag) => Some(flag.to_string()),
            Self::Status(status) => Some(status.name().to_owned()),
            Self::Kind(kind) => Some(kind.name().to_owned()),
            Self::Pattern(_) | Self::Number(_) | Self::Duration(_) => None,
        }
    }
}

impl Query {
    /// Hands what the reader understands to `select`; all conditions come back, to be judged on spans.
    pub(super) fn into_select(self, select: &mut TraceSelect) -> Vec<Condition> {
        for Compare { field, op, value } in &self.0 {
            match (field, op, value) {
                (Field::Name, Op::Equal, Literal::Text(name)) => select.operation = Some(name.clone()),
                (Field::Resource(name), Op::Equal, Literal::Text(service)) if name == "service.name" => {
                    select.service = Some(service.clone())
                }
                (Field::Resource(name) | Field::Span(name) | Field::Either(name), Op::Equal, value) => {
                    select.attributes.extend(value.text().map(|text| (name.clone(), text)));
                }
                (Field::Status, Op::Equal, Literal::Status(_)) => {
                    select.attributes.extend(value.text().map(|text| ("status".to_owned(), text)));
                }
                (Field::Kind, Op::Equal, Literal::Kind(_)) => {
                    select.attributes.extend(value.text().map(|text| ("kind".to_owned(), text)));
                }
                (Field::Duration, Op::Greater | Op::GreaterEqual | Op::Equal, Literal::Duration(least)) => {
                    select.duration_min = select.duration_min.max(Some(*least))
                }
                (Field::Duration, Op::Less | Op::LessEqual, Literal::Duration(most)) => {
                    select.duration_max = Some(select.duration_max.map_or(*most, |own| own.min(*most)));
                }
                _ => {}
            }
        }
        self.0.into_iter().map(|compare| Condition::new(move |origin, span| compare.holds(origin, span))).collect()
    }
}

impl Compare {
    fn holds(&self, origin: &Origin, span: &Span) -> bool {
        let attribute =
            |own: &Attributes, name: &str| own.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        match &self.field {
            Field::Duration => match self.value {
                Literal::Duration(value) => ordered(self.op, (span.end.saturating_sub(span.start)).cmp(&value)),
                _ => false,
            },
            Field::Status => matches!(self.value, Literal::Status(wanted) if (span.status == wanted) == (self.op == Op::Equal)),
            Field::Kind => matches!(self.value, Literal::Kind(wanted) if (span.kind == wanted) == (self.op == Op::Equal)),
            Field::Name => self.compares(&Value::String(span.name.clone())),
            Field::Resource(name) => attribute(&origin.resource, name).is_some_and(|value| self.compares(&value)),
            Field::Span(name) => attribute(&span.attributes, name).is_some_and(|value| self.compares(&value)),
            // As in Tempo: the span's own attribute hides the resource's.
            Field::Either(name) => attribute(&span.attributes, name)
                .or_else(|| attribute(&origin.resource, name))
                .is_some_and(|value| self.compares(&value)),
        }
    }

    /// Values of different types never compare; what answers show as a string is one.
    fn compares(&self, own: &Value) -> bool {
        match (&self.value, own) {
            (Literal::Text(text), Value::String(_) | Value::Bytes(_) | Value::Json(_)) => {
                ordered(self.op, own.text().as_ref().cmp(text))
            }
            (Literal::Pattern(pattern), Value::String(_) | Value::Bytes(_) | Value::Json(_)) => {
                pattern.is_match(&own.text()) == (self.op == Op::Regex)
            }
            (Literal::Bool(flag), Value::Bool(own)) => ordered(self.op, own.cmp(flag)),
            (Literal::Int(number), Value::Int(own)) => ordered(self.op, own.cmp(number)),
            (Literal::Int(number), Value::Double(own)) => {
                own.partial_cmp(&(*number as f64)).is_some_and(|order| ordered(self.op, order))
            }
            (Literal::Number(number), Value::Int(own)) => {
                (*own as f64).partial_cmp(number).is_some_and(|order| ordered(self.op, order))
            }
            (Literal::Number(number), Value::Double(own)) => own.partial_cmp(number).is_some_and(|order| ordered(self.op, order)),
            _ => false,
        }
    }
}

fn ordered(op: Op, order: std::cmp::Ordering) -> bool {
    match op {
        Op::Equal => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Greater => order.is_gt(),
        Op::GreaterEqual => order.is_ge(),
        Op::Less => order.is_lt(),
        Op::LessEqual => order.is_le(),
        Op::Regex | Op::NotRegex => false,
    }
}

#[cfg(test)]
mod tests;
